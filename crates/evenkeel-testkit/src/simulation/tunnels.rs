//! Worlds of tunnels: clients of a tcp listener, or of an HTTP listener that they leave by an
//! upgrade, and backends that send back what they hear, on the same network in memory. PROXY
//! headers come in and go out.
//!
//! Invariants: what a client gets is what it has sent, from the first byte on, and then the
//! backend's last word; a clean end comes behind all of it, never before; a backend is told who
//! calls; where nothing breaks nothing is lost, and the proxy counts the bytes right; a drain ends
//! no tunnel in which something moves; one that fell silent is ended when it has been for as long
//! as it may, not before; counts return to zero (I7).

use super::client::address_of;
use super::coda;
use super::inbox;
use super::journal::{Journal, Stage};
use super::world::{backend_address, listener_address, plan_of};
use super::{BOUNDS, PANICS, WORLD_LIMIT, watch_for_panics, watchdog};
use crate::memory::{DialShape, MemoryListener, MemoryNet, ScriptStream, WireShape, chance};
use evenkeel_core::plan::{
    AcceptProxy, ListenerProtocol, LogFormat, LogLevel, Plan, SendProxy, TcpPlan,
};
use evenkeel_core::proxy_protocol::{self, Opening, TlsTold, Told};
use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets;
use evenkeel_proxy::shared::Shared;
use evenkeel_proxy::worker::Worker;
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep, timeout};

/// What a backend says when it has heard the end.
const LAST_WORD: &[u8] = b"good bye";
/// A client that waits longer has found a hang.
const PATIENCE: Duration = Duration::from_secs(240);
const MAX_CLIENTS: usize = 12;
const MAX_BYTES: usize = 60_000;
/// How long nothing may move.
const IDLE: Duration = Duration::from_secs(40);
/// What the end of a silent tunnel may take beyond that.
const IDLE_SLACK: Duration = Duration::from_secs(3);
/// How a client asks for a tunnel where HTTP is spoken.
const UPGRADE: &[u8] =
    b"GET /p0/t HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
/// How a backend agrees.
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// One client's call.
#[derive(Clone, Debug)]
struct Call {
    start_ms: u64,
    /// Address that its PROXY header tells, if the listener demands one.
    behind: Option<SocketAddr>,
    bytes: usize,
    piece: usize,
    pause_ms: u64,
    /// When so many percent are written, it goes on as it does.
    share: u8,
    ending: Ending,
}

/// What a client does when it has written its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Ends its half, and listens.
    Ends,
    /// Breaks off.
    Breaks,
    /// Nothing more, ever.
    Waits,
}

struct World {
    plan: Plan,
    shape: WireShape,
    calls: Vec<Call>,
    /// A backend breaks off after so many bytes.
    breaks_after: Option<usize>,
    refusing: bool,
    /// HTTP is spoken first.
    upgraded: bool,
    /// When the proxy begins to drain.
    drain_ms: Option<u64>,
}

impl World {
    fn draw(rng: &mut Rng) -> World {
        let calm = rng.bool();
        let upgraded = rng.bool();
        let capacity = [64, 512, 4_096, 65_536][rng.usize(0..4)];
        let piece = [16, 200, 1_460, 65_536][rng.usize(0..4)];
        let shape = WireShape {
            capacity: capacity..=capacity * 8,
            piece: piece..=piece * 2,
            delay_ms: 0..=rng.u64(0..=5),
            short_write_percent: [0, 20, 60][rng.usize(0..3)],
            break_percent: if !calm && chance(rng, 30) { 10 } else { 0 },
            break_at: 1..=5_000,
        };
        let backends = rng.usize(1..=3);
        let mut plan = plan_of(1, &[backends]);
        let demands = rng.bool();
        plan.pools[0].timeouts.idle = IDLE;
        let listener = &mut plan.listeners[0];
        listener.limits.idle_timeout = IDLE;
        if !upgraded {
            let tcp = TcpPlan { pool: Some(0), sni_routes: Vec::new() };
            listener.protocol = ListenerProtocol::Tcp(tcp);
        }
        if demands {
            listener.proxy_protocol = AcceptProxy::Required;
            listener.trusted_proxies = vec!["10.2.0.0/16".parse().expect("a network")];
        }
        if !upgraded {
            plan.routes.clear();
        }
        plan.pools[0].proxy_protocol =
            [SendProxy::Off, SendProxy::V1, SendProxy::V2][rng.usize(0..3)];
        let most = MAX_BYTES.min(capacity * 60).min(piece * 60);
        let calls = (0..rng.usize(1..=MAX_CLIENTS)).map(|number| {
            let last = u8::try_from(number + 1).unwrap_or(u8::MAX);
            let bytes = rng.usize(0..=most);
            Call {
                start_ms: rng.u64(0..200),
                behind: demands.then(|| SocketAddr::from(([203, 0, 113, last], 4_000))),
                bytes,
                piece: rng.usize(1.max(bytes / 20)..=bytes.max(1)),
                pause_ms: [0, 0, 3, 50][rng.usize(0..4)],
                share: if chance(rng, 30) { rng.u8(0..=100) } else { 100 },
                ending: match rng.u8(0..100) {
                    0..15 if !calm => Ending::Breaks,
                    15..25 => Ending::Waits,
                    _ => Ending::Ends,
                },
            }
        });
        let calls = calls.collect();
        let breaks_after = (!calm && chance(rng, 30)).then(|| rng.usize(0..5_000));
        let refusing = backends > 1 && chance(rng, 30);
        let drain_ms = chance(rng, 25).then(|| rng.u64(0..400));
        World { plan, shape, calls, breaks_after, refusing, upgraded, drain_ms }
    }

