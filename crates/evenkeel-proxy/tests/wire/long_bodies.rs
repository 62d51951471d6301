//! Long bodies on a connection whose last response was long: most of such a body goes from socket
//! to socket without being looked at (RFC 9112 6.3: its length alone says where it ends).

use crate::arena::{Arena, GOOD};
use evenkeel_testkit::backend::{Backend, Gate};
use evenkeel_testkit::client::NoResponse;
use evenkeel_testkit::wire::PATIENCE;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Long enough for all of what is special about long bodies.
const LENGTH: usize = 400_000;
/// What of it comes at once.
const PART: usize = 150_000;

fn body() -> Vec<u8> {
    (0..=250).cycle().take(LENGTH).collect()
}

fn head() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes()
}

/// Answers the first request of a connection with a long body, the second one with `then`, and
/// every other connection with a long body too.
fn second_answer(then: Vec<Vec<u8>>, between: &Gate) -> Backend {
    let between = between.clone();
    Backend::start(move |conversation| {
        let whole = [head(), body()].concat();
        while conversation.request().is_some() {
            if !conversation.send(&whole) || conversation.index() > 0 {
                continue;
            }
            if conversation.request().is_none() {
                return;
            }
            for (number, piece) in then.iter().enumerate() {
                if number > 0 && !between.wait() {
                    return;
                }
                conversation.send(piece);
            }
            return;
        }
    })
}

/// Asks, and reads the head and so many bytes of the body.
fn read_response(client: &mut TcpStream, length: usize) -> Vec<u8> {
    client.write_all(GOOD.as_bytes()).expect("taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("a body");
    body
}

#[test]
fn what_has_come_is_passed_on_before_the_rest_comes() {
    let rest = Gate::default();
    let pieces = vec![[head(), body()[..PART].to_vec()].concat(), body()[PART..].to_vec()];
    let arena = Arena::before(second_answer(pieces, &rest), |plan| plan);
    let mut client = TcpStream::connect(arena.proxy.address()).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    let whole = read_response(&mut client, LENGTH);
    assert!(whole == body());
    let part = read_response(&mut client, PART);
    rest.open();
    let mut more = vec![0; LENGTH - PART];
    client.read_exact(&mut more).expect("the rest");
    assert!([part, more].concat() == body());
    assert_eq!(arena.backend.connections(), 1);
}

#[test]
fn a_body_that_is_cut_is_cut_for_the_client() {
    let pieces = vec![[head(), body()[..PART].to_vec()].concat()];
    let arena = Arena::before(second_answer(pieces, &Gate::default()), |plan| plan);
    let mut client = arena.connect();
    assert!(client.ask(GOOD).body == body());
    client.send(GOOD);
    assert!(matches!(client.response(), Err(NoResponse::Cut(..))));
    let record = &arena.proxy.wait_for_records(2)[1];
    assert_eq!(record["failure"], "reset", "{record}");
    let mut next = arena.connect();
    assert!(next.ask(GOOD).body == body());
}

#[test]
fn what_follows_a_body_reaches_nobody() {
    // RFC 9112 6.3: bytes beyond the length are no part of any response.
    let stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray".to_vec();
    let pieces = vec![[head(), body(), stray].concat()];
    let arena = Arena::before(second_answer(pieces, &Gate::default()), |plan| plan);
    let mut client = arena.connect();
    for _ in 0..3 {
        assert!(client.ask(GOOD).body == body());
    }
    assert_eq!(arena.backend.connections(), 2, "the first connection is not used again");
}

#[test]
fn uploads_on_the_same_way_arrive_whole() {
    let echo = Backend::by_request(|request| [head(), request.body.clone()].concat());
    let arena = Arena::before(echo, |plan| plan);
    let mut client = arena.connect();
    for pieces in [LENGTH, 100_000, 7_000] {
        client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n"));
        body().chunks(pieces).for_each(|piece| {
            client.send(piece);
        });
        assert!(client.response().expect("an answer").body == body(), "in pieces of {pieces}");
    }
    assert_eq!(arena.backend.connections(), 1);
}
