//! Clients that take and never give: time, connections, memory and CPU have bounds.

use crate::arena::{Arena, GOOD, gated, is_refusal};
use evenkeel_testkit::backend::{Backend, Gate, OK};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::process::{alone, cpu_ticks, resident_bytes};
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::Ending;
use std::time::{Duration, Instant};

const HEAD_TIMEOUT: (u16, &str) = (408, "head_timeout");
const BODY_TIMEOUT: (u16, &str) = (408, "body_timeout");
const SHORT: Duration = Duration::from_millis(300);

fn impatient(plan: PlanBuilder) -> PlanBuilder {
    plan.limits(|limits| {
        limits.request_head_timeout = SHORT;
        limits.idle_timeout = SHORT;
    })
    .pool(|pool| pool.timeouts.idle = SHORT)
}

#[test]
fn e1_a_head_has_one_deadline_however_it_trickles() {
    // RFC 9110 15.5.9: a byte now and then does not buy time.
    let arena = Arena::with(impatient);
    let started = Instant::now();
    let mut client = arena.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n");
    let never = Gate::default();
    let sent = (0..100)
        .take_while(|_| {
            never.wait_at_most(Duration::from_millis(20));
            client.try_send("A: b\r\n").is_ok() && started.elapsed() < SHORT * 2
        })
        .count();
    let response = arena.answer(&mut client).expect("408");
    is_refusal(&response, HEAD_TIMEOUT).expect("408");
    assert_eq!(response.value("connection"), Some("close"));
    assert!(sent > 5 && started.elapsed() < SHORT * 5, "{sent} in {:?}", started.elapsed());
    assert!(arena.backend.received().is_empty());
    arena.settles();
}

#[test]
fn e1_a_second_head_has_a_deadline_too() {
    let arena = Arena::with(impatient);
    let mut client = arena.connect();
    client.send(GOOD);
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    client.send("GET / HT");
    let response = arena.answer(&mut client).expect("408");
    is_refusal(&response, HEAD_TIMEOUT).expect("408");
    arena.settles();
}

#[test]
fn e1_many_slow_clients_do_not_slow_a_good_one() {
    let arena = Arena::new();
    let mut slow: Vec<_> = (0..500).map(|_| arena.connect()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: x\r\nA: ");
    }
    for round in 0..20 {
        for client in &mut slow {
            client.send("b");
        }
        let started = Instant::now();
        arena.settles();
        assert!(started.elapsed() < Duration::from_secs(1), "round {round}");
    }
    assert!(arena.backend.targets().iter().all(|target| target == "/good"));
}

#[test]
fn e2_a_body_that_stops_coming() {
    // RFC 9110 15.5.9: the backend is let go, and so is the client.
    let arena = Arena::with(impatient);
    for framing in
        ["Content-Length: 100\r\n\r\nsome", "Transfer-Encoding: chunked\r\n\r\n9\r\nsome"]
    {
        let connections = arena.backend.connections();
        let mut client = arena.connect();
        client.send(format!("POST /slow HTTP/1.1\r\nHost: x\r\n{framing}"));
        arena.is_refused_for_good(&mut client, BODY_TIMEOUT).expect("408");
        let used = arena.backend.connections().max(connections) - 1;
        assert!(arena.backend.wait_for_end(used), "an unfinished request is not kept");
        assert_eq!(arena.backend.targets().iter().filter(|t| *t == "/slow").count(), 0);
        arena.settles();
    }
}

#[test]
fn e2_the_listeners_idle_timeout_covers_bodies() {
    // "Without a request, or without a byte moving in a body", whatever the pool allows.
    let arena = Arena::with(|plan| plan.limits(|limits| limits.idle_timeout = SHORT));
    let mut client = arena.connect();
    client.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome");
    arena.is_refused_for_good(&mut client, BODY_TIMEOUT).expect("408");
    arena.settles();
}

