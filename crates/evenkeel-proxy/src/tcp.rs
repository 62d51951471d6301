//! A client of a tcp listener: its connection becomes a tunnel to a backend. Which pool, its server
//! name may tell (TLS stays closed); which backend, the pool tells as it does for requests. A
//! connect that fails is tried elsewhere: no byte has been sent by then.

use crate::clock::Nanos;
use crate::connect::{self, Beginning};
use crate::deadline::Deadline;
use crate::http1::Peer;
use crate::idle::BackendConnection;
use crate::net::{Net, Peek, Stream};
use crate::pump::Pump;
use crate::tunnel::{self, Terms};
use crate::wait::{self, Line};
use crate::welcome::{Entry, Guest};
use crate::wire::Wire;
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::client_hello::{self, Hello, MAX_HELLO_BYTES};
use evenkeel_core::failure::{Failure, Side};
use evenkeel_core::plan::{LogLevel, TcpPlan};
use evenkeel_core::pool::{NoPick, Outcome, Pick, Pool, Query, Tried};
use evenkeel_core::record::{Event, EventValue};
use evenkeel_core::retry::backoff;
use evenkeel_core::snapshot::MAX_TRIES;
use evenkeel_core::strategy::hash::hash;
use evenkeel_core::suspicion::Doubt;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// What a pool is told when a connection was made: it stands for an answer.
const CONNECTED: Outcome = Outcome::Answered(200);

/// One client on its way to a backend.
struct Call<'a, N: Net> {
    worker: &'a Rc<Worker<N>>,
    snapshot: LocalSnapshot,
    /// Place of the pool in it.
    at: usize,
    stream: &'a mut Wire<N::Stream>,
    peer: &'a Peer,
    deadline: &'a Deadline,
    tried: Tried,
    tries: u32,
    hash: u64,
}

/// What came of a client, for its record.
#[derive(Default)]
struct Story {
    pool: Option<usize>,
    backend: Option<usize>,
    tries: u32,
    failure: Option<Failure>,
    moved: (u64, u64),
}

/// Carries a client's bytes until either side has had enough.
pub(crate) async fn serve<N: Net>(
    worker: Rc<Worker<N>>,
    mut guest: Guest<N::Stream>,
    plan: TcpPlan,
    (listener, _place): Entry,
) {
    let began = worker.now();
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let deadline = worker.deadlines.register(waker, listener);
    let mut snapshot = worker.snapshot();
    let mut story = Story::default();
    let mut broken = false;
    match choose_pool(&worker, &mut guest, &plan, (&deadline, listener)).await {
        Ok(at) => {
            story.pool = Some(at);
            let place = (&mut snapshot, listener);
            let carried = carry(&worker, &mut guest, &deadline, place, &mut story).await;
            broken = carried.unwrap_or_else(|failure| {
                story.failure = Some(failure);
                false
            });
        }
        Err(failure) => story.failure = Some(failure),
    }
    let took = worker.now().duration_since(began);
    record(&worker, &snapshot, (listener, &guest.peer), &story, took.as_secs_f64());
    if broken {
        // The other side broke off: this one is told so too.
        guest.stream.reset();
    } else {
        guest.stream.farewell();
    }
}

