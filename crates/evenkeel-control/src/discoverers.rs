//! Backends that are found elsewhere: for each pool that discovers, somebody is asked for as long
//! as the process lives; what is found goes on the one road to the next snapshot, as a layer of its
//! own between file and edits.
//!
//! ```text
//! source (a task for each pool) ── answer ──▶ judged (evenkeel_core::discovery)
//!                                               │ same, or empty and not believed: nothing changes
//!                                               ▼ another set
//!                            gathered for a moment, of all pools ──▶ `Settles`, all or nothing
//! ```
//!
//! Whoever does not answer, or answers nonsense, changes nothing: what was known stays.

mod consul;
mod dns;
mod docker;
mod file;
mod kubernetes;
mod status;

pub use status::Search;

use crate::limits::{
    DISCOVERY_RETRY, DISCOVERY_SETTLE, MAX_DISCOVERY_ANSWERS, MAX_DISCOVERY_PAUSE,
};
use crate::steering::Steering;
use evenkeel_core::discovery::{Finds, Found, Verdict, judge};
use evenkeel_core::plan::{DiscoveryPlan, DiscoverySource};
use evenkeel_proxy::log::EventLog;
use status::{Board, Told};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Puts what was found in force.
pub trait Settles: Send + Sync {
    /// The pools that discover, and how.
    fn wanted(&self) -> Vec<(Arc<str>, DiscoveryPlan)>;

    /// What is in force of what was found for a pool.
    fn known(&self, pool: &str) -> Vec<Found>;

    /// These sets from now on, all or none.
    ///
    /// # Errors
    /// Why the configuration would not hold, in words.
    fn settle(&self, sets: &Finds) -> Result<Vec<Settled>, String>;
}

/// What was put in force for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its name.
    pub pool: String,
    /// Names of backends that are new.
    pub added: Vec<String>,
    /// Names of backends that drain now.
    pub removed: Vec<String>,
}

/// An answer, or why there is none.
type Said = Result<Vec<Found>, String>;

/// What a source has said for a pool.
struct Answer {
    pool: Arc<str>,
    /// Of whom it is: answers of those who were stopped count for nothing.
    round: u64,
    said: Said,
}

/// A source's way to tell what it has found.
#[derive(Clone)]
struct Teller {
    pool: Arc<str>,
    round: u64,
    answers: mpsc::Sender<Answer>,
}

impl Teller {
    /// Tells what is there now.
    async fn tell(&self, said: Said) {
        let answer = Answer { pool: Arc::clone(&self.pool), round: self.round, said };
        // Whoever listens ends this task too.
        let _ = self.answers.send(answer).await;
    }
}

/// Somebody who is asked for the backends of one pool.
struct Asking {
    plan: DiscoveryPlan,
    round: u64,
    task: JoinHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All discoveries of a process.
pub struct Discoverers {
    settles: Arc<dyn Settles>,
    board: Board,
    changed: Notify,
}

impl Discoverers {
    /// None yet; they begin with `run`.
    fn new(settles: Arc<dyn Settles>, events: Option<EventLog>) -> Arc<Discoverers> {
        let board = Board::new(events);
        Arc::new(Discoverers { settles, board, changed: Notify::new() })
    }

    /// Those of a running server: what they find is steered, and they follow each change.
    pub fn along(steering: &Arc<Steering>, events: EventLog) -> Arc<Discoverers> {
        let discoverers = Discoverers::new(Arc::<Steering>::clone(steering), Some(events));
        let follower = Arc::downgrade(&discoverers);
        steering.follow(move |_| {
            if let Some(discoverers) = follower.upgrade() {
                discoverers.look_again();
            }
            Vec::new()
        });
        discoverers
    }

    /// The configuration has changed: some may begin, end, or ask somebody else.
    fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Blocks until each pool had its first answer, be it a failure, or until the time is over.
    pub fn await_first(&self, timeout: Duration) {
        let wanted = self.settles.wanted();
        self.board.await_first(wanted.iter().map(|(pool, _)| &**pool), timeout);
    }

    /// How each of them stands, by pool.
    pub(crate) fn standings(&self) -> Vec<(Arc<str>, Search)> {
        self.board.standings()
    }

