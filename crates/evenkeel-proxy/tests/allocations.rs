//! In the steady state a proxied request costs no memory: nothing is allocated for a keep-alive GET
//! on the thread that serves it. Over HTTP/2 only what the library needs for a stream is. A
//! WebSocket that says nothing holds little.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets::compile;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::socket::{self, Listening, SystemNet};
use evenkeel_proxy::worker::Worker;
use evenkeel_testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, block, frame, get,
};
use evenkeel_testkit::plan::PlanBuilder;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests before anything is counted.
const WARM_UP: usize = 200;
/// Requests that are counted in one round.
const COUNTED: usize = 1_000;
/// Rounds; what is allocated for each request is in all of them, what a busy machine makes slow is
/// not.
const ROUNDS: usize = 5;
/// Streams of an HTTP/2 connection that are open at a time.
const STREAMS: usize = 10;
/// Allocations for each of them: the stream, two maps of fields in two pieces each, two texts of
/// the request's target.
const PER_STREAM: u64 = 7;
/// Small messages that share a block of memory, at least.
const PER_BLOCK: u64 = 10;
/// WebSockets that are open, twice.
const WEBSOCKETS: usize = 100;
/// What one of them holds, besides the kernel's buffers.
const MOST_HELD: i64 = 10 * 1024;
/// Counters of latency that may be made on the way.
const FIRST_SIGHTS: u64 = 6;
/// Bound on every wait for bytes.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n";
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: test\r\n\r\nhello";

/// The system's allocator; counts on threads that ask for it, while a measurement runs.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static MEASURING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static COUNTED_THREAD: Cell<bool> = const { Cell::new(false) };
}

fn count(allocations: u64, grown: i64) {
    let counted = COUNTED_THREAD.try_with(Cell::get).unwrap_or(false);
    if counted && MEASURING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(grown, Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
// SAFETY: every method passes its arguments on to the system's allocator unchanged and returns what
// it returns, so its guarantees are the system's. Counting touches an atomic and a thread-local
// without destructor, neither of which allocates.
// tidy: allow(unsafe) because an allocator that counts cannot be written without
unsafe impl GlobalAlloc for Counting {
    // tidy: allow(unsafe) because the trait says so
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: the caller keeps the contract of this very method.
        // tidy: allow(unsafe) because the system's method is
        unsafe { System.alloc(layout) }
    }

    // tidy: allow(unsafe) because the trait says so
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -signed(layout.size()));
        // SAFETY: the caller keeps the contract of this very method.
        // tidy: allow(unsafe) because the system's method is
        unsafe { System.dealloc(pointer, layout) }
    }

    // tidy: allow(unsafe) because the trait says so
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller keeps the contract of this very method.
        // tidy: allow(unsafe) because the system's method is
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Answers every request of every connection, until the test process ends its sockets.
fn start_backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    head.extend_from_slice(&buffer[..length]);
                    if head.ends_with(b"\r\n\r\n") {
                        let upgrade = head.starts_with(b"GET /ws");
                        stream.write_all(if upgrade { SWITCH } else { RESPONSE }).unwrap();
                        head.clear();
                    }
                }
            });
        }
    });
    address
}

/// One exchange over a kept connection; returns the length of the response.
fn exchange(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    stream.write_all(REQUEST).unwrap();
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"\r\n\r\nhello") {
        let length = stream.read(&mut buffer[filled..]).unwrap();
        assert!(length > 0, "closed: {}", String::from_utf8_lossy(&buffer[..filled]));
        filled += length;
    }
    filled
}

/// A client that makes so many requests each time.
type Client = Box<dyn FnMut(usize)>;

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn over_http1(address: &str) -> Client {
    let mut stream = connect(address);
    let mut buffer = [0; 4096];
    Box::new(move |requests| {
        for _ in 0..requests {
            exchange(&mut stream, &mut buffer);
        }
    })
}

/// Many streams at a time.
fn over_http2(address: &str) -> Client {
    let mut frames = Frames::over(connect(address)).introduced();
    let fields = block(&get(&[("accept", "*/*"), ("user-agent", "test")]));
    let mut stream = 1;
    Box::new(move |requests| {
        for _ in 0..requests / STREAMS {
            let opening: Vec<u8> = (0..STREAMS)
                .flat_map(|_| {
                    stream += 2;
                    frame(HEADERS, END_HEADERS | END_STREAM, stream - 2, &fields)
                })
                .collect();
            frames.send(&opening);
            let ended = frames.by_ref().filter(|frame| {
                let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
                assert!(frame.kind != RST_STREAM, "{frame:?}");
                ends
            });
            assert_eq!(ended.take(STREAMS).count(), STREAMS, "all are answered");
        }
    })
}