    fn is_calm(&self) -> bool {
        self.breaks_after.is_none() && self.shape.break_percent == 0
    }
}

/// What came of a world of tunnels.
#[derive(Debug)]
pub struct Tunnels {
    /// What happened, line by line; the same for the same seed.
    pub trace: Vec<String>,
    /// What must never happen, and did.
    pub breaches: Vec<String>,
    /// Clients that got all, and clients that did not.
    pub whole_and_cut: (usize, usize),
}

/// Draws the world of a seed and plays it.
///
/// # Panics
/// If the machine gives no runtime or temporary file.
pub fn play_tunnels(seed: u64) -> Tunnels {
    watch_for_panics();
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("proxy.log");
    let options =
        LogOptions { format: LogFormat::Json, level: LogLevel::Debug, file: Some(file.clone()) };
    let _guard = watchdog::watch(seed);
    let log = Log::start(options).expect("a log file");
    let mut rng = Rng::with_seed(seed ^ 0x70c4);
    let world = Rc::new(World::draw(&mut rng));
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime");
    let (journal, whole_and_cut) = runtime.block_on(play_all(Rc::clone(&world), rng, &log));
    drop(runtime);
    log.close();
    let Journal { trace, mut breaches, .. } = journal;
    let panics = PANICS.with_borrow_mut(std::mem::take);
    breaches.extend(panics.into_iter().map(|panic| format!("panic: {panic}")));
    let ends = |call: &Call| call.ending == Ending::Ends;
    if world.is_calm() && world.drain_ms.is_none() && world.calls.iter().all(ends) {
        let text = std::fs::read_to_string(&file).expect("a log file");
        breaches.extend(check_counts(&world, &text));
    }
    Tunnels { trace, breaches, whole_and_cut }
}

/// The proxy tells of every tunnel how much went through it.
fn check_counts(world: &World, log: &str) -> Option<String> {
    let (mut up, mut down, mut closed) = (0, 0, 0);
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        if line["event"] == "tunnel_closed" || line["status"] == 101 {
            up += line["bytes_in"].as_u64().unwrap_or(0);
            down += line["bytes_out"].as_u64().unwrap_or(0);
            closed += 1;
        }
    }
    let sent: u64 = world.calls.iter().map(|call| call.sent().len() as u64).sum();
    let calls = world.calls.len();
    let expected = (sent, sent + (calls * LAST_WORD.len()) as u64, calls);
    let told = (up, down, closed);
    (told != expected).then(|| format!("the proxy counts {told:?}, not {expected:?}"))
}

