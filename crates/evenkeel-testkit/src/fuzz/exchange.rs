//! Any bytes of a client through the real proxy, on a network in memory with virtual time, to a
//! backend that answers every request with its number. Twice: at once, and in small pieces.
//!
//! Whatever the client sends, the backend must see whole and strict requests only, as many as the
//! client gets answers for, and the same ones in pieces as at once.

mod backend;

use super::seed_of;
use crate::memory::{DialShape, MemoryNet, ScriptStream, WireShape};
use crate::message::{self, Kind, Message, Reading};
use crate::plan::{PlanBuilder, route};
use backend::Seen;
use evenkeel_core::plan::{LogFormat, LogLevel, PathMatch, Plan, RouteMatch};
use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::worker::Worker;
use fastrand::Rng;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{sleep, timeout};

/// Longer input is cut off: beyond, a refused body may not be read to its end.
const MAX_INPUT_BYTES: usize = 40 * 1024;
/// A long input that comes in pieces comes in about so many.
const PIECES: usize = 64;
/// After each of them, so that the proxy reads it alone.
const PAUSE: Duration = Duration::from_millis(1);
/// Virtual time in which all must have ended.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(100);
/// What the proxy may hold.
const BOUNDS: Bounds = Bounds { max_clients: 10, workers: 1 };
/// Where it listens.
const LISTENER: [u8; 4] = [10, 0, 0, 1];
/// Who calls it.
const CLIENT: [u8; 4] = [192, 0, 2, 7];
/// Where it calls.
const BACKEND: &str = "10.1.0.1:8080";
/// With this the proxy's name in `Via` begins.
const OUR_NAME: &[u8] = b"evenkeel-";
/// Stands for every status that refuses a head as such.
const BROKEN: u16 = 400;
/// How a client begins to speak HTTP/2.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// No request below this path may come through.
const DENIED: &str = "/admin";

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static LOG: Log = Log::start(LogOptions {
        format: LogFormat::Json,
        level: LogLevel::Error,
        file: Some("/dev/null".into()),
    }).expect("a log");
}

/// The bytes as all that a client sends before it ends its half.
///
/// # Panics
/// If what must hold does not.
pub fn exchange(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_INPUT_BYTES)];
    if bytes.starts_with(HTTP2_PREFACE) {
        // Answered in frames, which `frames` looks at.
        return;
    }
    let whole = play(&[bytes]);
    assert!(whole.in_order, "the connection broke");
    let holds = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    let mut bodies = whole.seen.iter().map(|seen| &seen.body);
    let inside = bodies.any(|body| holds(body, OUR_NAME)) && !holds(bytes, OUR_NAME);
    assert!(!inside, "a head of ours within a body: {:?}", whole.seen);
    let pieces = play(&cut(bytes));
    assert_eq!(pieces.seen, whole.seen, "requests in pieces are others than at once");
    let (some, all) = (&pieces.statuses, &whole.statuses);
    // Bytes that are no whole head are refused, or found to be cut, whichever is seen first.
    let cut = all.len() == some.len() + 1 && all.starts_with(some) && all.ends_with(&[BROKEN]);
    // Who says that it closes, and then sends more, may lose what it was sent.
    assert!(some == all || cut || !pieces.in_order, "answered in pieces {some:?}, at once {all:?}");
}

/// The bytes as frames of an HTTP/2 connection that has just begun. What the backend sees is held
/// to the same rules; what the client gets must be whole frames.
///
/// # Panics
/// If what must hold does not.
pub fn frames(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_INPUT_BYTES)];
    let begun = [HTTP2_PREFACE, NO_SETTINGS, bytes].concat();
    for pieces in [vec![&begun[..]], cut(&begun)] {
        let (seen, received, in_order) = run(&pieces);
        let holds = |body: &[u8]| body.windows(OUR_NAME.len()).any(|part| part == OUR_NAME);
        let inside = seen.iter().any(|seen| holds(&seen.body)) && !holds(bytes);
        assert!(!inside, "a head of ours within a body: {seen:?}");
        let rest = skip_frames(&received);
        assert!(rest.is_empty() || !in_order, "half a frame: {}", rest.escape_ascii());
    }
}

/// What follows the last whole frame.
fn skip_frames(mut bytes: &[u8]) -> &[u8] {
    while let [a, b, c, _, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        match rest.get(length..) {
            Some(behind) => bytes = behind,
            None => return bytes,
        }
    }
    bytes
}

