//! Between the server and its control plane, which do not know each other: readiness and names.

use crate::system;
use evenkeel_api::{Handover, HandoverState};
use evenkeel_control::{Readiness, ResolveTarget};
use evenkeel_core::address::Endpoint;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::{LogLevel, Plan};
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::{EventLog, LogOptions};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key and its value in an event.
pub(crate) type Field<'a> = (&'static str, EventValue<'a>);

/// Says something in the log.
pub(crate) fn tell(
    log: &EventLog,
    (level, name): (LogLevel, &'static str),
    message: &str,
    fields: &[Field<'_>],
) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_nanos = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    log.emit(&Event { unix_nanos, level, name, message, fields });
}

/// Where a balancer is between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not everything that serving needs is there.
    Starting,
    /// Traffic is welcome.
    Ready,
    /// Traffic should go elsewhere.
    Draining,
}

/// The phase, and the last handover, as the admin listener tells them.
pub(crate) struct PhaseSign {
    phase: Mutex<Phase>,
    handover: Mutex<Option<Handover>>,
}

impl PhaseSign {
    pub(crate) fn new() -> PhaseSign {
        PhaseSign { phase: Mutex::new(Phase::Starting), handover: Mutex::default() }
    }

    pub(crate) fn turn(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Another handover has begun.
    pub(crate) fn begin_handover(&self) {
        let mut last = self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        let number = last.as_ref().map_or(1, |it| it.number + 1);
        *last = Some(Handover { number, state: HandoverState::Running, error: None });
    }

    /// The last handover has failed.
    pub(crate) fn fail_handover(&self, why: &str) {
        let mut last = self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &mut *last {
            (last.state, last.error) = (HandoverState::Failed, Some(why.to_owned()));
        }
    }
}

impl Readiness for PhaseSign {
    fn not_ready(&self) -> Option<String> {
        let why = match *self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Starting => "starting",
            Phase::Ready => return None,
            Phase::Draining => "draining",
        };
        Some(why.to_owned())
    }

    fn handover(&self) -> Option<Handover> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A backend given by name. Changes and failures are told in the log, of a row of failures the
/// first only.
pub(crate) struct NamedBackend {
    backend: Arc<Backend>,
    host: Arc<str>,
    port: u16,
    log: EventLog,
    failing: AtomicBool,
}

impl NamedBackend {
    /// `None` if the backend has a fixed address.
    pub(crate) fn new(backend: Arc<Backend>, log: EventLog) -> Option<NamedBackend> {
        match &backend.plan.address.endpoint {
            Endpoint::Ip(_) | Endpoint::Unix(_) => None,
            Endpoint::Name(host, port) => {
                let (host, port) = (Arc::clone(host), *port);
                Some(NamedBackend { backend, host, port, log, failing: AtomicBool::new(false) })
            }
        }
    }
}

impl ResolveTarget for NamedBackend {
    fn name(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    fn publish(&self, addresses: &[SocketAddr]) {
        self.backend.publish(addresses);
        self.failing.store(false, Ordering::Relaxed);
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let list = list.join(" ");
        let fields = [
            ("backend", EventValue::Text(&self.backend.label)),
            ("addresses", EventValue::Text(&list)),
        ];
        tell(&self.log, (LogLevel::Info, "name_resolved"), "the name has new addresses", &fields);
    }

    fn failed(&self, error: &str) {
        if self.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let fields = [
            ("backend", EventValue::Text(&self.backend.label)),
            ("error", EventValue::Text(error)),
        ];
        let message = "the name does not resolve; what was known stays in use";
        tell(&self.log, (LogLevel::Warn, "name_unresolved"), message, &fields);
    }
}

/// What the configuration says of the log; without a file, where the system wants it.
pub(crate) fn log_options(plan: &Plan) -> LogOptions {
    let logging = &plan.logging;
    let file = logging.file.clone().or_else(system::log_file);
    LogOptions { format: logging.format, level: logging.level, file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_between_start_and_drain() {
        let sign = PhaseSign::new();
        assert_eq!(sign.not_ready().as_deref(), Some("starting"));
        sign.turn(Phase::Ready);
        assert_eq!(sign.not_ready(), None);
        sign.turn(Phase::Draining);
        assert_eq!(sign.not_ready().as_deref(), Some("draining"));
    }
}
