use super::*;
use crate::net::{Destination, LocalFuture, Peek};
use crate::socket::SystemNet;
use evenkeel_core::address::BackendAddress;
use evenkeel_core::plan::{AdminState, BackendPlan};
use std::cell::RefCell;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, sleep};

const BOUND: Duration = Duration::from_secs(2);
/// Bytes that one direction of a connection in memory holds.
const PIPE_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Real,
    Virtual,
}

fn run<T>(clock: Clock, test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(clock == Clock::Virtual);
    let runtime = builder.build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

/// What a backend does once it has heard the request; then it holds the connection open.
#[derive(Clone)]
enum Step {
    Say(Vec<u8>),
    Wait(Duration),
    Close,
}

fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// What comes of connecting.
#[derive(Default)]
enum Dial {
    #[default]
    Works,
    Hangs,
    Fails(i32),
}

/// A network with one backend behind every address.
#[derive(Default)]
struct Scripted {
    steps: Vec<Step>,
    dial: Dial,
    heard: Rc<RefCell<String>>,
    /// When the probe closed its side.
    closed: Rc<RefCell<Option<Instant>>>,
}

impl Scripted {
    fn new(steps: &[Step]) -> Scripted {
        Scripted { steps: steps.to_vec(), ..Scripted::default() }
    }
}

async fn play(
    mut line: DuplexStream,
    steps: Vec<Step>,
    heard: Rc<RefCell<String>>,
    closed: Rc<RefCell<Option<Instant>>>,
) {
    while !heard.borrow().ends_with("\r\n\r\n") {
        match line.read_u8().await {
            Ok(byte) => heard.borrow_mut().push(char::from(byte)),
            Err(_) => break,
        }
    }
    for step in steps {
        match step {
            // The probe may have left.
            Step::Say(bytes) => drop(line.write_all(&bytes).await),
            Step::Wait(duration) => sleep(duration).await,
            Step::Close => return,
        }
    }
    assert_eq!(line.read(&mut [0]).await.unwrap_or(0), 0, "nothing behind the request");
    closed.replace(Some(Instant::now()));
}

impl Net for Scripted {
    type Stream = Line;

    fn connect<'a>(&'a self, _: &'a Destination) -> LocalFuture<'a, io::Result<Line>> {
        match self.dial {
            Dial::Works => {}
            Dial::Hangs => return Box::pin(std::future::pending()),
            Dial::Fails(code) => {
                return Box::pin(std::future::ready(Err(io::Error::from_raw_os_error(code))));
            }
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (heard, closed) = (Rc::clone(&self.heard), Rc::clone(&self.closed));
        tokio::task::spawn_local(play(far, self.steps.clone(), heard, closed));
        Box::pin(std::future::ready(Ok(Line(near))))
    }

    fn random(&self) -> u64 {
        0
    }

    fn unix_nanos(&self) -> u64 {
        0
    }
}

struct Line(DuplexStream);

impl Stream for Line {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut target))?;
        Poll::Ready(Ok(target.filled().len()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn peek(&mut self) -> Peek {
        Peek::Nothing
    }

    fn reset(self) {}
}

fn backend(text: &str) -> Backend {
    let address = BackendAddress::parse(text).expect("an address");
    let name = address.default_name().into();
    Backend::new("p", BackendPlan { name, address, weight: 1, admin: AdminState::Enabled })
}

fn http(adjust: impl FnOnce(&mut HttpCheck)) -> HealthCheck {
    let mut check = HttpCheck {
        path: "/health?deep=1".to_owned(),
        method: "GET".to_owned(),
        host: String::new(),
        expect_status: vec![200..=399],
        expect_body: String::new(),
        by_default: false,
    };
    adjust(&mut check);
    HealthCheck::Http(check)
}

fn with_text(text: &str) -> HealthCheck {
    http(|check| check.expect_body = text.to_owned())
}

type Verdict = Result<ProbeAnswer, ProbeFault>;

async fn probe_over<N: Net>(net: &N, address: &str, check: &HealthCheck) -> Verdict {
    let backend = backend(address);
    probe(
        net,
        &ProbeTarget { backend: &backend, check, beginning: Beginning::default(), timeout: BOUND },
    )
    .await
}

/// Probes a scripted backend; also how long that took.
fn probe_script(check: &HealthCheck, steps: &[Step]) -> (Verdict, Duration) {
    run(Clock::Virtual, async {
        let begin = Instant::now();
        let verdict = probe_over(&Scripted::new(steps), "10.0.0.1:80", check).await;
        (verdict, begin.elapsed())
    })
}

fn ok(status: u16) -> Verdict {
    Ok(ProbeAnswer::Status(status))
}

#[test]
fn the_request() {
    let cases = [
        ("10.0.0.1:80", "", "Host: 10.0.0.1:80"),
        ("[::1]:8080", "", "Host: [::1]:8080"),
        ("10.0.0.1:80", "app.test", "Host: app.test"),
        ("unix:/run/app.sock", "", "Host: localhost"),
    ];
    for (address, host, host_line) in cases {
        let heard = run(Clock::Virtual, async {
            let net = Scripted::new(&[say("HTTP/1.1 204 No Content\r\n\r\n")]);
            let check = http(|check| check.host = host.to_owned());
            assert_eq!(probe_over(&net, address, &check).await, ok(204));
            net.heard.take()
        });
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /health?deep=1 HTTP/1.1\r\n{host_line}\r\n\
             User-Agent: evenkeel-health/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(heard, expected);
    }
}

#[test]
fn a_backend_with_a_path_is_asked_behind_it() {
    let heard = run(Clock::Virtual, async {
        let net = Scripted::new(&[say("HTTP/1.1 204 No Content\r\n\r\n")]);
        assert_eq!(probe_over(&net, "http://10.0.0.1/base", &http(|_| {})).await, ok(204));
        net.heard.take()
    });
    let wanted = "GET /base/health?deep=1 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n";
    assert!(heard.starts_with(wanted), "{heard}");
}

#[test]
fn a_method_with_a_body_says_that_there_is_none() {
    // RFC 9110 8.6: some servers answer 411 otherwise.
    for (method, has_length) in [("POST", true), ("PUT", true), ("GET", false), ("HEAD", false)] {
        let heard = run(Clock::Virtual, async {
            let net = Scripted::new(&[say("HTTP/1.1 204 No Content\r\n\r\n")]);
            let check = http(|check| check.method = method.to_owned());
            assert_eq!(probe_over(&net, "10.0.0.1:80", &check).await, ok(204));
            net.heard.take()
        });
        assert_eq!(heard.contains("\r\nContent-Length: 0\r\n"), has_length, "{heard}");
    }
}

#[test]
fn the_connection_is_closed_as_soon_as_the_answer_is_known() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nready";
    for check in [http(|_| {}), with_text("ready")] {
        run(Clock::Virtual, async {
            let begin = Instant::now();
            let net = Scripted::new(&[say(long)]);
            assert_eq!(probe_over(&net, "10.0.0.1:80", &check).await, ok(200));
            // Lets the backend see the end.
            sleep(Duration::from_millis(1)).await;
            assert_eq!(*net.closed.borrow(), Some(begin));
        });
    }
}

#[test]
fn nothing_takes_longer_than_the_bound() {
    let wait = Step::Wait(Duration::from_millis(300));
    let trickle = |bytes: &str| {
        let pieces = bytes.chars().flat_map(|byte| [wait.clone(), say(&byte.to_string())]);
        pieces.collect::<Vec<_>>()
    };
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("silence", vec![]),
        ("an interim response only", vec![say("HTTP/1.1 102 Processing\r\n\r\n")]),
        ("half a head", vec![say("HTTP/1.1 200 OK\r\nA: b\r\n")]),
        ("a head that trickles", trickle("HTTP/1.1 200 OK\r\n\r\nready")),
        ("a body that trickles", [vec![say(chunks)], trickle("5\r\nready\r\n")].concat()),
        ("a body that does not end", vec![say(chunks), say("3\r\nrea\r\n")]),
    ];
    for (name, steps) in cases {
        let (verdict, took) = probe_script(&with_text("ready"), &steps);
        assert_eq!((verdict, took), (Err(ProbeFault::Timeout), BOUND), "{name}");
    }
    run(Clock::Virtual, async {
        let begin = Instant::now();
        let net = Scripted { dial: Dial::Hangs, ..Scripted::default() };
        for check in [HealthCheck::Tcp, http(|_| {})] {
            let verdict = probe_over(&net, "10.0.0.1:80", &check).await;
            assert_eq!(verdict, Err(ProbeFault::Timeout));
        }
        assert_eq!(begin.elapsed(), BOUND * 2);
    });
}

