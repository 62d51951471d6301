//! Where cases with several backends are played: each does what it is told, and is told anew while
//! it runs.

use evenkeel_core::pool::Pool;
use evenkeel_testkit::backend::{Backend, Conversation, Gate, ok_with};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::PATIENCE;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where probes ask; everything else is traffic.
pub(crate) const HEALTH: &str = "/health";
/// Names of the players, as they sign their answers.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(2);

/// What a player does with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers at once.
    Say(Vec<u8>),
    /// Answers after a while.
    After(Duration, Vec<u8>),
    /// Answers once the gate is open.
    Held(Gate, Vec<u8>),
    /// Answers with the next of these, when there is one.
    Cued(Cues),
    /// Never answers.
    Stall,
    /// Breaks the connection.
    Break,
}

/// Answers that are given one by one.
#[derive(Clone, Default)]
pub(crate) struct Cues(Arc<(Mutex<VecDeque<Vec<u8>>>, Condvar)>);

impl Cues {
    pub(crate) fn give(&self, answer: Vec<u8>) {
        lock(&self.0.0).push_back(answer);
        self.0.1.notify_one();
    }

    /// `None` if none is given for long.
    fn next(&self) -> Option<Vec<u8>> {
        let waiting = lock(&self.0.0);
        let waited = self.0.1.wait_timeout_while(waiting, PATIENCE, |cues| cues.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }
}

/// What a player has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Requests for traffic, in the order of their arrival.
    pub(crate) requests: Vec<Message>,
    /// Requests for [`HEALTH`].
    pub(crate) probes: usize,
    /// Traffic that is not answered yet, and the most of it at a time.
    pub(crate) open: usize,
    pub(crate) most_open: usize,
    probing: usize,
    /// Most probes at a time.
    pub(crate) most_probing: usize,
}

struct Part {
    traffic: Act,
    probes: Act,
    tally: Tally,
}

/// One backend.
pub(crate) struct Player {
    pub(crate) backend: Backend,
    part: Arc<Mutex<Part>>,
}

impl Player {
    /// Signs its answers with this name, until told otherwise.
    pub(crate) fn new(name: &str) -> Player {
        let (traffic, probes) = (Act::Say(ok_with(name)), Act::Say(ok_with("healthy")));
        let part = Arc::new(Mutex::new(Part { traffic, probes, tally: Tally::default() }));
        let own = Arc::clone(&part);
        let backend = Backend::start(move |conversation| {
            while let Some(request) = conversation.request() {
                if !play(&own, conversation, request) {
                    return;
                }
            }
        });
        Player { backend, part }
    }

    /// From now on.
    pub(crate) fn does(&self, act: Act) {
        lock(&self.part).traffic = act;
    }

    /// From now on.
    pub(crate) fn says(&self, answer: Vec<u8>) {
        self.does(Act::Say(answer));
    }

    /// What it does with probes from now on.
    pub(crate) fn to_probes(&self, act: Act) {
        lock(&self.part).probes = act;
    }

    pub(crate) fn tally(&self) -> Tally {
        lock(&self.part).tally.clone()
    }

    /// Requests for traffic so far.
    pub(crate) fn count(&self) -> usize {
        lock(&self.part).tally.requests.len()
    }
}

/// False if the connection is over.
fn play(part: &Mutex<Part>, conversation: &mut Conversation, request: Message) -> bool {
    let is_probe = request.target() == HEALTH;
    let act = {
        let Part { traffic, probes, tally } = &mut *lock(part);
        if is_probe {
            tally.probes += 1;
            tally.probing += 1;
            tally.most_probing = tally.most_probing.max(tally.probing);
            probes.clone()
        } else {
            tally.requests.push(request);
            tally.open += 1;
            tally.most_open = tally.most_open.max(tally.open);
            traffic.clone()
        }
    };
    let answer = match act {
        Act::Say(answer) => Some(answer),
        Act::After(time, answer) => {
            pause(time);
            Some(answer)
        }
        Act::Held(gate, answer) => gate.wait().then_some(answer),
        Act::Cued(cues) => cues.next(),
        Act::Stall => {
            conversation.read_to_end();
            None
        }
        Act::Break => None,
    };
    let tally = &mut lock(part).tally;
    if is_probe {
        tally.probing -= 1
    } else {
        tally.open -= 1
    };
    match answer {
        Some(answer) => conversation.send(&answer),
        None => {
            conversation.reset();
            false
        }
    }
}

/// A proxy before some players, called [`NAMES`].
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    pub(crate) players: Vec<Player>,
}

impl Stage {
    /// So many players, in a pool of the usual kind.
    pub(crate) fn of(count: usize, adjust: impl FnOnce(PlanBuilder) -> PlanBuilder) -> Stage {
        Stage::with(NAMES.iter().take(count).map(|name| Player::new(name)).collect(), adjust)
    }

    /// The same with players who know their parts already.
    pub(crate) fn with(
        players: Vec<Player>,
        adjust: impl FnOnce(PlanBuilder) -> PlanBuilder,
    ) -> Stage {
        let addresses: Vec<_> = players.iter().map(|player| player.backend.address()).collect();
        let plan = adjust(PlanBuilder::to(&addresses)).build();
        Stage { proxy: Proxy::start(&plan), players }
    }

    pub(crate) fn connect(&self) -> Client {
        self.proxy.connect()
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Message {
        self.connect().ask(request)
    }

    /// Who answers so many requests in a row, on one connection.
    pub(crate) fn who(&self, count: usize) -> Vec<String> {
        let mut client = self.connect();
        (0..count).map(|_| client.ask(get("/")).text()).collect()
    }

    pub(crate) fn pool(&self) -> Arc<Pool> {
        self.proxy.pool()
    }

    /// Requests for traffic, per player.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.players.iter().map(Player::count).collect()
    }

    /// Waits until the players have so many requests at hand together.
    pub(crate) fn wait_for_open(&self, count: usize) {
        let open = || self.players.iter().map(|player| player.tally().open).sum::<usize>();
        eventually("requests at hand", || open() == count);
    }
}

/// A GET that may be followed by others.
pub(crate) fn get(target: &str) -> String {
    get_with(target, "")
}

/// The same with more header lines, each with its CRLF.
pub(crate) fn get_with(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
}

/// An answer with a status, more header lines, and a body.
pub(crate) fn answer(status: u16, lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Said So\r\n{lines}Content-Length: {length}\r\n\r\n{body}").into()
}

/// The same without any.
pub(crate) fn status(status: u16) -> Vec<u8> {
    answer(status, "", "")
}

/// Waits, where time itself is the point.
pub(crate) fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::park_timeout(POLL);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
