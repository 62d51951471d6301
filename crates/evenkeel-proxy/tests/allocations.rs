//! In the steady state a proxied request costs no memory: nothing is allocated for a keep-alive GET
//! on the thread that serves it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets::compile;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::socket::{self, Listening, SystemNet};
use evenkeel_proxy::worker::Worker;
use evenkeel_testkit::plan::PlanBuilder;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Requests before anything is counted.
const WARM_UP: usize = 200;
/// Requests that are counted in one round.
const COUNTED: usize = 1_000;
/// Rounds; what is allocated for each request is in all of them, what a busy machine makes slow is
/// not.
const ROUNDS: usize = 5;
/// Counters of latency that may be made on the way.
const FIRST_SIGHTS: u64 = 6;
/// Bound on every wait for bytes.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: test\r\n\r\nhello";

/// The system's allocator; counts on threads that ask for it, while a measurement runs.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static MEASURING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static COUNTED_THREAD: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    let counted = COUNTED_THREAD.try_with(Cell::get).unwrap_or(false);
    if counted && MEASURING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
// SAFETY: every method passes its arguments on to the system's allocator unchanged and returns what
// it returns, so its guarantees are the system's. Counting touches an atomic and a thread-local
// without destructor, neither of which allocates.
// tidy: allow(unsafe) because an allocator that counts cannot be written without
unsafe impl GlobalAlloc for Counting {
    // tidy: allow(unsafe) because the trait says so
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this very method.
        // tidy: allow(unsafe) because the system's method is
        unsafe { System.alloc(layout) }
    }

    // tidy: allow(unsafe) because the trait says so
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this very method.
        // tidy: allow(unsafe) because the system's method is
        unsafe { System.dealloc(pointer, layout) }
    }

    // tidy: allow(unsafe) because the trait says so
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
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
                        head.clear();
                        stream.write_all(RESPONSE).unwrap();
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

/// Allocations of the serving thread over `COUNTED` requests, in the quietest of the rounds.
fn measure(backend: &str, log: &Log, records: bool) -> u64 {
    let plan = PlanBuilder::to(&[backend]).build();
    let mut sockets = socket::bind(&plan.listeners[0].bind, 1, &[]).unwrap();
    let listening = sockets.remove(0).remove(0);
    let address = listening.address().unwrap();
    let bounds = Bounds { max_clients: 100, workers: 1 };
    let shared =
        Arc::new(Shared::new(compile(plan).expect("no files to read"), bounds, 1, log.events()));
    let (worker_shared, sink) = (Arc::clone(&shared), records.then(|| log.sink()));
    let worker = std::thread::spawn(move || {
        COUNTED_THREAD.set(true);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().enable_time().build_local(Default::default()).unwrap();
        runtime.block_on(async {
            let worker = Worker::new(SystemNet::new(), worker_shared, sink);
            let listening = Listening::register(listening).unwrap();
            tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listening, 0));
            worker.run_ticks().await;
        });
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    MEASURING.store(true, Ordering::SeqCst);
    for _ in 0..WARM_UP {
        exchange(&mut stream, &mut buffer);
    }
    let warm_up = ALLOCATIONS.swap(0, Ordering::SeqCst);
    assert!(warm_up > 0, "buffers come from somewhere: nothing is being counted");
    let round = |_| {
        for _ in 0..COUNTED {
            exchange(&mut stream, &mut buffer);
        }
        ALLOCATIONS.swap(0, Ordering::SeqCst)
    };
    let allocations = (0..ROUNDS).map(round).min().unwrap_or(u64::MAX);
    MEASURING.store(false, Ordering::SeqCst);
    drop(stream);
    shared.stop();
    worker.join().expect("the worker ends in order");
    allocations
}

#[test]
fn a_kept_connection_costs_no_allocation_per_request() {
    let directory = tempfile::TempDir::new().unwrap();
    let options = LogOptions {
        format: evenkeel_core::plan::LogFormat::Json,
        level: evenkeel_core::plan::LogLevel::Warn,
        file: Some(directory.path().join("access.log")),
    };
    let log = Log::start(options).unwrap();
    let backend = start_backend();
    let (off, on) = (measure(&backend, &log, false), measure(&backend, &log, true));
    let mut out = std::io::stdout().lock();
    writeln!(out, "allocations in {COUNTED} requests: {off}, with access records {on}").unwrap();
    // A magnitude of time that is seen for the first time gets its counters then.
    assert!(off <= FIRST_SIGHTS, "{off} allocations in {COUNTED} requests, without records");
    assert!(on <= FIRST_SIGHTS, "{on} allocations in {COUNTED} requests, with access records");
}
