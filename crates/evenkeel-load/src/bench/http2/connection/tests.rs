use super::terms::MAX_CONCURRENT_STREAMS;
use super::*;
use bytes::Bytes;
use http::Request;
use std::task::Waker;

fn connection(body: &[u8]) -> Connection {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let head = Request::builder().method(method).uri("http://a/p").body(()).expect("a head");
    let template = Template::new(&head, Bytes::copy_from_slice(body));
    Connection::new(Arc::new(template), 4)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_head(&mut frame, payload.len(), [kind, flags], stream);
    frame.extend_from_slice(payload);
    frame
}

fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let bytes = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(frame::SETTINGS, 0, 0, &values.iter().flat_map(bytes).collect::<Vec<u8>>())
}

fn head(stream: u32, ends: bool) -> Vec<u8> {
    let flags = frame::END_HEADERS | if ends { frame::END_STREAM } else { 0 };
    frame(frame::HEADERS, flags, stream, &[0x88])
}

fn number(kind: u8, stream: u32, number: u32) -> Vec<u8> {
    frame(kind, 0, stream, &number.to_be_bytes())
}

/// What a connection has written since it was asked last: kind, flags, stream, length.
fn written(connection: &mut Connection) -> Vec<(u8, u8, u32, usize)> {
    connection.render();
    let out = connection.waiting().to_vec();
    connection.wrote(out.len());
    let mut out = out.strip_prefix(frame::PREFACE).unwrap_or(&out);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::first(out).expect("well written") {
        frames.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
        out = &out[frame::HEAD_BYTES + frame.payload.len()..];
    }
    assert!(out.is_empty());
    frames
}