async fn play_all(world: Rc<World>, mut rng: Rng, log: &Log) -> (Journal, (usize, usize)) {
    let net = MemoryNet::new(rng.u64(..), world.shape.clone());
    let stage = Rc::new(Stage { net: net.clone(), journal: RefCell::default() });
    let snapshot = secrets::compile(world.plan.clone()).expect("no files to read");
    let shared = Arc::new(Shared::new(snapshot, BOUNDS, rng.u32(..), log.events()));
    let worker = Worker::new(net.clone(), Arc::clone(&shared), Some(log.sink()));
    let listener = net.bind(listener_address(0), DialShape::smooth());
    tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listener, 0));
    let ticks = tokio::task::spawn_local(Rc::clone(&worker).run_ticks());
    for index in 0..world.plan.pools[0].backends.len() {
        let refuses = world.refusing && index == 0;
        let shape =
            DialShape { refuse_percent: if refuses { 100 } else { 0 }, ..DialShape::smooth() };
        let listener = net.bind(backend_address(0, index), shape);
        let breaks_after =
            world.breaks_after.filter(|_| index + 1 == world.plan.pools[0].backends.len());
        tokio::task::spawn_local(serve(
            Rc::clone(&stage),
            Rc::clone(&world),
            listener,
            breaks_after,
        ));
    }
    if let Some(after) = world.drain_ms {
        let (shared, stage) = (Arc::clone(&shared), Rc::clone(&stage));
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(after)).await;
            stage.note("proxy: drains");
            shared.drain();
        });
    }
    let play =
        |number| tokio::task::spawn_local(call(Rc::clone(&stage), Rc::clone(&world), number));
    let clients: Vec<_> = (0..world.calls.len()).map(play).collect();
    let (mut whole, mut cut) = (0, 0);
    let all = async {
        for client in clients {
            match client.await {
                Ok(true) => whole += 1,
                Ok(false) | Err(_) => cut += 1,
            }
        }
    };
    if timeout(WORLD_LIMIT, all).await.is_err() {
        stage.breach("the world does not end");
    }
    coda::settle(&stage, &shared).await;
    shared.stop();
    let _ = ticks.await;
    net.close();
    (stage.journal.take(), (whole, cut))
}

/// Takes connections for as long as the world lasts.
async fn serve(
    stage: Rc<Stage>,
    world: Rc<World>,
    mut listener: MemoryListener,
    breaks_after: Option<usize>,
) {
    while let Ok(stream) = listener.accept().await {
        let (stage, world) = (Rc::clone(&stage), Rc::clone(&world));
        tokio::task::spawn_local(async move {
            let stream = ScriptStream::new(stream);
            if echo(&stage, &world, &stream, breaks_after).await.is_none() {
                stream.reset();
            }
        });
    }
}

