//! A connection to the backend that was picked: an idle one, or a new one within the deadline.

use crate::buffer::Outbox;
use crate::http1::Peer;
use crate::http2::{Spoken, links};
use crate::idle::BackendConnection;
use crate::net::{Destination, Net, Stream};
use crate::socket::codes;
use crate::tls::{Connector, Material};
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::address::Scheme;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::{SendProxy, TlsVersion};
use evenkeel_core::pool::Pool;
use evenkeel_core::proxy_protocol::{TlsTold, Told, write_v1, write_v2};
use evenkeel_core::snapshot::Snapshot;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Addresses of one name that one try may go through.
const MAX_ADDRESSES_PER_DIAL: usize = 4;

/// Longest deadline that the runtime's clock is asked for.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// What a new connection begins with, before its first exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginning {
    /// A PROXY header; empty = none.
    header: Vec<u8>,
    /// What TLS is spoken with.
    secure: Option<Arc<Connector>>,
    /// What HTTP is spoken.
    pub(crate) spoken: Spoken,
}

impl Beginning {
    /// For a connection that carries this client's requests.
    #[inline]
    pub(crate) fn of<S: Stream>(
        snapshot: &Snapshot,
        (pool, backend): (&Pool, &Backend),
        (peer, stream): (&Peer, &Wire<S>),
    ) -> Beginning {
        let mut beginning = Beginning::secured(snapshot, (pool, backend));
        if pool.plan.proxy_protocol != SendProxy::Off {
            let told = told_of(peer, stream);
            write_header(pool.plan.proxy_protocol, &told, peer, &mut beginning.header);
        }
        beginning
    }

    /// For a connection of our own.
    pub(crate) fn own(snapshot: &Snapshot, (pool, backend): (&Pool, &Backend)) -> Beginning {
        let mut beginning = Beginning::secured(snapshot, (pool, backend));
        match pool.plan.proxy_protocol {
            SendProxy::Off => {}
            SendProxy::V1 => write_v1(&Told::Nothing, &mut beginning.header),
            SendProxy::V2 => {
                write_v2(&Told::Nothing, &TlsTold::default(), &mut beginning.header);
            }
        }
        beginning
    }

    #[inline]
    fn secured(snapshot: &Snapshot, (pool, backend): (&Pool, &Backend)) -> Beginning {
        let secure = match backend.plan.address.scheme {
            Scheme::Https => Material::of(snapshot).connector(&pool.plan.name).cloned(),
            Scheme::Http | Scheme::H2c => None,
        };
        Beginning { header: Vec::new(), secure, spoken: Spoken::of(pool, backend) }
    }

