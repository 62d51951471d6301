//! What is asked of the operating system when serving starts and ends.

use crate::scm;
use crate::trouble::Trouble;
use std::io;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// There is no limit to raise.
pub(crate) fn raise_file_limit() {}

/// The small runtime of the main thread: it waits for signals, and serves nothing.
pub(crate) fn runtime() -> Result<Runtime, Trouble> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Trouble::CannotStart(format!("cannot start a runtime: {error}")))
}

/// Where the log goes if the configuration does not say: started by the system, there is no stdout.
pub(crate) fn log_file() -> Option<PathBuf> {
    scm::log_file()
}

/// Tells whoever started us that we serve.
pub(crate) fn notify_ready() {
    scm::tell(scm::Stage::Running);
}

/// A reload has no name here.
pub(crate) fn notify_reloading() {}

/// Nor has a new process that takes over.
pub(crate) fn notify_main_pid(_pid: u32) {}

/// Nor is there one to ask.
pub(crate) fn ask_to_reload(_process: u32) {}

/// Tells whoever started us that we stop.
pub(crate) fn notify_stopping() {
    scm::tell(scm::Stage::Stopping);
}

/// Why we do not listen on `address`, and what could be done about it.
pub(crate) fn cannot_listen(address: &str, error: &io::Error) -> Trouble {
    let kind = error.kind();
    let reason = if kind == io::ErrorKind::AddrInUse {
        let port = address.rsplit(':').next().unwrap_or_default();
        format!("address already in use; `netstat -ano | findstr :{port}` shows by which process")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("{error}; the port is reserved, or another process has it for itself")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("{error}; no interface of this machine has that address")
    } else {
        error.to_string()
    };
    Trouble::CannotStart(format!("cannot listen on {address}: {reason}"))
}
