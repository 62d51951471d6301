//! A world whose tasks spin never ends: virtual time stands still while anything is ready, so no
//! timeout in the world can tell. A thread with a real clock can.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Real time in which every world must end.
const REAL_LIMIT: Duration = Duration::from_secs(30);

/// Ends the process, with the seed, unless the guard is dropped in time.
pub(super) fn watch(seed: u64) -> SyncSender<()> {
    // Nothing is ever sent: what is awaited is the guard's end.
    let (guard, watched) = sync_channel(0);
    thread::spawn(move || {
        if watched.recv_timeout(REAL_LIMIT) == Err(RecvTimeoutError::Timeout) {
            let name = "EVENKEEL_SEED";
            // Nobody reads it if stderr is closed.
            let _ =
                writeln!(std::io::stderr(), "{name}={seed}: the world spins: time stands still");
            std::process::abort();
        }
    });
    guard
}
