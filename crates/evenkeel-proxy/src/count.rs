//! The numbers of one worker: which cell an exchange counts in. Labels come from configuration, so
//! that no client can make more of them.

use crate::net::Net;
use crate::record::Record;
use evenkeel_core::failure::Side;
use evenkeel_core::grpc;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::{
    Cell, ConnectionCounts, CopyCounts, ExchangeEnd, Handshake, Series, WorkerStats,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Statuses from here on are failures.
const FIRST_FAILED_STATUS: u16 = 500;
/// Place of an absent route, pool or backend in a key.
const ABSENT: u64 = 0;

/// Listener, route, pool and backend by their places in one snapshot.
type Key = u64;
/// Bits of a key for each of them, in that order.
const KEY_BITS: [u32; 4] = [10, 18, 16, 20];

/// Keys are made by us: one multiplication spreads them (Fibonacci hashing, Knuth 6.4).
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0 ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// Their names.
type RouteAndPool = (Arc<str>, Arc<str>);

/// Where a place in the configuration counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its number, not its place.
    pub(crate) listener: usize,
    pub(crate) route: Option<usize>,
    pub(crate) pool: Option<usize>,
    pub(crate) backend: Option<usize>,
}

impl Place {
    /// `listener`: its place. `None` if there are more of something than a key can tell apart.
    #[inline]
    fn key(self, listener: usize) -> Option<Key> {
        let part = |place: Option<usize>| place.map_or(ABSENT, |place| place as u64 + 1);
        let parts = [listener as u64, part(self.route), part(self.pool), part(self.backend)];
        let mut key = 0;
        for (part, bits) in parts.into_iter().zip(KEY_BITS) {
            if part >> bits != 0 {
                return None;
            }
            key = key << bits | part;
        }
        Some(key)
    }

    fn series(self, snapshot: &Snapshot) -> Series {
        let plan = &snapshot.plan;
        let empty = || Arc::from("");
        let pool = self.pool.and_then(|at| plan.pools.get(at));
        let backend = self.backend.and_then(|at| pool?.backends.get(at));
        let listener = snapshot.listener(self.listener);
        let route = self.route.and_then(|at| plan.routes.get(at));
        Series {
            listener: listener.map_or_else(empty, |listener| Arc::clone(&listener.name)),
            route: route.map_or_else(empty, |route| Arc::clone(&route.name)),
            pool: pool.map_or_else(empty, |pool| Arc::clone(&pool.name)),
            backend: backend.map_or_else(empty, |backend| Arc::clone(&backend.name)),
        }
    }
}

/// A client connection, counted as open until dropped.
pub(crate) struct OpenConnection(Arc<ConnectionCounts>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}

/// The cells of one worker, found by place.
pub(crate) struct Counts {
    pub(crate) stats: Arc<WorkerStats>,
    /// Of one snapshot, for places are its own.
    cells: RefCell<HashMap<Key, Arc<Cell>, BuildHasherDefault<Spread>>>,
    generation: std::cell::Cell<u64>,
    /// Of copies, by route and pool.
    copies: RefCell<HashMap<RouteAndPool, Arc<CopyCounts>>>,
}

impl Counts {
    pub(crate) fn new(stats: Arc<WorkerStats>) -> Counts {
        let generation = std::cell::Cell::new(0);
        Counts { stats, cells: RefCell::default(), generation, copies: RefCell::default() }
    }

    /// A client was let in by this listener.
    pub(crate) fn connection(&self, listener: &Arc<str>) -> OpenConnection {
        let counts = self.stats.listener(listener);
        counts.opened.add(1);
        OpenConnection(counts)
    }

    /// A datagram for this listener belongs to no flow, and none could begin.
    pub(crate) fn dropped_flow(&self, listener: &Arc<str>) {
        self.stats.listener(listener).flows_dropped.add(1);
    }

    /// A TLS handshake has come to something.
    pub(crate) fn handshake(&self, listener: &Arc<str>, result: Handshake) {
        self.stats.listener(listener).handshakes[result as usize].add(1);
    }

    /// From now on places are those of this snapshot.
    pub(crate) fn adopt(&self, snapshot: &Snapshot) {
        self.cells.borrow_mut().clear();
        self.copies.borrow_mut().clear();
        self.generation.set(snapshot.generation);
    }

