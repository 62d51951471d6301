//! What the operating system asks of a running balancer.

use crate::trouble::Trouble;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// One request from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGUSR1.
    ReopenLog,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Handover,
}

/// The signals we listen to. SIGPIPE needs no place here: the Rust runtime ignores it.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults; needs a running runtime.
    pub(crate) fn install() -> Result<Signals, Trouble> {
        let take = |kind| {
            let taken = signal(kind);
            taken.map_err(|error| Trouble::CannotStart(format!("cannot take signals: {error}")))
        };
        Ok(Signals {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            user1: take(SignalKind::user_defined1())?,
            user2: take(SignalKind::user_defined2())?,
            hangup: take(SignalKind::hangup())?,
        })
    }

    /// The next request; waits for it.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.terminate.recv() => Request::Stop,
            _ = self.user1.recv() => Request::ReopenLog,
            _ = self.user2.recv() => Request::Handover,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits until a stop is asked for; other requests are passed over.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
