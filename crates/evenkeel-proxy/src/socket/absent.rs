//! Unix sockets on a system that has none for us: they can be named, and every attempt to make one
//! is refused. No value of these types exists, so nothing more is ever asked of them.

use super::BoundSocket;
use socket2::{Socket as RawSocket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

fn refused<T>() -> io::Result<T> {
    let why = "unix sockets are not served on Windows; use host:port";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// A connection.
#[derive(Debug)]
pub enum UnixStream {}

impl UnixStream {
    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub async fn connect(_to: &Path) -> io::Result<UnixStream> {
        refused()
    }

    pub(super) fn try_io<T>(
        &self,
        _interest: Interest,
        _act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match *self {}
    }

    pub(super) fn poll_read_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsSocket for UnixStream {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        match *self {}
    }
}

/// A listening socket, with a runtime or without.
#[derive(Debug)]
pub enum UnixListener {}

impl UnixListener {
    /// The same; there is none.
    ///
    /// # Errors
    /// None: nobody has a listener.
    pub fn from_std(listener: UnixListener) -> io::Result<UnixListener> {
        match listener {}
    }

    /// The next connection; there is none.
    ///
    /// # Errors
    /// None: nobody has a listener.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        match *self {}
    }

    /// Another descriptor of it; there is none.
    ///
    /// # Errors
    /// None: nobody has a listener.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        match *self {}
    }

    /// Where it is bound; nowhere.
    ///
    /// # Errors
    /// None: nobody has a listener.
    pub fn local_addr(&self) -> io::Result<Nowhere> {
        match *self {}
    }

    pub(super) fn poll_accept(
        &self,
        _cx: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        match *self {}
    }
}

/// Where a unix socket would be bound.
#[derive(Debug)]
pub enum Nowhere {}

impl Nowhere {
    /// Its path; it has none.
    pub fn as_pathname(&self) -> Option<&Path> {
        match *self {}
    }
}

/// Binds nothing.
///
/// # Errors
/// Always.
pub fn bind_unix(_path: &Path) -> io::Result<UnixListener> {
    refused()
}

/// The file of a unix socket; there is none.
#[derive(Debug)]
pub enum SocketFile {}

impl SocketFile {
    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn at(_path: &Path) -> io::Result<SocketFile> {
        refused()
    }

    /// It is ours; there is none.
    pub fn take(&mut self) {
        match *self {}
    }

    /// It is another process's; there is none.
    pub fn leave(&mut self) {
        match *self {}
    }
}

/// What each worker gets of an address: the very same socket, since a port cannot be shared out.
/// Datagrams of one client have to stay with one worker, so that only the first gets those.
pub(super) fn shared(socket: RawSocket, workers: usize) -> io::Result<Vec<RawSocket>> {
    let workers = if socket.r#type()? == Type::DGRAM { 1 } else { workers };
    let mut all = (1..workers).map(|_| socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
    all.push(socket);
    Ok(all)
}

impl AsSocket for BoundSocket {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        match self {
            BoundSocket::Tcp(listener) => listener.as_socket(),
            BoundSocket::Unix(listener) => match *listener {},
            BoundSocket::Udp(socket) => socket.as_socket(),
        }
    }
}
