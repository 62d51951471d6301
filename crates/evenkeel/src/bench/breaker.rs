//! What a circuit breaker does, step by step, with a backend that fails when it is told to.
//!
//! ```text
//! CLOSED ── failures in a row ──▶ OPEN ── wait over ──▶ HALF-OPEN ── trial succeeds ──▶ CLOSED
//!                                  ▲                       │
//!                                  └──── trial fails ──────┘
//! ```

use super::arguments::BreakerArguments;
use super::process::Process;
use crate::output::print;
use crate::remote;
use crate::trouble::Trouble;
use evenkeel_api::{BreakerState, Client};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const POOL: &str = "breaker";
/// A wait is at most a tenth longer than it is told to be.
const WAIT_FACTOR: f64 = 1.15;
/// How long the trial takes that is looked at.
const TRIAL_TIME: Duration = Duration::from_secs(1);
/// How often is looked whether it has begun.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A balancer, its breaker, and whether everything was as it should be.
struct Walk {
    balancer: Process,
    client: Client,
    holds: bool,
}

/// Walks through every state and prints each step. True if each was as it should be.
pub(crate) fn walk(arguments: &BreakerArguments) -> Result<bool, Trouble> {
    let BreakerArguments { failures, wait } = *arguments;
    let backend = Process::backend("backend-1")?;
    let balancer = Process::balancer(&configuration(arguments, &backend))?;
    let client = Client::new(&format!("http://{}", balancer.admin)).map_err(remote::refused)?;
    let mut walk = Walk { balancer, client, holds: true };
    walk.request("/", 200, BreakerState::Closed, "the backend answers")?;
    for number in 1..=failures {
        let state = if number < failures { BreakerState::Closed } else { BreakerState::Open };
        walk.request("/status/500", 500, state, &format!("failure {number} of {failures}"))?;
    }
    walk.request("/", 503, BreakerState::Open, "refused: the backend is not asked")?;
    rest(wait.mul_f64(WAIT_FACTOR));
    walk.request("/status/500", 500, BreakerState::Open, "the wait is over; the trial fails")?;
    rest(wait.mul_f64(2.0 * WAIT_FACTOR));
    walk.trial()?;
    walk.request("/", 200, BreakerState::Closed, "the backend answers again")?;
    Ok(walk.holds)
}

fn configuration(arguments: &BreakerArguments, backend: &Process) -> Value {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let wait = arguments.wait;
    json!({
        "version": 1,
        "listeners": [{ "name": POOL, "bind": "127.0.0.1:0" }],
        "routes": [{ "pool": POOL }],
        "pools": [{
            "name": POOL,
            "backends": [{ "name": "backend-1", "address": backend.address }],
            "health": { "type": "none" },
            "circuit_breaker": {
                "failure_threshold": arguments.failures,
                "reset_timeout": millis(wait),
                "max_reset_timeout": millis(4 * wait),
            },
            "retry": { "attempts": 1 },
            "fail_open": false,
        }],
        "admin": { "bind": "127.0.0.1:0" },
        "logging": { "level": "info", "format": "json", "access": { "enabled": false } },
        "shutdown": { "drain_timeout": "1s" },
    })
}

impl Walk {
    fn state(&self) -> Result<BreakerState, Trouble> {
        let backends = remote::ask(self.client.backends(POOL))?.backends;
        let first = backends.first().map(|backend| backend.breaker);
        first.ok_or_else(|| Trouble::CannotStart("the backend has gone".to_owned()))
    }

    /// Sends a request, and tells what came of it.
    fn request(
        &mut self,
        path: &str,
        status: u16,
        state: BreakerState,
        words: &str,
    ) -> Result<(), Trouble> {
        let got = self.ask(path)?;
        self.tell((got, status), (self.state()?, state), words)
    }

    /// The status that a request gets; 0 if it gets none.
    fn ask(&self, path: &str) -> Result<u16, Trouble> {
        let report = self.balancer.send(path, 1)?.to_json();
        let statuses = report["status_codes"].as_object();
        let status = statuses.and_then(|all| all.keys().next()?.parse().ok());
        Ok(status.unwrap_or(0))
    }

    /// A trial that takes a while, and a request meanwhile.
    fn trial(&mut self) -> Result<(), Trouble> {
        let path = format!("/delay/{}ms", TRIAL_TIME.as_millis());
        let (meanwhile, state, trial) = thread::scope(|scope| {
            let trial = scope.spawn(|| self.ask(&path));
            let until = Instant::now() + TRIAL_TIME;
            let mut state = self.state()?;
            while state != BreakerState::HalfOpen && Instant::now() < until {
                rest(LOOK_EVERY);
                state = self.state()?;
            }
            let meanwhile = self.ask("/")?;
            let broke = |_| Trouble::CannotStart("the trial broke down".to_owned());
            Ok::<_, Trouble>((meanwhile, state, trial.join().map_err(broke)??))
        })?;
        let words = "the wait, twice as long now, is over; one trial goes on, others are refused";
        self.tell((meanwhile, 503), (state, BreakerState::HalfOpen), words)?;
        let state = self.state()?;
        self.tell((trial, 200), (state, BreakerState::Closed), "the trial succeeds")
    }

    fn tell(
        &mut self,
        (status, expected): (u16, u16),
        (state, wanted): (BreakerState, BreakerState),
        words: &str,
    ) -> Result<(), Trouble> {
        let holds = status == expected && state == wanted;
        self.holds &= holds;
        let odd = match holds {
            true => String::new(),
            false => format!(", but {expected} and {} were expected", name(wanted)),
        };
        print(format_args!("{:<9}  {status}  {words}{odd}\n", name(state)))
    }
}

/// Does nothing for so long; there is nobody else on this thread.
fn rest(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn name(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "CLOSED",
        BreakerState::Open => "OPEN",
        BreakerState::HalfOpen => "HALF-OPEN",
    }
}