    /// Runs them; ends only by being dropped.
    pub async fn run(self: Arc<Self>) {
        let (sender, mut answers) = mpsc::channel(MAX_DISCOVERY_ANSWERS);
        let mut course = Course { sender, asking: HashMap::new(), round: 0, due: None };
        let mut pending = Finds::new();
        self.begin_and_end(&mut course, &mut pending);
        loop {
            let due = course.due.unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.changed.notified() => self.begin_and_end(&mut course, &mut pending),
                Some(answer) = answers.recv() => self.take(answer, &mut course, &mut pending),
                () = sleep_until(due), if course.due.is_some() => {
                    course.due = None;
                    if !self.publish(&mut pending) {
                        course.due = Some(Instant::now() + DISCOVERY_RETRY);
                    }
                }
            }
        }
    }

    /// Who asks is as the plan says.
    fn begin_and_end(&self, course: &mut Course, pending: &mut Finds) {
        let wanted = self.settles.wanted();
        let plan_of = |pool: &str| wanted.iter().find(|(name, _)| **name == *pool);
        course.asking.retain(|pool, _| plan_of(pool).is_some());
        pending.retain(|pool, _| plan_of(pool).is_some());
        self.board.retain(|pool| plan_of(pool).is_some());
        for (pool, plan) in wanted {
            if course.asking.get(&pool).is_some_and(|asking| asking.plan == plan) {
                continue;
            }
            course.round += 1;
            let known = self.settles.known(&pool).len();
            self.board.begin(&pool, plan.source.kind(), known);
            let (round, answers) = (course.round, course.sender.clone());
            let teller = Teller { pool: Arc::clone(&pool), round, answers };
            let task = tokio::spawn(ask(plan.clone(), teller));
            course.asking.insert(pool, Asking { plan, round, task });
        }
    }

    /// An answer becomes a change that is due soon, or none.
    fn take(&self, answer: Answer, course: &mut Course, pending: &mut Finds) {
        let Answer { pool, round, said } = answer;
        let Some(asking) = course.asking.get(&pool).filter(|asking| asking.round == round) else {
            return;
        };
        let in_force = self.settles.known(&pool);
        let told = match said {
            Err(why) => Told::Failed(why),
            Ok(found) => {
                let (verdict, left_out) = judge(&in_force, found, &asking.plan);
                match verdict {
                    Verdict::Empty => Told::Empty,
                    Verdict::Same => {
                        pending.remove(&*pool);
                        Told::Good { left_out, count: in_force.len(), settled: true }
                    }
                    Verdict::New(set) => {
                        let count = set.len();
                        pending.insert(pool.to_string(), set);
                        Told::Good { left_out, count, settled: false }
                    }
                }
            }
        };
        self.board.tell(&pool, told);
        if !pending.is_empty() && course.due.is_none() {
            course.due = Some(Instant::now() + DISCOVERY_SETTLE);
        }
    }

    /// True if nothing is left to be done.
    fn publish(&self, pending: &mut Finds) -> bool {
        if pending.is_empty() {
            return true;
        }
        match self.settles.settle(pending) {
            Ok(settled) => {
                pending.clear();
                settled
                    .iter()
                    .for_each(|it| self.board.settled(it, self.settles.known(&it.pool).len()));
                true
            }
            Err(why) => {
                pending.keys().for_each(|pool| self.board.rejected(pool, &why));
                false
            }
        }
    }
}

/// What goes on.
struct Course {
    sender: mpsc::Sender<Answer>,
    asking: HashMap<Arc<str>, Asking>,
    round: u64,
    /// When what is pending is to be put in force.
    due: Option<Instant>,
}

/// How long to wait after so many failures in a row.
fn pause_after(failures: u32, interval: Duration) -> Duration {
    let longer = interval.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    longer.min(MAX_DISCOVERY_PAUSE.max(interval))
}

/// Asks for as long as it is let.
async fn ask(plan: DiscoveryPlan, teller: Teller) {
    match &plan.source {
        DiscoverySource::Dns { name, record, resolver } => {
            dns::ask(&plan, (name, *record, *resolver), &teller).await;
        }
        DiscoverySource::File { path } => file::ask(&plan, path, &teller).await,
        DiscoverySource::Kubernetes(keys) => kubernetes::ask(&plan, keys, &teller).await,
        DiscoverySource::Docker(keys) => docker::ask(&plan, keys, &teller).await,
        DiscoverySource::Consul(keys) => consul::ask(&plan, keys, &teller).await,
    }
}

#[cfg(test)]
mod tests;
