//! Sockets that whoever started this process left open for it, and that it leaves open for others.

use super::BoundSocket;
use socket2::{Domain, Socket as RawSocket, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that whoever started this process left open for it. Each may be taken
/// once, before anything else is opened.
///
/// # Errors
/// It is not open.
#[expect(unsafe_code, reason = "nothing else makes an owner of a number")]
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes any number, and fails if it is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as was just seen, and nobody else owns it: it was opened for
    // this process by its parent, which names each once, and is taken over at start only.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl BoundSocket {
    /// A listening socket that was inherited.
    ///
    /// # Errors
    /// It is neither a stream socket that listens nor one for UDP.
    pub fn from_inherited(descriptor: OwnedFd) -> io::Result<BoundSocket> {
        let socket = RawSocket::from(descriptor);
        let unix = socket.domain()? == Domain::UNIX;
        socket.set_nonblocking(true)?;
        match socket.r#type()? {
            Type::DGRAM if !unix => return Ok(BoundSocket::Udp(socket.into())),
            #[cfg(target_os = "linux")]
            Type::STREAM if socket.is_listener()? => {}
            #[cfg(not(target_os = "linux"))]
            Type::STREAM => {}
            _ => return Err(io::Error::other("neither a listening stream socket nor one for UDP")),
        }
        Ok(if unix { BoundSocket::Unix(socket.into()) } else { BoundSocket::Tcp(socket.into()) })
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            BoundSocket::Tcp(listener) => listener.as_fd(),
            BoundSocket::Unix(listener) => listener.as_fd(),
            BoundSocket::Udp(socket) => socket.as_fd(),
        }
    }
}
