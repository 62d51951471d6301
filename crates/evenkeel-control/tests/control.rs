//! The control plane as its users see it: requests through real sockets, names through the system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use evenkeel_control::{Control, ControlError, Desk, Readiness, ResolveTarget};
use evenkeel_core::address::BindAddress;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Gate(Mutex<Option<String>>);

impl Readiness for Gate {
    fn not_ready(&self) -> Option<String> {
        self.0.lock().expect("gate").clone()
    }
}

fn start(bind: &str) -> (Control, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let bind = BindAddress::parse(bind).expect(bind);
    (Control::start(Some(&bind), Desk::new(gate.clone())).expect("start"), gate)
}

/// Sends bytes and reads to the end: status, head in lower case, body.
fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    (head[9..12].parse().expect("status"), head.to_ascii_lowercase(), body.to_owned())
}

fn connect(control: &Control) -> TcpStream {
    let stream = TcpStream::connect(control.local_addr().expect("address")).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn ask(control: &Control, line: &str, host: &str) -> (u16, String, String) {
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(connect(control), &request)
}

#[test]
fn live_and_ready() {
    let (control, gate) = start("127.0.0.1:0");
    let answer = ask(&control, "GET /livez", "localhost:9900");
    assert_eq!((answer.0, answer.2.as_str()), (200, "ok"));
    let answer = ask(&control, "GET /readyz?verbose", "127.0.0.1");
    assert_eq!((answer.0, answer.2.as_str()), (200, "ready"));
    *gate.0.lock().expect("gate") = Some("draining".to_owned());
    let answer = ask(&control, "GET /readyz", "[::1]:9900");
    assert_eq!((answer.0, answer.2.as_str()), (503, "draining"));
    assert_eq!(ask(&control, "GET /livez", "localhost").0, 200);
    assert_eq!(ask(&control, "HEAD /livez", "localhost").0, 200);
    control.stop();
}

#[test]
fn everything_else_is_a_problem() {
    let (control, _) = start("127.0.0.1:0");
    let cases = [
        ("GET /nothing", "localhost", 404, "Not Found"),
        ("GET /livez/", "localhost", 404, "Not Found"),
        ("POST /livez", "localhost", 405, "Method Not Allowed"),
        ("DELETE /readyz", "localhost", 405, "Method Not Allowed"),
        ("GET /livez", "evil.example", 421, "Misdirected Request"),
        ("GET /nothing", "10.0.0.1:9900", 421, "Misdirected Request"),
        ("GET http://evil.example/livez", "localhost", 421, "Misdirected Request"),
        ("GET /livez", "localhost\r\nHost: evil.example", 421, "Misdirected Request"),
    ];
    for (line, host, status, title) in cases {
        let (got, head, body) = ask(&control, line, host);
        assert_eq!(got, status, "{line} {host}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(head.contains("allow: get") == (status == 405), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["title"], &body["status"]), (&title.into(), &status.into()));
    }
    control.stop();
}

#[test]
fn only_http_10_may_name_no_host() {
    let (control, _) = start("127.0.0.1:0");
    assert_eq!(exchange(connect(&control), "GET /livez HTTP/1.0\r\n\r\n").0, 200);
    let nameless = "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(connect(&control), nameless).0, 421);
    control.stop();
}

#[test]
fn heads_that_are_too_large_are_refused_with_a_problem() {
    let (control, _) = start("127.0.0.1:0");
    let fields: String = (0..80).map(|at| format!("X-{at}: y\r\n")).collect();
    for (path, fields) in [
        ("/livez".to_owned(), fields),
        ("/livez".to_owned(), format!("X: {}\r\n", "y".repeat(17 * 1024))),
        (format!("/{}", "y".repeat(17 * 1024)), String::new()),
    ] {
        let host = "Host: localhost\r\nConnection: close";
        let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n{fields}\r\n");
        let (status, head, body) = exchange(connect(&control), &request);
        assert_eq!(status, 431, "{head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(body.contains("16384 bytes and 64 fields"), "{body}");
    }
    control.stop();
}

#[test]
fn heads_are_bounded() {
    let (control, _) = start("127.0.0.1:0");
    let mut stream = connect(&control);
    let long = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}", "y".repeat(64 * 1024));
    // The server may close while this is still being written: both ends of that are fine.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(ask(&control, "GET /livez", "localhost").0, 200);
    control.stop();
}

#[test]
fn unix_sockets_and_stopping() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("admin.sock");
    let (control, _) = start(&format!("unix:{}", path.display()));
    assert_eq!(control.local_addr(), None);
    let stream = UnixStream::connect(&path).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let request = "GET /livez HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(stream, request).0, 200);
    let idle = UnixStream::connect(&path).expect("connect");
    let before = Instant::now();
    control.stop();
    assert!(before.elapsed() < Duration::from_secs(2));
    assert!(!path.exists());
    drop(idle);
}

#[test]
fn a_taken_port_is_told_before_anything_starts() {
    let (control, gate) = start("127.0.0.1:0");
    let taken = BindAddress::Ip(control.local_addr().expect("address"));
    match Control::start(Some(&taken), Desk::new(gate)) {
        Err(ControlError::Bind { address, source }) => {
            assert_eq!(address, taken.to_string());
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        Err(ControlError::Thread(error)) => panic!("{error}"),
        Ok(_) => panic!("the port is taken"),
    }
    let address = control.local_addr().expect("address");
    control.stop();
    assert!(TcpStream::connect(address).is_err());
}

struct Target(&'static str, Mutex<Vec<SocketAddr>>);

impl ResolveTarget for Target {
    fn name(&self) -> (&str, u16) {
        (self.0, 8081)
    }

    fn publish(&self, addresses: &[SocketAddr]) {
        *self.1.lock().expect("addresses") = addresses.to_vec();
    }

    fn failed(&self, error: &str) {
        panic!("{} does not resolve: {error}", self.0);
    }
}

#[test]
fn localhost_resolves_before_the_first_round_ends() {
    let control = Control::start(None, Desk::new(Arc::new(Gate::default()))).expect("start");
    assert_eq!(control.local_addr(), None);
    assert!(control.resolve_first(Duration::ZERO), "nothing was asked for");
    let target = Arc::new(Target("localhost", Mutex::default()));
    control.resolve(vec![target.clone()]);
    assert!(control.resolve_first(PATIENCE));
    let addresses = target.1.lock().expect("addresses").clone();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8081));
    control.stop();
}
