//! What one world is made of. `draw` makes one from a seed; tests make their own by hand.

use crate::memory::{DialShape, WireShape};
use crate::plan::{self, PlanBuilder};
use evenkeel_core::plan::{CookiePlan, HealthCheck, HttpCheck, PathMatch, Plan, RouteMatch};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Name of the cookie that ties a client to its backend.
pub(super) const COOKIE: &str = "evenkeel";
/// Life of that cookie.
const COOKIE_TTL: Duration = Duration::from_secs(3_600);
/// Path of a backend's health page.
pub(super) const HEALTH_PATH: &str = "/health";

/// Methods that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST: must not be repeated.
    Post,
    /// PUT: may be repeated.
    Put,
}

impl Method {
    /// As in a request line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

/// A request's body, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    Nothing,
    /// With `Content-Length`.
    Length(usize),
    /// In chunks of at most so many bytes.
    Chunked(usize, usize),
}

/// How a client leaves in the middle of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// With a reset.
    Reset,
    /// By closing.
    Close,
    /// By ending its half, as if there were no more.
    HalfClose,
}

/// The session cookie that a client sends to a pool whose affinity is a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// The one that it was given, if it was.
    Own,
    /// None.
    Missing,
    /// One that must not be followed.
    Forged(Forged),
}

/// Why a cookie must not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// It is no cookie of ours.
    Noise,
    /// It was signed with a key that is not in use.
    WrongKey,
    /// It was signed for another pool.
    WrongPool,
    /// Its time is over.
    Expired,
}

/// One request of a client.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique in the world; in path, field and body.
    pub id: String,
    /// Whose route it takes; a pool that does not exist has no route.
    pub pool: usize,
    /// Its method.
    pub method: Method,
    /// Speaks HTTP/1.0.
    pub http10: bool,
    /// Its body.
    pub body: Body,
    /// Says `Expect: 100-continue`, and does not wait.
    pub expects: bool,
    /// Asks to close the connection.
    pub closes: bool,
    /// Pause before it.
    pub think_ms: u64,
    /// Bytes written at once.
    pub piece: usize,
    /// Pause between two pieces.
    pub pause_ms: u64,
    /// The client leaves when so many percent of the bytes are written.
    pub leaves: Option<(Leave, u8)>,
    /// The session cookie that it carries.
    pub cookie: Cookie,
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Index of the listener that it calls.
    pub listener: usize,
    /// When it begins.
    pub start_ms: u64,
    /// Requests that it sends ahead of answers; 1 = none.
    pub window: usize,
    /// A new connection for every request.
    pub fresh: bool,
    /// Ends its half behind the last request.
    pub half_closes: bool,
    /// One after the other.
    pub requests: Vec<Request>,
    /// Sessions from before the world began: pool and index of the backend.
    pub ties: Vec<(usize, usize)>,
    /// Its requests are streams of HTTP/2, `window` of them at a time.
    pub http2: bool,
    /// A proxy before us tells in a PROXY header that this address called.
    pub behind: Option<SocketAddr>,
}

/// What a backend does to connections and requests; shares in percent.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Answers that go wrong in some way.
    pub faulty: u8,
    /// Breaks every connection instead of answering.
    pub breaks: bool,
    /// Accepts, reads, never answers.
    pub silent: bool,
    /// Pause before an answer.
    pub late_ms: RangeInclusive<u64>,
    /// Body bytes.
    pub size: RangeInclusive<usize>,
    /// Bytes written at once.
    pub piece: RangeInclusive<usize>,
    /// Pause between two pieces.
    pub pause_ms: RangeInclusive<u64>,
    /// Answers before the request's body was read.
    pub early: u8,
    /// Answers with a status that tells of trouble.
    pub failing: u8,
    /// Answers in chunks, of those that could state their length.
    pub chunked: u8,
    /// What a 503 asks for in `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Answers when it has seen the request line, and closes.
    pub hasty: u8,
    /// Sends 103 first.
    pub interim: u8,
    /// Says `Connection: close`.
    pub closes: u8,
    /// Answers whose end is the end of the connection.
    pub until_close: u8,
    /// Closes idle connections after so long.
    pub idle_close_ms: Option<RangeInclusive<u64>>,
}

impl Manners {
    /// Answers everything at once, and keeps connections.
    pub fn good() -> Manners {
        Manners {
            faulty: 0,
            breaks: false,
            silent: false,
            late_ms: 0..=0,
            size: 100..=100,
            piece: 65_536..=65_536,
            pause_ms: 0..=0,
            early: 0,
            failing: 0,
            chunked: 50,
            retry_after: None,
            hasty: 0,
            interim: 0,
            closes: 0,
            until_close: 0,
            idle_close_ms: None,
        }
    }
}