#[test]
fn what_is_no_http_is_not_waited_for() {
    let bound = Duration::from_secs(1);
    let cases = [
        vec![say("SSH-2.0-OpenSSH_9.9\r\n")],
        vec![say("HT"), Step::Wait(bound), say("ML is what this is not, either")],
        vec![say("HTTP/1.1 200 OK\r\nA : b\r\n")],
    ];
    for steps in cases {
        let (verdict, took) = probe_script(&http(|_| {}), &steps);
        assert_eq!(verdict, Err(ProbeFault::BadResponse));
        assert!(took <= bound, "{took:?}");
    }
}

#[test]
fn a_server_of_the_other_http_is_told_apart() {
    let settings = Step::Say(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec());
    let (verdict, _) = probe_script(&http(|_| {}), &[settings]);
    assert_eq!(verdict, Err(ProbeFault::Http2));
    let refusal = say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let (verdict, _) = probe_script(&HealthCheck::Grpc(String::new()), &[refusal, Step::Close]);
    assert_eq!(verdict, Err(ProbeFault::NoHttp2));
}

#[test]
fn a_connection_that_cannot_be_made() {
    let timed_out = "Connection timed out (os error 110)".to_owned();
    let cases = [
        (libc::EMFILE, Ok(ProbeAnswer::Unasked)),
        (libc::ENFILE, Ok(ProbeAnswer::Unasked)),
        (libc::ETIMEDOUT, Err(ProbeFault::Connect(timed_out))),
    ];
    for (code, expected) in cases {
        let net = Scripted { dial: Dial::Fails(code), ..Scripted::default() };
        let check = http(|_| {});
        let verdict = run(Clock::Virtual, probe_over(&net, "10.0.0.1:80", &check));
        assert_eq!(verdict, expected);
    }
}