/// The pool of a connection, by the server name that its TLS asks for if that decides.
async fn choose_pool<N: Net>(
    worker: &Worker<N>,
    guest: &mut Guest<N::Stream>,
    plan: &TcpPlan,
    (deadline, listener): (&Deadline, usize),
) -> Result<usize, Failure> {
    if plan.sni_routes.is_empty() {
        return plan.pool.ok_or(Failure::NoRoute);
    }
    let now = worker.now();
    let snapshot = worker.snapshot();
    let limits = snapshot.listener(listener).map(|plan| &plan.limits);
    let patience = limits.map(|limits| limits.request_head_timeout).unwrap_or_default();
    deadline.set_waiting(now.after(patience), Some(now));
    let mut piece = vec![0; MAX_HELLO_BYTES];
    let name = loop {
        match client_hello::look(&guest.carry) {
            Hello::Whole(name) => break name,
            Hello::Foreign => break None,
            Hello::Partial => {}
        }
        let room = MAX_HELLO_BYTES - guest.carry.len();
        let read = poll_fn(|cx| match guest.stream.poll_read(cx, &mut piece[..room]) {
            Poll::Pending if deadline.has_passed(worker.tick()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => Poll::Ready(Some(read)),
        });
        match read.await {
            None => return Err(Failure::HeadTimeout),
            Some(Ok(length)) if length > 0 => guest.carry.extend_from_slice(&piece[..length]),
            Some(_) => return Err(Failure::ClientGone),
        }
    };
    let named = name.and_then(|name| {
        let mut routes = plan.sni_routes.iter();
        routes.find(|route| client_hello::covers(&route.hosts, &name))
    });
    named.map(|route| route.pool).or(plan.pool).ok_or(Failure::NoRoute)
}

/// Finds a backend and carries bytes. True if the backend broke off.
async fn carry<N: Net>(
    worker: &Rc<Worker<N>>,
    guest: &mut Guest<N::Stream>,
    deadline: &Deadline,
    (snapshot, listener): (&mut LocalSnapshot, usize),
    story: &mut Story,
) -> Result<bool, Failure> {
    let mut call = Call {
        worker,
        snapshot: snapshot.clone(),
        at: story.pool.ok_or(Failure::NoBackend)?,
        stream: &mut guest.stream,
        peer: &guest.peer,
        deadline,
        tried: Tried::default(),
        tries: 0,
        hash: hash_of(&guest.peer),
    };
    let reached = call.reach().await;
    (story.tries, story.pool) = (call.tries, Some(call.at));
    *snapshot = call.snapshot.clone();
    let pool = call.pool()?;
    match &reached {
        Ok(_) => pool.begun.reached(),
        Err(failure) if failure.side() == Side::Client => {}
        Err(_) => pool.begun.failed(),
    }
    let (pick, mut connection) = reached?;
    story.backend = Some(pick.index);
    let idle = snapshot
        .listener(listener)
        .map_or(pool.plan.timeouts.idle, |plan| plan.limits.idle_timeout);
    let terms = Terms { deadline, until: Nanos::NEVER, listener, pick: &pick, idle };
    let ends = (&mut guest.stream, &mut guest.carry, &mut connection.stream);
    let down = Box::new(Pump::raw());
    let ended = Box::pin(tunnel::run(worker, ends, down, terms)).await;
    story.moved = ended.moved;
    if ended.client_broke {
        connection.stream.reset();
    } else {
        connection.stream.farewell();
    }
    Ok(ended.backend_broke)
}

fn hash_of(peer: &Peer) -> u64 {
    match peer.ip {
        Some(IpAddr::V4(ip)) => hash(&ip.octets()),
        Some(IpAddr::V6(ip)) => hash(&ip.octets()),
        None => hash(b""),
    }
}

impl<N: Net> Call<'_, N> {
    /// A connection to a backend; several are tried.
    async fn reach(&mut self) -> Result<(Pick, BackendConnection<N::Stream>), Failure> {
        let worker = self.worker;
        let mut pool = self.pool()?;
        pool.budget.deposit(&pool.plan.retry);
        let mut failure = Failure::NoBackend;
        loop {
            worker.now();
            let pick = match self.pick(&pool, pool.waiting.is_empty()) {
                Ok(pick) => pick,
                Err(NoPick::Nobody) if self.tries > 0 || !pool.is_asleep() => return Err(failure),
                Err(NoPick::Nobody | NoPick::Busy) => {
                    let pick = self.wait(&pool).await?;
                    pool = self.pool()?;
                    pick
                }
            };
            self.tries += 1;
            self.tried.push(pick.slot);
            match self.dial(&pool, pick).await {
                Ok(reached) => return Ok(reached),
                Err(failed) => failure = failed,
            }
            let retry = &pool.plan.retry;
            let now = worker.now();
            let most = retry.attempts.clamp(1, MAX_TRIES);
            let again = retry.on.connect_failure
                && self.tries < most
                && pool.has_another(&self.tried, now)
                && pool.budget.withdraw(retry, now);
            if !again {
                return Err(failure);
            }
            let wait = backoff(&retry.backoff, self.tries, worker.chance());
            tokio::time::sleep(wait).await;
        }
    }

    fn pick(&self, pool: &Pool, may: bool) -> Result<Pick, NoPick> {
        if !may {
            // Nobody overtakes those who wait.
            return Err(NoPick::Busy);
        }
        pool.pick(&Query {
            tried: &self.tried,
            now: self.worker.recent(),
            draw: self.worker.net.random(),
            hash: self.hash,
            tied: None,
            repeatable: true,
            has_idle: &|_| false,
        })
    }

    fn pool(&self) -> Result<Arc<Pool>, Failure> {
        self.snapshot.pools.get(self.at).cloned().ok_or(Failure::NoBackend)
    }

    /// Waits for a place. Who has tried nobody yet picks in the configuration that is in force when
    /// it is called, and belongs to that from then on.
    async fn wait(&mut self, pool: &Pool) -> Result<Pick, Failure> {
        let now = self.worker.now();
        let line = Line { pool, now, until: now.after(wait::patience(pool)) };
        self.deadline.set_waiting(line.until, None);
        let (tried, hash, worker) = (self.tried.clone(), self.hash, self.worker);
        let pick = |pool: &Pool| {
            pool.pick(&Query {
                tried: &tried,
                now: worker.recent(),
                draw: worker.net.random(),
                hash,
                tied: None,
                repeatable: true,
                has_idle: &|_| false,
            })
        };
        let own = (self.snapshot.clone(), self.at);
        let moved = RefCell::new(own.clone());
        let again = || {
            let snapshot = worker.snapshot();
            let same = |it: &Arc<Pool>| it.plan.name == pool.plan.name;
            let at = snapshot.pools.iter().position(same).filter(|_| tried.is_empty());
            let (snapshot, at) = at.map_or_else(|| own.clone(), |at| (snapshot, at));
            let pool = snapshot.pools.get(at).ok_or(NoPick::Nobody)?;
            let picked = pick(pool).map_err(|none| line.none(none, pool));
            *moved.borrow_mut() = (snapshot.clone(), at);
            picked
        };
        let stream = &mut *self.stream;
        let gone = |cx: &mut std::task::Context<'_>| {
            stream.poll_readable(cx).is_ready() && stream.peek() == Peek::Gone
        };
        let picked = wait::queue_up(self.worker, line, again, gone).await?;
        (self.snapshot, self.at) = moved.into_inner();
        Ok(picked)
    }

    /// One try.
    async fn dial(
        &mut self,
        pool: &Arc<Pool>,
        pick: Pick,
    ) -> Result<(Pick, BackendConnection<N::Stream>), Failure> {
        let worker = self.worker;
        let began = worker.now();
        let beginning = Beginning::of(&self.snapshot, (pool, &pick), (self.peer, self.stream));
        let patience = pool.plan.timeouts.connect;
        self.deadline.set_waiting(began.after(patience).after(crate::deadline::TICK), None);
        let mut pick = pick;
        let dialled = {
            let _counted = pick.connecting(pool.plan.connections.max_connecting);
            connect::connect_within(worker, (&pick, &beginning), patience).await
        };
        let now = worker.now();
        pool.waiting.call_next();
        match dialled {
            Ok(connection) => {
                pick.connect_times.observe(now.duration_since(began));
                worker.report(pool, &mut pick, CONNECTED);
                Ok((pick, connection))
            }
            Err(error) => {
                self.note_failed(pool, &mut pick, &error);
                Err(Failure::ConnectFailure)
            }
        }
    }

    fn note_failed(&self, pool: &Arc<Pool>, pick: &mut Pick, error: &io::Error) {
        if !connect::is_ours(error) {
            self.worker.report(pool, pick, Outcome::Failed);
            self.worker.doubt(pool, pick.index, Doubt::ConnectFailure);
        }
    }
}

