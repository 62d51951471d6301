//! Accepting while the kernel refuses: errors in place of clients, in virtual time.
#![expect(clippy::expect_used, reason = "a test ends where it fails")]

use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::net::Accept;
use evenkeel_proxy::secrets::compile;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::worker::Worker;
use evenkeel_testkit::memory::{
    DialShape, MemoryListener, MemoryNet, MemoryStream, ScriptStream, WireShape,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::simulation::{backend_address, listener_address};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep, timeout};

/// What the server does not have enough of; accepting again at once would fail again.
const OUT_OF_RESOURCES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
/// What is wrong with one client only.
const ABOUT_ONE_CLIENT: [i32; 4] = [libc::ECONNABORTED, libc::EPERM, libc::EPROTO, libc::EINTR];
/// Bounds of the pause behind a lack of resources.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// What the runtime's clock may be late.
const GRAIN: Duration = Duration::from_millis(1);
/// Errors in one world; more is a busy loop.
const MAX_FAULTS: usize = 50_000;
/// Virtual time in which everybody is served.
const PATIENCE: Duration = Duration::from_secs(30);

/// What accepting fails with, and when it did.
#[derive(Default)]
struct Faults {
    next: VecDeque<i32>,
    /// As long as it is set.
    lasting: Option<i32>,
    at: Vec<Instant>,
}

/// A listener that fails before it takes clients.
struct FaultyListener {
    sound: MemoryListener,
    faults: Rc<RefCell<Faults>>,
}

impl Accept for FaultyListener {
    type Stream = MemoryStream;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(MemoryStream, Option<SocketAddr>)>> {
        let mut faults = self.faults.borrow_mut();
        let Some(code) = faults.next.pop_front().or(faults.lasting) else {
            return self.sound.poll_accept(cx);
        };
        faults.at.push(Instant::now());
        assert!(faults.at.len() <= MAX_FAULTS, "a busy loop");
        Poll::Ready(Err(io::Error::from_raw_os_error(code)))
    }
}

/// A proxy with one backend, and what its listener fails with.
struct World {
    net: MemoryNet,
    faults: Rc<RefCell<Faults>>,
}

impl World {
    /// Calls as a client: true if the answer is 200.
    async fn is_served(&self) -> bool {
        let from = SocketAddr::from(([10, 9, 9, 9], 0));
        let dialed = self.net.dial(from, listener_address(0)).await;
        let stream = ScriptStream::new(dialed.expect("somebody listens"));
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("a live connection");
        let mut answer = Vec::new();
        let whole = async { while stream.read(&mut answer).await.is_ok_and(|n| n > 0) {} };
        timeout(PATIENCE, whole).await.expect("an answer");
        answer.starts_with(b"HTTP/1.1 200 ")
    }

    /// How long a client takes to be served.
    async fn time_to_serve(&self) -> Duration {
        let begin = Instant::now();
        assert!(self.is_served().await);
        begin.elapsed()
    }
}

async fn answer_all(mut listener: MemoryListener) {
    while let Ok(stream) = listener.accept().await {
        let stream = ScriptStream::new(stream);
        tokio::task::spawn_local(async move {
            let mut request = Vec::new();
            while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                if request.ends_with(b"\r\n\r\n") {
                    request.clear();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.expect("the proxy reads");
                }
            }
        });
    }
}

