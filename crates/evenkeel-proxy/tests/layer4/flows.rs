//! Flows of udp listeners.

use evenkeel_core::address::BindAddress;
use evenkeel_core::plan::{ListenerProtocol, Plan, UdpPlan};
use evenkeel_core::strategy::StrategyName;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::server::Server;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_RESENDS: u32 = 40;

/// Answers every datagram with its own name and what it heard.
struct Echo {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(name: &'static str) -> Echo {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let answer = [name.as_bytes(), &bytes[..length]].concat();
                let _ = socket.send_to(&answer, peer);
            }
        });
        Echo { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let knock = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let _ = knock.send_to(b"", &self.address);
        self.thread.take().map(JoinHandle::join);
    }
}

struct Client(UdpSocket);

impl Client {
    fn to(address: &str) -> Client {
        Client::from("127.0.0.1", address)
    }

    fn from(ip: &str, address: &str) -> Client {
        let socket = UdpSocket::bind((ip, 0)).expect("a free port");
        socket.connect(address).expect("an address");
        Client(socket)
    }

    fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).expect("sent");
    }

    fn hear(&self, patience: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(patience)).expect("set");
        let mut bytes = vec![0; 65_536];
        let length = self.0.recv(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    /// The name of the backend that answers.
    fn ask(&self, text: &str) -> char {
        self.send(text);
        let heard = self.hear(PATIENCE).expect("an answer");
        assert_eq!(&heard[1..], text.as_bytes());
        char::from(heard[0])
    }

    /// The same of one who asks again, as clients of datagrams do.
    fn insist(&self, text: &str) -> char {
        for _ in 0..MAX_RESENDS {
            self.send(text);
            if let Some(heard) = self.hear(Duration::from_millis(250)) {
                return char::from(heard[0]);
            }
        }
        panic!("nobody answers");
    }
}

struct Wanted {
    strategy: StrategyName,
    idle: Duration,
    max_flows: usize,
}

const USUAL: Wanted = Wanted {
    strategy: StrategyName::LeastConnections,
    idle: Duration::from_secs(60),
    max_flows: 1000,
};

fn plan(backends: &[&Echo], wanted: &Wanted) -> Plan {
    let addresses: Vec<&str> = backends.iter().map(|echo| &*echo.address).collect();
    to(&addresses, wanted)
}

fn to(addresses: &[&str], wanted: &Wanted) -> Plan {
    PlanBuilder::to(addresses)
        .listener(|listener| {
            listener.protocol = ListenerProtocol::Udp(UdpPlan {
                pool: 0,
                idle_timeout: wanted.idle,
                max_flows: wanted.max_flows,
            });
        })
        .pool(|pool| pool.strategy = wanted.strategy)
        .plan(|plan| plan.workers = 2)
        .build()
}