/// The bytes in pieces whose lengths depend on nothing but the bytes.
fn cut(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rng = Rng::with_seed(seed_of(bytes));
    let longest = bytes.len() / PIECES + 8;
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// What came of one connection.
struct Story {
    /// Requests at the backend, in order.
    seen: Vec<Seen>,
    /// Of all final responses; every refusal of a head as such is [`BROKEN`].
    statuses: Vec<u16>,
    /// The client's connection ended in order.
    in_order: bool,
}

/// What the backend saw, what came back, and whether it ended in order.
fn run(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, bool) {
    watch_for_panics();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime");
    let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    let played = runtime.block_on(play_all(pieces));
    drop(runtime);
    let panics = PANICS.with_borrow_mut(std::mem::take);
    assert!(panics.is_empty(), "a task panicked: {panics:?}");
    played
}

fn play(pieces: &[&[u8]]) -> Story {
    let (seen, received, in_order) = run(pieces);
    let responses = read_responses(&received, in_order);
    let ours = responses.iter().filter_map(|response| response.value("x-number"));
    let numbers: Vec<usize> = ours.map(|number| number.parse().expect("a number")).collect();
    let expected: Vec<_> = (0..numbers.len()).collect();
    assert_eq!(numbers, expected, "answers are not in the order of requests");
    if in_order {
        assert_eq!(numbers.len(), seen.len(), "the backend saw {seen:?}");
    }
    // Which rule broken bytes break first depends on how many of them have come.
    let status = |response: &Message| match response.status() {
        400 | 414 | 431 | 505 => BROKEN,
        other => other,
    };
    Story { seen, statuses: responses.iter().map(status).collect(), in_order }
}

/// Runs proxy, backend and client until the client's connection is over and forgotten.
async fn play_all(pieces: Vec<Vec<u8>>) -> (Vec<Seen>, Vec<u8>, bool) {
    let net = MemoryNet::new(0, WireShape::smooth());
    let tag = u32::from_le_bytes(LISTENER) ^ 0x5eed;
    let (events, sink) = LOG.with(|log| (log.events(), log.sink()));
    let snapshot = secrets::compile(plan()).expect("no files to read");
    let shared = Arc::new(Shared::new(snapshot, BOUNDS, tag, events));
    let worker = Worker::new(net.clone(), Arc::clone(&shared), Some(sink));
    let address = SocketAddr::from((LISTENER, 80));
    let listener = net.bind(address, DialShape::smooth());
    tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listener, 0));
    let ticks = tokio::task::spawn_local(Rc::clone(&worker).run_ticks());
    let seen = Rc::default();
    let listener = net.bind(BACKEND.parse().expect("an address"), DialShape::smooth());
    tokio::task::spawn_local(backend::play(listener, Rc::clone(&seen)));
    let all = async {
        let ended = call(&net, address, pieces).await;
        while shared.client_connections() > 0 {
            sleep(POLL).await;
        }
        ended
    };
    let (received, in_order) = timeout(LIMIT, all).await.expect("the exchange does not end");
    shared.stop();
    let _ = ticks.await;
    net.close();
    (seen.take(), received, in_order)
}

/// Sends the pieces and reads to the end: what came, and whether it ended in order.
async fn call(net: &MemoryNet, address: SocketAddr, pieces: Vec<Vec<u8>>) -> (Vec<u8>, bool) {
    let stream = net.dial(SocketAddr::from((CLIENT, 0)), address).await.expect("it listens");
    let stream = ScriptStream::new(stream);
    let writer = stream.clone();
    tokio::task::spawn_local(async move {
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                return; // a proxy that has heard enough may close
            }
            sleep(PAUSE).await;
        }
        writer.shutdown().await;
    });
    let mut received = Vec::new();
    loop {
        match stream.read(&mut received).await {
            Ok(0) => return (received, true),
            Ok(_) => {}
            Err(_) => return (received, false),
        }
    }
}

/// One pool behind everything but what is denied.
fn plan() -> Plan {
    PlanBuilder::to(&[BACKEND])
        .plan(|plan| {
            let path = PathMatch::Prefix(DENIED.to_owned());
            let mut denied = route("denied", RouteMatch { path, ..RouteMatch::default() }, 0);
            denied.deny = vec!["0.0.0.0/0".parse().expect("a network")];
            plan.routes.insert(0, denied);
        })
        .build()
}

/// The final responses. A connection that broke may have cut the last one.
fn read_responses(mut bytes: &[u8], in_order: bool) -> Vec<Message> {
    let mut responses = Vec::new();
    while !bytes.is_empty() {
        match message::read(bytes, kind_of(bytes)) {
            Ok(Reading::Whole(response, used)) => {
                bytes = &bytes[used..];
                if response.status() >= 200 {
                    responses.push(response);
                }
            }
            Ok(Reading::Partial) if !in_order => break,
            other => panic!("{other:?} at the client: {}", bytes.escape_ascii()),
        }
    }
    responses
}

/// Whether a response is to HEAD: the backend tells, and a local reply is not followed by its body.
fn kind_of(bytes: &[u8]) -> Kind {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 4));
    let has = |text: &[u8]| head.windows(text.len()).any(|window| window == text);
    let local = !has(b"\r\nX-Number: ");
    let bare = rest.is_empty() || rest.starts_with(b"HTTP/1.1 ");
    let to_head = has(b"\r\nX-Method: HEAD\r\n") || (local && bare);
    if to_head { Kind::ResponseToHead } else { Kind::Response }
}

/// A task's panic ends nothing but the task: remember it for the input that it belongs to.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
}
