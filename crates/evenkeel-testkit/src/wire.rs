//! A blocking connection over TCP or a unix socket, with every wait bounded.

use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// One connection.
#[derive(Debug)]
pub enum Wire {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// How a connection's reading side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer ended it in order.
    Fin,
    /// The peer broke it.
    Reset,
    /// It did not end within [`PATIENCE`].
    StillOpen,
}

impl Wire {
    /// Connects to `host:port` or `unix:/path`.
    pub fn connect(address: &str) -> io::Result<Wire> {
        match address.strip_prefix("unix:") {
            Some(path) => Wire::from_unix(UnixStream::connect(path)?),
            None => Wire::from_tcp(TcpStream::connect(address)?),
        }
    }

    pub(crate) fn from_tcp(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        let wire = Wire::Tcp(stream);
        wire.set_timeouts(PATIENCE)?;
        Ok(wire)
    }

    pub(crate) fn from_unix(stream: UnixStream) -> io::Result<Wire> {
        let wire = Wire::Unix(stream);
        wire.set_timeouts(PATIENCE)?;
        Ok(wire)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Wire> {
        Ok(match self {
            Wire::Tcp(stream) => Wire::Tcp(stream.try_clone()?),
            Wire::Unix(stream) => Wire::Unix(stream.try_clone()?),
        })
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.shutdown(how),
            Wire::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Bounds the next reads and writes.
    pub(crate) fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Wire::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    /// Closes so that the peer sees a reset. Only the last clone of a connection does so.
    pub(crate) fn reset(self) {
        if let Wire::Tcp(stream) = &self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Makes the kernel hold as little as it can for this end, so that back-pressure comes early.
    pub(crate) fn shrink_receive_buffer(&self) {
        if let Wire::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_recv_buffer_size(4096);
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buf),
            Wire::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.write(buf),
            Wire::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The ending that a read error stands for.
pub(crate) fn ending_of(error: &io::Error) -> Ending {
    let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    if late { Ending::StillOpen } else { Ending::Reset }
}