/// A proxy whose one worker's thread is counted.
struct Serving {
    address: String,
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

impl Serving {
    fn start(backend: &str, log: &Log, records: bool) -> Serving {
        let plan = PlanBuilder::to(&[backend]).build();
        let mut sockets = socket::bind(&plan.listeners[0].bind, 1, &[]).unwrap();
        let listening = sockets.remove(0).remove(0);
        let address = listening.address().unwrap();
        let bounds = Bounds { max_clients: 1000, workers: 1 };
        let compiled = compile(plan).expect("no files to read");
        let shared = Arc::new(Shared::new(compiled, bounds, 1, log.events()));
        let (worker_shared, sink) = (Arc::clone(&shared), records.then(|| log.sink()));
        let worker = std::thread::spawn(move || {
            COUNTED_THREAD.set(true);
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime =
                builder.enable_io().enable_time().build_local(Default::default()).unwrap();
            runtime.block_on(async {
                let worker = Worker::new(SystemNet::new(), worker_shared, sink);
                let listening = Listening::register(listening).unwrap();
                tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listening, 0));
                worker.run_ticks().await;
            });
        });
        Serving { address, shared, worker }
    }

    fn stop(self) {
        MEASURING.store(false, Ordering::SeqCst);
        self.shared.stop();
        self.worker.join().expect("the worker ends in order");
    }
}

/// Allocations of the serving thread over `COUNTED` requests, in the quietest of the rounds.
fn measure(backend: &str, log: &Log, records: bool, client: fn(&str) -> Client) -> u64 {
    let serving = Serving::start(backend, log, records);
    let mut client = client(&serving.address);
    MEASURING.store(true, Ordering::SeqCst);
    client(WARM_UP);
    let warm_up = ALLOCATIONS.swap(0, Ordering::SeqCst);
    assert!(warm_up > 0, "buffers come from somewhere: nothing is being counted");
    let round = |_| {
        client(COUNTED);
        ALLOCATIONS.swap(0, Ordering::SeqCst)
    };
    let allocations = (0..ROUNDS).map(round).min().unwrap_or(u64::MAX);
    drop(client);
    serving.stop();
    allocations
}

/// Bytes that the serving thread holds for each WebSocket on which nothing is said any more.
fn held_by_websockets(backend: &str, log: &Log) -> i64 {
    let serving = Serving::start(backend, log, true);
    let open = || {
        let mut stream = connect(&serving.address);
        stream.write_all(UPGRADE).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "closed: {}", head.escape_ascii());
            head.extend_from_slice(&piece[..length]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        stream
    };
    MEASURING.store(true, Ordering::SeqCst);
    let first: Vec<_> = (0..WEBSOCKETS).map(|_| open()).collect();
    let before = LIVE_BYTES.load(Ordering::SeqCst);
    let second: Vec<_> = (0..WEBSOCKETS).map(|_| open()).collect();
    let grown = LIVE_BYTES.load(Ordering::SeqCst) - before;
    drop((first, second));
    serving.stop();
    grown / signed(WEBSOCKETS)
}

#[test]
fn requests_cost_no_allocation_and_idle_websockets_little() {
    let directory = tempfile::TempDir::new().unwrap();
    let options = LogOptions {
        format: evenkeel_core::plan::LogFormat::Json,
        level: evenkeel_core::plan::LogLevel::Warn,
        file: Some(directory.path().join("access.log")),
    };
    let log = Log::start(options).unwrap();
    let backend = start_backend();
    let (off, on) =
        (measure(&backend, &log, false, over_http1), measure(&backend, &log, true, over_http1));
    let streams = measure(&backend, &log, true, over_http2);
    let held = held_by_websockets(&backend, &log);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "allocations in {COUNTED} requests: {off}, with access records {on}, \
         over HTTP/2 {streams}; {held} bytes for each idle WebSocket"
    )
    .unwrap();
    // A magnitude of time that is seen for the first time gets its counters then.
    assert!(off <= FIRST_SIGHTS, "{off} allocations in {COUNTED} requests, without records");
    assert!(on <= FIRST_SIGHTS, "{on} allocations in {COUNTED} requests, with access records");
    let count = COUNTED as u64;
    let most = count * PER_STREAM + count / PER_BLOCK + FIRST_SIGHTS;
    assert!(streams <= most, "{streams} allocations in {COUNTED} requests over HTTP/2");
    assert!((1..=MOST_HELD).contains(&held), "{held} bytes for each idle WebSocket");
}
