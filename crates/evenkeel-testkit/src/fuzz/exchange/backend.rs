//! The backend behind the proxy: reads strictly, judges, answers with the request's number.

use super::super::is_token;
use super::{CLIENT, DENIED};
use crate::memory::{MemoryListener, ScriptStream};
use crate::message::{self, Kind, Message, Reading};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

/// Fields that end at the proxy, whoever sends them.
const ENDS_AT_PROXY: &[&str] = &[
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "forwarded",
    "x-real-ip",
    "trailer",
    "client-cert",
];
/// Fields that decide where a message goes, where it ends or whose it is: never in a trailer
/// (RFC 9110 section 6.5.1).
const NEVER_TRAILERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
];

/// A request that came through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Request line and fields in comparable form.
    pub(super) head: Vec<String>,
    /// Decoded.
    pub(super) body: Vec<u8>,
    /// Behind the body.
    pub(super) trailers: Vec<(String, String)>,
}

/// All of them.
pub(super) type Book = Rc<RefCell<Vec<Seen>>>;

/// Serves every connection for as long as the world lasts.
pub(super) async fn play(mut listener: MemoryListener, book: Book) {
    while let Ok(stream) = listener.accept().await {
        tokio::task::spawn_local(serve(ScriptStream::new(stream), Rc::clone(&book)));
    }
}

async fn serve(stream: ScriptStream, book: Book) {
    let mut bytes = Vec::new();
    while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {
        while let Some((request, used)) = next_request(&bytes) {
            bytes.drain(..used);
            judge(&request);
            let reply = reply(&request, book.borrow().len());
            let Message { body, trailers, .. } = &request;
            let (body, trailers) = (body.clone(), trailers.clone());
            book.borrow_mut().push(Seen { head: request.shape(), body, trailers });
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
}

fn reply(request: &Message, number: usize) -> Vec<u8> {
    let (method, body) = (request.method(), number.to_string());
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body.as_str() };
    let head = format!("X-Number: {number}\r\nX-Method: {method}\r\nContent-Length: {length}\r\n");
    format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes()
}

/// The request at the start of `bytes`, once it is whole.
fn next_request(bytes: &[u8]) -> Option<(Message, usize)> {
    // 0x80 to 0x9f are opaque in a field value; the reader takes them for controls.
    let opaque = |byte: &u8| if matches!(byte, 0x80..=0x9f) { 0xff } else { *byte };
    let readable: Vec<u8> = bytes.iter().map(opaque).collect();
    match message::read(&readable, Kind::Request) {
        Ok(Reading::Whole(request, used)) => Some((request, used)),
        Ok(Reading::Partial) => None,
        other => panic!("the backend got {other:?}: {}", bytes.escape_ascii()),
    }
}

/// What a strict reader may rely on.
fn judge(request: &Message) {
    let target = request.target();
    let plain = target.starts_with('/') || (target == "*" && request.method() == "OPTIONS");
    assert!(plain && is_token(request.method().as_bytes()), "{}", request.start_line);
    let legal = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    assert!(legal, "{}", request.start_line);
    let path = target.split('?').next().unwrap_or_default();
    let below =
        path.strip_prefix(DENIED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    assert!(!below, "{path} was to be denied");
    let count = |name| request.values(name).len();
    assert!(count("content-length") + count("transfer-encoding") < 2, "{:?}", request.fields);
    assert_eq!(count("host"), 1, "hosts in {:?}", request.fields);
    let client = Ipv4Addr::from(CLIENT).to_string();
    assert_eq!(request.values("x-forwarded-for"), [client], "{:?}", request.fields);
    assert_eq!(request.values("x-forwarded-proto"), ["http"], "{:?}", request.fields);
    assert_eq!(count("x-request-id"), 1, "{:?}", request.fields);
    let connection = request.values("connection").join(",");
    let allowed = match connection.as_str() {
        "" => count("upgrade") + count("te") == 0,
        "Upgrade" => count("upgrade") == 1 && request.value("upgrade") != Some("h2c"),
        "TE" => request.value("te") == Some("trailers"),
        _ => false,
    };
    assert!(allowed, "{:?}", request.fields);
    for (name, _) in &request.fields {
        let ends = ENDS_AT_PROXY.iter().any(|own| own.eq_ignore_ascii_case(name));
        assert!(!ends && !name.contains('_'), "{name} came through");
    }
    judge_trailers(request);
}

fn judge_trailers(request: &Message) {
    let asked = request.value("te") == Some("trailers");
    assert!(asked || request.trailers.is_empty(), "trailers {:?}", request.trailers);
    for (name, value) in &request.trailers {
        assert!(!value.contains(|letter: char| letter != '\t' && letter.is_control()), "{value:?}");
        let never = NEVER_TRAILERS.iter().any(|own| own.eq_ignore_ascii_case(name));
        assert!(!never, "trailer {name} came through");
    }
}