/// Plays against a world; the lines of its log.
fn play(test: impl AsyncFnOnce(&World)) -> Vec<String> {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("events.log");
    let log = start_log(&file);
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let net = MemoryNet::new(1, WireShape::smooth());
        let faults = Rc::<RefCell<Faults>>::default();
        let plan = PlanBuilder::to(&[&backend_address(0, 0).to_string()]).build();
        let bounds = Bounds { max_clients: 100, workers: 1 };
        let snapshot = compile(plan).expect("no files to read");
        let shared = Arc::new(Shared::new(snapshot, bounds, 1, log.events()));
        let worker = Worker::new(net.clone(), Arc::clone(&shared), None);
        let sound = net.bind(listener_address(0), DialShape::smooth());
        let listener = FaultyListener { sound, faults: Rc::clone(&faults) };
        tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listener, 0));
        let ticks = tokio::task::spawn_local(worker.run_ticks());
        tokio::task::spawn_local(answer_all(net.bind(backend_address(0, 0), DialShape::smooth())));
        test(&World { net: net.clone(), faults }).await;
        shared.stop();
        ticks.await.expect("no panic");
        net.close();
    });
    drop(runtime);
    log.close();
    let lines = std::fs::read_to_string(&file).expect("a log file");
    lines.lines().map(str::to_owned).collect()
}

fn start_log(file: &Path) -> Log {
    use evenkeel_core::plan::{LogFormat, LogLevel};
    let file = Some(file.to_owned());
    let options = LogOptions { format: LogFormat::Json, level: LogLevel::Warn, file };
    Log::start(options).expect("a log file")
}

fn told(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains("accept_failed")).count()
}

#[test]
fn the_client_behind_any_error_is_served() {
    let lines = play(async |world| {
        for code in ABOUT_ONE_CLIENT {
            world.faults.borrow_mut().next.push_back(code);
            assert!(world.time_to_serve().await < SHORTEST_PAUSE, "errno {code}");
        }
        for code in OUT_OF_RESOURCES {
            world.faults.borrow_mut().next.push_back(code);
            let took = world.time_to_serve().await;
            let pause = SHORTEST_PAUSE..=SHORTEST_PAUSE + GRAIN;
            assert!(pause.contains(&took), "errno {code}: {took:?}");
        }
        let all = ABOUT_ONE_CLIENT.into_iter().chain(OUT_OF_RESOURCES).cycle();
        world.faults.borrow_mut().next.extend(all.take(80));
        assert!(world.is_served().await);
        assert!(world.faults.borrow().next.is_empty());
    });
    assert_eq!(told(&lines), OUT_OF_RESOURCES.len() + 1, "once per stretch: {lines:?}");
}

#[test]
fn many_clients_that_left_cost_no_time() {
    let lines = play(async |world| {
        for code in ABOUT_ONE_CLIENT {
            world.faults.borrow_mut().next.extend([code; 10_000]);
            assert!(world.time_to_serve().await < SHORTEST_PAUSE, "errno {code}");
            assert!(world.faults.borrow().next.is_empty());
        }
    });
    assert_eq!(told(&lines), 0, "{lines:?}");
}

#[test]
fn a_lasting_lack_of_resources_is_no_busy_loop() {
    const LACK: Duration = Duration::from_secs(10);
    for code in OUT_OF_RESOURCES {
        let lines = play(async |world| {
            world.faults.borrow_mut().lasting = Some(code);
            let (first, ()) = tokio::join!(world.time_to_serve(), async {
                sleep(LACK).await;
                world.faults.borrow_mut().lasting = None;
            });
            let served = LACK..=LACK + LONGEST_PAUSE + GRAIN;
            assert!(served.contains(&first), "errno {code}: {first:?}");

            let at = std::mem::take(&mut world.faults.borrow_mut().at);
            let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let rounded: Vec<_> = pauses.iter().take(6).map(Duration::as_millis).collect();
            assert_eq!(rounded, [5, 10, 20, 40, 80, 100], "errno {code}");
            let rest = LONGEST_PAUSE..=LONGEST_PAUSE + GRAIN;
            assert!(pauses[5..].iter().all(|pause| rest.contains(pause)), "{pauses:?}");
            assert!((95..=105).contains(&at.len()), "errno {code}: {} calls", at.len());

            // Who was let in ends the stretch: the next one begins with a short pause again.
            world.faults.borrow_mut().next.push_back(code);
            assert!(world.time_to_serve().await <= SHORTEST_PAUSE + GRAIN, "errno {code}");
        });
        assert_eq!(told(&lines), 2, "once per stretch: {lines:?}");
    }
}