fn dropped(server: &Server) -> u64 {
    let totals = server.state().stats().read();
    totals.listeners.iter().map(|(_, counts)| counts.flows_dropped).sum()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn flows_are_shared_out_and_stay_where_they_are() {
    let echoes = [Echo::start("a"), Echo::start("b"), Echo::start("c")];
    let proxy = Proxy::start(&plan(&echoes.each_ref(), &USUAL));
    let clients: Vec<Client> = (0..60).map(|_| Client::to(proxy.address())).collect();
    let first: Vec<char> = clients.iter().map(|client| client.ask("one")).collect();
    assert_eq!(proxy.pool().begun.read(), (60, 0));
    let mut counts = BTreeMap::new();
    first.iter().for_each(|name| *counts.entry(*name).or_insert(0) += 1);
    assert_eq!(counts, BTreeMap::from([('a', 20), ('b', 20), ('c', 20)]), "open flows count");
    for round in ["two", "three"] {
        let again: Vec<char> = clients.iter().map(|client| client.ask(round)).collect();
        assert_eq!(first, again);
    }
    assert_eq!(proxy.server().state().client_connections(), 60);
    assert_eq!(dropped(proxy.server()), 0);
    let large = "x".repeat(60_000);
    assert_eq!(clients[0].ask(&large), first[0], "whole, however long");
}

#[test]
fn a_client_address_keeps_its_backend() {
    let echoes = [Echo::start("a"), Echo::start("b"), Echo::start("c")];
    for strategy in [StrategyName::ConsistentHash, StrategyName::Maglev] {
        let proxy = Proxy::start(&plan(&echoes.each_ref(), &Wanted { strategy, ..USUAL }));
        let mut used = Vec::new();
        for ip in 1..=12 {
            let ip = format!("127.0.0.{ip}");
            let clients = [0; 4].map(|_| Client::from(&ip, proxy.address()));
            let names = clients.map(|client| client.ask("who"));
            assert_eq!(names, [names[0]; 4], "{ip}");
            used.push(names[0]);
        }
        used.sort_unstable();
        used.dedup();
        assert!(used.len() > 1, "not all addresses have the same one");
    }
}

#[test]
fn a_full_table_drops_new_flows_and_spares_the_old() {
    let echo = Echo::start("a");
    let proxy = Proxy::start(&plan(&[&echo], &Wanted { max_flows: 2, ..USUAL }));
    let old = [Client::to(proxy.address()), Client::to(proxy.address())];
    old.iter().for_each(|client| assert_eq!(client.ask("in"), 'a'));
    let late = Client::to(proxy.address());
    late.send("full");
    wait_until("the drop is counted", || dropped(proxy.server()) == 1);
    old.iter().for_each(|client| assert_eq!(client.ask("still"), 'a'));
    assert_eq!(late.hear(Duration::from_millis(1)), None);
}

#[test]
fn a_quiet_flow_ends_and_makes_room() {
    let echo = Echo::start("a");
    let idle = Duration::from_millis(150);
    let proxy = Proxy::start(&plan(&[&echo], &Wanted { idle, max_flows: 1, ..USUAL }));
    for _ in 0..3 {
        assert_eq!(Client::to(proxy.address()).ask("one"), 'a');
        assert!(proxy.wait_for_no_clients());
        let backend = &proxy.pool().backends[0];
        wait_until("it counts no more", || backend.in_flight() == 0);
    }
}

#[test]
fn who_does_not_listen_is_passed_over() {
    let echo = Echo::start("a");
    let gone = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let dead = gone.local_addr().expect("bound").to_string();
    drop(gone);
    let strategy = StrategyName::RoundRobin;
    let proxy = Proxy::start(&to(&[&dead, &echo.address], &Wanted { strategy, ..USUAL }));
    for _ in 0..6 {
        let client = Client::to(proxy.address());
        assert_eq!(client.insist("anybody"), 'a');
    }
}

#[test]
fn listeners_for_datagrams_come_and_go() {
    let echo = Echo::start("a");
    let proxy = Proxy::start(&plan(&[&echo], &USUAL));
    let mut next = plan(&[&echo], &USUAL);
    let mut more = next.listeners[0].clone();
    more.name = "more".into();
    next.listeners.push(more.clone());
    let applied = proxy.server().apply(next.clone()).expect("applied");
    assert!(applied.changed);
    let addresses = proxy.server().addresses();
    let (_, second) = addresses.iter().find(|(name, _)| &**name == "more").expect("bound");
    let client = Client::to(second);
    assert_eq!(client.ask("new"), 'a');
    let first = Client::to(proxy.address());
    assert_eq!(first.ask("old"), 'a');
    next.listeners.pop();
    proxy.server().apply(next).expect("applied");
    wait_until("its flow has ended", || proxy.server().state().client_connections() == 1);
    assert_eq!(first.ask("still"), 'a');
}

#[test]
fn a_drain_ends_quiet_flows_and_takes_no_new_ones() {
    let echo = Echo::start("a");
    let proxy = Proxy::start(&plan(&[&echo], &USUAL));
    assert_eq!(Client::to(proxy.address()).ask("one"), 'a');
    assert!(proxy.server().drain(PATIENCE), "a quiet flow does not hold it up");
    assert_eq!(proxy.server().state().client_connections(), 0);
}

#[test]
fn answers_come_from_the_address_that_was_called() {
    let echo = Echo::start("a");
    let mut plan = plan(&[&echo], &USUAL);
    plan.listeners[0].bind = BindAddress::parse("0.0.0.0:0").expect("an address");
    let proxy = Proxy::start(&plan);
    let (_, port) = proxy.address().rsplit_once(':').expect("a port");
    // A connected socket hears nobody else.
    for ip in ["127.0.0.1", "127.0.0.9", "127.1.2.3"] {
        assert_eq!(Client::to(&format!("{ip}:{port}")).ask("one"), 'a', "{ip}");
    }
    // One client, two addresses of ours: two flows.
    let before = proxy.server().state().client_connections();
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    for ip in ["127.0.0.5", "127.0.0.6", "127.0.0.5"] {
        let called = format!("{ip}:{port}");
        client.send_to(b"x", &called).expect("sent");
        let (_, from) = client.recv_from(&mut [0; 16]).expect("an answer");
        assert_eq!(from.to_string(), called);
    }
    assert_eq!(proxy.server().state().client_connections(), before + 2);
}

#[test]
fn the_next_process_takes_the_very_sockets() {
    let echo = Echo::start("a");
    let plan = plan(&[&echo], &USUAL);
    let proxy = Proxy::start(&plan);
    let client = Client::to(proxy.address());
    assert_eq!(client.ask("before"), 'a');
    let log = Log::start(LogOptions {
        format: plan.logging.format,
        level: plan.logging.level,
        file: None,
    });
    let log = log.expect("a log");
    let legacy = proxy.server().legacy().expect("descriptors");
    let successor = Server::start_on(&plan, &log, legacy).expect("it starts");
    assert_eq!(successor.addresses(), proxy.server().addresses());
    proxy.server().drain_patiently();
    assert!(proxy.wait_for_no_clients());
    assert_eq!(client.ask("after"), 'a');
    assert_eq!(successor.state().client_connections(), 1);
    successor.stop();
}
