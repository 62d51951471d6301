//! Tunnels in which much moves: their bytes pass through pipes of the kernel, which are held only
//! as long as something is in them. Alone in its process, so that the pipes can be counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

use evenkeel_core::plan::{ListenerProtocol, TcpPlan};
use evenkeel_testkit::backend::{Backend, Conversation, Gate};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::PATIENCE;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// More than all buffers on the way can hold.
const BYTES: usize = 64 * 1024 * 1024;
const PIECE: usize = 1024 * 1024;
/// Descriptors of free pipes that a worker may keep.
const KEPT: usize = 32;

/// Descriptors of pipes in this process.
fn pipes() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let links = all.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

fn await_pipes(what: &str, is_right: impl Fn(usize) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_right(pipes()) {
        assert!(Instant::now() < until, "{what}: {} descriptors of pipes", pipes());
        std::thread::yield_now();
    }
}

fn piece(number: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * 31 + number * 7 + at / 251) % 256).unwrap();
    (0..PIECE).map(byte).collect()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
    stream
}

/// Reads to the end: how much, and what it adds up to.
fn read_all(stream: &mut TcpStream) -> (usize, u64) {
    let (mut length, mut sum, mut bytes) = (0, DefaultHasher::new(), vec![0; PIECE]);
    loop {
        let read = stream.read(&mut bytes).expect("no error before the end");
        if read == 0 {
            return (length, sum.finish());
        }
        // A sum over bytes, for reads come in any size.
        bytes[..read].iter().for_each(|byte| byte.hash(&mut sum));
        length += read;
    }
}

#[test]
fn much_goes_through_pipes_that_are_given_back() {
    let gate = Gate::default();
    let open = gate.clone();
    // Sends a lot at once, waits for a word, and sends what it was sent back.
    let backend = Backend::start(move |conversation: &mut Conversation| {
        let sent = (0..BYTES / PIECE).all(|number| conversation.send(&piece(number)));
        if !sent {
            return; // its client broke off
        }
        open.open();
        while conversation.receive() {
            let heard = conversation.take_bytes();
            conversation.send(&heard);
        }
        conversation.half_close();
    });
    let plan = PlanBuilder::to(&[backend.address()]).listener(|listener| {
        listener.protocol =
            ListenerProtocol::Tcp(TcpPlan { pool: Some(0), sni_routes: Vec::new() });
    });
    let proxy = Proxy::start(&plan.build());
    let before = pipes();
    let mut client = connect(&proxy);

    // The client does not read: what is under way stays in a pipe, and is not more than that.
    await_pipes("a stalled transfer holds one", |count| count == before + 2);
    assert!(!gate.wait_at_most(std::time::Duration::from_millis(200)), "it is held back");

    let (mut length, mut bytes) = (0, vec![0; PIECE]);
    for number in 0..BYTES / PIECE {
        client.read_exact(&mut bytes).expect("all of it");
        assert!(bytes == piece(number), "piece {number}");
        length += PIECE;
    }
    assert!(gate.wait());

    // Both ways at a time, then an end of one half.
    let mut sender = client.try_clone().expect("a live socket");
    let sending = std::thread::spawn(move || {
        let mut sum = DefaultHasher::new();
        for number in 0..8 {
            let piece = piece(number);
            sender.write_all(&piece).expect("taken");
            piece.iter().for_each(|byte| byte.hash(&mut sum));
        }
        sender.shutdown(Shutdown::Write).expect("a live socket");
        (8 * PIECE, sum.finish())
    });
    let back = read_all(&mut client);
    assert_eq!(back, sending.join().expect("sent"));

    let event = &proxy.wait_for_events("tunnel_closed", 1)[0];
    assert_eq!(event["bytes_in"], 8 * PIECE);
    assert_eq!(event["bytes_out"], length + 8 * PIECE);
    await_pipes("they are given back", |count| count <= before + KEPT);
    assert!(proxy.wait_for_no_clients());

    // A client that breaks off while a pipe is full costs that pipe, and nothing else.
    let stalled = connect(&proxy);
    await_pipes("another one stalls", |count| count > before);
    drop(stalled);
    let event = &proxy.wait_for_events("tunnel_closed", 2)[1];
    assert_eq!(event["failure"], "");
    assert!(proxy.wait_for_no_clients());
    await_pipes("its pipe is closed or free", |count| count <= before + KEPT);
}
