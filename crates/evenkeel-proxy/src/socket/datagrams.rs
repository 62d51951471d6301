//! Sockets for datagrams: options, binding, connecting, sending without waiting.

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
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

/// Sends to this peer, now or not at all.
pub(crate) fn send_to(socket: &UdpSocket, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
    SockRef::from(socket).send_to(datagram, &peer.into()).map(drop)
}
