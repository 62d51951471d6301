//! The listening sockets of a server: which listener has which, and what a next plan adds.

use crate::server::StartError;
use crate::socket::{self, BoundSocket, Traffic, WorkerSockets};
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
}

/// The listeners of a server with their sockets.
#[derive(Default)]
pub(crate) struct Doors {
    bound: Vec<Bound>,
}

/// Listening sockets that were there before the process, with the name of the listener that had
/// them; empty if that is not known.
pub type Inherited = Vec<(String, BoundSocket)>;

fn traffic_of(listener: &ListenerPlan) -> Traffic {
    match listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Tcp(_) => Traffic::Streams,
        ListenerProtocol::Udp(_) => Traffic::Datagrams,
    }
}

fn take_fitting(inherited: &mut Inherited, listener: &ListenerPlan) -> Vec<BoundSocket> {
    let (own, others) = std::mem::take(inherited).into_iter().partition(|(name, socket)| {
        let same_name = name.is_empty() || **name == *listener.name;
        socket.fits(&listener.bind, traffic_of(listener), same_name)
    });
    *inherited = others;
    let own: Inherited = own;
    own.into_iter().map(|(_, socket)| socket).collect()
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
            let sockets = match traffic {
                _ if !own.is_empty() => socket::share_out(own, workers),
                Traffic::Streams => socket::bind(&listener.bind, workers, &ours),
                Traffic::Datagrams => socket::bind_datagrams(&listener.bind, workers, &ours),
            };
            let sockets = sockets.map_err(failed)?;
            if matches!(listener.protocol, ListenerProtocol::Tcp(_)) {
                let mut all = sockets.iter().flatten();
                all.try_for_each(BoundSocket::show_silent_clients).map_err(failed)?;
            }
            let mut bound = Bound {
                number: door.number,
                name: Arc::clone(&listener.name),
                traffic,
                addresses: Vec::new(),
                sockets: Vec::new(),
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
                all.push((bound.name.to_string(), socket.try_clone()?));
            }
        }
        Ok(all)
    }

    /// From now on the workers alone hold the sockets: when they close them, clients are refused.
    pub(crate) fn let_go(&mut self) {
        self.bound.iter_mut().for_each(|bound| bound.sockets.clear());
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
