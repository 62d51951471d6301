//! Handing over to a new program needs descriptors that a child inherits; here is none of that, so
//! there is nobody before us, and nobody after.

use crate::trouble::Trouble;
use evenkeel_control::{AdminSockets, Heritage, Ledger};
use evenkeel_proxy::server::Legacy;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a process got from the one before it: nothing.
#[derive(Default)]
pub(crate) struct Inheritance {
    pub(crate) legacy: Legacy,
    pub(crate) admin: AdminSockets,
    pub(crate) scaled: Heritage,
    pub(crate) state: Option<Vec<u8>>,
}

/// What a new program would get.
#[expect(dead_code, reason = "there is none that takes it")]
pub(crate) struct Leavings {
    pub(crate) legacy: Legacy,
    pub(crate) admin: AdminSockets,
    pub(crate) scaled: Heritage,
    pub(crate) state: Vec<u8>,
}

impl Inheritance {
    pub(crate) fn take() -> Result<Inheritance, Trouble> {
        Ok(Inheritance::default())
    }

    pub(crate) fn is_handover(&self) -> bool {
        false
    }

    pub(crate) fn tell_ready(
        self,
        _ledger: &Arc<Ledger>,
        _tell: impl Fn(&str) + Send + 'static,
    ) -> Option<Bygone> {
        None
    }
}

/// A process after this one.
pub(crate) struct Successor {
    pub(crate) pid: u32,
    pub(crate) bequest: Bequest,
}

/// What it is told.
pub(crate) enum Bequest {}

impl Bequest {
    pub(crate) fn send(&self, _line: Vec<u8>) {
        match *self {}
    }

    pub(crate) fn finish(self) {
        match self {}
    }
}

/// A process before this one.
pub(crate) enum Bygone {}

impl Bygone {
    pub(crate) fn await_first(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_over(&self) -> bool {
        match *self {}
    }
}

/// Hands nothing over.
///
/// # Errors
/// Always.
pub(crate) fn hand_over(_leavings: Leavings, _stop: &AtomicBool) -> Result<Successor, String> {
    Err("sockets are not handed over on Windows; stop and start instead".to_owned())
}
