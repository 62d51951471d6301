//! Backends that the program plays itself: in the demo, and with `mocks: true` for every backend on
//! loopback that nobody serves, or that another process only plays. They live as long as the
//! process; after a handover the next one plays on.

use crate::system::runtime;
use crate::wiring::tell;
use evenkeel_core::address::{Endpoint, Scheme};
use evenkeel_core::plan::{BackendPlan, LogLevel, Plan};
use evenkeel_core::record::EventValue;
use evenkeel_load::{MOCK_PREFIX, TestServer, TestServerOptions};
use evenkeel_proxy::log::EventLog;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Backends played by one process.
const MAX_MOCKS: usize = 64;
/// How long somebody who has the port may take to show that it speaks HTTP.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of its answer that are read.
const MAX_ANSWER: u64 = 4096;

/// Starts a backend on a thread of its own, which ends with the process; tells where it listens.
pub(crate) fn start(at: SocketAddr, options: TestServerOptions) -> io::Result<SocketAddr> {
    let (bound, address) = mpsc::sync_channel(1);
    let name = format!("backend-{}", options.name);
    let serve = move || serve(at, options, &bound);
    thread::Builder::new().name(name).spawn(serve)?;
    address.recv().unwrap_or_else(|_| Err(io::Error::other("no runtime")))
}

/// Serves one backend for good; tells first where it listens.
fn serve(
    at: SocketAddr,
    options: TestServerOptions,
    bound: &mpsc::SyncSender<io::Result<SocketAddr>>,
) {
    let Ok(runtime) = runtime() else { return };
    runtime.block_on(async {
        match TestServer::bind(at, options).await {
            Ok(server) => {
                // The receiver waits for exactly one message.
                let _ = bound.send(Ok(server.local_addr()));
                let _ = server.serve(std::future::pending()).await;
            }
            Err(error) => {
                let _ = bound.send(Err(error));
            }
        }
    });
}

/// Plays what nobody serves, if the plan wants mocks; true if it plays any. Who is there already is
/// taken as the backend.
pub(crate) fn play(plan: &Plan, log: &EventLog) -> bool {
    if !plan.mocks {
        return false;
    }
    let backends = plan.pools.iter().flat_map(|pool| &pool.backends);
    let here = backends.filter_map(|backend| Some((backend, on_loopback(backend)?)));
    let mut plays = false;
    for (backend, at) in here.take(MAX_MOCKS) {
        plays |= play_one(backend, at, log);
    }
    plays
}

fn play_one(backend: &BackendPlan, at: SocketAddr, log: &EventLog) -> bool {
    let say = |level, name, words: &str, error: &str| {
        let text = &backend.address.text;
        let message = format!("{text}: {words}");
        let fields =
            [("backend", EventValue::Text(&backend.name)), ("error", EventValue::Text(error))];
        let fields = if error.is_empty() { &fields[..1] } else { &fields[..] };
        tell(log, (level, name), &message, fields);
    };
    let there = who_is(at);
    match there {
        Neighbour::Server => {
            say(LogLevel::Info, "mock_not_needed", "somebody answers there", "");
            return false;
        }
        Neighbour::Other => {
            let words = "the port is taken by something that does not speak HTTP";
            say(LogLevel::Error, "mock_failed", words, "");
            return false;
        }
        Neighbour::Mock | Neighbour::Nobody => {}
    }
    let options = TestServerOptions {
        name: format!("{MOCK_PREFIX}{}", at.port()),
        delay: Duration::ZERO,
        fail_rate: 0.0,
        status: 200,
        body_size: 0,
    };
    match start(at, options) {
        Ok(_) => {
            let words = match there {
                Neighbour::Mock => "played with another process, whose answers are made up too",
                Neighbour::Nobody | Neighbour::Server | Neighbour::Other => {
                    "nobody is there: its answers are made up, and say so in X-Demo"
                }
            };
            say(LogLevel::Warn, "mock_started", words, "");
            true
        }
        Err(_) if there == Neighbour::Mock => {
            say(LogLevel::Info, "mock_not_needed", "another process plays it", "");
            true
        }
        Err(error) => {
            let words = "cannot play this backend";
            say(LogLevel::Error, "mock_failed", words, &error.to_string());
            false
        }
    }
}

/// Where a backend on this machine is, if it speaks plain HTTP.
fn on_loopback(backend: &BackendPlan) -> Option<SocketAddr> {
    if backend.address.scheme != Scheme::Http {
        return None;
    }
    match &backend.address.endpoint {
        Endpoint::Ip(at) if at.ip().is_loopback() => Some(*at),
        Endpoint::Name(name, port) if &**name == "localhost" => {
            Some((Ipv4Addr::LOCALHOST, *port).into())
        }
        Endpoint::Ip(_) | Endpoint::Name(..) | Endpoint::Unix(_) => None,
    }
}

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Nobody,
    /// It says itself that its answers are made up.
    Mock,
    /// It speaks HTTP.
    Server,
    Other,
}

fn who_is(at: SocketAddr) -> Neighbour {
    let Ok(mut stream) = TcpStream::connect_timeout(&at, ANSWER_TIMEOUT) else {
        return Neighbour::Nobody;
    };
    let ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let asked = stream.set_read_timeout(Some(ANSWER_TIMEOUT)).and_then(|()| stream.write_all(ask));
    let mut answer = Vec::new();
    // What came before an error counts.
    let _ = asked.and_then(|()| stream.take(MAX_ANSWER).read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    match answer.strip_prefix("http/") {
        Some(rest) if rest.contains("\r\nx-demo: 1\r\n") => Neighbour::Mock,
        Some(_) => Neighbour::Server,
        None => Neighbour::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_mock_speaks_http_and_others_may_not() {
        let options = TestServerOptions {
            name: "mock-0".to_owned(),
            delay: Duration::ZERO,
            fail_rate: 0.0,
            status: 200,
            body_size: 0,
        };
        let at = start((Ipv4Addr::LOCALHOST, 0).into(), options).expect("a free port");
        assert_eq!(who_is(at), Neighbour::Mock);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = taken.local_addr().expect("bound");
        assert_eq!(who_is(at), Neighbour::Other, "it never answers");
        drop(taken);
        assert_eq!(who_is(at), Neighbour::Nobody);
    }
}
