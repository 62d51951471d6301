//! Binds the admin listener, before its thread exists, so that errors reach the caller.

use crate::limits::ACCEPT_BACKLOG;
use evenkeel_core::address::BindAddress;
#[cfg(windows)]
use evenkeel_proxy::socket::UnixListener;
use evenkeel_proxy::socket::{self, BoundSocket, SocketFile};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
#[cfg(unix)]
use {std::fs, std::os::unix::fs::PermissionsExt, std::os::unix::net::UnixListener};

/// Listening sockets, not yet served.
#[derive(Debug)]
pub(crate) enum Bound {
    /// One per address; at least one.
    Tcp(Vec<TcpListener>),
    /// With its file.
    Unix(UnixListener, SocketFile),
}

impl Bound {
    /// Binds every socket of an address; port 0 gives the same free port to both IP families.
    pub(crate) fn to(bind: &BindAddress) -> io::Result<Bound> {
        match bind {
            BindAddress::Unix(path) => bind_unix(path),
            BindAddress::Ip(address) => Ok(Bound::Tcp(vec![bind_tcp(*address)?])),
            BindAddress::AnyIp(_) => bind_both_families(&bind.socket_addrs()).map(Bound::Tcp),
        }
    }

    /// The sockets of a process before this one; `None` if there are none that can be found. The
    /// file of a unix socket is not ours yet.
    pub(crate) fn again(sockets: Vec<BoundSocket>) -> Option<Bound> {
        let mut all = Vec::new();
        for socket in sockets {
            match (socket.file(), socket) {
                (_, BoundSocket::Tcp(socket)) => all.push(socket),
                (Some(file), BoundSocket::Unix(socket)) => {
                    return Some(Bound::Unix(socket, file));
                }
                (None, BoundSocket::Unix(_)) | (_, BoundSocket::Udp(_)) => {}
            }
        }
        (!all.is_empty()).then_some(Bound::Tcp(all))
    }

    /// The first TCP address; `None` for a unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Bound::Tcp(listeners) => listeners.first()?.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }

    /// Descriptors of its sockets, to be handed over.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(crate) fn sockets(&self) -> io::Result<Vec<BoundSocket>> {
        match self {
            Bound::Tcp(all) => all.iter().map(|it| Ok(BoundSocket::Tcp(it.try_clone()?))).collect(),
            Bound::Unix(socket, _) => Ok(vec![BoundSocket::Unix(socket.try_clone()?)]),
        }
    }
}

fn bind_both_families(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in addresses {
        let mut address = *address;
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr()?.port());
        }
        match bind_tcp(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 still has its other addresses.
            Err(error) if !listeners.is_empty() && is_family_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn is_family_missing(error: &io::Error) -> bool {
    // Linux names a missing family EAFNOSUPPORT, which std has no kind for.
    let missing_family = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(missing_family)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Elsewhere this lets a stranger take the port beside us.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// Binds a path that only its owner may use. A socket file that nobody listens on is replaced.
fn bind_unix(path: &Path) -> io::Result<Bound> {
    let listener = socket::bind_unix(path)?;
    let mut file = SocketFile::at(path)?;
    file.take();
    #[cfg(unix)]
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(Bound::Unix(listener, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_get_the_same_port() {
        let Bound::Tcp(listeners) = Bound::to(&BindAddress::AnyIp(0)).expect("bind") else {
            panic!("not TCP");
        };
        let port = |listener: &TcpListener| listener.local_addr().expect("address").port();
        assert!(listeners.iter().all(|listener| port(listener) == port(&listeners[0])));
        assert_ne!(port(&listeners[0]), 0);
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let first = Bound::to(&BindAddress::parse("127.0.0.1:0").expect("address")).expect("bind");
        let taken = BindAddress::Ip(first.local_addr().expect("address"));
        let error = Bound::to(&taken).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn stale_socket_files_are_replaced_and_live_ones_are_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("a socket that leaves its file"));
        let bind = BindAddress::Unix(path.clone());
        let bound = Bound::to(&bind).expect("replaced");
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert!(Bound::to(&bind).is_err());
        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "precious").expect("write");
        assert!(Bound::to(&bind).is_err());
        assert!(path.exists());
    }
}
