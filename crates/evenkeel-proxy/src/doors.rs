//! The listening sockets of a server: which listener has which, and what a next plan adds.

use crate::server::StartError;
use crate::socket::{self, BoundSocket, SocketFile, Traffic, WorkerSockets};
use evenkeel_core::plan::{ListenerPlan, ListenerProtocol};
use evenkeel_core::snapshot::{Door, Snapshot};
use std::io;
use std::sync::Arc;

/// One listener and its sockets.
struct Bound {
    number: usize,
    name: Arc<str>,
    traffic: Traffic,
    /// Where it really listens.
    addresses: Vec<String>,
    /// Descriptors of the workers' sockets, kept so that they can be handed over; none in a drain.
    sockets: Vec<BoundSocket>,
    /// That of a unix socket, unless it belongs to whoever opened the socket for us.
    file: Option<SocketFile>,
}

/// The listeners of a server with their sockets.
#[derive(Default)]
pub(crate) struct Doors {
    bound: Vec<Bound>,
}

/// A listening socket that was there before the process.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The listener that had it; empty if that is not known.
    pub name: String,
    /// The socket.
    pub socket: BoundSocket,
    /// Whether the file of a unix socket goes with its listener: it does not if somebody else keeps
    /// it, as systemd does.
    pub with_file: bool,
}

/// All that there were.
pub type Inherited = Vec<InheritedSocket>;

fn traffic_of(listener: &ListenerPlan) -> Traffic {
    match listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Tcp(_) => Traffic::Streams,
        ListenerProtocol::Udp(_) => Traffic::Datagrams,
    }
}

fn take_fitting(inherited: &mut Inherited, listener: &ListenerPlan) -> Inherited {
    let fits = |InheritedSocket { name, socket, .. }: &mut InheritedSocket| {
        let same_name = name.is_empty() || **name == *listener.name;
        socket.fits(&listener.bind, traffic_of(listener), same_name)
    };
    inherited.extract_if(.., fits).collect()
}

/// Sockets of a listener that was added, by worker.
pub(crate) type Added = Vec<(usize, WorkerSockets)>;

impl Doors {
    /// Binds those listeners that have no sockets yet. On error nothing has changed.
    pub(crate) fn bind_new(
        &self,
        (listeners, doors): (&[ListenerPlan], &[Door]),
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<(Doors, Added), StartError> {
        let (mut new, mut added) = (Doors::default(), Added::new());
        for (listener, door) in listeners.iter().zip(doors) {
            if self.bound.iter().any(|bound| bound.number == door.number) {
                continue;
            }
            let failed = |source| StartError::Bind { address: listener.bind.to_string(), source };
            let traffic = traffic_of(listener);
            let ours = self.ports(traffic);
            let own = take_fitting(inherited, listener);
            let (is_new, with_file) = (own.is_empty(), own.iter().all(|it| it.with_file));
            let own = own.into_iter().map(|it| it.socket).collect();
            let sockets = match traffic {
                _ if !is_new => socket::share_out(own, workers),
                Traffic::Streams => socket::bind(&listener.bind, workers, &ours),
                Traffic::Datagrams => socket::bind_datagrams(&listener.bind, workers, &ours),
            };
            let sockets = sockets.map_err(failed)?;
            if matches!(listener.protocol, ListenerProtocol::Tcp(_)) {
                let mut all = sockets.iter().flatten();
                all.try_for_each(BoundSocket::show_silent_clients).map_err(failed)?;
            }
            let file = sockets.iter().flatten().find_map(BoundSocket::file);
            let mut file = file.filter(|_| with_file);
            file.iter_mut().filter(|_| is_new).for_each(SocketFile::take);
            let mut bound = Bound {
                number: door.number,
                name: Arc::clone(&listener.name),
                traffic,
                addresses: Vec::new(),
                sockets: Vec::new(),
                file,
            };
            for socket in sockets.iter().flatten() {
                let address = socket.address().map_err(failed)?;
                if !bound.addresses.contains(&address) {
                    bound.addresses.push(address);
                }
                bound.sockets.push(socket.try_clone().map_err(failed)?);
            }
            new.bound.push(bound);
            added.push((door.number, sockets));
        }
        Ok((new, added))
    }

    /// Takes what was bound for a snapshot, and lets go of what it does not have.
    pub(crate) fn follow(&mut self, new: Doors, snapshot: &Snapshot) {
        self.bound.extend(new.bound);
        self.bound.retain_mut(|bound| match snapshot.listener(bound.number) {
            Some(listener) => {
                bound.name = Arc::clone(&listener.name);
                true
            }
            None => false,
        });
        let place = |bound: &Bound| snapshot.listener_index(bound.number);
        self.bound.sort_by_key(place);
    }

    /// Descriptors of all sockets, with the names of their listeners, to be handed over.
    pub(crate) fn sockets(&self) -> io::Result<Inherited> {
        let mut all = Inherited::new();
        for bound in &self.bound {
            for socket in &bound.sockets {
                let (name, socket) = (bound.name.to_string(), socket.try_clone()?);
                all.push(InheritedSocket { name, socket, with_file: bound.file.is_some() });
            }
        }
        Ok(all)
    }

    /// Clients are let in: the files of sockets that a process before this one had are ours now.
    pub(crate) fn take_files(&mut self) {
        self.bound.iter_mut().filter_map(|bound| bound.file.as_mut()).for_each(SocketFile::take);
    }

    /// Another process serves there: the files are not ours any more.
    pub(crate) fn leave_files(&mut self) {
        self.bound.iter_mut().filter_map(|bound| bound.file.as_mut()).for_each(SocketFile::leave);
    }

    /// From now on the workers alone hold the sockets: when they close them, clients are refused.
    /// Files that are ours go at once, so that nobody else is met by a socket that is closing.
    pub(crate) fn let_go(&mut self) {
        for bound in &mut self.bound {
            bound.sockets.clear();
            bound.file = None;
        }
    }

    /// Listener names and the addresses that they are really bound to.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, String)> {
        let named = |bound: &Bound| {
            let name = Arc::clone(&bound.name);
            let pairs = bound.addresses.iter().map(move |at| (Arc::clone(&name), at.clone()));
            pairs.collect::<Vec<_>>()
        };
        self.bound.iter().flat_map(named).collect()
    }

    fn ports(&self, traffic: Traffic) -> Vec<u16> {
        let alike = self.bound.iter().filter(|bound| bound.traffic == traffic);
        let all = alike.flat_map(|bound| &bound.addresses);
        all.filter_map(|address| address.rsplit_once(':')?.1.parse().ok()).collect()
    }
}
