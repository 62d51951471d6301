//! What the workers of one server share: the snapshot in force, and the wish to drain or stop.

use crate::clock::Clock;
use crate::http1::Peer;
use crate::log::EventLog;
use crate::mount::{Errand, MAX_ERRANDS};
use crate::worker::Pressure;
use evenkeel_core::snapshot::{Door, Snapshot};
use evenkeel_core::stats::{Stats, WorkerStats};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Sizes of a server that do not come from its snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Client connections of all listeners together.
    pub max_clients: usize,
    /// Threads that serve.
    pub workers: usize,
}

/// State of one server, shared by its workers and its owner.
pub struct Shared {
    snapshot: Mutex<Arc<Snapshot>>,
    generation: AtomicU64,
    draining: AtomicBool,
    /// Nobody is hurried in the drain.
    patient: AtomicBool,
    stopping: AtomicBool,
    accepting: AtomicUsize,
    /// Workers of the server.
    pub(crate) workers: usize,
    /// Open client connections.
    pub(crate) connections: Connections,
    /// Our name in `Via`.
    pub(crate) pseudonym: String,
    /// Where events are told.
    pub(crate) events: EventLog,
    /// The time, the same for all workers.
    pub(crate) clock: Clock,
    /// What the prober has to do.
    pub(crate) probes: ProbeWishes,
    alarm: AtomicU64,
    stats: Stats,
    /// Workers that have their part of `stats`.
    counting: AtomicUsize,
    /// To whoever makes the pages of mounts.
    mounts: OnceLock<Sender<Errand>>,
}

/// Which backends should be probed at once.
#[derive(Debug, Default)]
pub(crate) struct ProbeWishes {
    slots: Mutex<Vec<usize>>,
    pub(crate) wanted: Notify,
    /// Probes that found nothing wrong.
    pub(crate) passed: AtomicU64,
    /// Probes that did.
    pub(crate) failed: AtomicU64,
    first_round: Mutex<bool>,
    first_round_done: Condvar,
}

impl ProbeWishes {
    /// Slots of the backends that were asked for since.
    pub(crate) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every backend has been probed once.
    pub(crate) fn finish_first_round(&self) {
        *self.first_round.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.first_round_done.notify_all();
    }
}

impl Shared {
    /// Around a first snapshot. `tag` tells this process from others in `Via`.
    pub fn new(snapshot: Snapshot, bounds: Bounds, tag: u32, events: EventLog) -> Shared {
        Shared {
            generation: AtomicU64::new(snapshot.generation),
            snapshot: Mutex::new(Arc::new(snapshot)),
            draining: AtomicBool::new(false),
            patient: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            connections: Connections::new(bounds.max_clients),
            workers: bounds.workers,
            pseudonym: format!("evenkeel-{tag:08x}"),
            events,
            clock: Clock::start(),
            probes: ProbeWishes::default(),
            alarm: AtomicU64::new(0),
            stats: Stats::new(bounds.workers),
            counting: AtomicUsize::new(0),
            mounts: OnceLock::new(),
        }
    }

    /// The time now, on the clock that all of the server shares.
    pub fn now(&self) -> evenkeel_core::time::Nanos {
        self.clock.now()
    }

    /// Probes that ended, by result.
    pub fn probe_counts(&self) -> [(&'static str, u64); 2] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("success", count(&self.probes.passed)), ("failure", count(&self.probes.failed))]
    }

    /// Counts probes of earlier processes too: those that passed, and those that failed.
    pub fn count_probes(&self, [passed, failed]: [u64; 2]) {
        self.probes.passed.fetch_add(passed, Ordering::Relaxed);
        self.probes.failed.fetch_add(failed, Ordering::Relaxed);
    }

    /// What clients ask the mounts for from now on; `None` if somebody has it already.
    pub fn open_mounts(&self) -> Option<Receiver<Errand>> {
        let (asked, errands) = channel(MAX_ERRANDS);
        self.mounts.set(asked).ok().map(|()| errands)
    }

    /// Passes on what a mount is asked for; `None` if nobody takes it now.
    pub(crate) fn ask_mount(&self, errand: Errand) -> Option<()> {
        self.mounts.get()?.try_send(errand).ok()
    }

    /// Where events are told.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What the workers have counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The next worker's own part.
    pub(crate) fn worker_stats(&self) -> Arc<WorkerStats> {
        let own = self.counting.fetch_add(1, Ordering::Relaxed);
        let workers = self.stats.workers();
        // There are as many parts as workers.
        Arc::clone(&workers[own % workers.len()])
    }

    /// Asks for a probe of a backend now.
    pub(crate) fn probe_soon(&self, slot: usize) {
        let mut slots = self.probes.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains(&slot) {
            slots.push(slot);
        }
        drop(slots);
        self.probes.wanted.notify_one();
    }

    /// Waits until every backend has been probed once, at most so long. True if they have.
    pub fn await_first_probes(&self, limit: Duration) -> bool {
        let done = self.probes.first_round.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.probes.first_round_done.wait_timeout_while(done, limit, |done| !*done);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Counts the times that a backend was found gone.
    #[inline]
    pub(crate) fn alarm(&self) -> u64 {
        self.alarm.load(Ordering::Acquire)
    }

    /// Says that a backend is gone: requests that wait for it should go elsewhere.
    pub(crate) fn raise_alarm(&self) {
        self.alarm.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts snapshots.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a snapshot in force: exchanges that begin from now on are served by it. Returns the one
    /// that was in force.
    pub(crate) fn publish(&self, next: Snapshot) -> Arc<Snapshot> {
        let (generation, next) = (next.generation, Arc::new(next));
        let before = {
            let mut current = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, next)
        };
        self.generation.store(generation, Ordering::Release);
        self.probes.wanted.notify_one();
        before
    }

    /// From now on responses close their connections and idle ones end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The same, but what is idle stays until it is used once more, and tunnels until they end.
    pub fn drain_patiently(&self) {
        self.patient.store(true, Ordering::Release);
        self.drain();
    }

    pub(crate) fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Acquire)
    }

