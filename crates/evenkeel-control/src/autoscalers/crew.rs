//! The backends of one pool from start to stop: started, probed, added, drained, ended. What fails
//! is tried again, later each time.
//!
//! ```text
//! Starting ─ healthy often enough ─▶ Serving ─ one too many ─▶ Leaving ─ nothing runs ─▶ ended
//!     └────── too late, or it ended by itself ───┴──────────────▶ removed, and a pause
//! ```
//!
//! No backend waits for another one: each is probed, and ended, by a task of its own.

mod ending;
mod work;

use super::Ground;
use super::keep::{KeptProcess, Page};
use super::ties::{Course, Left};
use evenkeel_api::Telling;
use evenkeel_core::autoscale::AutoscalePlan;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use work::Work;

/// The name of the backend of a pool that was started with this number.
fn numbered(pool: &str, number: u32) -> String {
    format!("{pool}-auto-{number}")
}

/// True of a name that autoscalers give to backends of this pool.
pub(crate) fn is_numbered(pool: &str, name: &str) -> bool {
    let rest = name.strip_prefix(pool).and_then(|rest| rest.strip_prefix("-auto-"));
    rest.and_then(|number| number.parse().ok()).is_some_and(|it| numbered(pool, it) == name)
}

/// Backends of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// That take traffic, or could.
    pub(super) ready: u32,
    /// That are on their way.
    pub(super) starting: u32,
    /// Of those that are ready: not started by us.
    pub(super) fixed: u32,
}

impl Size {
    pub(super) fn all(self) -> u32 {
        self.ready + self.starting
    }
}

/// What a crew tells.
#[derive(Clone, Debug, Default)]
struct Told {
    /// `None` until it is known what a former process has left.
    size: Option<Size>,
    names: Vec<String>,
    /// What another process would need to go on with them.
    kept: Vec<KeptProcess>,
    /// Those that take traffic, and where.
    serving: Vec<(String, String)>,
    /// What somebody else has told the driver, until it is taken note of.
    recounted: Option<u32>,
    trouble: Option<String>,
    /// What the driver is being told.
    telling: Option<Telling>,
}

/// What a crew is told.
#[derive(Clone, Debug)]
struct Orders {
    plan: AutoscalePlan,
    /// Backends of the whole pool; `None` = nobody has decided yet.
    wanted: Option<u32>,
}

/// Looks after the backends of one pool that an autoscaler has started.
pub(super) struct Crew {
    orders: watch::Sender<Orders>,
    told: Arc<Mutex<Told>>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Crew {
    pub(super) fn new(
        (ground, page): (Ground, Arc<Page>),
        pool: Arc<str>,
        plan: AutoscalePlan,
    ) -> Crew {
        let (orders, latest) = watch::channel(Orders { plan, wanted: None });
        let (end, ended) = oneshot::channel();
        let told = Arc::new(Mutex::new(Told::default()));
        let mut work = Work::new((ground, page), pool, Arc::clone(&told));
        let task = tokio::spawn(async move { work.run(latest, ended).await });
        Crew { orders, told, end, task }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `None` until it is known what a former process has left.
    pub(super) fn size(&self) -> Option<Size> {
        self.told().size
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.told().names
    }

    /// What another process would need to go on with what runs.
    pub(super) fn left(&self, pool: &str, course: Course) -> Left {
        let Told { kept: processes, serving: backends, .. } = self.told();
        Left { pool: pool.to_owned(), processes, backends, course }
    }

    /// How many somebody else wants, until that was [`heeded`](Crew::heeded): so long the driver is
    /// told nothing.
    pub(super) fn recounted(&self) -> Option<u32> {
        self.told().recounted
    }

    /// What is wanted now takes account of this.
    pub(super) fn heeded(&self, count: u32) {
        let recounted = &mut self.told.lock().unwrap_or_else(PoisonError::into_inner).recounted;
        if *recounted == Some(count) {
            *recounted = None;
        }
    }

    /// Why it cannot do what it should, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.told().trouble
    }

    /// What the driver is being told now.
    pub(super) fn telling(&self) -> Option<Telling> {
        self.told().telling
    }

    pub(super) fn want(&self, count: u32) {
        self.orders.send_if_modified(|orders| orders.wanted.replace(count) != Some(count));
    }

    /// Somebody else decides: the driver is told nothing.
    pub(super) fn rest(&self) {
        self.orders.send_if_modified(|orders| orders.wanted.take().is_some());
    }

    pub(super) fn replan(&self, plan: AutoscalePlan) {
        self.orders.send_modify(|orders| orders.plan = plan);
    }

    /// Ends every backend that it has started.
    pub(super) async fn end(self) {
        let _ = self.end.send(());
        // A panic has been reported on its own task.
        let _ = self.task.await;
    }
}
