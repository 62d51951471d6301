//! The control thread: owns the admin listener and the watch over names.

use crate::admin::{self, Desk, Gate};
use crate::bind::Bound;
use crate::limits::STOP_TIMEOUT;
use crate::lookup::SystemLookup;
use crate::mounts;
use crate::origin::ServedHosts;
use crate::resolve::{FirstAnswers, ResolveTarget, TargetSet, watch_names};
use crate::steering::Steering;
use evenkeel_core::address::BindAddress;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

const THREAD_NAME: &str = "ek-control";

/// How often what time alone changes is looked after.
const COURSE_TICK: Duration = Duration::from_millis(50);

/// Looks after what time alone changes; ends only by being dropped.
async fn keep_course(steering: Arc<Steering>) {
    let mut ticks = interval(COURSE_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        steering.tick(Instant::now());
    }
}

/// A way to give names to watch.
#[derive(Clone)]
pub struct Resolver(watch::Sender<TargetSet>);

impl Resolver {
    /// See `Control::resolve`.
    pub fn resolve(&self, targets: Vec<Arc<dyn ResolveTarget>>) {
        self.0.send_modify(|set| *set = TargetSet { round: set.round + 1, targets });
    }
}

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address of the admin listener, or of the one for profiles, could not be bound.
    #[error("cannot bind the admin listener to {address}: {source}")]
    Bind {
        /// As configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("cannot start the control thread: {0}")]
    Thread(#[source] io::Error),
}

/// The running control plane. Dropping it ends its thread without waiting for the end.
pub struct Control {
    local_addr: Option<SocketAddr>,
    sets: watch::Sender<TargetSet>,
    first_answers: Arc<FirstAnswers>,
    stop: oneshot::Sender<()>,
    /// Says nothing; is disconnected when the thread ends.
    alive: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

fn listen(bind: &BindAddress) -> Result<(Bound, ServedHosts), ControlError> {
    let failed = |source| ControlError::Bind { address: bind.to_string(), source };
    Bound::to(bind).map(|bound| (bound, ServedHosts::of(bind))).map_err(failed)
}

impl Control {
    /// Binds the admin listener, if there is to be one, and starts the thread that serves it with
    /// what is on the desk.
    pub fn start(bind: Option<&BindAddress>, desk: Desk) -> Result<Control, ControlError> {
        let bound = bind.map(listen).transpose()?;
        let profiles = desk.pprof.as_ref().map(listen).transpose()?;
        let local_addr = bound.as_ref().and_then(|(bound, _)| bound.local_addr());
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ControlError::Thread)?;
        let (sets, latest_set) = watch::channel(TargetSet::default());
        let (stop, stopped) = oneshot::channel();
        let (ended, alive) = mpsc::sync_channel(1);
        let first_answers = Arc::new(FirstAnswers::default());
        let answers = Arc::clone(&first_answers);
        let run = move || {
            runtime.block_on(async move {
                if let Some(numbers) = &desk.numbers {
                    tokio::spawn(Arc::clone(numbers).keep_windows());
                    if let Some(errands) = numbers.open_mounts() {
                        tokio::spawn(mounts::serve(errands, desk.clone()));
                    }
                }
                let journal = desk.journal.clone();
                let reading = journal.clone().map(|journal| tokio::spawn(journal.read()));
                if let Some((bound, served)) = profiles {
                    tokio::spawn(admin::serve(bound, admin::profiles(Gate::of(&desk, served))));
                }
                if let Some(steering) = &desk.steering {
                    tokio::spawn(keep_course(Arc::clone(steering)));
                }
                if let Some(migrations) = &desk.migrations {
                    tokio::spawn(Arc::clone(migrations).run());
                }
                let autoscalers = desk.autoscalers.clone();
                let scaling = autoscalers.clone().map(|it| tokio::spawn(it.run()));
                if let Some((bound, served)) = bound {
                    let gate = Gate::of(&desk, served);
                    tokio::spawn(admin::serve(bound, admin::router(desk, gate)));
                }
                let lookup = Arc::new(SystemLookup::default());
                tokio::spawn(watch_names(lookup, latest_set, answers));
                // Both a sent stop and a dropped `Control` end the wait.
                let _ = stopped.await;
                if let (Some(autoscalers), Some(scaling)) = (autoscalers, scaling) {
                    scaling.abort();
                    autoscalers.end().await;
                }
                if let (Some(journal), Some(reading)) = (journal, reading) {
                    reading.abort();
                    // It ends between two details.
                    let _ = reading.await;
                    journal.end().await;
                }
            });
            drop(runtime);
            drop(ended);
        };
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(run);
        let thread = thread.map_err(ControlError::Thread)?;
        Ok(Control { local_addr, sets, first_answers, stop, alive, thread })
    }

    /// Where the admin listener listens: the IPv4 address if it has both families, `None` if it is
    /// off or a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// A way to give names to watch, as `resolve` does.
    pub fn resolver(&self) -> Resolver {
        Resolver(self.sets.clone())
    }

    /// Watches the names of these targets, instead of those given before. Each distinct name is
    /// looked up at once, then again on its TTL; names watched before keep their rhythm, and what
    /// is known of them is published to the new targets without a look-up. Never blocks.
    pub fn resolve(&self, targets: Vec<Arc<dyn ResolveTarget>>) {
        self.resolver().resolve(targets);
    }

    /// Blocks until each target given to `resolve` had its first answer, be it a failure, or until
    /// the time is over; tells which.
    pub fn resolve_first(&self, timeout: Duration) -> bool {
        let round = self.sets.borrow().round;
        self.first_answers.wait(round, timeout)
    }

    /// Ends the thread: the listener is closed, running exchanges and look-ups are dropped. Waits
    /// at most two seconds.
    pub fn stop(self) {
        drop(self.stop);
        if self.alive.recv_timeout(STOP_TIMEOUT) == Err(mpsc::RecvTimeoutError::Disconnected) {
            // A panic has been reported on the thread itself; there is nothing to add.
            let _ = self.thread.join();
        }
    }
}
