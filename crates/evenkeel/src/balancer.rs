//! A running balancer: started in order, stopped in order.

mod succession;

use crate::check::summary;
use crate::greeting;
use crate::handover::{Bequest, Bygone, Inheritance};
use crate::load;
use crate::mocks;
use crate::signals::{Request, Signals};
use crate::system;
use crate::trouble::Trouble;
use crate::wiring::{self, Field, NamedBackend, Phase, PhaseSign};
use evenkeel_control::steering::{Author, Draft, FileWatch, Steering};
use evenkeel_control::{
    AdminSockets, Autoscalers, Control, ControlError, Desk, Discoverers, Ground, Journal, Ledger,
    Migrations, Numbers, ResolveTarget, Ties, Tokens, standing,
};
use evenkeel_core::plan::{LogLevel, Plan};
use evenkeel_core::record::EventValue;
use evenkeel_proxy::log::{EventLog, Log};
use evenkeel_proxy::server::{Server, StartError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a start waits for names to resolve; later ones join when they do.
const FIRST_RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a start waits for those who are asked for backends; what was known serves meanwhile.
const FIRST_FINDS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a start waits for the first probe of every backend; those that are slower count as
/// usable until they have failed.
const FIRST_PROBES_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How often the new program is told what the old one still counts.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// Where migrations outlive the process, in `state_dir`.
const MIGRATIONS_FILE: &str = "migrations.json";

/// Listeners, workers, admin listener and log of one process.
pub(crate) struct Balancer {
    log: Arc<Log>,
    server: Arc<Server>,
    control: Control,
    steering: Arc<Steering>,
    autoscalers: Option<Arc<Autoscalers>>,
    phase: Arc<PhaseSign>,
    ledger: Arc<Ledger>,
    migrations: Arc<Migrations>,
    /// What the process before this one still counts.
    bygone: Option<Bygone>,
    /// What this one still counts, once another has taken over.
    bequest: Mutex<Option<Bequest>>,
    /// Of the configuration file, unless nobody wants that.
    watch: Mutex<Option<FileWatch>>,
}

/// Why serving is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Somebody asked for it.
    Asked,
    /// Another process has taken over.
    Relieved,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Every exchange ended by itself.
    Drained,
    /// `drain_timeout` was over first.
    TimeOver,
    /// Nobody wanted to wait.
    AtOnce,
}

impl Balancer {
    /// Starts log, listeners, workers, admin listener and name resolution, in this order; ready
    /// when it returns.
    pub(crate) fn start(draft: Draft, from: &mut Inheritance) -> Result<Balancer, Trouble> {
        system::raise_file_limit();
        note_allocations(&draft.plan);
        let ties = Arc::new(Ties::inherited(std::mem::take(&mut from.scaled)));
        let (left, own_state) = (standing(&draft.plan, &ties), !draft.shares_state());
        let draft = draft.with_backends(&left);
        let plan = draft.plan.clone();
        let log = Arc::new(Log::start(wiring::log_options(&plan)).map_err(cannot_log)?);
        let details = log.watch().map_err(cannot_log)?;
        greeting::begin(&plan, &log.events());
        let plays = mocks::play(&plan, &log.events());
        let server = Server::start_closed(&plan, &log, &mut from.legacy).map_err(cannot_serve)?;
        succession::close_unused(&mut from.legacy, &server.addresses(), &log.events());
        let (server, phase) = (Arc::new(server), Arc::new(PhaseSign::new()));
        let steering = draft.steer(Arc::clone(&server), log.events());
        let tokens = tokens(plan.admin.tokens_file.as_deref())?;
        let numbers = Arc::new(Numbers::new(server.state(), env!("CARGO_PKG_VERSION")));
        numbers.follow(&steering);
        if plays {
            numbers.tell_demo();
        }
        let state_dir = plan.state_dir.as_deref();
        let ledger = Ledger::new(Arc::clone(&numbers), state_dir, Some(log.events()));
        let discoverers = Discoverers::along(&steering, log.events());
        numbers.discover_by(&discoverers);
        let journal = Arc::new(Journal::new(server.state(), details, numbers.differences()));
        numbers.remember_by(&journal);
        let (desk, migrations) =
            desk(&phase, (&numbers, &steering), log.events(), (state_dir, own_state, ties));
        ledger.carry(&migrations);
        let desk = Desk {
            ledger: Some(Arc::clone(&ledger)),
            discoverers: Some(Arc::clone(&discoverers)),
            pprof: plan.pprof.clone(),
            journal: Some(journal),
            tokens: tokens.clone(),
            ..desk
        };
        let autoscalers = desk.autoscalers.clone();
        let sockets = std::mem::take(&mut from.admin);
        let control = start_control(&plan, (desk, sockets), &log)?;
        steering.seat_admin(control.seat());
        if !from.is_handover() {
            ledger.restore();
            control.open();
            server.open();
        }
        let (bequest, watch) = (Mutex::default(), Mutex::default());
        let balancer = Balancer {
            log,
            server,
            control,
            steering,
            autoscalers,
            phase,
            ledger,
            migrations,
            bygone: None,
            bequest,
            watch,
        };
        balancer.follow_changes(&plan, tokens);
        discoverers.await_first(FIRST_FINDS_TIMEOUT);
        balancer.await_backends();
        balancer.phase.turn(Phase::Ready);
        balancer.announce();
        greeting::ready(&plan, &balancer.log.events());
        system::notify_ready();
        Ok(balancer)
    }

