//! Every second, and what a machine wants done.

use super::{Division, Entry, Migrations, report, unix_ms};
use crate::outgoing::{call, shown};
use evenkeel_api::MigrationState;
use evenkeel_core::migration::{
    Command, HookPoint, MigrationPlan, State, Traffic, Unanswered, Wish,
};
use evenkeel_core::plan::{HealthCheck, HttpCheck, LogLevel};
use evenkeel_core::record::{Event, EventValue};
use evenkeel_core::stats::Totals;
use evenkeel_core::strategy::hash::hash;
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::sounding::Sounding;
use hyper::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// How long one synthetic request may take.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries of a webhook.
const HOOK_PAUSE: Duration = Duration::from_secs(1);

impl Migrations {
    /// Tells every machine what is seen, and does what they want.
    pub(crate) fn tick(self: &Arc<Self>) {
        let mut changed = false;
        let mut told = Vec::new();
        let mut entries = self.lock();
        let active = entries.iter().any(|it| !it.machine.state().is_over());
        let totals = if active { self.numbers.totals() } else { Totals::default() };
        for entry in entries.iter_mut() {
            let before = standing(entry);
            let commands = self.look(entry, &totals);
            changed |= !commands.is_empty();
            for command in commands {
                self.act(entry, command);
            }
            if entry.machine.state().is_over() {
                entry.question = None;
            }
            let after = standing(entry);
            changed |= after != before;
            if (after.0, after.1) != (before.0, before.1) {
                told.push(report::document(entry));
            }
        }
        drop(entries);
        for document in told {
            let name = match document.state {
                MigrationState::Done => "migration_done",
                MigrationState::Aborted => "migration_aborted",
                MigrationState::Preflight
                | MigrationState::Running
                | MigrationState::Waiting
                | MigrationState::Paused
                | MigrationState::Frozen
                | MigrationState::Watching => "migration_moved",
            };
            self.tell(name, &document, &document.reason);
        }
        if changed || active && self.is_due() {
            self.save();
        }
    }

    fn look(self: &Arc<Self>, entry: &mut Entry, totals: &Totals) -> Vec<Command> {
        let machine = &mut entry.machine;
        let now = self.numbers.now();
        if machine.state().is_over() {
            // What a wish has ended still has something to be done.
            let mut commands = machine.tick(now, &Default::default());
            let fits = self.check_names(machine.plan()).is_ok();
            if entry.is_unpromoted && fits && !commands.contains(&Command::Promote) {
                commands.push(Command::Promote);
            }
            entry.is_unpromoted &= fits;
            let divides = |it: &Command| matches!(it, Command::Divide(_) | Command::Promote);
            if entry.division != Traffic::default() && !commands.iter().any(divides) {
                // It was refused the last time.
                commands.push(Command::Divide(Traffic::default()));
            }
            return commands;
        }
        let fits = self.check_names(machine.plan());
        if fits.is_err() && self.is_promoted(machine.plan()) && machine.promoted(unix_ms()) {
            return machine.tick(now, &Default::default());
        }
        let pending = entry.unanswered.each_ref().map(Unanswered::read);
        match self.observe(machine.plan(), totals, pending).filter(|_| fits.is_ok()) {
            Some(seen) => machine.tick(now, &seen),
            None => {
                let why = "the configuration, whose route or pools are others now".to_owned();
                // It is not over, so it can be ended.
                let _ = machine.wish(Wish::Abort(why), now, unix_ms());
                machine.tick(now, &Default::default())
            }
        }
    }

    fn act(self: &Arc<Self>, entry: &mut Entry, command: Command) {
        let plan = entry.machine.plan();
        match command {
            Command::Divide(traffic) => {
                let route = plan.route.to_string();
                let division = division(entry, &traffic);
                let nothing = traffic == Traffic::default();
                let done = self.divides.divide(&route, (!nothing).then_some(&division));
                match done {
                    Ok(()) => entry.division = traffic,
                    Err(why) => {
                        let why = format!("the configuration: {why}");
                        // One that is over already tries again with the next look.
                        let _ = entry.machine.wish(Wish::Abort(why), self.numbers.now(), unix_ms());
                    }
                }
            }
            Command::Promote => {
                let reason = format!("migration {} is done", plan.name);
                let promoted = self.divides.promote(&plan.route, &plan.to, &reason);
                let undivided = promoted.as_ref().map(|()| self.divides.divide(&plan.route, None));
                if let Ok(Ok(())) = undivided {
                    // The route's own pool serves all of it now.
                    entry.division = Traffic::default();
                }
                // No edit is taken while another program is started, for instance: then this one
                // tries again, or that one does.
                entry.is_unpromoted = promoted.is_err();
            }
            Command::Preflight => {
                let (this, plan) = (Arc::clone(self), plan.clone());
                entry.question = Some(Question::ask(async move {
                    let result = this.preflight(&plan).await;
                    let now = this.numbers.now();
                    this.with(&plan.name, |it| {
                        it.machine.preflight_ended(result, now, unix_ms());
                    });
                }));
            }
            Command::Call(point @ (HookPoint::BeforeStage | HookPoint::AfterStage)) => {
                let (this, plan) = (Arc::clone(self), plan.clone());
                let facts = hook_facts(entry, point);
                entry.question = Some(Question::ask(async move {
                    let result = call_hooks(&plan, point, &facts).await;
                    let now = this.numbers.now();
                    this.with(&plan.name, |it| it.machine.hook_ended(result, now, unix_ms()));
                }));
            }
            Command::Call(point @ (HookPoint::Done | HookPoint::Aborted)) => {
                let (events, plan) = (self.events.clone(), plan.clone());
                let facts = hook_facts(entry, point);
                tokio::spawn(async move {
                    if let Err(why) = call_hooks(&plan, point, &facts).await {
                        tell_unheard(events.as_ref(), &plan, (point, &why));
                    }
                });
            }
        }
    }