#[test]
fn e2_a_route_bounds_the_whole_exchange() {
    // However lively: a stream that never ends is cut at the route's deadline.
    let backend = Backend::start(|conversation| {
        let Some(request) = conversation.request() else { return };
        let never = Gate::default();
        if request.target() == "/stream" {
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while conversation.send(b"1\r\nx\r\n") {
                never.wait_at_most(Duration::from_millis(20));
            }
        }
        conversation.stall();
    });
    let arena = Arena::before(backend, |plan| plan.route(|route| route.timeout = SHORT));
    let started = Instant::now();
    let mut silent = arena.connect();
    silent.send("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = arena.answer(&mut silent).expect("504");
    is_refusal(&response, crate::arena::RESPONSE_TIMEOUT).expect("504");
    let mut streaming = arena.connect();
    streaming.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    let (bytes, ending) = streaming.read_to_close();
    assert!(ending != Ending::StillOpen && !bytes.ends_with(b"0\r\n\r\n"), "cut, not ended");
    assert!(started.elapsed() < SHORT * 6, "{:?}", started.elapsed());
}

#[test]
fn e2_a_client_that_stops_reading() {
    let backend = Backend::by_request(|request| match request.target() {
        "/large" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n".to_vec();
            answer.resize(answer.len() + 16 * 1024 * 1024, b'x');
            answer
        }
        _ => OK.to_vec(),
    });
    let arena = Arena::before(backend, impatient);
    let mut client = arena.connect();
    client.shrink_receive_buffer();
    client.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(arena.proxy.wait_for_no_clients(), "let go although it reads nothing");
    client.reset();
    arena.count_answers(1);
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["failure"], "client_gone", "{record}");
    arena.settles();
}

#[test]
fn e3_bytes_of_other_protocols_and_then_silence() {
    let arena = Arena::with(impatient);
    let cases: [(&str, &[u8]); 4] = [
        ("nothing", b""),
        ("Postgres SSLRequest", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("part of a TLS record", b"\x16\x03\x01\x02\0"),
        ("part of a PROXY line", b"PROXY TCP4 "),
    ];
    let mut clients: Vec<_> = cases
        .iter()
        .map(|(name, bytes)| {
            let mut client = arena.connect();
            client.send(bytes);
            (name, client)
        })
        .collect();
    for (name, client) in &mut clients {
        let (answer, ending) = client.read_to_close();
        assert_eq!(ending, Ending::Fin, "{name}");
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(refused, "{name}: {}", answer.escape_ascii());
    }
    assert!(arena.proxy.wait_for_no_clients());
    assert!(arena.backend.received().is_empty());
    arena.settles();
}

#[test]
fn e4_waiting_clients_make_room_for_new_ones() {
    // Half a request each and then silence: with the house full, the longest waiting go first.
    let arena = Arena::with(|plan| plan.limits(|limits| limits.max_connections = 20));
    let mut silent: Vec<_> = (0..100).map(|_| arena.connect()).collect();
    silent.iter_mut().for_each(|client| drop(client.try_send("GET / HT")));
    let started = Instant::now();
    arena.settles();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let clients = arena.proxy.server().state().client_connections();
    assert!(clients <= 21, "{clients} of 20");
}

#[test]
fn e4_working_clients_are_not_shed() {
    let gate = Gate::default();
    let arena =
        Arena::before(gated(&gate), |plan| plan.limits(|limits| limits.max_connections = 4));
    let mut working: Vec<_> = (0..3).map(|_| arena.connect()).collect();
    for client in &mut working {
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert!(arena.backend.wait_for_connections(3));
    let mut silent: Vec<_> = (0..10).map(|_| arena.connect()).collect();
    silent.iter_mut().for_each(|client| drop(client.try_send("GET / HT")));
    let mut good = arena.connect();
    good.send(GOOD);
    assert_eq!(good.final_response().expect("room was made").status(), 200);
    gate.open();
    for client in &mut working {
        assert_eq!(client.final_response().expect("not shed").status(), 200);
    }
}

#[test]
fn e4_one_address_cannot_take_all_places() {
    let arena = Arena::with(|plan| plan.limits(|limits| limits.max_connections_per_ip = 3));
    let mut kept: Vec<_> = (0..3).map(|_| arena.connect()).collect();
    for client in &mut kept {
        client.send(GOOD);
        assert_eq!(arena.answer(client).expect("200").status(), 200);
    }
    let mut fourth = arena.connect();
    let _ = fourth.try_send(GOOD);
    assert!(fourth.final_response().is_err(), "no place");
    drop(kept.pop());
    let until = Instant::now() + Duration::from_secs(5);
    let again = || {
        let mut client = arena.connect();
        let _ = client.try_send(GOOD);
        arena.answer(&mut client).is_ok()
    };
    while !again() {
        assert!(Instant::now() < until, "the freed place is given out");
    }
}

#[test]
fn e5_the_accept_loop_survives_clients_that_vanish() {
    let arena = Arena::new();
    for _ in 0..300 {
        arena.connect().reset();
        let mut client = arena.connect();
        client.send("GET / HT");
        client.reset();
    }
    arena.settles();
    assert!(arena.proxy.wait_for_no_clients());
}

#[test]
fn e6_uploads_into_a_stalled_backend_take_little_memory() {
    const UPLOADS: usize = 200;
    if !alone("exhaustion::e6_uploads_into_a_stalled_backend_take_little_memory") {
        return;
    }
    let stalled = Backend::stalling();
    let proxy = Proxy::start(&PlanBuilder::to(&[stalled.address()]).build());
    let body = vec![b'x'; 1024 * 1024];
    let mut clients: Vec<_> = (0..UPLOADS).map(|_| proxy.connect()).collect();
    let before = resident_bytes();
    for client in &mut clients {
        client.bound_waits(Duration::from_millis(20));
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head);
        let _ = client.try_send(&body);
    }
    assert!(stalled.wait_for_connections(UPLOADS));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < UPLOADS * 160 * 1024, "{} KiB each", grown / UPLOADS / 1024);
}

