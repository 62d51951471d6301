//! Two proxies before one backend, and what must come of a case.

use evenkeel_core::plan::{Alpn, CertificatePlan, ListenerTlsPlan, TlsVersion};
use evenkeel_testkit::backend::{Backend, ok_with};
use evenkeel_testkit::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Outcome, PING, RST_STREAM,
    SETTINGS, block, frame, get, request,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::PATIENCE;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;

/// What the backend answers.
pub(crate) const BODY: &str = "0123456789";

/// How a client speaks to us.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// HTTP/2 at once.
    Plain,
    /// HTTP/2 because TLS agreed on it.
    Tls,
}

/// One proxy with a door of each kind.
pub(crate) struct Stage {
    plain: Proxy,
    tls: Proxy,
    client: Arc<ClientConfig>,
    _backend: Backend,
    _files: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage::before(Backend::answering(ok_with(BODY)))
    }

    pub(crate) fn before(backend: Backend) -> Stage {
        let files = TempDir::new().expect("a folder");
        let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        let own = rcgen::generate_simple_self_signed(vec!["x.test".to_owned(), "x".to_owned()])
            .expect("signed");
        std::fs::write(&cert, own.cert.pem()).expect("written");
        std::fs::write(&key, own.signing_key.serialize_pem()).expect("written");
        let tls = ListenerTlsPlan {
            certificates: vec![CertificatePlan { cert, key, ocsp: None }],
            client_auth: None,
            min_version: TlsVersion::V12,
            alpn: vec![Alpn::H2, Alpn::Http11],
            handshake_timeout: Duration::from_secs(5),
        };
        let plan = PlanBuilder::to(&[backend.address()]);
        let encrypted = plan.clone().listener(|listener| listener.tls = Some(tls)).build();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        Stage {
            plain: Proxy::start(&plan.build()),
            tls: Proxy::start(&encrypted),
            client: Arc::new(client),
            _backend: backend,
            _files: files,
        }
    }

    /// A connection on which nothing was said.
    pub(crate) fn silent(&self, door: Door) -> Frames {
        match door {
            Door::Plain => Frames::silent(self.plain.address()),
            Door::Tls => {
                let tcp = TcpStream::connect(self.tls.address()).expect("connected");
                tcp.set_nodelay(true).expect("a live socket");
                tcp.set_read_timeout(Some(PATIENCE)).expect("a live socket");
                tcp.set_write_timeout(Some(PATIENCE)).expect("a live socket");
                let name = ServerName::try_from("x.test").expect("a name");
                let session = ClientConnection::new(Arc::clone(&self.client), name);
                let mut stream = StreamOwned::new(session.expect("usable"), tcp);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
                }
                assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
                Frames::over(stream)
            }
        }
    }

    /// A connection whose preface was said.
    pub(crate) fn connect(&self, door: Door) -> Frames {
        self.silent(door).introduced()
    }
}

/// One thing that a client does.
pub(crate) enum Step {
    /// It sends these bytes.
    Send(Vec<u8>),
    /// It waits until this stream's response is there to its end.
    Await(u32),
}

/// What must come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// This stream gets its response.
    Answered(u32),
    /// The connection lives: a PING is answered.
    Lives,
    /// The connection ends with one of these codes.
    Ends(&'static [u32]),
    /// This stream ends with one of these codes, or the connection does.
    Resets(u32, &'static [u32]),
}

/// A rule, what is done about it, and what must come of that.
pub(crate) type Case = (&'static str, Vec<Step>, Expected);

/// A case of a few bytes.
pub(crate) fn case(rule: &'static str, frames: &[&[u8]], expected: Expected) -> Case {
    (rule, vec![Step::Send(frames.concat())], expected)
}

/// Plays all cases at both doors, and reports all that failed.
pub(crate) fn hold(cases: &[Case]) {
    let stage = Stage::new();
    let mut wrong = Vec::new();
    for door in [Door::Plain, Door::Tls] {
        for (rule, steps, expected) in cases {
            let mut frames = stage.connect(door);
            if let Err(why) = play(&mut frames, steps, *expected) {
                wrong.push(format!("  {door:?} {rule}: {why}, not {expected:?}"));
            }
        }
        let mut good = stage.connect(door);
        good.send(&open(1));
        assert_eq!(good.outcome(1), Outcome::Status(200), "a good request after all");
    }
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn play(frames: &mut Frames, steps: &[Step], expected: Expected) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Send(bytes) => frames.send(bytes),
            Step::Await(stream) => await_end(frames, *stream)?,
        }
    }
    match expected {
        Expected::Answered(stream) => {
            let outcome = frames.outcome(stream);
            if outcome == Outcome::Status(200) { Ok(()) } else { Err(format!("{outcome:?}")) }
        }
        Expected::Lives => {
            frames.send(&frame(PING, 0, 0, b"are you?"));
            let answer = frames.find(|one| one.kind == GOAWAY || one.payload == b"are you?");
            let lives = answer.is_some_and(|one| one.kind == PING && one.flags & ACK != 0);
            if lives { Ok(()) } else { Err("no answer to a PING".to_owned()) }
        }
        Expected::Ends(codes) => match frames.farewell() {
            Some(code) if codes.contains(&code) => Ok(()),
            other => Err(format!("GOAWAY {other:?}")),
        },
        Expected::Resets(stream, codes) => {
            let is_end = |one: &evenkeel_testkit::frames::Frame| {
                one.kind == GOAWAY || (one.kind == RST_STREAM && one.stream == stream)
            };
            match frames.find(is_end) {
                Some(end) if codes.contains(&end.code()) => Ok(()),
                other => Err(format!("{:?}", other.map(|end| (end.kind, end.code())))),
            }
        }
    }
}

fn await_end(frames: &mut Frames, stream: u32) -> Result<(), String> {
    let ends = |one: &evenkeel_testkit::frames::Frame| {
        one.stream == stream && one.kind <= HEADERS && one.flags & END_STREAM != 0
    };
    frames.find(ends).map(drop).ok_or_else(|| format!("stream {stream} had no response"))
}

/// A GET, whole.
pub(crate) fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&get(&[])))
}

/// A POST whose body is to come.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&request("POST", &[])))
}

/// The last of a body.
pub(crate) fn last(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, b"test")
}

/// SETTINGS with these values.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let one = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &values.iter().flat_map(one).collect::<Vec<u8>>())
}
