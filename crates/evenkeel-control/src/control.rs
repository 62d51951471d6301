//! The control thread: owns the admin listener and the watch over names.

mod seat;
mod stage;

pub use seat::{NextPlace, Seat};
pub(crate) use stage::{Course, Stage, reaches};

use crate::admin::{self, Desk, Gate};
use crate::bind::Bound;
use crate::limits::STOP_TIMEOUT;
use crate::lookup::SystemLookup;
use crate::mounts;
use crate::origin::ServedHosts;
use crate::resolve::{FirstAnswers, ResolveTarget, TargetSet, watch_names};
use crate::steering::Steering;
use evenkeel_core::address::BindAddress;
use evenkeel_proxy::socket::BoundSocket;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How long is waited until the thread has reached a stage.
const STAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Stages that it reaches after the first.
const STAGES: usize = 2;

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
    /// Where the admin listener is.
    seat: Arc<Seat>,
    /// Descriptors of the listener for profiles, to be handed over.
    profiles: AdminSockets,
    /// How far the work of this thread has come.
    course: watch::Sender<Stage>,
    /// Says so when the next stage is reached.
    reached: Mutex<mpsc::Receiver<()>>,
    sets: watch::Sender<TargetSet>,
    first_answers: Arc<FirstAnswers>,
    stop: oneshot::Sender<()>,
    /// Says nothing; is disconnected when the thread ends.
    alive: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Listening sockets of this thread, by what they are for.
pub type AdminSockets = Vec<(String, BoundSocket)>;

/// What sockets are for.
const PROFILES: &str = "pprof";

/// Takes the sockets that a process before this one had there, or binds.
fn listen_on(
    inherited: &mut AdminSockets,
    name: &str,
    bind: &BindAddress,
) -> Result<(Bound, ServedHosts), ControlError> {
    let fits = |(of, socket): &mut (String, BoundSocket)| of == name && is_at(socket, bind);
    let own = inherited.extract_if(.., fits).map(|(_, socket)| socket).collect();
    let bound = Bound::again(own).map_or_else(|| Bound::to(bind), Ok);
    let failed = |source| ControlError::Bind { address: bind.to_string(), source };
    bound.map(|bound| (bound, ServedHosts::of(bind))).map_err(failed)
}

/// True if it listens where is to be bound.
fn is_at(socket: &BoundSocket, bind: &BindAddress) -> bool {
    match socket {
        BoundSocket::Tcp(socket) => {
            let Ok(own) = socket.local_addr() else { return false };
            let same =
                |at: &SocketAddr| at.ip() == own.ip() && [0, own.port()].contains(&at.port());
            bind.socket_addrs().iter().any(same)
        }
        BoundSocket::Unix(socket) => {
            let BindAddress::Unix(path) = bind else { return false };
            socket.local_addr().is_ok_and(|own| own.as_pathname() == Some(path.as_path()))
        }
        BoundSocket::Udp(_) => false,
    }
}

/// What goes on by itself from the opening on: for as long as the thread lives, or until another
/// process does it.
async fn run_loops(desk: Desk, course: Course, reached: SyncSender<()>) {
    let mut until_released = JoinSet::new();
    if let Some(discoverers) = &desk.discoverers {
        // A process that takes over needs its backends before it is ready.
        until_released.spawn(Arc::clone(discoverers).run());
    }
    reaches(Stage::Open, course.clone()).await;
    if let Some(migrations) = &desk.migrations {
        // Traffic is divided before anybody is let in.
        migrations.tick();
    }
    if let Some(autoscalers) = &desk.autoscalers {
        autoscalers.begin();
    }
    if let Some(numbers) = &desk.numbers {
        tokio::spawn(Arc::clone(numbers).keep_windows());
        if let Some(errands) = numbers.open_mounts() {
            tokio::spawn(mounts::serve(errands, desk.clone()));
        }
    }
    if let Some(ledger) = &desk.ledger {
        until_released.spawn(Arc::clone(ledger).keep());
    }
    if let Some(steering) = &desk.steering {
        tokio::spawn(keep_course(Arc::clone(steering)));
    }
    if let Some(migrations) = &desk.migrations {
        until_released.spawn(Arc::clone(migrations).run());
    }
    if let Some(autoscalers) = &desk.autoscalers {
        until_released.spawn(Arc::clone(autoscalers).run());
    }
    // Nobody may wait for it.
    let _ = reached.try_send(());
    reaches(Stage::Released, course).await;
    until_released.shutdown().await;
    if let Some(migrations) = &desk.migrations {
        migrations.save_last();
    }
    let _ = reached.try_send(());
}

