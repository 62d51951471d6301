//! A connection to the backend that was picked: an idle one, or a new one within the deadline.

use crate::idle::BackendConnection;
use crate::net::{Destination, Net};
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::backend::Backend;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Addresses of one name that one try may go through.
const MAX_ADDRESSES_PER_DIAL: usize = 4;

/// Longest deadline that the runtime's clock is asked for.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Opens a new connection. All addresses of the backend together get `deadline`.
pub(crate) async fn dial<N: Net>(
    net: &N,
    backend: &Backend,
    deadline: Duration,
) -> io::Result<BackendConnection<N::Stream>> {
    // Far enough for "no bound", and representable.
    let until = Instant::now() + deadline.min(MAX_DEADLINE);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address yet");
    for destination in destinations(backend) {
        match timeout_at(until, net.connect(&destination)).await {
            Ok(Ok(stream)) => {
                return Ok(BackendConnection { stream: Wire::Plain(stream), reused: false });
            }
            Ok(Err(error)) => last = error,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

/// True if the process is out of descriptors: nothing is wrong with the backend.
pub(crate) fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// True if this machine is short of something: nothing is wrong with the backend.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    const OURS: [i32; 4] = [libc::EADDRNOTAVAIL, libc::ENOBUFS, libc::ENOMEM, libc::EAGAIN];
    lacks_descriptors(error) || error.raw_os_error().is_some_and(|code| OURS.contains(&code))
}

fn destinations(backend: &Backend) -> Vec<Destination> {
    if let Some(unix) = Destination::of_unix(&backend.plan.address.endpoint) {
        return vec![unix];
    }
    let addresses = backend.addresses().into_iter().take(MAX_ADDRESSES_PER_DIAL);
    addresses.map(Destination::Ip).collect()
}

impl<N: Net> Worker<N> {
    /// An idle connection that is still good.
    #[inline]
    pub(crate) fn idle_connection(
        &self,
        backend: &Backend,
    ) -> Option<BackendConnection<N::Stream>> {
        let mut idle = self.idle.borrow_mut();
        let connection = idle.take(backend, self.recent());
        let unexplained = idle.take_unexplained();
        drop(idle);
        if !unexplained.is_empty() {
            self.doubt_slots(&unexplained);
        }
        connection
    }
}