fn outcome(connection: &mut Connection, slot: usize) -> Option<Result<Answer, End>> {
    let cx = Context::from_waker(Waker::noop());
    match connection.poll(slot, &mut String::new(), &cx) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// A connection with so many requests under way.
fn asked(requests: usize, body: &[u8], with: &[(u16, u32)]) -> Connection {
    let mut connection = connection(body);
    for slot in 0..requests {
        connection.begin(slot).expect("open");
    }
    let first: Vec<u8> = written(&mut connection).iter().map(|frame| frame.0).collect();
    assert_eq!(first, [frame::SETTINGS, frame::WINDOW_UPDATE], "nothing before the settings");
    connection.receive(&settings(with)).expect("well written");
    connection
}

#[test]
fn answers_are_told_apart_however_they_come() {
    let interim = frame(frame::HEADERS, frame::END_HEADERS, 3, b"\x08\x03103");
    let padded = frame(frame::DATA, 0x9, 3, b"\x02hello\0\0");
    let cut = frame(frame::HEADERS, 0, 1, &[0x88, 0x0f]);
    let rest = frame(frame::CONTINUATION, frame::END_HEADERS, 1, b"\x0d\x015");
    let five = frame(frame::DATA, 0, 1, b"12345");
    let trailer = frame(frame::HEADERS, 0x5, 1, b"\0\x01a\x01b");
    let all = [interim, cut, rest, five, head(3, false), padded, trailer].concat();
    for size in [1, 2, 7, all.len()] {
        let mut connection = asked(2, b"", &[]);
        let sent = written(&mut connection);
        let heads: Vec<_> = sent.iter().filter(|f| f.0 == frame::HEADERS).collect();
        assert!(heads[0].3 > heads[1].3, "the second is shorter: {sent:?}");
        let mut held: Vec<u8> = Vec::new();
        for part in all.chunks(size) {
            held.extend_from_slice(part);
            let read = connection.receive(&held).expect("well written");
            held.drain(..read);
        }
        for slot in 0..2 {
            let answer = outcome(&mut connection, slot).expect("over").expect("an answer");
            assert_eq!(answer, Answer { status: 200, bytes: 5 }, "{size}");
        }
    }
}

#[test]
fn no_more_streams_are_opened_than_are_allowed() {
    let mut connection = asked(4, b"", &[(MAX_CONCURRENT_STREAMS, 2)]);
    let opened = |frames: &[(u8, u8, u32, usize)]| {
        frames.iter().filter(|f| f.0 == frame::HEADERS).map(|f| f.2).collect::<Vec<u32>>()
    };
    assert_eq!(opened(&written(&mut connection)), [1, 3]);
    connection.receive(&head(3, true)).expect("well written");
    assert_eq!(opened(&written(&mut connection)), [5]);
    // Whoever gives up makes room, and says so.
    connection.cancel(0);
    let frames = written(&mut connection);
    assert_eq!((frames[0], opened(&frames)), ((frame::RST_STREAM, 0, 1, 4), vec![7]));
    connection.receive(&head(1, true)).expect("late, but no mistake");
    assert!(outcome(&mut connection, 0).is_none());
}

#[test]
fn bodies_go_out_as_the_server_takes_them() {
    let mut connection = asked(2, &[b'x'; 100_000], &[(INITIAL_WINDOW_SIZE, 20_000)]);
    let sent = |connection: &mut Connection| {
        let data = written(connection);
        let mut sent = [0; 2];
        for (_, _, stream, length) in data.iter().filter(|f| f.0 == frame::DATA) {
            sent[usize::from(*stream == 3)] += length;
        }
        (sent, data.iter().any(|f| f.0 == frame::DATA && f.1 == frame::END_STREAM))
    };
    assert_eq!(sent(&mut connection), ([20_000, 20_000], false));
    let more = number(frame::WINDOW_UPDATE, 3, 30_000);
    connection.receive(&more).expect("well written");
    // The window of the connection is 65,535.
    assert_eq!(sent(&mut connection), ([0, 25_535], false));
    let less = settings(&[(INITIAL_WINDOW_SIZE, 0)]);
    connection.receive(&less).expect("well written");
    connection.receive(&number(frame::WINDOW_UPDATE, 0, 1_000_000)).expect("well written");
    assert_eq!(sent(&mut connection), ([0, 0], false));
    let large = settings(&[(INITIAL_WINDOW_SIZE, 200_000)]);
    connection.receive(&large).expect("well written");
    let mut total = [20_000, 45_535];
    let mut ended = 0;
    for _ in 0..10 {
        let (more, end) = sent(&mut connection);
        total = [total[0] + more[0], total[1] + more[1]];
        ended += u32::from(end);
    }
    assert_eq!(total, [100_000, 100_000]);
    assert!(ended > 0);
}

#[test]
fn what_comes_is_allowed_anew_and_no_more() {
    let mut connection = asked(1, b"", &[]);
    written(&mut connection);
    connection.receive(&head(1, false)).expect("well written");
    let data = frame(frame::DATA, 0, 1, &[0; MAX_PAYLOAD_BYTES]);
    for _ in 0..32 {
        connection.receive(&data).expect("within the window");
    }
    let grants = [(frame::WINDOW_UPDATE, 0, 1, 4)];
    assert_eq!(written(&mut connection), grants);
    for _ in 0..1000 {
        connection.receive(&data).expect("within the windows");
    }
    let mut window = Window::new(10);
    assert_eq!(window.take(4).expect("room"), 0);
    assert_eq!(window.take(2).expect("room"), 6);
    assert!(window.take(11).is_err());
}

#[test]
fn a_server_that_leaves_says_what_it_has_not_done() {
    let mut connection = asked(3, b"", &[(MAX_CONCURRENT_STREAMS, 2)]);
    written(&mut connection);
    let bye = [1_u32.to_be_bytes(), [0; 4]].concat();
    connection.receive(&frame(frame::GOAWAY, 0, 0, &bye)).expect("well written");
    for slot in [1, 2] {
        let ended = outcome(&mut connection, slot).expect("over");
        assert!(matches!(ended, Err(End::Unprocessed(_))), "{slot}: {ended:?}");
    }
    connection.receive(&head(1, true)).expect("the first is answered still");
    assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
    assert!(matches!(connection.begin(0), Err(End::Unprocessed(_))));
    let mut connection = asked(1, b"", &[]);
    written(&mut connection);
    connection.fail(&Fault::closed());
    assert!(matches!(outcome(&mut connection, 0), Some(Err(End::Failed(_)))));
}

#[test]
fn when_all_streams_are_used_who_waits_goes_to_another_connection() {
    let mut connection = connection(b"");
    connection.next_stream = MAX_31_BITS;
    connection.receive(&settings(&[])).expect("well written");
    for slot in 0..3 {
        connection.begin(slot).expect("open");
    }
    written(&mut connection);
    assert!(outcome(&mut connection, 0).is_none(), "it has the last stream");
    for slot in [1, 2] {
        let ended = outcome(&mut connection, slot).expect("over");
        assert!(matches!(ended, Err(End::Unprocessed(_))), "{slot}: {ended:?}");
    }
    connection.receive(&head(MAX_31_BITS, true)).expect("the last is answered still");
    assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
}

#[test]
fn what_nobody_has_to_know_is_passed_over() {
    let mut connection = asked(1, b"", &[(99, 7)]);
    written(&mut connection);
    for stream in [1, 2, 99] {
        let priority = frame(frame::PRIORITY, 0, stream, &[0; 5]);
        connection.receive(&priority).expect("of any stream");
        connection.receive(&frame(200, 0xff, stream, b"later")).expect("an unknown frame");
    }
    connection.receive(&frame(200, 0xff, 0, b"later")).expect("an unknown frame");
    connection.receive(&head(1, true)).expect("well written");
    assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
    assert_eq!(written(&mut connection), []);
}

#[test]
fn an_answer_may_come_before_all_is_sent() {
    let mut connection = asked(1, &[b'x'; 100_000], &[]);
    written(&mut connection);
    connection.receive(&head(1, true)).expect("well written");
    assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
    assert_eq!(written(&mut connection), [(frame::RST_STREAM, 0, 1, 4)]);
    connection.receive(&number(frame::WINDOW_UPDATE, 0, 100_000)).expect("well written");
    assert_eq!(written(&mut connection), []);
}

#[test]
fn a_body_of_another_length_is_no_answer() {
    for (length, right) in [("5", true), ("4", false), ("+5", false), ("", false)] {
        let mut connection = asked(1, b"", &[]);
        written(&mut connection);
        let mut block = vec![0x88, 0x0f, 0x0d, u8::try_from(length.len()).expect("short")];
        block.extend_from_slice(length.as_bytes());
        let head = frame(frame::HEADERS, frame::END_HEADERS, 1, &block);
        connection.receive(&head).expect("well written");
        connection.receive(&frame(frame::DATA, 1, 1, b"12345")).expect("well written");
        let outcome = outcome(&mut connection, 0).expect("over");
        assert_eq!(outcome.is_ok(), right, "{length}: {outcome:?}");
    }
}

#[test]
fn what_breaks_the_rules_ends_the_connection() {
    let long_block = {
        let part = frame(frame::CONTINUATION, 0, 1, &[0; MAX_PAYLOAD_BYTES]);
        [frame(frame::HEADERS, 0, 1, &[0x88]), part.repeat(5)].concat()
    };
    let broken: [(&str, Vec<u8>); 27] = [
        ("longer than 16 KiB", frame(frame::DATA, 0, 1, &[0; MAX_PAYLOAD_BYTES + 1])),
        ("a body without a head", frame(frame::DATA, 0, 1, b"x")),
        ("nobody opened", frame(frame::DATA, 0, 5, b"x")),
        ("nobody opened", head(2, true)),
        ("nobody opened", number(frame::WINDOW_UPDATE, 9, 1)),
        ("another stream", frame(frame::DATA, 0, 0, b"x")),
        ("another stream", frame(frame::SETTINGS, 0, 1, &[])),
        ("another stream", frame(frame::PING, 0, 1, &[0; 8])),
        ("a wrong length", frame(frame::PING, 0, 0, &[0; 7])),
        ("a wrong length", frame(frame::SETTINGS, 0, 0, &[0; 5])),
        ("a wrong length", frame(frame::SETTINGS, frame::ACK, 0, &[0; 6])),
        ("a wrong length", frame(frame::RST_STREAM, 0, 1, &[0; 5])),
        ("a wrong length", frame(frame::WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a wrong length", frame(frame::GOAWAY, 0, 0, &[0; 7])),
        ("by nothing", number(frame::WINDOW_UPDATE, 0, 0)),
        ("too large", number(frame::WINDOW_UPDATE, 0, MAX_31_BITS)),
        ("too large", number(frame::WINDOW_UPDATE, 1, MAX_31_BITS)),
        ("too large", settings(&[(INITIAL_WINDOW_SIZE, MAX_31_BITS + 1)])),
        ("nobody wanted", frame(frame::PUSH_PROMISE, 4, 1, &[0; 5])),
        ("nothing to continue", frame(frame::CONTINUATION, 4, 1, &[])),
        ("interrupted", [frame(frame::HEADERS, 0, 1, &[0x88]), settings(&[])].concat()),
        ("longer than 64 KiB", long_block),
        ("cannot be read", frame(frame::HEADERS, 4, 1, &[0xff])),
        ("breaks the rules", frame(frame::HEADERS, 4, 1, &[0x84])),
        ("breaks the rules", [head(1, false), head(1, false)].concat()),
        ("padding", frame(frame::DATA, 8, 1, &[9, 0])),
        ("too short", frame(frame::HEADERS, 0x24, 1, &[0; 4])),
    ];
    for (why, bytes) in broken {
        let mut connection = asked(2, b"", &[]);
        written(&mut connection);
        let fault = connection.receive(&bytes).expect_err(why);
        assert!(fault.text.contains(why), "{why}: {}", fault.text);
        assert_eq!(fault.kind, LoadError::BadResponse);
    }
    for other in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 hello\r\n", &head(1, true)] {
        let fault = connection(b"").receive(other).expect_err("no HTTP/2");
        assert!(fault.text.contains("does not speak HTTP/2"), "{}", fault.text);
    }
}

#[test]
fn whatever_comes_is_survived() {
    let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(0..2000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = asked(4, &[b'x'; 40_000], &[]);
        for _ in 0..60 {
            let payload: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
            let stream = if random.bool() { 0 } else { random.u32(..12) };
            let bytes = match random.u8(..6) {
                0 => head(stream | 1, random.bool()),
                1 => number(frame::WINDOW_UPDATE, stream, random.u32(1..100_000)),
                2 => settings(&[(random.u16(..6), random.u32(..200_000))]),
                3 => frame(frame::PING, 0, 0, &[0; 8]),
                4 => {
                    let slot = random.usize(..4);
                    connection.cancel(slot);
                    let _ = connection.begin(slot);
                    continue;
                }
                _ => frame(random.u8(..11), random.u8(..), stream, &payload),
            };
            connection.render();
            let ended = connection.receive(&bytes).map_err(|fault| connection.fail(&fault));
            assert!(ended.is_err() || ended == Ok(bytes.len()), "seed {seed}");
            let most = 2 * MAX_WAITING_BYTES;
            assert!(connection.waiting().len() < most, "seed {seed}");
            let open = connection.open.iter().map(|(_, slot)| *slot);
            let all = open.clone().filter(|s| matches!(connection.slots[*s].stage, Stage::Open));
            assert_eq!(open.count(), all.count(), "seed {seed}");
            if ended.is_err() {
                break;
            }
        }
    }
}
