//! Flows of a udp listener: which client's datagrams go to which backend, and until when. Pure: the
//! time and chance come in; sockets are kept by the one who calls, as a `T` with each flow.
//!
//! A table belongs to one listening socket. Its key is the client, and which of the socket's
//! addresses it called where there are several.
//!
//! ```text
//! datagram ── known, its backend may go on ──────────────▶ Known
//!         ├── known, its backend is gone or fails ─ pick ─▶ Chosen
//!         └── new ── room? ── pick ───────────────────────▶ Chosen, or dropped
//! ```

use crate::pool::{Mode, Pick, Pool, Query, Tried};
use crate::strategy::hash::hash;
use crate::time::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One of the places that a listener has for flows, on whichever worker; freed on drop.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        let more = |count: usize| (count < max).then_some(count + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Place(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What decides about a datagram, besides the table.
pub struct Terms<'a> {
    /// Where flows go now.
    pub pool: &'a Arc<Pool>,
    /// Flows of the listener on all workers.
    pub open: &'a Arc<AtomicUsize>,
    /// So many there may be.
    pub max_flows: usize,
    /// The time.
    pub now: Nanos,
    /// Uniform over u64.
    pub draw: u64,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Where the last one of its flow went.
    Known,
    /// To a backend that was chosen just now.
    Chosen,
}

/// Why a datagram has no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There are as many flows as there may be.
    Full,
    /// Nobody may be picked.
    NoBackend,
}

/// Between whom datagrams of a flow go on our side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// The address of ours that it called; `None` if the socket has but one.
    pub called: Option<IpAddr>,
}

impl From<SocketAddr> for Ends {
    fn from(client: SocketAddr) -> Ends {
        Ends { client, called: None }
    }
}

/// One client and its backend.
#[derive(Debug)]
pub struct Flow<T> {
    /// As it was when the backend was last found fit.
    pub pool: Arc<Pool>,
    /// The backend; it counts the flow as in flight.
    pub pick: Pick,
    /// What the caller keeps with it.
    pub kept: T,
    /// The backend has answered.
    pub is_answered: bool,
    /// The last datagram, of either side.
    seen: Nanos,
    /// As `Flows::order` has it: never later than `seen`.
    filed: Nanos,
    _place: Place,
}

impl<T> Flow<T> {
    /// True if the backend may keep the flow. One that drains does; where a pool takes whom it can
    /// get, changing would gain nothing.
    fn may_stay(&mut self, pool: &Arc<Pool>) -> bool {
        if !Arc::ptr_eq(&self.pool, pool) {
            // Another configuration: is the backend still there?
            let slot = self.pick.slot;
            let Some(index) = pool.backends.iter().position(|backend| backend.slot == slot) else {
                return false;
            };
            self.pool = Arc::clone(pool);
            self.pick.index = index;
        }
        if self.pick.is_trial() {
            return true;
        }
        let backend = &pool.backends[self.pick.index];
        backend.keeps_sessions() || matches!(pool.mode(), Mode::Doubtful | Mode::FailOpen)
    }
}

/// The flows of one listening socket.
#[derive(Debug)]
pub struct Flows<T> {
    flows: BTreeMap<Ends, Flow<T>>,
    /// Every flow once, by the time of a datagram that may not have been its last.
    order: BTreeSet<(Nanos, Ends)>,
}

impl<T> Default for Flows<T> {
    fn default() -> Flows<T> {
        Flows { flows: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T> Flows<T> {
    /// Decides about a datagram of a client. `admit` is asked last for what the caller keeps with a
    /// new flow; `None` = no room.
    ///
    /// # Errors
    /// The datagram has no flow, and is dropped.
    pub fn datagram(
        &mut self,
        ends: impl Into<Ends>,
        terms: &Terms<'_>,
        admit: impl FnOnce() -> Option<T>,
    ) -> Result<Step, Dropped> {
        let ends = ends.into();
        if let Some(flow) = self.flows.get_mut(&ends) {
            flow.seen = terms.now;
            if flow.may_stay(terms.pool) {
                return Ok(Step::Known);
            }
            if let Some(pick) = choose(terms, ends.client.ip()) {
                flow.pool = Arc::clone(terms.pool);
                flow.pick = pick;
                flow.is_answered = false;
                return Ok(Step::Chosen);
            }
            self.end(ends);
            return Err(Dropped::NoBackend);
        }
        let place = Place::take(terms.open, terms.max_flows).ok_or(Dropped::Full)?;
        let pick = choose(terms, ends.client.ip()).ok_or(Dropped::NoBackend)?;
        let flow = Flow {
            pool: Arc::clone(terms.pool),
            pick,
            kept: admit().ok_or(Dropped::Full)?,
            is_answered: false,
            seen: terms.now,
            filed: terms.now,
            _place: place,
        };
        self.order.insert((flow.filed, ends));
        self.flows.insert(ends, flow);
        Ok(Step::Chosen)
    }

    /// The flow of a client, used now; `None` if it has none.
    pub fn touch(&mut self, ends: impl Into<Ends>, now: Nanos) -> Option<&mut Flow<T>> {
        let flow = self.flows.get_mut(&ends.into())?;
        flow.seen = now;
        Some(flow)
    }

    /// Ends the flow of a client.
    pub fn end(&mut self, ends: impl Into<Ends>) -> Option<Flow<T>> {
        let ends = ends.into();
        let flow = self.flows.remove(&ends)?;
        self.order.remove(&(flow.filed, ends));
        Some(flow)
    }

    /// Ends the flows without a datagram for so long.
    pub fn end_idle(&mut self, now: Nanos, idle: Duration) {
        // Every round ends a flow, or files it where it is not looked at again: its last datagram
        // was less than `idle` ago.
        while let Some((filed, ends)) = self.order.first().copied() {
            if filed.after(idle) > now {
                return;
            }
            self.order.pop_first();
            let Some(flow) = self.flows.get_mut(&ends) else { continue };
            if flow.seen.after(idle) > now {
                flow.filed = flow.seen;
                self.order.insert((flow.filed, ends));
            } else {
                self.flows.remove(&ends);
            }
        }
    }

    /// When `end_idle` has something to look at; `None` without flows.
    pub fn next_due(&self, idle: Duration) -> Option<Nanos> {
        self.order.first().map(|(filed, _)| filed.after(idle))
    }

    /// Flows of this socket.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// True without flows.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

fn choose(terms: &Terms<'_>, client: IpAddr) -> Option<Pick> {
    let hash = match client {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    };
    let query = Query {
        tried: &Tried::default(),
        now: terms.now,
        draw: terms.draw,
        hash,
        tied: None,
        repeatable: true,
        has_idle: &|_| false,
    };
    terms.pool.pick(&query).ok()
}

#[cfg(test)]
mod tests;
