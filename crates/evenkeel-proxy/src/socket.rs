//! Real sockets: reading, writing, connecting, accepting. With `worker` the only room that may use
//! `unsafe`: for an option that no library wraps, and for sockets that are inherited.

#[cfg(windows)]
mod absent;
mod bound;
pub(crate) mod codes;
pub(crate) mod datagrams;
#[cfg(unix)]
mod left_open;
#[cfg_attr(windows, path = "socket/no_pipes.rs")]
pub(crate) mod pipes;
#[cfg(unix)]
mod unix_file;

#[cfg(windows)]
pub use absent::{SocketFile, UnixListener, UnixStream, bind_unix};
pub use bound::{BoundSocket, WorkerSockets, bind};
pub(crate) use bound::{Traffic, bind_datagrams, share_out};
#[cfg(unix)]
pub use left_open::inherited;
#[cfg(unix)]
pub use unix_file::{SocketFile, bind_unix};

use crate::net::{Accept, Destination, LocalFuture, Net, Peek, Stream};
#[cfg(unix)]
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
#[cfg(windows)]
use tokio::io::{AsyncRead, ReadBuf};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A backend that acknowledges nothing for so long is gone.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A TCP or unix stream, registered once with the runtime.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Socket {
    fn options(&self) -> SockRef<'_> {
        match self {
            Socket::Tcp(stream) => SockRef::from(stream),
            Socket::Unix(stream) => SockRef::from(stream),
        }
    }
}

/// What a system call has moved, seen past the runtime: one that moved less than it could is
/// reported to it as one that would block, so that it is not made again before the kernel tells.
/// Made here, and not by the runtime, few frames lie between such a call and whoever goes on with
/// the bytes; each of them is a return that the processor mispredicts after a visit to the kernel.
#[cfg(unix)]
#[derive(Default)]
struct Moved(Option<usize>);

#[cfg(unix)]
impl Moved {
    #[inline]
    fn note(&mut self, most: usize, moved: rustix::io::Result<usize>) -> io::Result<()> {
        let length = moved?;
        self.0 = Some(length);
        if 0 < length && length < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// `None` if nothing was moved, and is not yet to be.
    #[inline]
    fn outcome(self, told: io::Result<()>) -> Option<io::Result<usize>> {
        match (self.0, told) {
            (Some(length), _) => Some(Ok(length)),
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            (None, told) => Some(told.map(|()| 0)),
        }
    }
}

impl Stream for Socket {
    #[cfg(unix)]
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx));
            let mut moved = Moved::default();
            let most = buf.len();
            let read = || {
                let received = rustix::net::recv(&*self, &mut *buf, RecvFlags::empty());
                moved.note(most, received.map(|(length, _)| length))
            };
            let outcome = match &*self {
                Socket::Tcp(stream) => stream.try_io(Interest::READABLE, read),
                Socket::Unix(stream) => stream.try_io(Interest::READABLE, read),
            };
            if let Some(outcome) = moved.outcome(outcome) {
                return Poll::Ready(outcome);
            }
        }
    }

    #[cfg(windows)]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(buf);
        ready!(match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut target),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut target),
        })?;
        Poll::Ready(Ok(target.filled().len()))
    }

    #[inline]
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, parts) {
            #[cfg(unix)]
            (Socket::Tcp(stream), [one]) => loop {
                ready!(stream.poll_write_ready(cx))?;
                let mut moved = Moved::default();
                let write = || {
                    let sent = rustix::net::send(&*stream, one, SendFlags::NOSIGNAL);
                    moved.note(one.len(), sent)
                };
                let outcome = stream.try_io(Interest::WRITABLE, write);
                if let Some(outcome) = moved.outcome(outcome) {
                    return Poll::Ready(outcome);
                }
            },
            (Socket::Tcp(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Socket::Unix(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    #[cfg(target_os = "linux")]
    fn poll_write_ahead(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Socket::Tcp(stream) = self else { return self.poll_write(cx, parts) };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let options = SockRef::from(&*stream);
            let write = || options.send_vectored_with_flags(parts, libc::MSG_MORE);
            match stream.try_io(Interest::WRITABLE, write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let readable = match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        };
        readable.map(|_| ())
    }

    fn socket(&self) -> Option<&Socket> {
        Some(self)
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    fn peek(&mut self) -> Peek {
        let mut byte = [MaybeUninit::uninit()];
        let options = self.options();
        let look = || options.peek(&mut byte);
        // Asked this way, what finds nothing need not be asked again before the kernel tells.
        let seen = match &*self {
            Socket::Tcp(stream) => stream.try_io(Interest::READABLE, look),
            Socket::Unix(stream) => stream.try_io(Interest::READABLE, look),
        };
        match seen {
            Ok(0) => Peek::End,
            Ok(_) => Peek::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Peek::Nothing,
            Err(_) => Peek::Gone,
        }
    }

    fn reset(self) {
        // Best effort: without the option the peer sees an early end instead, an error all the same
        // for every message with a length.
        let _ = self.options().set_linger(Some(Duration::ZERO));
    }
}

/// The machine's own network.
#[derive(Debug)]
pub struct SystemNet {
    random: RefCell<fastrand::Rng>,
}

impl SystemNet {
    /// With a seed of the operating system.
    pub fn new() -> SystemNet {
        SystemNet { random: RefCell::new(fastrand::Rng::new()) }
    }
}

impl Default for SystemNet {
    fn default() -> SystemNet {
        SystemNet::new()
    }
}

impl Net for SystemNet {
    type Stream = Socket;

    fn connect<'a>(&'a self, to: &'a Destination) -> LocalFuture<'a, io::Result<Socket>> {
        Box::pin(async move {
            match to {
                Destination::Ip(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    #[cfg(target_os = "linux")]
                    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(USER_TIMEOUT));
                    Ok(Socket::Tcp(stream))
                }
                Destination::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
            }
        })
    }

    #[inline]
    fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    #[inline]
    fn unix_nanos(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A listening socket on a worker's runtime.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Listening {
    /// Registers a bound socket with the runtime of the calling thread.
    ///
    /// # Errors
    /// The system refuses it, or it is one for datagrams.
    pub fn register(socket: BoundSocket) -> io::Result<Listening> {
        Ok(match socket {
            BoundSocket::Tcp(listener) => Listening::Tcp(TcpListener::from_std(listener)?),
            BoundSocket::Unix(listener) => Listening::Unix(UnixListener::from_std(listener)?),
            BoundSocket::Udp(_) => return Err(io::Error::other("datagrams are not accepted")),
        })
    }
}

impl Accept for Listening {
    type Stream = Socket;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        Poll::Ready(match self {
            Listening::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(s, peer)| (Socket::Tcp(s), Some(peer)))
            }
            Listening::Unix(listener) => {
                ready!(listener.poll_accept(cx)).map(|(s, _)| (Socket::Unix(s), None))
            }
        })
    }
}
