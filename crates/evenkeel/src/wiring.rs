//! Between the server and its control plane, which do not know each other: readiness and names.

use evenkeel_control::{Readiness, ResolveTarget};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::server::{NameTarget, ServerState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// What the admin listener is told about readiness.
pub(crate) struct ServerReadiness(pub(crate) Arc<ServerState>);

impl Readiness for ServerReadiness {
    fn not_ready(&self) -> Option<String> {
        let why = match (self.0.is_draining(), self.0.is_ready()) {
            (true, _) => "draining",
            (false, false) => "starting",
            (false, true) => return None,
        };
        Some(why.to_owned())
    }
}

/// A backend given by name, with its failures told in the log: the first of a row only.
pub(crate) struct ToldName {
    target: Arc<dyn NameTarget>,
    log: EventLog,
    failing: AtomicBool,
}

impl ToldName {
    pub(crate) fn new(target: Arc<dyn NameTarget>, log: EventLog) -> ToldName {
        ToldName { target, log, failing: AtomicBool::new(false) }
    }
}

impl ResolveTarget for ToldName {
    fn name(&self) -> (&str, u16) {
        self.target.name()
    }

    fn publish(&self, addresses: &[SocketAddr]) {
        self.failing.store(false, Ordering::Relaxed);
        let fields = [
            ("name", EventValue::Text(self.target.name().0)),
            ("addresses", EventValue::Number(addresses.len() as u64)),
        ];
        tell(&self.log, (LogLevel::Info, "name_resolved"), "addresses have changed", &fields);
        self.target.publish(addresses);
    }

    fn failed(&self, error: &str) {
        if self.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let fields =
            [("name", EventValue::Text(self.target.name().0)), ("error", EventValue::Text(error))];
        let message = "the name does not resolve; what was known stays in use";
        tell(&self.log, (LogLevel::Warn, "name_unresolved"), message, &fields);
    }
}
