//! Reliability 1E as a whole: whatever a client floods us with, on one connection, our memory grows
//! by little and a good client beside it is served. What each flood comes to is held one by one in
//! `tests/wire/http2.rs`.

use crate::stage::{Door, Stage, open, post, settings};
use evenkeel_testkit::backend::Backend;
use evenkeel_testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, Outcome, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use evenkeel_testkit::process::{alone, resident_bytes};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one connection may cost.
const MAX_GROWTH: usize = 10 * 1024 * 1024;
/// Streams of a flood that keeps all of them open.
const STREAMS: u32 = 100;
/// What a thread of the backend takes, for it lives in this process too.
const BACKEND_THREAD: usize = 48 * 1024;
/// A good client is answered within this, on a machine that does other things too.
const PROMPT: Duration = Duration::from_secs(2);
/// Of a large response.
const PIECE: &[u8] = &[b'x'; 64 * 1024];

fn numbers() -> impl Iterator<Item = u32> {
    (0..4000).map(|count| count * 2 + 1)
}

/// A whole request, and something that makes it end badly.
fn each(then: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    numbers().flat_map(|stream| [open(stream), then(stream)].concat()).collect()
}

fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat(60_000)
}

/// A head of references to one entry of the table, on many streams.
fn bomb(entry: &[u8], references: usize) -> Vec<u8> {
    const REQUEST: &[u8] = b"\x82\x86\x84\x01\x01x";
    let first = [REQUEST, entry].concat();
    let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
    let head = [REQUEST, &vec![0xbe; references]].concat();
    for stream in (3..120).step_by(2) {
        let mut parts = head.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            let ends = if kind == HEADERS { END_STREAM } else { 0 };
            bytes.extend(frame(kind, last | ends, stream, part));
            kind = CONTINUATION;
        }
    }
    bytes
}

/// Every flood, after SETTINGS that close all windows.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let code = 8u32.to_be_bytes();
    let begun = frame(HEADERS, END_STREAM, 1, &block(&get(&[])));
    let continued = |piece: &[u8], count: usize| {
        [begun.clone(), frame(CONTINUATION, 0, 1, piece).repeat(count)].concat()
    };
    let large = [(":method", "GET"), (":scheme", "http"), (":path", "/large"), (":authority", "x")];
    let fields = block(&large);
    let held = |count: u32| frame(HEADERS, END_STREAM | END_HEADERS, count * 2 + 1, &fields);
    let itself = |stream: u32| [&stream.to_be_bytes()[..], &[16]].concat();
    vec![
        ("F1 rapid reset", each(|stream| frame(RST_STREAM, 0, stream, &code))),
        ("F2 WINDOW_UPDATE 0", each(|stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]))),
        (
            "F2 WINDOW_UPDATE overflow",
            each(|stream| {
                frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()).repeat(2)
            }),
        ),
        ("F2 DATA after the end", each(|stream| frame(DATA, 0, stream, b"x"))),
        ("F2 PRIORITY on itself", each(|stream| frame(PRIORITY, 0, stream, &itself(stream)))),
        ("F3 CONTINUATION", continued(&[0; 1000], 60_000)),
        ("F4 empty CONTINUATION", continued(b"", 60_000)),
        ("F5 SETTINGS", repeated(&frame(SETTINGS, 0, 0, &[]))),
        ("F5 PING", repeated(&frame(PING, 0, 0, &[1; 8]))),
        ("F6 empty DATA", [post(1), repeated(&frame(DATA, 0, 1, b""))].concat()),
        ("F6 DATA byte by byte", [post(1), repeated(&frame(DATA, 0, 1, b"x"))].concat()),
        ("trailers", [post(1), repeated(&frame(HEADERS, END_HEADERS, 1, b""))].concat()),
        ("F7 PRIORITY", repeated(&frame(PRIORITY, 0, 9, &[0, 0, 0, 3, 1]))),
        ("F8 bomb, small", bomb(b"\x40\x01a\x00", 3000)),
        ("F8 bomb, continued", bomb(b"\x40\x01a\x00", 32_000)),
        ("F8 bomb, cookies", bomb(b"\x60\x03a=b", 3000)),
        ("F9 windows of zero", (0..STREAMS).flat_map(held).collect()),
        ("F11 unknown types", repeated(&frame(0x42, 0, 0, b"what"))),
        (
            "F13 errors that nobody reads",
            each(|stream| frame(WINDOW_UPDATE, 0, stream + 2, &[0; 4])),
        ),
    ]
}

/// Answers `/large` with much, and everything else with little.
fn backend() -> Backend {
    Backend::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.target() == "/large" {
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
                while conversation.send(PIECE) {}
                return;
            }
            conversation.send(evenkeel_testkit::backend::OK);
        }
    })
}

fn good(frames: &mut Frames, stream: u32) -> Duration {
    let began = Instant::now();
    frames.send(&open(stream));
    assert_eq!(frames.outcome(stream), Outcome::Status(200));
    began.elapsed()
}

#[test]
fn what_has_no_bound_of_its_own_ends_its_connection() {
    let stage = Stage::before(backend());
    let floods = [
        ("a head of thousands of fields", bomb(b"\x40\x01a\x00", 3000)),
        ("the same in pieces", bomb(b"\x40\x01a\x00", 32_000)),
        ("crumbs", bomb(b"\x60\x03a=b", 3000)),
        ("heads with too many fields, one after the other", bomb(b"\x40\x01a\x00", 500)),
        ("trailers", [post(1), frame(HEADERS, END_HEADERS, 1, b"").repeat(200)].concat()),
        ("a body byte by byte", [post(1), frame(DATA, 0, 1, b"x").repeat(20_000)].concat()),
    ];
    for (name, bytes) in floods {
        let mut flooding = stage.connect(Door::Plain);
        flooding.send(&bytes);
        assert_eq!(flooding.farewell(), Some(ENHANCE_YOUR_CALM), "{name}");
        good(&mut stage.connect(Door::Plain), 1);
    }
}

#[test]
fn every_flood_costs_little_and_harms_nobody() {
    if !alone("floods::every_flood_costs_little_and_harms_nobody") {
        return;
    }
    let stage = Stage::before(backend());
    let (over, slowest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stage.connect(Door::Plain);
            for stream in (1..0x3fff_ffff).step_by(2) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let took = u64::try_from(good(&mut client, stream).as_micros()).unwrap_or(u64::MAX);
                slowest.fetch_max(took, Ordering::Relaxed);
            }
        });
        // Once before it counts: what is allocated once and kept is no harm.
        for round in 0..2 {
            for (name, bytes) in floods() {
                let before = resident_bytes();
                let mut flooding = stage.connect(Door::Plain);
                flooding.send(&settings(&[(4, 0)]));
                for part in bytes.chunks(64 * 1024) {
                    flooding.send(part);
                }
                good(&mut stage.connect(Door::Plain), 1);
                let grown = resident_bytes().saturating_sub(before);
                let own = if name.starts_with("F9") { 100 * BACKEND_THREAD } else { 0 };
                let fine = round == 0 || grown <= MAX_GROWTH + own;
                assert!(fine, "{name}: {} KiB", grown / 1024);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let slowest = Duration::from_micros(slowest.into_inner());
    assert!(slowest < PROMPT, "a good client waited {slowest:?}");
}
