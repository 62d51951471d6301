//! What is asked of the operating system when serving starts and ends.

use crate::port_owner;
use crate::trouble::Trouble;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use sd_notify::NotifyState;
use std::io;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Raises the limit of open files to the hard limit: each exchange needs two. A refusal is no
/// reason not to start.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The small runtime of the main thread: it waits for signals, and serves nothing.
pub(crate) fn runtime() -> Result<Runtime, Trouble> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Trouble::CannotStart(format!("cannot start a runtime: {error}")))
}

/// Where the log goes if the configuration does not say: to stdout, which somebody reads.
pub(crate) fn log_file() -> Option<PathBuf> {
    None
}

/// Tells systemd that we serve. Without systemd, and if it does not listen, nothing happens.
pub(crate) fn notify_ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells systemd that we read the configuration again; `notify_ready` ends it.
pub(crate) fn notify_reloading() {
    // systemd wants the time with it, to tell this reload from another.
    let monotonic = NotifyState::monotonic_usec_now();
    let states = [NotifyState::Reloading];
    let _ = match monotonic {
        Ok(time) => sd_notify::notify(&[NotifyState::Reloading, time]),
        Err(_) => sd_notify::notify(&states),
    };
}

/// Tells systemd who we are from now on.
pub(crate) fn notify_main_pid(pid: u32) {
    let _ = sd_notify::notify(&[NotifyState::MainPid(pid)]);
}

/// Has another process of ours read its configuration again.
pub(crate) fn ask_to_reload(process: u32) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // It may have ended; then there is nobody who should.
    let _ = pid.map(|pid| kill_process(pid, Signal::HUP));
}

/// Tells systemd that we stop.
pub(crate) fn notify_stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// Why we do not listen on `address`, and what could be done about it.
pub(crate) fn cannot_listen(address: &str, error: &io::Error) -> Trouble {
    let kind = error.kind();
    let reason = if kind == io::ErrorKind::AddrInUse {
        // The words that people look for.
        let in_use = "address already in use";
        match port_owner::owner_of(address) {
            Some(owner) => format!("{in_use}: {owner} listens there; stop it or choose another"),
            None => format!("{in_use}; choose another one"),
        }
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("{error}; ports below 1024 need root or CAP_NET_BIND_SERVICE")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("{error}; no interface of this machine has that address")
    } else {
        error.to_string()
    };
    Trouble::CannotStart(format!("cannot listen on {address}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let error = std::net::TcpListener::bind(&address).expect_err("it is taken");
        let Trouble::CannotStart(text) = cannot_listen(&address, &error) else {
            panic!("the machine refused");
        };
        assert!(text.contains(&address), "{text}");
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    }

    #[test]
    fn an_address_of_nobody_is_told_as_such() {
        let error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let Trouble::CannotStart(text) = cannot_listen("192.0.2.1:80", &error) else {
            panic!("the machine refused");
        };
        assert!(text.contains("192.0.2.1:80") && text.contains("no interface"), "{text}");
    }
}
