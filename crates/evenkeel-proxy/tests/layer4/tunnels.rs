//! Tunnels of tcp listeners.

use evenkeel_core::plan::{AffinityPlan, ListenerProtocol, Plan, SniRoutePlan, TcpPlan};
use evenkeel_testkit::backend::{Backend, Conversation, RefusingAddress};
use evenkeel_testkit::plan::{PlanBuilder, pool};
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::Ending;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn tcp(addresses: &[&str]) -> PlanBuilder {
    PlanBuilder::to(addresses).listener(|listener| {
        let plan = TcpPlan { pool: Some(0), sni_routes: Vec::new() };
        listener.protocol = ListenerProtocol::Tcp(plan);
    })
}

/// Says its name first, then repeats what it hears.
fn echo(name: &'static str) -> Backend {
    Backend::start(move |conversation: &mut Conversation| {
        conversation.send(name.as_bytes());
        while conversation.receive() {
            let heard = conversation.take_bytes();
            if !conversation.send(&heard) {
                return;
            }
        }
        conversation.half_close();
    })
}

#[test]
fn bytes_and_ends_go_both_ways() {
    let backend = echo("hello ");
    let proxy = Proxy::start(&tcp(&[backend.address()]).build());
    let begin = Instant::now();
    let mut client = proxy.connect();
    assert_eq!(client.read_until(b"hello "), b"hello ");
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(1), "who is silent is not kept waiting: {waited:?}");
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for piece in body.chunks(100_000) {
        client.send(piece);
        assert!(client.read_until(&piece[piece.len() - 8..]).ends_with(&piece[99_992..]));
    }
    client.half_close();
    assert_eq!(client.read_to_close().1, Ending::Fin);
    let event = &proxy.wait_for_events("tunnel_closed", 1)[0];
    assert_eq!(event["bytes_in"], 1_200_000);
    assert_eq!(event["bytes_out"], 1_200_006);
    assert_eq!((&event["pool"], &event["failure"]), (&"web".into(), &"".into()));
    assert!(proxy.wait_for_no_clients());
}

#[test]
fn turns_are_taken_and_the_dead_are_passed_over() {
    let (a, b, dead) = (echo("a"), echo("b"), RefusingAddress::new());
    let proxy = Proxy::start(&tcp(&[a.address(), dead.address(), b.address()]).build());
    let mut heard = Vec::new();
    for _ in 0..6 {
        let mut client = proxy.connect();
        client.send("x");
        heard.push(client.read_until(b"x")[0]);
    }
    assert!(heard.contains(&b'a') && heard.contains(&b'b'), "{heard:?}");
    assert_eq!(heard.len(), 6, "every client reached somebody");
    assert_eq!(proxy.pool().begun.read(), (6, 0));
}

#[test]
fn nobody_there_is_a_closed_connection() {
    let dead = RefusingAddress::new();
    let proxy = Proxy::start(&tcp(&[dead.address()]).build());
    let (bytes, _) = proxy.connect().read_to_close();
    assert_eq!(bytes, b"");
    let event = &proxy.wait_for_events("tunnel_closed", 1)[0];
    assert_eq!(event["failure"], "connect_failure");
    assert_eq!(proxy.pool().begun.read(), (1, 1));
}

#[test]
fn a_client_keeps_its_backend_by_address() {
    let (a, b) = (echo("a"), echo("b"));
    let plan = tcp(&[a.address(), b.address()]).pool(|pool| pool.affinity = AffinityPlan::ClientIp);
    let proxy = Proxy::start(&plan.build());
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send("x");
        client.read_until(b"x");
    }
    assert!(a.connections() == 5 || b.connections() == 5);
}

#[test]
fn what_breaks_on_one_side_breaks_on_the_other() {
    let backend = Backend::start(|conversation| {
        conversation.receive();
        conversation.reset();
    });
    let proxy = Proxy::start(&tcp(&[backend.address()]).build());
    let mut client = proxy.connect();
    client.send("x");
    assert_eq!(client.read_to_close().1, Ending::Reset);
}

#[test]
fn a_full_backend_is_waited_for() {
    let backend = echo("hello");
    let plan = tcp(&[backend.address()]).pool(|pool| pool.connections.max = 1);
    let proxy = Proxy::start(&plan.build());
    let mut first = proxy.connect();
    first.read_until(b"hello");
    let mut second = proxy.connect();
    assert!(second.stays_quiet(Duration::from_millis(150)));
    first.half_close().read_to_close();
    second.read_until(b"hello");
}

#[test]
fn nothing_moves_for_too_long() {
    let backend = echo("hello");
    let plan = tcp(&[backend.address()]).limits(|limits| {
        limits.idle_timeout = Duration::from_millis(300);
    });
    let proxy = Proxy::start(&plan.build());
    let mut client = proxy.connect();
    client.read_until(b"hello");
    let begin = Instant::now();
    client.read_to_close();
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_drain_lets_a_quiet_tunnel_go() {
    let backend = echo("hello");
    let proxy = Proxy::start(&tcp(&[backend.address()]).build());
    let mut client = proxy.connect();
    client.read_until(b"hello");
    assert!(proxy.server().drain(Duration::from_secs(4)));
    assert_eq!(client.read_to_close().1, Ending::Fin);
}

/// The first bytes of a TLS client that asks for this name.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("usable");
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).expect("memory");
    bytes
}

fn by_name(default: &Backend, a: &Backend, b: &Backend, has_default: bool) -> Plan {
    let plan = PlanBuilder::to(&[default.address()]).plan(|plan| {
        plan.pools.push(pool("a", &[a.address()]));
        plan.pools.push(pool("b", &[b.address()]));
        let route = |host: &str, pool| SniRoutePlan { hosts: vec![host.to_owned()], pool };
        plan.listeners[0].protocol = ListenerProtocol::Tcp(TcpPlan {
            pool: has_default.then_some(0),
            sni_routes: vec![route("a.test", 1), route("*.b.test", 2)],
        });
    });
    plan.build()
}

#[test]
fn tls_is_passed_through_by_its_server_name() {
    let (default, a, b) = (echo("d"), echo("a"), echo("b"));
    let proxy = Proxy::start(&by_name(&default, &a, &b, true));
    let plain = b"SSH-2.0-client\r\n".to_vec();
    for (bytes, backend, name) in [
        (hello("a.test"), &a, b'a'),
        (hello("x.b.test"), &b, b'b'),
        (hello("other.test"), &default, b'd'),
        (plain, &default, b'd'),
    ] {
        let mut client = proxy.connect();
        client.send_in_slices(&bytes, 7);
        // As it came, to the last byte.
        let echoed = client.read_until(&bytes[bytes.len() - 12..]);
        assert_eq!(echoed[0], name);
        assert_eq!(echoed[1..], bytes);
        assert_eq!(backend.received().last(), Some(&bytes));
    }
}

#[test]
fn a_name_without_a_pool_is_closed() {
    let (default, a, b) = (echo("d"), echo("a"), echo("b"));
    let proxy = Proxy::start(&by_name(&default, &a, &b, false));
    let mut client = proxy.connect();
    client.send(hello("other.test"));
    assert_eq!(client.read_to_close().0, b"");
    assert_eq!(default.connections() + a.connections() + b.connections(), 0);
}
