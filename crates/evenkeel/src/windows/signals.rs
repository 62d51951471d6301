//! What a console, or whoever starts evenkeel here, asks of a running balancer.

use crate::scm;
use crate::trouble::Trouble;
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::sync::mpsc::Receiver;

/// One request from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Ctrl-C, Ctrl-Break, a window that closes, a system that ends, `stop`.
    Stop,
    /// Nothing asks for it here.
    #[expect(dead_code, reason = "SIGUSR1 elsewhere")]
    ReopenLog,
    /// `sc control evenkeel paramchange`.
    Reload,
    /// Nothing asks for it here.
    #[expect(dead_code, reason = "SIGUSR2 elsewhere")]
    Handover,
}

/// What we listen to.
pub(crate) struct Signals {
    interrupt: CtrlC,
    key: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
    scm: Option<Receiver<Request>>,
}

impl Signals {
    /// Takes the signals over from their defaults; needs a running runtime.
    pub(crate) fn install() -> Result<Signals, Trouble> {
        let refused = |error| Trouble::CannotStart(format!("cannot take signals: {error}"));
        Ok(Signals {
            interrupt: ctrl_c().map_err(refused)?,
            key: ctrl_break().map_err(refused)?,
            close: ctrl_close().map_err(refused)?,
            shutdown: ctrl_shutdown().map_err(refused)?,
            scm: scm::requests(),
        })
    }

    /// The next request; waits for it.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.key.recv() => Request::Stop,
            _ = self.close.recv() => Request::Stop,
            _ = self.shutdown.recv() => Request::Stop,
            request = asked(&mut self.scm) => request,
        }
    }

    /// Waits until a stop is asked for; other requests are passed over.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}

/// What the Service Control Manager asks; never, if it has not started us.
async fn asked(scm: &mut Option<Receiver<Request>>) -> Request {
    let request = match scm {
        Some(scm) => scm.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        None => std::future::pending().await,
    }
}