#[test]
fn e6_slow_readers_take_little_memory() {
    const READERS: usize = 200;
    if !alone("exhaustion::e6_slow_readers_take_little_memory") {
        return;
    }
    let piece: &'static [u8] = Box::leak(vec![b'x'; 1024 * 1024].into_boxed_slice());
    let backend = Backend::start(move |conversation| {
        if conversation.request().is_some() {
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            while conversation.send(piece) {}
        }
    });
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let mut clients: Vec<_> = (0..READERS).map(|_| proxy.connect()).collect();
    let before = resident_bytes();
    for client in &mut clients {
        client.shrink_receive_buffer();
        client.send(GOOD);
    }
    assert!(backend.wait_for_connections(READERS));
    Gate::default().wait_at_most(Duration::from_secs(1));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < READERS * 160 * 1024, "{} KiB each", grown / READERS / 1024);
}

#[test]
fn e13_quiet_after_the_storm() {
    // Half-closed clients, cut requests, open tunnels to nobody: afterwards nothing spins.
    if !alone("exhaustion::e13_quiet_after_the_storm") {
        return;
    }
    let arena = Arena::new();
    let mut held: Vec<Client> = Vec::new();
    for bytes in ["", "GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome"] {
        for half in [false, true] {
            let mut client = arena.connect();
            client.send(bytes);
            if half {
                client.half_close();
            }
            held.push(client);
        }
    }
    let stalled = Backend::stalling();
    let proxy = Proxy::start(&PlanBuilder::to(&[stalled.address()]).build());
    for bytes in [GOOD, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome"] {
        for half in [false, true] {
            let mut client = proxy.connect();
            client.send(format!("{bytes}{GOOD}"));
            if half {
                client.half_close();
            }
            held.push(client);
        }
    }
    let pause = Gate::default();
    pause.wait_at_most(Duration::from_millis(200));
    let before = cpu_ticks();
    pause.wait_at_most(Duration::from_secs(2));
    let used = cpu_ticks() - before;
    assert!(used <= 10, "{used} ticks of 200 while nothing happens");
    drop(held);
}

#[test]
fn e8_e14_bytes_of_chance_harm_nobody() {
    // Every cut and every flip of a legal request, and names that collide on purpose: some answer
    // or none, but no panic (the proxy's end checks that) and no harm to the next client.
    let arena = Arena::new();
    let legal = b"POST /a?b=%41 HTTP/1.1\r\nHost: x\r\nConnection: te\r\nTE: trailers\r\n\
        Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n";
    let mut shuffled = 1u32;
    for at in 0..legal.len() {
        let mut flipped = legal.to_vec();
        shuffled = shuffled.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        flipped[at] = shuffled.to_be_bytes()[0];
        for bytes in [&flipped, &legal[..at].to_vec()] {
            let mut client = arena.connect();
            client.send(bytes).half_close();
            let (answers, _) = client.read_to_close();
            let count = answers.windows(9).filter(|window| *window == b"HTTP/1.1 ").count();
            arena.count_answers(count);
        }
    }
    let collisions: String = (0..95).map(|n| format!("X-{}: {n}\r\n", "A".repeat(n))).collect();
    let mut client = arena.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{collisions}\r\n"));
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    drop(client);
    assert!(arena.proxy.wait_for_no_clients());
    arena.settles();
}
