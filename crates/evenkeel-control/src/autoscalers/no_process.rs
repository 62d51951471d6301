//! Backends as processes, on a system where none of them could be ended together with us: refused.

use super::Ties;
use super::driver::Names;
use super::keep::KeptProcess;
use evenkeel_core::autoscale::ProcessPlan;
use std::convert::Infallible;
use std::io;

const WHY: &str = "driver `process` is not served on Windows; use exec or webhook";

/// A process; there is none.
pub(super) struct Process {
    pub(super) port: u16,
    pub(super) address: String,
    never: Infallible,
}

/// Starts nothing.
///
/// # Errors
/// Always.
pub(super) async fn start(
    _plan: &ProcessPlan,
    _names: Names<'_>,
    _ties: Option<&Ties>,
) -> Result<Process, String> {
    Err(WHY.to_owned())
}

/// Ends a command; what it has started is not known here.
pub(super) fn end_command(child: &mut std::process::Child) {
    // It may have ended just now.
    let _ = child.kill();
}

impl Process {
    pub(super) fn adopt(_kept: &KeptProcess) -> Option<Process> {
        None
    }

    pub(super) fn kept(&self, _name: &str, _serving: bool) -> KeptProcess {
        match self.never {}
    }

    pub(super) fn lives(&mut self) -> bool {
        match self.never {}
    }

    pub(super) async fn stop(self) {
        match self.never {}
    }
}

/// Guards nothing.
///
/// # Errors
/// Always.
pub fn guard(_words: &[String]) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, WHY))
}