    /// Where copies of this route's requests for this pool count.
    pub(crate) fn copies(&self, route: &Arc<str>, pool: &Arc<str>) -> Arc<CopyCounts> {
        let mut known = self.copies.borrow_mut();
        let key = (Arc::clone(route), Arc::clone(pool));
        let counts = known.entry(key).or_insert_with_key(|(route, pool)| {
            let (route, pool, none) = (Arc::clone(route), Arc::clone(pool), Arc::from(""));
            let series = Series { listener: Arc::clone(&none), route, pool, backend: none };
            self.stats.copies(&series)
        });
        Arc::clone(counts)
    }

    /// Acts on the cell of a place.
    #[inline]
    pub(crate) fn at(&self, place: Place, snapshot: &Snapshot, act: impl FnOnce(&Cell)) {
        if snapshot.generation != self.generation.get() {
            // An exchange that began before the last reload; there are few.
            return act(&self.stats.cell(&place.series(snapshot)));
        }
        let listener = snapshot.listener_index(place.listener).unwrap_or(usize::MAX);
        let Some(key) = place.key(listener) else {
            return act(&self.stats.cell(&place.series(snapshot)));
        };
        let mut cells = self.cells.borrow_mut();
        let cell = cells.entry(key).or_insert_with(|| self.stats.cell(&place.series(snapshot)));
        act(cell);
    }

    /// Counts a try whose response the client does not get.
    pub(crate) fn lost_try<N: Net>(&self, record: &Record<N>) {
        let place = Place { backend: record.backend, ..record.place() };
        self.at(place, record.snapshot(), Cell::tried);
    }

    /// Counts an exchange that has ended, and the try that its response came from.
    pub(crate) fn exchange<N: Net>(&self, record: &Record<N>, total: u64) {
        let times = record.times;
        let end = ExchangeEnd {
            code: record.status,
            method: record.method,
            total,
            first_byte: times.first_byte,
            connect: times.connect,
            queue: times.queue,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            failed: has_failed(record),
        };
        let place = record.place();
        self.at(place, record.snapshot(), |cell| {
            cell.exchange(&end);
            if place.backend.is_some() {
                cell.tried();
            }
            if let Some(status) = record.call_status() {
                cell.call(status);
            }
        });
        if let Some(failure) = record.failure {
            self.stats.failed(failure);
        }
    }
}

/// True if it went wrong, and the client is not to blame. A call says so in its trailers, an answer
/// that is cut short says nothing.
fn has_failed<N: Net>(record: &Record<N>) -> bool {
    let failure = record.failure.filter(|failure| failure.side() != Side::Client);
    record.status >= FIRST_FAILED_STATUS
        || record.grpc_status.is_some_and(grpc::is_failure)
        || failure.is_some_and(|failure| failure.status() >= FIRST_FAILED_STATUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_keys_of_their_own() {
        let places = [
            (0, None, None, None),
            (1, None, None, None),
            (0, Some(0), None, None),
            (0, Some(0), Some(0), None),
            (0, Some(0), Some(0), Some(0)),
            (0, Some(0), Some(0), Some(1)),
            (0, Some(1), Some(0), Some(0)),
            (0, Some(0), Some(1), Some(0)),
        ];
        let mut keys: Vec<_> = places.into_iter().map(key).collect();
        assert!(keys.iter().all(Option::is_some));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), places.len());
    }

    fn key(
        (listener, route, pool, backend): (usize, Option<usize>, Option<usize>, Option<usize>),
    ) -> Option<Key> {
        Place { listener, route, pool, backend }.key(listener)
    }

    #[test]
    fn places_that_a_key_cannot_tell_apart_have_none() {
        let (routes, pools, backends) = ((1 << 18) - 2, (1 << 16) - 2, (1 << 20) - 2);
        let last = key((1023, Some(routes), Some(pools), Some(backends)));
        assert_eq!(last, Some(u64::MAX));
        let too_many = [
            (1024, None, None, None),
            (usize::MAX, None, None, None),
            (0, Some(routes + 1), None, None),
            (0, None, Some(pools + 1), None),
            (0, None, None, Some(backends + 1)),
        ];
        assert!(too_many.into_iter().all(|place| key(place).is_none()));
        assert_ne!(key((10, None, None, None)), key((266, None, None, None)));
    }
}
