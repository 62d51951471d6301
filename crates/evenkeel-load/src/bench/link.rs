//! A connection to the target, in the clear or through TLS, and how it is made.

use super::fault::Fault;
use super::url::BenchUrl;
use crate::LoadError;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Bytes to and from the target.
pub(crate) enum Link {
    /// In the clear.
    Plain(TcpStream),
    /// Through TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections to one address.
pub(crate) struct Dialer {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Whether the other side must have chosen what we offered.
    alpn_required: bool,
    /// The connection that proved that somebody listens.
    first: Mutex<Option<StdStream>>,
    opened: AtomicU64,
}

impl Dialer {
    /// Finds the first address of the target that accepts a connection, within `patience`.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) fn new(
        url: &BenchUrl,
        tls: Option<Arc<ClientConfig>>,
        patience: Duration,
    ) -> Result<Dialer, String> {
        let (address, first) = first_connection(url, patience)?;
        let alpn_required = tls.as_ref().is_some_and(|c| c.alpn_protocols == [b"h2".to_vec()]);
        let tls = match tls {
            Some(config) => {
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|_| format!("{:?} cannot be the name of a certificate", url.host))?;
                Some((TlsConnector::from(config), name))
            }
            None => None,
        };
        let first = Mutex::new(Some(first));
        Ok(Dialer { address, tls, alpn_required, first, opened: AtomicU64::new(0) })
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Forgets the connection that proved that somebody listens.
    pub(crate) fn forget_first(&self) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A new connection, ready to be used before the deadline.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<Link, Fault> {
        match timeout_at(deadline, self.dial()).await {
            Ok(link) => link,
            Err(_) => Err(Fault::new(LoadError::Timeout, "no connection in time")),
        }
    }

    async fn dial(&self) -> Result<Link, Fault> {
        let cannot = |error: io::Error| Fault::new(LoadError::Connect, error.to_string());
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match first {
            Some(first) => TcpStream::from_std(first).map_err(cannot)?,
            None => TcpStream::connect(self.address).await.map_err(cannot)?,
        };
        stream.set_nodelay(true).map_err(cannot)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let Some((connector, name)) = &self.tls else { return Ok(Link::Plain(stream)) };
        let refused = |error: io::Error| Fault::new(LoadError::Tls, error.to_string());
        let stream = connector.connect(name.clone(), stream).await.map_err(refused)?;
        if self.alpn_required && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Fault::new(
                LoadError::Tls,
                "the server does not speak HTTP/2 (no ALPN h2)",
            ));
        }
        Ok(Link::Tls(Box::new(stream)))
    }
}

fn first_connection(url: &BenchUrl, patience: Duration) -> Result<(SocketAddr, StdStream), String> {
    let named = (url.host.as_str(), url.port).to_socket_addrs();
    let named = named.map_err(|error| format!("cannot find {:?}: {error}", url.host))?;
    let mut last = format!("{:?} has no address", url.host);
    for address in named.take(MAX_ADDRESSES) {
        let connected = StdStream::connect_timeout(&address, patience)
            .and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
        match connected {
            Ok(stream) => return Ok((address, stream)),
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Link::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Link::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Link::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Link::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
