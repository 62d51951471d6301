//! What this room needs of unix sockets, on a system that has none for us: every attempt to make
//! one is refused, and no value of these types exists.

use crate::bind::Bound;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn refused<T>() -> io::Result<T> {
    let why = "unix sockets are not served on Windows; use host:port";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// A connection.
#[derive(Debug)]
pub(crate) enum UnixStream {}

impl UnixStream {
    pub(crate) async fn connect(_to: &Path) -> io::Result<UnixStream> {
        refused()
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

/// A listening socket, with a runtime or without.
#[derive(Debug)]
pub(crate) enum UnixListener {}

impl UnixListener {
    pub(crate) fn from_std(listener: UnixListener) -> io::Result<UnixListener> {
        match listener {}
    }

    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        match *self {}
    }
}

/// The file of a listening socket.
#[derive(Debug)]
pub(crate) enum SocketFile {}

/// Binds nothing.
pub(crate) fn bind_unix(_path: &Path) -> io::Result<Bound> {
    refused()
}