/// Tells what a client's connection came to.
fn record<N: Net>(
    worker: &Worker<N>,
    snapshot: &LocalSnapshot,
    (listener, peer): (usize, &Peer),
    story: &Story,
    seconds: f64,
) {
    if !snapshot.plan.logging.access {
        return;
    }
    let listener = snapshot.listener(listener).map_or("", |plan| &plan.name);
    let pool = story.pool.and_then(|at| snapshot.pools.get(at));
    let backend = story.backend.and_then(|at| pool?.backends.get(at));
    let millis = (seconds * 1e6).round() / 1e3;
    let fields = [
        ("client_ip", EventValue::Text(&peer.text)),
        ("listener", EventValue::Text(listener)),
        ("pool", EventValue::Text(pool.map_or("", |pool| &pool.plan.name))),
        ("backend", EventValue::Text(backend.map_or("", |backend| &backend.label))),
        ("tries", EventValue::Number(u64::from(story.tries))),
        ("failure", EventValue::Text(story.failure.map_or("", Failure::code))),
        ("bytes_in", EventValue::Number(story.moved.0)),
        ("bytes_out", EventValue::Number(story.moved.1)),
        ("duration_ms", EventValue::Float(millis)),
    ];
    worker.shared.events.emit(&Event {
        unix_nanos: worker.net.unix_nanos(),
        level: LogLevel::Info,
        name: "tunnel_closed",
        message: "a tunnel has ended",
        fields: &fields,
    });
}
