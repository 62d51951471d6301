//! Listening sockets before a worker has them: how they are bound, and shared among workers.

#[cfg(windows)]
use super::absent::{self, UnixListener as StdUnixListener};
use super::{SocketFile, bind_unix, codes, datagrams};
use evenkeel_core::address::BindAddress;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
#[cfg(unix)]
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

/// Connections that the kernel may hold for us until we accept them.
const BACKLOG: i32 = 4096;
/// Seconds that the kernel waits for a client's first bytes before it shows us the connection.
const DEFER_ACCEPT_SECONDS: i32 = 2;
/// What comes through a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Connections.
    Streams,
    /// Datagrams.
    Datagrams,
}

/// A bound listening socket that is not registered with a runtime yet, so that it can be handed to
/// the worker that will serve it.
#[derive(Debug)]
pub enum BoundSocket {
    /// TCP, one socket per worker and address.
    Tcp(StdTcpListener),
    /// Unix, one socket shared by all workers.
    Unix(StdUnixListener),
    /// UDP, one socket per worker and address.
    Udp(StdUdpSocket),
}

impl BoundSocket {
    /// For clients that may wait for us to speak: they are shown at once.
    pub(crate) fn show_silent_clients(&self) -> io::Result<()> {
        match self {
            BoundSocket::Tcp(listener) => defer_accept(&SockRef::from(listener), 0),
            BoundSocket::Unix(_) | BoundSocket::Udp(_) => Ok(()),
        }
    }

    /// Another descriptor of the same socket.
    pub fn try_clone(&self) -> io::Result<BoundSocket> {
        Ok(match self {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone()?),
            BoundSocket::Unix(listener) => BoundSocket::Unix(listener.try_clone()?),
            BoundSocket::Udp(socket) => BoundSocket::Udp(socket.try_clone()?),
        })
    }

    /// The address as text, with the real port.
    pub fn address(&self) -> io::Result<String> {
        match self {
            BoundSocket::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            BoundSocket::Udp(socket) => Ok(socket.local_addr()?.to_string()),
            BoundSocket::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new(""));
                Ok(format!("unix:{}", path.display()))
            }
        }
    }

    /// The file that it is found by, which is nobody's yet; only a unix socket has one.
    pub fn file(&self) -> Option<SocketFile> {
        match self {
            BoundSocket::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                SocketFile::at(address.as_pathname()?).ok()
            }
            BoundSocket::Tcp(_) | BoundSocket::Udp(_) => None,
        }
    }
}

impl BoundSocket {
    /// True if it listens where a listener of this name is to bind.
    pub(crate) fn fits(&self, bind: &BindAddress, traffic: Traffic, same_name: bool) -> bool {
        let own = match (self, traffic) {
            (BoundSocket::Tcp(listener), Traffic::Streams) => listener.local_addr(),
            (BoundSocket::Udp(socket), Traffic::Datagrams) => socket.local_addr(),
            (BoundSocket::Unix(listener), Traffic::Streams) => {
                let BindAddress::Unix(path) = bind else { return false };
                let own = listener.local_addr();
                return own.is_ok_and(|own| own.as_pathname() == Some(path.as_path()));
            }
            (BoundSocket::Tcp(_) | BoundSocket::Unix(_), Traffic::Datagrams)
            | (BoundSocket::Udp(_), Traffic::Streams) => return false,
        };
        let Ok(own) = own else { return false };
        let fits = |wanted: SocketAddr| {
            let any_port = wanted.port() == 0 && same_name;
            wanted.ip() == own.ip() && (any_port || wanted.port() == own.port())
        };
        bind.socket_addrs().into_iter().any(fits)
    }
}

/// Shares inherited sockets out to so many workers: of each address everyone gets some, and each is
/// somebody's, so that no connection waits in vain.
///
/// # Errors
/// There are no descriptors left.
pub(crate) fn share_out(sockets: Vec<BoundSocket>, workers: usize) -> io::Result<WorkerSockets> {
    let mut by_address: BTreeMap<(bool, String), Vec<BoundSocket>> = BTreeMap::new();
    for socket in sockets {
        let is_udp = matches!(socket, BoundSocket::Udp(_));
        by_address.entry((is_udp, socket.address()?)).or_default().push(socket);
    }
    let mut shares: WorkerSockets = (0..workers).map(|_| Vec::new()).collect();
    for sockets in by_address.into_values() {
        let count = sockets.len();
        for (worker, share) in shares.iter_mut().enumerate().skip(count) {
            share.push(sockets[worker % count].try_clone()?);
        }
        for (at, socket) in sockets.into_iter().enumerate() {
            shares[at % workers].push(socket);
        }
    }
    Ok(shares)
}