    fn with(&self, id: &str, act: impl FnOnce(&mut Entry)) {
        let mut entries = self.lock();
        if let Some(entry) = entries.iter_mut().rev().find(|it| it.name() == id) {
            act(entry);
        }
    }

    /// Asks the new pool's backends in turn, as the pool speaks; every answer must be a success.
    async fn preflight(&self, plan: &MigrationPlan) -> Result<(), String> {
        let snapshot = self.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|it| it.name == plan.to);
        let asked = preflight_check(pool.map(|pool| &pool.health.check), &plan.preflight.path);
        let sounding = Sounding {
            snapshot: Arc::clone(&snapshot),
            pool: Arc::clone(&plan.to),
            check: asked,
            timeout: PREFLIGHT_TIMEOUT,
        };
        sounding.ask_in_turn(plan.preflight.requests).await
    }
}

/// Somebody is asked for a migration. What it says is of no use to another one, or to one that is
/// over: with this, the asking ends.
pub(super) struct Question(AbortHandle);

impl Question {
    fn ask(asking: impl Future<Output = ()> + Send + 'static) -> Question {
        Question(tokio::spawn(asking).abort_handle())
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Nobody waits for these webhooks, so nobody else would say that they were not heard.
fn tell_unheard(events: Option<&EventLog>, plan: &MigrationPlan, (point, why): (HookPoint, &str)) {
    let Some(events) = events else { return };
    events.emit(&Event {
        unix_nanos: unix_ms().saturating_mul(1_000_000),
        level: LogLevel::Warn,
        name: "webhook_failed",
        message: "a webhook that tells the end of a migration was not answered with 2xx",
        fields: &[
            ("migration", EventValue::Text(&plan.name)),
            ("phase", EventValue::Text(point.as_str())),
            ("error", EventValue::Text(why)),
        ],
    });
}

/// What of a migration is worth writing down at once: state, stage, how many checks came to be.
fn standing(entry: &Entry) -> (State, usize, u64) {
    (entry.machine.state(), entry.machine.stage(), entry.machine.checks_made())
}

/// Pools whose health is asked for by gRPC are asked so before a migration too; others for the
/// page, under the name that their health checks use.
fn preflight_check(own: Option<&HealthCheck>, path: &str) -> HealthCheck {
    let host = match own {
        Some(HealthCheck::Grpc(name)) => return HealthCheck::Grpc(name.clone()),
        Some(HealthCheck::Http(check)) => check.host.clone(),
        Some(HealthCheck::Off | HealthCheck::Tcp) | None => String::new(),
    };
    HealthCheck::Http(HttpCheck {
        path: path.to_owned(),
        method: "GET".to_owned(),
        host,
        expect_status: vec![200..=399],
        expect_body: String::new(),
        by_default: false,
    })
}

fn division(entry: &Entry, traffic: &Traffic) -> Division {
    let plan = entry.machine.plan();
    Division {
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        key: plan.cohort.clone(),
        seed: hash(plan.name.as_bytes()),
        traffic: traffic.clone(),
        unanswered: entry.unanswered.clone(),
    }
}

/// The body of a webhook: what Flagger sends, and what we know besides.
fn hook_facts(entry: &Entry, point: HookPoint) -> String {
    let document = report::document(entry);
    json!({
        "name": document.id,
        "namespace": document.route,
        "phase": point.as_str(),
        "metadata": {
            "from": document.from,
            "to": document.to,
            "stage": document.stage.to_string(),
            "weight": document.weight.to_string(),
            "reason": document.reason,
        },
    })
    .to_string()
}

/// Every webhook must say 2xx within its own time.
async fn call_hooks(plan: &MigrationPlan, point: HookPoint, facts: &str) -> Result<(), String> {
    for hook in plan.webhooks.iter().filter(|hook| hook.on.contains(&point)) {
        let until = Instant::now() + hook.timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = call(Method::POST, &hook.url, Some(facts.to_owned()), left).await;
            let why = match answer {
                Ok(200..=299) => break,
                Ok(status) => format!("{} answers {status}", shown(&hook.url)),
                Err(why) => why,
            };
            if Instant::now() + HOOK_PAUSE >= until {
                return Err(format!("{why}; asked for {:?}", hook.timeout));
            }
            sleep(HOOK_PAUSE).await;
        }
    }
    Ok(())
}