#[test]
fn an_answer_in_the_last_moment_counts() {
    let late = Step::Wait(BOUND - Duration::from_millis(1));
    let (verdict, took) = probe_script(&http(|_| {}), &[late, say("HTTP/1.1 200 OK\r\n\r\n")]);
    assert_eq!(verdict, ok(200));
    assert!(took < BOUND);
}

#[test]
fn a_connection_that_ends_early() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrea";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nrea";
    let cases = [
        ("", Err(ProbeFault::BadResponse)),
        ("HTTP/1.1 200 OK\r\n", Err(ProbeFault::BadResponse)),
        (head, Err(ProbeFault::BadResponse)),
        (until_close, Err(ProbeFault::Body)),
        ("HTTP/1.1 200 OK\r\n\r\nready", ok(200)),
    ];
    for (text, expected) in cases {
        let (verdict, _) = probe_script(&with_text("ready"), &[say(text), Step::Close]);
        assert_eq!(verdict, expected, "{text:?}");
    }
}

#[test]
fn real_sockets() {
    let check = with_text("ready");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";
    run(Clock::Real, async {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let listener = TcpListener::bind(any).await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let serving = tokio::task::spawn_local(async move {
            for steps in [vec![say(answer)], vec![]] {
                let (mut stream, _) = listener.accept().await.expect("a probe");
                for step in steps {
                    let Step::Say(bytes) = step else { continue };
                    stream.write_all(&bytes).await.expect("sent");
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let net = SystemNet::new();
        assert_eq!(probe_over(&net, &address, &check).await, ok(200));
        let connected = probe_over(&net, &address, &HealthCheck::Tcp).await;
        assert_eq!(connected, Ok(ProbeAnswer::Connected));
        timeout(BOUND, serving).await.expect("both were closed").expect("served");

        let Err(ProbeFault::Connect(why)) = probe_over(&net, &address, &check).await else {
            panic!("nobody listens any more")
        };
        assert!(why.starts_with("Connection refused"), "{why}");
    });
}

#[test]
fn unix_sockets() {
    run(Clock::Real, async {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("app.sock");
        let address = format!("unix:{}", path.display());
        let check = http(|_| {});
        let net = SystemNet::new();
        let listener = UnixListener::bind(&path).expect("bound");
        listener.set_nonblocking(true).expect("a live socket");
        let listener = tokio::net::UnixListener::from_std(listener).expect("registered");
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        assert_eq!(probe_over(&net, &address, &check).await, ok(503));
        let nowhere = probe_over(&net, &format!("{address}.gone"), &check).await;
        assert!(matches!(nowhere, Err(ProbeFault::Connect(why)) if why.contains("No such file")));
    });
}

#[test]
fn a_name_without_addresses() {
    run(Clock::Virtual, async {
        let net = Scripted::default();
        let verdict = probe_over(&net, "nowhere.test:80", &HealthCheck::Tcp).await;
        let why = "the name has no address yet".to_owned();
        assert_eq!(verdict, Err(ProbeFault::Connect(why)));
    });
}

#[test]
fn a_backend_without_tls_is_told_as_such() {
    let told = |error: rustls::Error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        not_connected(&error).expect_err("no connection").to_string()
    };
    let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
    assert!(told(plain).contains("does not speak TLS"));
    assert!(!told(rustls::Error::NoApplicationProtocol).contains("speak TLS"));
}
