//! One active probe of one backend: a connection of its own, one request at most, and the little
//! of the answer that the check asks about. A backend that is hostile costs its bounds, no more.
//!
//! What a status means, and what the results of many probes add up to, is decided elsewhere.

mod answer;
mod grpc;

use crate::buffer::Outbox;
use crate::connect::{self, Beginning};
use crate::http2::{Spoken, links};
use crate::net::{Net, Stream};
use crate::wire::Wire;
use answer::Answer;
use evenkeel_core::address::Endpoint;
use evenkeel_core::backend::Backend;
use evenkeel_core::health::ProbeFault;
use evenkeel_core::plan::{HealthCheck, HttpCheck};
use rustls::InvalidMessage;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// Most bytes of an answer that are read at once.
const READ_BYTES: usize = 8 * 1024;

/// Of a backend that answers a handshake with something else.
const NOT_TLS: &str = "it does not speak TLS, as https:// says it does";

/// What is probed, and how.
pub(crate) struct ProbeTarget<'a> {
    pub(crate) backend: &'a Backend,
    pub(crate) check: &'a HealthCheck,
    pub(crate) beginning: Beginning,
    /// Bound of the whole probe, connection included.
    pub(crate) timeout: Duration,
}

/// What came of a probe that found no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeAnswer {
    /// This machine is out of descriptors or ports: nothing was learnt about the backend.
    Unasked,
    /// It took the connection, and nothing was asked.
    Connected,
    /// It says by gRPC that it serves.
    Serves,
    /// It answered with this status. If that is one of a healthy backend, then the body holds what
    /// it must.
    Status(u16),
}

/// Probes once. A check that is off is none to ask for; it is treated as a mere connection.
pub(crate) async fn probe<N: Net>(
    net: &N,
    target: &ProbeTarget<'_>,
) -> Result<ProbeAnswer, ProbeFault> {
    let ask = async {
        let connection =
            connect::dial(net, (target.backend, &target.beginning), target.timeout).await;
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(error) => return not_connected(&error),
        };
        let (backend, check) = (target.backend, target.check);
        let http2 = match (check, target.beginning.spoken) {
            (HealthCheck::Off | HealthCheck::Tcp, _) => false,
            (HealthCheck::Grpc(_), _) | (_, Spoken::Http2) => true,
            (HealthCheck::Http(_), Spoken::Auto) => connect::speaks_http2(&connection.stream),
            (HealthCheck::Http(_), Spoken::Http1) => false,
        };
        if http2 {
            let agreed = target.beginning.agrees(&connection.stream);
            agreed.map_err(|_| ProbeFault::NoHttp2)?;
            let stream = links::alone(connection.stream, backend).await;
            let stream = stream.map_err(|_| ProbeFault::NoHttp2)?;
            connection.stream = Wire::Outbound(Box::new(stream));
        }
        match check {
            HealthCheck::Off | HealthCheck::Tcp => Ok(ProbeAnswer::Connected),
            HealthCheck::Http(check) => {
                let request = request(check, backend);
                let answer = ask(&mut connection.stream, request, check).await;
                connection.stream.farewell();
                answer.map(ProbeAnswer::Status)
            }
            HealthCheck::Grpc(service) => {
                let to = (host_of(backend), service.as_str());
                grpc::ask(&mut connection.stream, to).await.map(|()| ProbeAnswer::Serves)
            }
        }
    };
    timeout(target.timeout, ask).await.unwrap_or(Err(ProbeFault::Timeout))
}

/// Our own deadline has no number; the kernel's verdict that a connect took too long has one.
fn not_connected(error: &io::Error) -> Result<ProbeAnswer, ProbeFault> {
    if connect::is_ours(error) {
        return Ok(ProbeAnswer::Unasked);
    }
    if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
        return Err(ProbeFault::Timeout);
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if inner == Some(&rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
        return Err(ProbeFault::Connect(NOT_TLS.to_owned()));
    }
    Err(ProbeFault::Connect(error.to_string()))
}

/// What the backend is called in a request.
fn host_of(backend: &Backend) -> &str {
    match &backend.plan.address.endpoint {
        Endpoint::Ip(_) | Endpoint::Name(..) => &backend.label,
        Endpoint::Unix(_) => "localhost",
    }
}

fn request(check: &HttpCheck, backend: &Backend) -> Vec<u8> {
    let HttpCheck { method, path, .. } = check;
    let host = match &backend.plan.address.endpoint {
        _ if !check.host.is_empty() => &check.host,
        Endpoint::Ip(_) | Endpoint::Name(..) | Endpoint::Unix(_) => host_of(backend),
    };
    let version = env!("CARGO_PKG_VERSION");
    // A method that is for sending something says that there is nothing (RFC 9110 8.6).
    let length = match &**method {
        "POST" | "PUT" | "PATCH" => "Content-Length: 0\r\n",
        _ => "",
    };
    let prefix = &backend.plan.address.prefix;
    let text = format!(
        "{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n\
         User-Agent: evenkeel-health/{version}\r\nAccept: */*\r\n{length}Connection: close\r\n\r\n"
    );
    text.into_bytes()
}

/// Sends the request and reads until the answer is decided: the status.
async fn ask<S: Stream>(
    stream: &mut S,
    request: Vec<u8>,
    check: &HttpCheck,
) -> Result<u16, ProbeFault> {
    let mut request = Outbox { bytes: request, written: 0 };
    let mut answer = Answer::new(check);
    let mut piece = vec![0; READ_BYTES];
    poll_fn(|cx| {
        // A write that fails is no verdict: the answer may be on its way all the same.
        let _ = request.poll_write(cx, stream);
        loop {
            let most = piece.len().min(answer.room());
            let read = match stream.poll_read(cx, &mut piece[..most]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ProbeFault::BadResponse)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(answer.cut())),
                Poll::Ready(Ok(length)) => answer.read(&piece[..length]),
            };
            match read {
                Ok(None) => {}
                Ok(Some(status)) => return Poll::Ready(Ok(status)),
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
