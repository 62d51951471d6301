//! One backend as JSON. Times are nanoseconds since 1970.

use super::{Moment, Use};
use crate::portrait::url;
use evenkeel_core::backend::{Backend, Memory};
use evenkeel_core::breaker::{BreakerMemory, Trip, WindowPart};
use evenkeel_core::health::{
    HealthMemory, HealthReport, HealthState, ProbeFault, ProbeResult, Streak,
};
use evenkeel_core::plan::AdminState;
use evenkeel_core::time::Nanos;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BackendForm {
    pub(super) pool: String,
    pub(super) name: String,
    /// What makes it the same one.
    pub(super) url: String,
    health: HealthForm,
    breaker: BreakerForm,
    paused_until: Option<u64>,
    joined: Option<u64>,
    #[serde(with = "AdminForm")]
    admin: AdminState,
    wished: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HealthForm {
    #[serde(with = "StateForm")]
    state: HealthState,
    since: Option<u64>,
    #[serde(with = "StreakForm")]
    streak: Streak,
    results: Vec<ResultForm>,
    last_fault: Option<FaultForm>,
    first_status: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HealthState", rename_all = "snake_case")]
enum StateForm {
    Unknown,
    Healthy,
    Unhealthy,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AdminState", rename_all = "snake_case")]
enum AdminForm {
    Enabled,
    Draining,
    Disabled,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Streak", rename_all = "snake_case")]
enum StreakForm {
    Successes(u32),
    Failures(u32),
}

#[derive(Debug, Serialize, Deserialize)]
struct ResultForm {
    at: u64,
    took: u64,
    fault: Option<FaultForm>,
}

/// In a shell of its own, because it may be missing.
#[derive(Debug, Serialize, Deserialize)]
struct FaultForm(#[serde(with = "FaultKind")] ProbeFault);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProbeFault", rename_all = "snake_case")]
enum FaultKind {
    Connect(String),
    Timeout,
    Status(u16),
    Body,
    Call(u8),
    NotServing,
    Http2,
    NoHttp2,
    BadResponse,
}

#[derive(Debug, Serialize, Deserialize)]
struct BreakerForm {
    open_until: Option<u64>,
    since: Option<u64>,
    consecutive_failures: u32,
    wait: u64,
    trips_in_a_row: u32,
    trips: u32,
    last_trip: Option<TripForm>,
    /// When each part began, its requests and failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    window: Vec<(u64, u32, u32)>,
}

/// As `FaultForm`.
#[derive(Debug, Serialize, Deserialize)]
struct TripForm(#[serde(with = "TripKind")] Trip);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Trip", rename_all = "snake_case")]
enum TripKind {
    Consecutive(u32),
    Rate { failures: u32, requests: u32 },
    Outlier { success_rate: f64, mean: f64 },
    TrialFailed,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl BackendForm {
    pub(super) fn of(
        (pool, backend): (&str, &Backend),
        memory: &Memory,
        moment: Moment,
    ) -> BackendForm {
        let unix = |at: Nanos| moment.unix_of(at);
        BackendForm {
            pool: pool.to_owned(),
            name: backend.plan.name.to_string(),
            url: url(&backend.plan.address),
            health: HealthForm::of(&memory.health, moment),
            breaker: BreakerForm::of(&memory.breaker, moment),
            paused_until: memory.paused_until.map(unix),
            joined: memory.joined_at.map(unix),
            admin: memory.admin.0,
            wished: memory.admin.1.map(unix),
        }
    }

    /// What is to be taken up of it; `None` = nothing.
    pub(super) fn memory(self, moment: Moment, what: Use) -> Option<Memory> {
        let nanos = |unix: u64| moment.nanos_at(unix);
        let memory = Memory {
            health: self.health.memory(moment),
            breaker: self.breaker.memory(moment),
            paused_until: self.paused_until.map(nanos),
            joined_at: self.joined.map(nanos),
            admin: (self.admin, self.wished.map(nanos)),
        };
        if what == Use::All {
            return Some(memory);
        }
        let is_open = memory.breaker.open_until.is_some_and(|until| until > moment.now);
        is_open.then(|| Memory {
            health: evenkeel_core::health::Health::default().memory(),
            paused_until: None,
            joined_at: None,
            admin: (self.admin, None),
            ..memory
        })
    }
}

impl HealthForm {
    fn of(memory: &HealthMemory, moment: Moment) -> HealthForm {
        let HealthReport { state, since, streak, results, last_fault } = &memory.report;
        let fault = |fault: &Option<ProbeFault>| fault.clone().map(FaultForm);
        let result = |it: &ProbeResult| ResultForm {
            at: moment.unix_of(it.at),
            took: nanos(it.took),
            fault: fault(&it.fault),
        };
        HealthForm {
            state: *state,
            since: (*since > Nanos::default()).then(|| moment.unix_of(*since)),
            streak: *streak,
            results: results.iter().map(result).collect(),
            last_fault: fault(last_fault),
            first_status: memory.first_status,
        }
    }

    fn memory(self, moment: Moment) -> HealthMemory {
        let fault = |form: Option<FaultForm>| form.map(|FaultForm(fault)| fault);
        let result = |it: ResultForm| ProbeResult {
            at: moment.nanos_at(it.at),
            took: Duration::from_nanos(it.took),
            fault: fault(it.fault),
        };
        let report = HealthReport {
            state: self.state,
            since: self.since.map(|unix| moment.nanos_at(unix)).unwrap_or_default(),
            streak: self.streak,
            results: self.results.into_iter().map(result).collect(),
            last_fault: fault(self.last_fault),
        };
        HealthMemory { report, first_status: self.first_status }
    }
}

impl BreakerForm {
    fn of(memory: &BreakerMemory, moment: Moment) -> BreakerForm {
        let of = |part: &WindowPart| (moment.unix_of(part.at), part.requests, part.failures);
        BreakerForm {
            open_until: memory.open_until.map(|at| moment.unix_of(at)),
            since: memory.since.map(|at| moment.unix_of(at)),
            consecutive_failures: memory.consecutive_failures,
            wait: nanos(memory.wait),
            trips_in_a_row: memory.trips_in_a_row,
            trips: memory.trips,
            last_trip: memory.last_trip.map(TripForm),
            window: memory.window.iter().map(of).collect(),
        }
    }

    fn memory(self, moment: Moment) -> BreakerMemory {
        let part = |(unix, requests, failures)| WindowPart {
            at: moment.nanos_at(unix),
            requests,
            failures,
        };
        BreakerMemory {
            open_until: self.open_until.map(|unix| moment.nanos_at(unix)),
            since: self.since.map(|unix| moment.nanos_at(unix)),
            consecutive_failures: self.consecutive_failures,
            wait: Duration::from_nanos(self.wait),
            trips_in_a_row: self.trips_in_a_row,
            trips: self.trips,
            last_trip: self.last_trip.map(|TripForm(trip)| trip),
            window: self.window.into_iter().map(part).collect(),
        }
    }
}