/// What a backend is like for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As its manners say.
    #[default]
    Well,
    /// Its process is gone: connections are refused, those that exist break.
    Dead,
    /// Its host is gone: connects hang, nothing moves.
    Gone,
    /// Its process stands still: connections are taken, nothing moves.
    Frozen,
    /// It answers 503 to everything.
    Unavailable,
    /// Its health page says 503, all else is well.
    Sick,
    /// Everything takes a hundred times as long.
    Slow,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct Backend {
    /// As in the plan.
    pub address: SocketAddr,
    /// Connects to it.
    pub dial: DialShape,
    /// What it does then.
    pub manners: Manners,
    /// Its moods by the millisecond at which they begin, in order; before, it is well.
    pub moods: Vec<(u64, Mood)>,
}

/// What clients that stay may rely on, given the faults of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Every request gets a backend's answer.
    All,
    /// GET and HEAD do; others may get a local reply.
    Safe,
    /// None.
    Nothing,
}

/// Everything that decides what happens.
#[derive(Clone, Debug)]
pub struct World {
    /// The proxy's.
    pub plan: Plan,
    /// Every connection's.
    pub shape: WireShape,
    /// All of them.
    pub backends: Vec<Backend>,
    /// All of them.
    pub clients: Vec<Client>,
    /// When the proxy is told to drain.
    pub drain_ms: Option<u64>,
    /// Virtual time between the last client and the calls that look whether those who are well
    /// serve again; `None` = nobody looks.
    pub calm_ms: Option<u64>,
    /// What must come of it.
    pub promise: Promise,
}

/// The address of a listener.
pub fn listener_address(index: usize) -> SocketAddr {
    let last = u8::try_from(index).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 0, 0, last], 80))
}

/// The address of a backend of a pool.
pub fn backend_address(pool: usize, index: usize) -> SocketAddr {
    let (pool, index) = (u8::try_from(pool).unwrap_or(0), u8::try_from(index).unwrap_or(0));
    SocketAddr::from(([10, 1, pool, index + 1], 8080))
}

/// A plan with so many listeners and, for each number, a pool of so many backends below `/pN`.
pub fn plan_of(listeners: usize, pools: &[usize]) -> Plan {
    let listener = |index: usize| {
        let mut listener = plan::listener(&listener_address(index).to_string());
        listener.name = format!("l{index}").into();
        listener
    };
    let pool = |(index, backends): (usize, &usize)| {
        let addresses: Vec<_> =
            (0..*backends).map(|own| backend_address(index, own).to_string()).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let mut pool = plan::pool(&format!("p{index}"), &addresses);
        // What is promised to clients must not hang on how many of them fail at once.
        pool.retry.budget_floor = 1_000;
        pool
    };
    let route = |index: usize| {
        let path = PathMatch::Prefix(format!("/p{index}"));
        let matches = RouteMatch { path, ..RouteMatch::default() };
        plan::route(&format!("r{index}"), matches, index)
    };
    PlanBuilder::to(&[])
        .plan(|plan| {
            plan.listeners = (0..listeners).map(listener).collect();
            plan.routes = (0..pools.len()).map(route).collect();
            plan.pools = pools.iter().enumerate().map(pool).collect();
        })
        .build()
}

/// The check of the health page.
pub fn health_page() -> HealthCheck {
    HealthCheck::Http(HttpCheck {
        path: HEALTH_PATH.to_owned(),
        method: "GET".to_owned(),
        host: String::new(),
        expect_status: vec![200..=299],
        expect_body: String::new(),
        by_default: false,
    })
}

/// The session cookie of every pool that has one. The file with its key is made when the world is
/// played.
pub fn cookie_plan() -> CookiePlan {
    CookiePlan { name: COOKIE.into(), ttl: COOKIE_TTL, secret_file: Some(PathBuf::from("keys")) }
}

impl World {
    /// One listener, one pool; nothing goes wrong, nobody calls yet.
    pub fn quiet(backends: usize) -> World {
        let backend = |index| Backend {
            address: backend_address(0, index),
            dial: DialShape::smooth(),
            manners: Manners::good(),
            moods: Vec::new(),
        };
        World {
            plan: plan_of(1, &[backends]),
            shape: WireShape::smooth(),
            backends: (0..backends).map(backend).collect(),
            clients: Vec::new(),
            drain_ms: None,
            calm_ms: None,
            promise: Promise::All,
        }
    }
}

impl Request {
    /// A plain GET to the first pool.
    pub fn get(id: &str) -> Request {
        Request {
            id: id.to_owned(),
            pool: 0,
            method: Method::Get,
            http10: false,
            body: Body::Nothing,
            expects: false,
            closes: false,
            think_ms: 0,
            piece: usize::MAX,
            pause_ms: 0,
            leaves: None,
            cookie: Cookie::Own,
        }
    }
}

impl Client {
    /// Calls the first listener, one request after the other on one connection.
    pub fn sequential(requests: Vec<Request>) -> Client {
        Client {
            listener: 0,
            start_ms: 0,
            window: 1,
            fresh: false,
            half_closes: false,
            requests,
            ties: Vec::new(),
            http2: false,
            behind: None,
        }
    }
}