/// The sockets of one listener: `sockets[worker]` are those that this worker accepts from.
pub type WorkerSockets = Vec<Vec<BoundSocket>>;

/// Binds a listener for so many workers, beside those of ours that have these ports. Nothing is
/// left bound on error.
pub fn bind(bind: &BindAddress, workers: usize, ours: &[u16]) -> io::Result<WorkerSockets> {
    if let BindAddress::Unix(path) = bind {
        let mut sockets: WorkerSockets = (0..workers).map(|_| Vec::new()).collect();
        let listener = bind_unix(path)?;
        for own in &mut sockets {
            own.push(BoundSocket::Unix(listener.try_clone()?));
        }
        return Ok(sockets);
    }
    bind_ip(bind, workers, ours, tcp_socket, |socket| BoundSocket::Tcp(socket.into()))
}

/// The same for datagrams.
pub(crate) fn bind_datagrams(
    bind: &BindAddress,
    workers: usize,
    ours: &[u16],
) -> io::Result<WorkerSockets> {
    if matches!(bind, BindAddress::Unix(_)) {
        return Err(io::Error::other("udp has no unix sockets here; bind host:port"));
    }
    let open = |address, sharing| datagrams::bind(address, sharing == Sharing::Workers);
    bind_ip(bind, workers, ours, open, |socket| BoundSocket::Udp(socket.into()))
}

fn bind_ip(
    bind: &BindAddress,
    workers: usize,
    ours: &[u16],
    open: impl Fn(SocketAddr, Sharing) -> io::Result<RawSocket>,
    bound: impl Fn(RawSocket) -> BoundSocket,
) -> io::Result<WorkerSockets> {
    let mut sockets: WorkerSockets = (0..workers).map(|_| Vec::new()).collect();
    let mut port = None;
    for (index, wanted) in bind.socket_addrs().into_iter().enumerate() {
        let mut address = wanted;
        if let Some(port) = port {
            address.set_port(port);
        }
        // Without SO_REUSEPORT first: only this shows that someone else holds the port.
        if address.port() == 0 || !ours.contains(&address.port()) {
            let probe = match open(address, Sharing::Alone) {
                Err(error) if index > 0 && is_family_missing(&error) => continue,
                probe => probe?,
            };
            address = probe.local_addr()?.as_socket().unwrap_or(address);
        }
        port = Some(address.port());
        let all = per_worker(workers, || open(address, Sharing::Workers))?;
        for (own, socket) in sockets.iter_mut().zip(all) {
            own.push(bound(socket));
        }
    }
    Ok(sockets)
}

/// A socket for each worker at one address; the kernel spreads clients over them.
#[cfg(unix)]
fn per_worker(
    workers: usize,
    open: impl Fn() -> io::Result<RawSocket>,
) -> io::Result<Vec<RawSocket>> {
    (0..workers).map(|_| open()).collect()
}

#[cfg(windows)]
fn per_worker(
    workers: usize,
    open: impl Fn() -> io::Result<RawSocket>,
) -> io::Result<Vec<RawSocket>> {
    absent::shared(open()?, workers)
}

fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(codes::EAFNOSUPPORT | codes::EADDRNOTAVAIL))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Workers,
}

fn tcp_socket(address: SocketAddr, sharing: Sharing) -> io::Result<RawSocket> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    // Elsewhere these options let a stranger take the port beside us.
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(sharing == Sharing::Workers)?;
    }
    socket.bind(&address.into())?;
    if sharing == Sharing::Workers {
        // Accepted connections inherit it.
        socket.set_tcp_nodelay(true)?;
        defer_accept(&socket, DEFER_ACCEPT_SECONDS)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A client that speaks first is shown to us when it has spoken: one wake-up instead of two.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library wraps TCP_DEFER_ACCEPT")]
fn defer_accept(socket: &RawSocket, seconds: i32) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    const _: () = assert!(size_of::<i32>() == LEN as usize);
    // SAFETY: the descriptor is open for the whole call, and the pointer and length describe
    // `seconds`, a live c_int, which is what this option takes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            LEN,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only Linux can wait for a client's first bytes.
#[cfg(not(target_os = "linux"))]
fn defer_accept(_socket: &RawSocket, _seconds: i32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shared_by_our_workers_but_not_with_others() {
        let any = BindAddress::parse("127.0.0.1:0").expect("valid");
        let sockets = bind(&any, 2, &[]).expect("free port");
        assert_eq!(sockets.len(), 2);
        let address = sockets[0][0].address().expect("bound");
        assert_eq!(address, sockets[1][0].address().expect("bound"));
        let again = BindAddress::parse(&address).expect("valid");
        let error = bind(&again, 1, &[]).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