    /// Names have addresses, and backends were probed, as far as that can be had soon.
    fn await_backends(&self) {
        self.control.resolve(named_backends(&self.server, &self.log));
        self.control.resolve_first(FIRST_RESOLVE_TIMEOUT);
        self.server.await_first_probes(FIRST_PROBES_TIMEOUT);
    }

    /// The listeners by name, with the addresses they really have.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, String)> {
        self.server.addresses()
    }

    /// Where the admin listener really is; `None` if it is turned off or a unix socket.
    pub(crate) fn admin_address(&self) -> Option<String> {
        Some(self.control.local_addr()?.to_string())
    }

    /// Reloads by itself when the configuration file changes.
    pub(crate) fn watch_file(&self) -> Result<(), Trouble> {
        let in_force = self.steering.configuration();
        if let Some(file) = in_force.file.as_ref().filter(|file| load::is_file(file)) {
            let watch = self.steering.watch(file.into());
            let cannot = |error| Trouble::CannotStart(format!("cannot watch {file}: {error}"));
            *self.lock_watch() = Some(watch.map_err(cannot)?);
        }
        Ok(())
    }

    /// Serves until a stop is asked for, then drains; a second request to stop ends the wait.
    pub(crate) async fn serve(self, signals: &mut Signals) {
        let why = self.until_stop(signals).await;
        let ended = tokio::select! {
            ended = self.drain(why) => ended,
            () = self.until_stopped(signals) => Ended::AtOnce,
        };
        let message = match ended {
            Ended::Drained => "every exchange has ended",
            Ended::TimeOver => "drain_timeout is over; what was left is cut off",
            Ended::AtOnce => "asked again to stop; what was left is cut off",
        };
        let Balancer { log, server, control, ledger, bequest, .. } = self;
        server.stop();
        match bequest.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(bequest) => {
                ledger.rest().into_iter().for_each(|rest| bequest.send(rest));
                bequest.finish();
            }
            None => ledger.save(),
        }
        wiring::tell(&log.events(), (LogLevel::Info, "stopped"), message, &[]);
        control.stop();
        log.finish();
    }

    async fn until_stopped(&self, signals: &mut Signals) {
        while self.until_stop(signals).await != Stop::Asked {}
    }

    async fn until_stop(&self, signals: &mut Signals) -> Stop {
        loop {
            match signals.next().await {
                Request::Stop => return Stop::Asked,
                Request::ReopenLog => self.log.reopen(),
                Request::Reload if self.server.state().is_draining() => {
                    let event = (LogLevel::Warn, "reload_refused");
                    self.tell(event, "this process is ending already", &[]);
                }
                Request::Reload => self.reload(),
                Request::Handover if self.server.state().is_draining() => {
                    let event = (LogLevel::Warn, "handover_refused");
                    self.tell(event, "this process is ending already", &[]);
                }
                Request::Handover => {
                    if let Some(why) = self.hand_over(signals).await {
                        return why;
                    }
                }
            }
        }
    }

    fn reload(&self) {
        system::notify_reloading();
        // What became of it is in the log.
        let _ = self.steering.reload(&Author::named("SIGHUP"), None);
        system::notify_ready();
    }

    /// Readiness off, `grace` still accepting, then no more than `drain_timeout` for the rest.
    async fn drain(&self, why: Stop) -> Ended {
        self.phase.turn(Phase::Draining);
        if why == Stop::Asked {
            system::notify_stopping();
        }
        let shutdown = self.steering.configuration().plan.shutdown.clone();
        let seconds = EventValue::Float(shutdown.drain_timeout.as_secs_f64());
        let fields = [("drain_timeout_seconds", seconds)];
        self.tell((LogLevel::Info, "draining"), "no longer ready; ending what runs", &fields);
        match why {
            Stop::Asked => tokio::time::sleep(shutdown.grace).await,
            Stop::Relieved => self.server.drain_patiently(),
        }
        let until = Instant::now() + shutdown.drain_timeout;
        let mut told = Instant::now();
        while !self.is_done() {
            if Instant::now() >= until {
                return Ended::TimeOver;
            }
            if told.elapsed() >= COUNTS_EVERY {
                self.pass_counts_on();
                told = Instant::now();
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ended::Drained
    }

    /// Name resolution, tokens and the log follow each change of the configuration.
    fn follow_changes(&self, plan: &Plan, tokens: Option<Arc<Tokens>>) {
        let (server, log) = (Arc::clone(&self.server), Arc::clone(&self.log));
        let resolver = self.control.resolver();
        let logging = Mutex::new(plan.logging.clone());
        self.steering.follow(move |in_force| {
            resolver.resolve(named_backends(&server, &log));
            let mut notes = Vec::new();
            if let Some(Err(error)) = tokens.as_ref().map(|tokens| tokens.reload()) {
                let text = error.to_string();
                let fields = [("error", EventValue::Text(&text))];
                let event = (LogLevel::Error, "tokens_unchanged");
                wiring::tell(&log.events(), event, "the tokens known before stay", &fields);
                notes.push(format!("admin.tokens_file: the tokens known before stay: {text}"));
            }
            let mut before = logging.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = &in_force.plan.logging;
            if *before == *wanted {
                return notes;
            }
            match log.adopt(wiring::log_options(&in_force.plan)) {
                Ok(()) => before.clone_from(wanted),
                Err(error) => {
                    let text = error.to_string();
                    let fields = [("error", EventValue::Text(&text))];
                    let event = (LogLevel::Error, "log_unchanged");
                    wiring::tell(&log.events(), event, "the log stays where it is", &fields);
                    notes.push(format!("logging: the log stays where it is: {text}"));
                }
            }
            notes
        });
    }

    /// The first lines of the log: what serves, and what should be looked at.
    fn announce(&self) {
        let in_force = self.steering.configuration();
        let addresses = self.addresses();
        let listeners = listed(&addresses);
        let workers = u64::try_from(self.server.worker_count()).unwrap_or(u64::MAX);
        let admin = self.control.seat().address();
        let fields = [
            ("version", EventValue::Text(env!("CARGO_PKG_VERSION"))),
            ("listeners", EventValue::Text(&listeners)),
            ("admin", EventValue::Text(&admin)),
            ("workers", EventValue::Number(workers)),
            ("config_file", EventValue::Text(in_force.file.as_deref().unwrap_or_default())),
            ("dialect", EventValue::Text(in_force.detected.dialect.name())),
            ("dialect_by", EventValue::Text(&in_force.detected.reason)),
            ("backends", EventValue::Text(&greeting::backends(&in_force.plan))),
            ("mounts", EventValue::Text(&greeting::mounts(&in_force.plan))),
        ];
        self.tell((LogLevel::Info, "started"), &summary(&in_force.plan), &fields);
        for warning in &in_force.warnings {
            let fields = [("path", EventValue::Text(&warning.path))];
            self.tell((LogLevel::Warn, "config_warning"), &warning.message, &fields);
        }
    }

    fn tell(&self, event: (LogLevel, &'static str), message: &str, fields: &[Field<'_>]) {
        wiring::tell(&self.log.events(), event, message, fields);
    }
}

/// Where the control plane finds what it is asked for and what it decides.
fn desk(
    phase: &Arc<PhaseSign>,
    (numbers, steering): (&Arc<Numbers>, &Arc<Steering>),
    events: EventLog,
    (state_dir, own_state, ties): (Option<&Path>, bool, Arc<Ties>),
) -> (Desk, Arc<Migrations>) {
    let divides = Arc::<Steering>::clone(steering);
    let file = state_dir.map(|folder| folder.join(MIGRATIONS_FILE));
    let kept = (Some(events.clone()), file);
    let migrations = Migrations::new(Arc::clone(numbers), divides, kept);
    let autoscalers = Autoscalers::new(Ground {
        numbers: Arc::clone(numbers),
        grows: Arc::<Steering>::clone(steering),
        migrations: Some(Arc::clone(&migrations)),
        events: Some(events.clone()),
        state_dir: state_dir.filter(|_| own_state).map(Path::to_owned),
        ties,
    });
    numbers.scale_by(&autoscalers);
    let desk = Desk {
        numbers: Some(Arc::clone(numbers)),
        migrations: Some(Arc::clone(&migrations)),
        autoscalers: Some(autoscalers),
        steering: Some(Arc::clone(steering)),
        log: Some(events),
        ..Desk::new(Arc::<PhaseSign>::clone(phase))
    };
    (desk, migrations)
}

/// Listeners in one line, as `NAME=ADDRESS`.
fn listed(addresses: &[(Arc<str>, String)]) -> String {
    let all: Vec<_> = addresses.iter().map(|(name, address)| format!("{name}={address}")).collect();
    all.join(" ")
}

fn named_backends(server: &Server, log: &Log) -> Vec<Arc<dyn ResolveTarget>> {
    let backends = server.named_backends().into_iter();
    let named = backends.filter_map(|backend| NamedBackend::new(backend, log.events()));
    named.map(|backend| Arc::new(backend) as Arc<dyn ResolveTarget>).collect()
}

fn tokens(file: Option<&Path>) -> Result<Option<Arc<Tokens>>, Trouble> {
    let tokens = file.map(Tokens::load).transpose();
    Ok(tokens.map_err(|error| Trouble::Mistake(error.to_string()))?.map(Arc::new))
}

/// The control plane; where its listeners are not required, without those that cannot be had.
fn start_control(
    plan: &Plan,
    (mut desk, mut sockets): (Desk, AdminSockets),
    log: &Log,
) -> Result<Control, Trouble> {
    let mut bind = plan.admin.bind.as_ref();
    // Each turn gives one listener up, and there are two.
    for _ in 0..2 {
        match Control::start_closed(bind, desk.clone(), std::mem::take(&mut sockets)) {
            Err(ControlError::Bind { address, source })
                if !plan.admin.required && source.kind() == io::ErrorKind::AddrInUse =>
            {
                let fields = [("address", EventValue::Text(&address))];
                let words = "an address of the control plane is in use; this process goes without";
                let event = (LogLevel::Warn, "admin_unavailable");
                wiring::tell(&log.events(), event, words, &fields);
                if desk.pprof.as_ref().is_some_and(|at| at.to_string() == address) {
                    desk.pprof = None;
                } else {
                    bind = None;
                }
            }
            started => return started.map_err(cannot_control),
        }
    }
    Control::start_closed(bind, desk, sockets).map_err(cannot_control)
}

/// From here on, if profiles are served: the heap profile tells of what serves.
fn note_allocations(plan: &Plan) {
    if plan.pprof.is_some() {
        evenkeel_heap::start(evenkeel_heap::RATE);
    }
}

fn cannot_log(error: io::Error) -> Trouble {
    Trouble::CannotStart(error.to_string())
}

fn cannot_serve(error: StartError) -> Trouble {
    match error {
        StartError::Bind { address, source } => system::cannot_listen(&address, &source),
        StartError::Secret(error) => Trouble::CannotStart(error.to_string()),
        StartError::Other(error) => Trouble::CannotStart(format!("cannot serve: {error}")),
    }
}

fn cannot_control(error: ControlError) -> Trouble {
    match error {
        ControlError::Bind { address, source } => system::cannot_listen(&address, &source),
        ControlError::Thread(error) => Trouble::CannotStart(format!("cannot serve: {error}")),
    }
}
