//! The balancers that the rigs put under load: ours, and those it stands beside.

/// A balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Ours.
    Evenkeel,
    /// HAProxy.
    Haproxy,
    /// nginx, open source.
    Nginx,
}

/// All of them, in their order.
pub(crate) const ALL: [Peer; 3] = [Peer::Evenkeel, Peer::Haproxy, Peer::Nginx];

impl Peer {
    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Evenkeel => "evenkeel",
            Peer::Haproxy => "haproxy",
            Peer::Nginx => "nginx",
        }
    }

    /// The balancer of a name.
    pub(crate) fn find(name: &str) -> Option<Peer> {
        ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// The program that must be installed for it.
    pub(crate) fn tool(self) -> Option<&'static str> {
        match self {
            Peer::Evenkeel => None,
            Peer::Haproxy | Peer::Nginx => Some(self.name()),
        }
    }
}
