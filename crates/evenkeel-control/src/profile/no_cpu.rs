//! Where CPU time goes cannot be told on a system without SIGPROF.

use std::time::Duration;

/// Why there is no profile.
#[derive(Debug)]
pub(super) enum NoProfile {
    /// Another one is being taken.
    #[expect(dead_code, reason = "none is ever taken here")]
    Busy,
    /// The system refused.
    Failed(String),
}

/// Samples nothing.
pub(super) async fn sample(_time: Duration) -> Result<Vec<u8>, NoProfile> {
    Err(NoProfile::Failed("CPU profiles are taken on Unix only".to_owned()))
}