    /// True once a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// True once nobody is let in any more and every client has left.
    pub fn is_drained(&self) -> bool {
        self.accepting.load(Ordering::Acquire) == 0 && self.client_connections() == 0
    }

    /// Counts one loop that lets clients in, for as long as the guard lives.
    pub(crate) fn accepting(self: &Arc<Self>) -> Accepting {
        self.accepting.fetch_add(1, Ordering::AcqRel);
        Accepting(Arc::clone(self))
    }

    /// The workers end, whatever runs.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Open client connections.
    pub fn client_connections(&self) -> usize {
        self.connections.all.load(Ordering::Acquire)
    }
}

/// Of all clients that the process may have, flows of datagrams are this part at most.
const FLOWS_SHARE: usize = 2;

/// One loop that lets clients in.
pub(crate) struct Accepting(Arc<Shared>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts of open client connections; each listener's own are with its `Door`.
#[derive(Debug)]
pub(crate) struct Connections {
    all: AtomicUsize,
    /// Of these, flows of datagrams.
    flows: AtomicUsize,
    max: usize,
    /// By the number of the listener and the client's address.
    per_ip: Mutex<std::collections::HashMap<(usize, IpAddr), usize>>,
}

impl Connections {
    fn new(max: usize) -> Connections {
        let (all, flows) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Connections { all, flows, max, per_ip: Mutex::default() }
    }

    /// What one more would be over: the process's bound, or the listener's (0 = unlimited).
    pub(crate) fn pressure(&self, door: &Door, max: usize) -> Pressure {
        let own = door.open.load(Ordering::Relaxed);
        if self.all.load(Ordering::Relaxed) >= self.max {
            Pressure::Process
        } else if max > 0 && own >= max {
            Pressure::Listener(door.number)
        } else {
            Pressure::None
        }
    }

    /// Lets a client in.
    pub(crate) fn admit(shared: &Arc<Shared>, door: &Door) -> Admission {
        shared.connections.all.fetch_add(1, Ordering::AcqRel);
        door.open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&door.open);
        Admission { shared: Arc::clone(shared), number: door.number, open, counted: None }
    }
}

impl Connections {
    /// Lets a flow in; its listener counts it by itself. `None` if the process has all it may have.
    pub(crate) fn admit_flow(shared: &Arc<Shared>) -> Option<FlowAdmission> {
        shared.connections.take_flow().then(|| FlowAdmission(Arc::clone(shared)))
    }

    /// The sources of datagrams can be made up: all flows together never keep connections out.
    fn take_flow(&self) -> bool {
        let more = |count: &AtomicUsize, most: usize| {
            let more = |open: usize| (open < most).then_some(open + 1);
            count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
        };
        if !more(&self.flows, self.max.div_ceil(FLOWS_SHARE)) {
            return false;
        }
        let taken = more(&self.all, self.max);
        if !taken {
            self.flows.fetch_sub(1, Ordering::AcqRel);
        }
        taken
    }

    fn give_flow(&self) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        self.flows.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The place of a flow among all clients; freed on drop.
pub(crate) struct FlowAdmission(Arc<Shared>);

impl Drop for FlowAdmission {
    fn drop(&mut self) {
        self.0.connections.give_flow();
    }
}

/// One client's place; freed on drop.
pub(crate) struct Admission {
    shared: Arc<Shared>,
    /// Of its listener.
    number: usize,
    open: Arc<AtomicUsize>,
    counted: Option<IpAddr>,
}

impl Admission {
    /// Counts it among those of its client. False if that has `most` (0 = unlimited) already. Who
    /// speaks for many, a trusted proxy, is not counted.
    pub(crate) fn count(&mut self, client: &Peer, most: usize) -> bool {
        let Some(ip) = client.ip.filter(|_| most > 0 && !client.trusted) else { return true };
        let per_ip = &self.shared.connections.per_ip;
        let mut per_ip = per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry((self.number, ip)).or_insert(0);
        if *count >= most {
            return false;
        }
        *count += 1;
        self.counted = Some(ip);
        true
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let connections = &self.shared.connections;
        if let Some(ip) = self.counted {
            let mut per_ip = connections.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (self.number, ip);
            if let Some(count) = per_ip.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&key);
                }
            }
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        connections.all.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_leave_room_for_connections() {
        let connections = Connections::new(9);
        let taken = (0..20).filter(|_| connections.take_flow()).count();
        assert_eq!(taken, 5, "half, and never nothing");
        assert_eq!(connections.all.load(Ordering::Relaxed), 5);
        connections.give_flow();
        assert!(connections.take_flow() && !connections.take_flow());
        // Where connections have all, there is no flow, and none stays counted.
        (0..5).for_each(|_| connections.give_flow());
        connections.all.store(9, Ordering::Relaxed);
        assert!(!connections.take_flow());
        assert_eq!(connections.flows.load(Ordering::Relaxed), 0);
        let only = Connections::new(1);
        assert!(only.take_flow() && !only.take_flow());
    }
}