/// Sends back what comes; `None` if the connection breaks, by whomever.
async fn echo(
    stage: &Stage,
    world: &World,
    stream: &ScriptStream,
    breaks_after: Option<usize>,
) -> Option<()> {
    let mut bytes = Vec::new();
    if world.plan.pools[0].proxy_protocol != SendProxy::Off {
        let used = loop {
            match proxy_protocol::parse(&bytes) {
                Ok(Opening::Header(told, used)) => break check_told(stage, world, told, used),
                Ok(Opening::Partial) => {}
                other => {
                    stage.breach(&format!("no PROXY header but {other:?}: {bytes:?}"));
                    return None;
                }
            }
            if stream.read(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        bytes.drain(..used);
    }
    if world.upgraded {
        let head = loop {
            if let Some(at) = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END) {
                break at + HEAD_END.len();
            }
            if stream.read(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        bytes.drain(..head);
        stream.write_all(SWITCH).await.ok()?;
    }
    let mut heard = 0;
    loop {
        heard += bytes.len();
        if breaks_after.is_some_and(|most| heard > most) {
            return None;
        }
        stream.write_all(&bytes).await.ok()?;
        bytes.clear();
        if stream.read(&mut bytes).await.ok()? == 0 {
            break;
        }
    }
    stream.write_all(LAST_WORD).await.ok()?;
    stream.shutdown().await;
    // The other side ends too.
    while stream.read(&mut bytes).await.ok()? > 0 {}
    Some(())
}

/// Who calls is one of those who do.
fn check_told(stage: &Stage, world: &World, told: Told, used: usize) -> usize {
    let callers = world.calls.iter().enumerate();
    let callers: BTreeSet<_> = callers
        .map(|(number, call)| call.behind.unwrap_or_else(|| address_of(number)).ip())
        .collect();
    let known = match told {
        Told::Client { source, .. } => callers.contains(&source.ip()),
        // The network in memory tells nobody which address was called; only a header does.
        Told::Nothing => world.calls.iter().all(|call| call.behind.is_none()),
    };
    if !known {
        stage.breach(&format!("a backend is told that {told:?} calls"));
    }
    used
}

impl Call {
    /// The bytes of its share.
    fn sent(&self) -> Vec<u8> {
        let mut all = inbox::body_of(&format!("t{}", self.start_ms), self.bytes);
        all.truncate(self.bytes * usize::from(self.share) / 100);
        all
    }
}

/// What a client heard.
struct Heard {
    bytes: Vec<u8>,
    /// It ended in order.
    clean: bool,
    /// When the last of it came, and when the end.
    moved: (Instant, Instant),
}

/// Plays one client; true if it got everything.
async fn call(stage: Rc<Stage>, world: Rc<World>, number: usize) -> bool {
    let call = &world.calls[number];
    sleep(Duration::from_millis(call.start_ms)).await;
    let (own, to) = (address_of(number), listener_address(0));
    let Ok(stream) = stage.net.dial(own, to).await else {
        if world.drain_ms.is_none() {
            stage.breach(&format!("client {number} is not let in"));
        }
        return false;
    };
    let stream = ScriptStream::new(stream);
    let sent = call.sent();
    let talk = async { tokio::join!(speak(&stream, &world, call, &sent), listen(&stream)) };
    let Ok((written_at, mut heard)) = timeout(PATIENCE, talk).await else {
        stage.breach(&format!("I1: client {number} hangs"));
        stream.reset();
        return false;
    };
    let (all, clean) = (heard.bytes.len(), heard.clean);
    stage.note(&format!("client {number}: {all} for {} bytes, clean {clean}", sent.len()));
    if world.upgraded && !strip_switch(&mut heard.bytes) {
        if world.is_calm() && world.drain_ms.is_none() && call.ending != Ending::Breaks {
            stage.breach(&format!("lost: client {number} is refused"));
        }
        return false;
    }
    heard.moved.0 = heard.moved.0.max(written_at);
    judge(&stage, &world, (number, &sent), &heard);
    stream.close();
    heard.bytes == [&sent[..], LAST_WORD].concat()
}

/// True if the backend agreed; takes its head away.
fn strip_switch(received: &mut Vec<u8>) -> bool {
    let end = received.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    let Some(end) = end.filter(|_| received.starts_with(b"HTTP/1.1 101 ")) else { return false };
    received.drain(..end + HEAD_END.len());
    true
}

fn judge(stage: &Stage, world: &World, (number, sent): (usize, &[u8]), heard: &Heard) {
    let call = &world.calls[number];
    let whole = [sent, LAST_WORD].concat();
    let got = heard.bytes.len();
    if !whole.starts_with(&heard.bytes) {
        stage.breach(&format!("I5: client {number} got bytes that it did not send"));
    }
    let is_whole = got == whole.len();
    let drains = world.drain_ms.is_some();
    if call.ending == Ending::Waits {
        let silent = heard.moved.1 - heard.moved.0;
        let may = if drains { Duration::ZERO } else { IDLE.saturating_sub(IDLE_SLACK) };
        if world.is_calm() && !(may..=IDLE + IDLE_SLACK).contains(&silent) {
            stage.breach(&format!("client {number} is silent for {silent:?}"));
        }
        return;
    }
    if heard.clean && !is_whole && got > 0 {
        stage.breach(&format!("I6: client {number}: a clean end after {got} of {}", whole.len()));
    }
    let let_in = !drains || got > 0;
    if !is_whole && call.ending == Ending::Ends && world.is_calm() && let_in {
        stage.breach(&format!("lost: client {number} got {got} of {} bytes", whole.len()));
    }
}

/// Writes all that a client has to say; when it was done.
async fn speak(stream: &ScriptStream, world: &World, call: &Call, sent: &[u8]) -> Instant {
    let mut opening = Vec::new();
    if let Some(source) = call.behind {
        let told = Told::Client { source, destination: listener_address(0) };
        if call.bytes.is_multiple_of(2) {
            proxy_protocol::write_v1(&told, &mut opening);
        } else {
            proxy_protocol::write_v2(&told, &TlsTold::default(), &mut opening);
        }
    }
    if world.upgraded {
        opening.extend_from_slice(UPGRADE);
    }
    for piece in std::iter::once(&opening[..]).chain(sent.chunks(call.piece)) {
        if stream.write_all(piece).await.is_err() {
            return Instant::now();
        }
        if call.pause_ms > 0 {
            sleep(Duration::from_millis(call.pause_ms)).await;
        }
    }
    match call.ending {
        Ending::Breaks => stream.reset(),
        Ending::Ends => stream.shutdown().await,
        Ending::Waits => {}
    }
    Instant::now()
}

/// All that comes, and how it ends.
async fn listen(stream: &ScriptStream) -> Heard {
    let (mut bytes, mut last) = (Vec::new(), Instant::now());
    loop {
        let read = stream.read(&mut bytes).await;
        let now = Instant::now();
        match read {
            Ok(length) if length > 0 => last = now,
            Ok(_) => return Heard { bytes, clean: true, moved: (last, now) },
            Err(_) => return Heard { bytes, clean: false, moved: (last, now) },
        }
    }
}