    /// `Err` if TLS did not agree on the HTTP/2 that is to be spoken.
    pub(crate) fn agrees<S: Stream>(&self, stream: &Wire<S>) -> io::Result<()> {
        let agreed = self.secure.is_none() || speaks_http2(stream);
        if agreed { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// True if a connection that another client has used will do.
    fn may_share<S>(&self, connection: &BackendConnection<S>) -> bool {
        let pointer = |secure: &Option<Arc<Connector>>| secure.as_ref().map(Arc::as_ptr);
        self.header.is_empty() && pointer(&self.secure) == pointer(&connection.secure)
    }

    /// Says what comes first.
    async fn begin<S: Stream>(
        &self,
        mut stream: S,
        backend: &Backend,
    ) -> io::Result<BackendConnection<S>> {
        let mut header = Outbox { bytes: self.header.clone(), written: 0 };
        poll_fn(|cx| header.poll_flush(cx, &mut stream)).await?;
        let stream = match (backend.plan.address.scheme, &self.secure) {
            (Scheme::Http | Scheme::H2c, _) => Wire::Plain(stream),
            (Scheme::Https, Some(connector)) => {
                let made = connector.connect(stream, backend).map_err(io::Error::other)?;
                let mut stream = Box::new(made);
                poll_fn(|cx| stream.poll_handshake(cx)).await?;
                Wire::Tls(stream)
            }
            // Never without TLS what was asked to be with it.
            (Scheme::Https, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(BackendConnection { stream, reused: false, long: false, secure: self.secure.clone() })
    }
}

/// Who the client is, as the backend is told.
fn told_of<S: Stream>(peer: &Peer, stream: &Wire<S>) -> Told {
    let destination = peer.called.or_else(|| stream.local_address());
    match (peer.source, destination) {
        (Some(source), Some(destination)) => Told::Client { source, destination },
        (Some(_), None) | (None, _) => Told::Nothing,
    }
}

fn write_header(version: SendProxy, told: &Told, peer: &Peer, out: &mut Vec<u8>) {
    let tls = match peer.secure.as_deref() {
        None => TlsTold::default(),
        Some(identity) => TlsTold {
            version: match identity.version {
                TlsVersion::V12 => "TLSv1.2",
                TlsVersion::V13 => "TLSv1.3",
            },
            authority: identity.server_name.as_deref().unwrap_or_default(),
            alpn: identity.alpn.as_deref().unwrap_or_default(),
            client_cert: !identity.client_cert.is_empty(),
        },
    };
    match version {
        SendProxy::Off => {}
        SendProxy::V1 => write_v1(told, out),
        SendProxy::V2 => write_v2(told, &tls, out),
    }
}

/// Opens a new connection. All addresses of the backend together get `deadline`, TLS included.
pub(crate) async fn dial<N: Net>(
    net: &N,
    (backend, beginning): (&Backend, &Beginning),
    deadline: Duration,
) -> io::Result<BackendConnection<N::Stream>> {
    // Far enough for "no bound", and representable.
    let until = Instant::now() + deadline.min(MAX_DEADLINE);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address yet");
    for destination in destinations(backend) {
        let begun = async {
            let stream = net.connect(&destination).await?;
            beginning.begin(stream, backend).await
        };
        match timeout_at(until, begun).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

/// True if the process is out of descriptors: nothing is wrong with the backend.
pub(crate) fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(codes::EMFILE | codes::ENFILE))
}

/// True if this machine is short of something: nothing is wrong with the backend.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    const OURS: [i32; 4] = [codes::EADDRNOTAVAIL, codes::ENOBUFS, codes::ENOMEM, codes::EAGAIN];
    lacks_descriptors(error) || error.raw_os_error().is_some_and(|code| OURS.contains(&code))
}

fn destinations(backend: &Backend) -> Vec<Destination> {
    if let Some(unix) = Destination::of_unix(&backend.plan.address.endpoint) {
        return vec![unix];
    }
    let addresses = backend.addresses().into_iter().take(MAX_ADDRESSES_PER_DIAL);
    addresses.map(Destination::Ip).collect()
}

/// A connection that can carry this try's request: a new one, or a stream on one of HTTP/2, which
/// others share.
pub(crate) async fn connect<N: Net>(
    worker: &Worker<N>,
    (backend, beginning): (&Arc<Backend>, &Beginning),
    (patience, idle_timeout): (Duration, Duration),
) -> io::Result<BackendConnection<N::Stream>> {
    let make = || async {
        let connection = connect_within(worker, (backend, beginning), patience).await?;
        beginning.agrees(&connection.stream)?;
        Ok(connection.stream)
    };
    let shared = beginning.header.is_empty();
    let to = (backend, &beginning.secure, idle_timeout);
    let (stream, reused) = match beginning.spoken {
        Spoken::Http1 => return connect_within(worker, (backend, beginning), patience).await,
        Spoken::Http2 if shared => {
            let until = Instant::now() + patience.min(MAX_DEADLINE);
            let connecting = worker.links.connect(to, make);
            timeout_at(until, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??
        }
        // Whoever is named in the header must not carry others' requests.
        Spoken::Http2 => (links::alone(make().await?, backend).await?, false),
        Spoken::Auto => {
            let connection = connect_within(worker, (backend, beginning), patience).await?;
            if !speaks_http2(&connection.stream) {
                return Ok(connection);
            }
            let stream = match shared {
                true => worker.links.adopt(to, connection.stream).await?,
                false => links::alone(connection.stream, backend).await?,
            };
            (stream, false)
        }
    };
    let (stream, secure) = (Wire::Outbound(Box::new(stream)), beginning.secure.clone());
    Ok(BackendConnection { stream, reused, long: false, secure })
}

/// A connection, made at the cost of idle ones if descriptors have run out.
pub(crate) async fn connect_within<N: Net>(
    worker: &Worker<N>,
    target: (&Backend, &Beginning),
    patience: Duration,
) -> io::Result<BackendConnection<N::Stream>> {
    let dialled = dial(&worker.net, target, patience).await;
    if !dialled.as_ref().is_err_and(lacks_descriptors) {
        return dialled;
    }
    // Idle connections hold descriptors that this request needs.
    worker.make_room();
    dial(&worker.net, target, patience).await
}

/// True if TLS agreed on HTTP/2.
pub(crate) fn speaks_http2<S: Stream>(stream: &Wire<S>) -> bool {
    match stream {
        Wire::Tls(stream) => stream.session().alpn_protocol() == Some(b"h2"),
        Wire::Plain(_) | Wire::Inbound(_) | Wire::Outbound(_) => false,
    }
}

impl<N: Net> Worker<N> {
    /// A connection that can carry a request at once.
    #[inline]
    pub(crate) fn ready_connection(
        &self,
        backend: &Backend,
        beginning: &Beginning,
    ) -> Option<BackendConnection<N::Stream>> {
        if beginning.spoken != Spoken::Http1
            && beginning.header.is_empty()
            && let Some((stream, reused)) = self.links.take(backend, &beginning.secure)
        {
            let (stream, secure) = (Wire::Outbound(Box::new(stream)), beginning.secure.clone());
            return Some(BackendConnection { stream, reused, long: false, secure });
        }
        self.idle_connection(backend, beginning)
    }

    /// An idle connection that is still good.
    #[inline]
    pub(crate) fn idle_connection(
        &self,
        backend: &Backend,
        beginning: &Beginning,
    ) -> Option<BackendConnection<N::Stream>> {
        let mut idle = self.idle.borrow_mut();
        let suits = |connection: &_| beginning.may_share(connection);
        let connection = idle.take(backend, self.recent()).filter(suits);
        let unexplained = idle.take_unexplained();
        drop(idle);
        if !unexplained.is_empty() {
            self.doubt_slots(&unexplained);
        }
        connection
    }
}
