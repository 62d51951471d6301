//! Sockets for datagrams: options, binding, connecting, sending without waiting.

#[cfg(target_os = "linux")]
mod destination;

use evenkeel_core::flow::Ends;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::task::{Context, Poll, ready};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

/// A bound socket; `shared` with others of ours at the same address.
pub(super) fn bind(address: SocketAddr, shared: bool) -> io::Result<RawSocket> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    #[cfg(windows)]
    let _ = shared;
    if address.ip().is_unspecified() {
        // Before the first datagram can come: of one that came earlier it is not known. Where it
        // cannot be told at all, `Served` does without.
        let _ = destination::tell(&socket, address);
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket with a port of its own that hears this peer only, and what became of datagrams to it.
pub(crate) fn connect(peer: SocketAddr) -> io::Result<StdUdpSocket> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = StdUdpSocket::bind(any)?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends to the peer that the socket is connected to, now or not at all.
pub(crate) fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    SockRef::from(socket).send(datagram).map(drop)
}

/// A socket that many clients send to.
#[derive(Debug)]
pub(crate) struct Served {
    socket: UdpSocket,
    /// It is bound to all addresses, and tells which one a datagram was sent to.
    tells: bool,
}

impl Served {
    /// Where it is bound to one address, everything goes to that and comes from it.
    pub(crate) fn new(socket: UdpSocket) -> Served {
        let own = socket.local_addr().ok().filter(|own| own.ip().is_unspecified());
        let tells = own.is_some_and(|own| destination::tell(&socket, own).is_ok());
        Served { socket, tells }
    }

    /// Takes the next datagram, and says between whom it goes.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Ends>> {
        if !self.tells {
            return self.socket.poll_recv_from(cx, into).map_ok(Ends::from);
        }
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let bytes = into.initialize_unfilled();
            let receive = || destination::receive(&self.socket, bytes);
            match self.socket.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok((length, ends)) => {
                    into.advance(length);
                    return Poll::Ready(Ok(ends));
                }
            }
        }
    }

    /// Sends to a client from the address that it called, now or not at all.
    pub(crate) fn send(&self, datagram: &[u8], ends: Ends) -> io::Result<()> {
        match ends.called {
            Some(own) => destination::send(&self.socket, datagram, (ends.client, own)),
            None => SockRef::from(&self.socket).send_to(datagram, &ends.client.into()).map(drop),
        }
    }
}

/// Elsewhere the system chooses.
#[cfg(not(target_os = "linux"))]
mod destination {
    use super::{Ends, SocketAddr, UdpSocket, io};
    use std::net::IpAddr;

    pub(super) fn tell<S>(_: &S, _: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn receive(_: &UdpSocket, _: &mut [u8]) -> io::Result<(usize, Ends)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send(_: &UdpSocket, _: &[u8], _: (SocketAddr, IpAddr)) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