fn sockets_of(profiles: Option<&seat::Listener>) -> io::Result<AdminSockets> {
    let Some((bound, _)) = profiles else { return Ok(AdminSockets::new()) };
    Ok(bound.sockets()?.into_iter().map(|socket| (PROFILES.to_owned(), socket)).collect())
}

impl Control {
    /// Binds the admin listener, if there is to be one, and starts the thread that serves it with
    /// what is on the desk.
    pub fn start(bind: Option<&BindAddress>, desk: Desk) -> Result<Control, ControlError> {
        Control::start_on(bind, desk, Vec::new())
    }

    /// The same, on sockets that a process before this one had.
    pub fn start_on(
        bind: Option<&BindAddress>,
        desk: Desk,
        inherited: AdminSockets,
    ) -> Result<Control, ControlError> {
        let control = Control::start_closed(bind, desk, inherited)?;
        control.open();
        Ok(control)
    }

    /// The same, but clients wait in the kernel until `open`, and nothing decides by itself until
    /// then: the process before this one still does.
    pub fn start_closed(
        bind: Option<&BindAddress>,
        desk: Desk,
        mut inherited: AdminSockets,
    ) -> Result<Control, ControlError> {
        let mut listen = |name: &str, bind| listen_on(&mut inherited, name, bind);
        let bound = bind.map(|bind| listen(seat::ADMIN, bind)).transpose()?;
        let profiles = desk.pprof.as_ref().map(|bind| listen(PROFILES, bind)).transpose()?;
        let sockets = sockets_of(profiles.as_ref()).map_err(ControlError::Thread)?;
        let (seat, moves) = Seat::at(bind, bound.as_ref()).map_err(ControlError::Thread)?;
        let (course, stage) = watch::channel(Stage::Closed);
        let (reach, reached) = mpsc::sync_channel(STAGES);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ControlError::Thread)?;
        let (sets, latest_set) = watch::channel(TargetSet::default());
        let (stop, stopped) = oneshot::channel();
        let (ended, alive) = mpsc::sync_channel(1);
        let first_answers = Arc::new(FirstAnswers::default());
        let answers = Arc::clone(&first_answers);
        let run = move || {
            runtime.block_on(async move {
                let loops = tokio::spawn(run_loops(desk.clone(), stage.clone(), reach));
                let journal = desk.journal.clone();
                let reading = journal.clone().map(|journal| tokio::spawn(journal.read()));
                if let Some((bound, served)) = profiles {
                    let router = admin::profiles(Gate::of(&desk, served));
                    tokio::spawn(admin::serve(bound, router, stage.clone()));
                }
                let autoscalers = desk.autoscalers.clone();
                tokio::spawn(seat::serve(bound, moves, desk, stage));
                let lookup = Arc::new(SystemLookup::default());
                tokio::spawn(watch_names(lookup, latest_set, answers));
                // Both a sent stop and a dropped `Control` end the wait.
                let _ = stopped.await;
                loops.abort();
                // It ends where it waits.
                let _ = loops.await;
                if let Some(autoscalers) = autoscalers {
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
        let (seat, profiles) = (Arc::new(seat), sockets);
        let reached = Mutex::new(reached);
        Ok(Control { seat, profiles, course, reached, sets, first_answers, stop, alive, thread })
    }

    /// Where the admin listener listens: the IPv4 address if it has both families, `None` if it is
    /// off or a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.seat.local_addr()
    }

    /// Where the admin listener is, and how it moves.
    pub fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    /// Descriptors of the listeners of this thread, to be handed over.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn sockets(&self) -> io::Result<AdminSockets> {
        let again =
            |(name, socket): &(String, BoundSocket)| Ok((name.clone(), socket.try_clone()?));
        let mut all = self.seat.sockets()?;
        all.extend(self.profiles.iter().map(again).collect::<io::Result<AdminSockets>>()?);
        Ok(all)
    }

    /// Answers and decides from now on; what was under way goes on already when this returns.
    pub fn open(&self) {
        self.turn(Stage::Open);
    }

    /// Answers nobody new and decides nothing from now on: another process does. Connections end
    /// with the answer that they are at. What another process needs is written when this returns.
    pub fn release(&self) {
        self.turn(Stage::Released);
    }

    fn turn(&self, stage: Stage) {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if self.course.send_replace(stage) < stage {
            // Should the thread be busy, it follows.
            let _ = reached.recv_timeout(STAGE_TIMEOUT);
        }
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
