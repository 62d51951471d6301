//! Idle connections to backends, per worker, newest first. One that is known to have closed or
//! spoken while it lay here is not used: its recorded readiness tells, without a system call.

use crate::clock::Nanos;
use crate::net::Stream;
use evenkeel_core::backend::{Backend, IdleClose};
use std::sync::Arc;
use std::time::Duration;

/// Beyond the configured number a connection may stay so long: at a high rate it is wanted again in
/// a moment, and closing it would only cost a new handshake.
const BURST: Duration = Duration::from_secs(1);
/// Idle connections of one backend in one worker, burst or not.
const MAX_BURST: usize = 4096;

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct BackendConnection<S> {
    pub(crate) stream: S,
    /// It has carried a request before.
    pub(crate) reused: bool,
}

#[derive(Debug)]
struct Idle<S> {
    connection: BackendConnection<S>,
    since: Nanos,
}

#[derive(Debug)]
struct PerBackend<S> {
    backend: Arc<Backend>,
    idle: Vec<Idle<S>>,
    timeout: Duration,
    /// This worker's share of the pool's `max_idle`.
    share: usize,
}

/// All idle connections of one worker, by the backend's slot.
#[derive(Debug)]
pub(crate) struct IdleConnections<S> {
    slots: Vec<Option<PerBackend<S>>>,
    workers: usize,
}

impl<S: Stream> IdleConnections<S> {
    /// For one of so many workers.
    pub(crate) fn new(workers: usize) -> IdleConnections<S> {
        IdleConnections { slots: Vec::new(), workers: workers.max(1) }
    }

    /// The connection that became idle last and is still quiet.
    #[inline]
    pub(crate) fn take(&mut self, backend: &Backend, now: Nanos) -> Option<BackendConnection<S>> {
        let own = self.slots.get_mut(backend.slot)?.as_mut()?;
        while let Some(mut idle) = own.idle.pop() {
            let age = now.duration_since(idle.since);
            if !idle.connection.stream.is_quiet() {
                backend.observe_idle_close(IdleClose { idle: age, at: now.into() });
            } else if age < backend.idle_timeout(own.timeout) {
                idle.connection.reused = true;
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection. More than this worker's share of `max_idle` stay for a moment only.
    #[inline]
    pub(crate) fn give(
        &mut self,
        backend: &Arc<Backend>,
        bounds: &evenkeel_core::plan::ConnectionsPlan,
        connection: BackendConnection<S>,
        now: Nanos,
    ) {
        if self.slots.len() <= backend.slot {
            self.slots.resize_with(backend.slot + 1, || None);
        }
        let own = self.slots[backend.slot].get_or_insert_with(|| PerBackend {
            backend: Arc::clone(backend),
            idle: Vec::new(),
            timeout: bounds.idle_timeout,
            share: bounds.max_idle.div_ceil(self.workers),
        });
        if own.share > 0 && own.idle.len() < MAX_BURST {
            own.idle.push(Idle { connection, since: now });
        }
    }

    /// Drops what has closed or grown too old.
    pub(crate) fn sweep(&mut self, now: Nanos) {
        for own in self.slots.iter_mut().flatten() {
            let timeout = own.backend.idle_timeout(own.timeout);
            let backend = &own.backend;
            own.idle.retain_mut(|idle| {
                let age = now.duration_since(idle.since);
                let quiet = idle.connection.stream.is_quiet();
                if !quiet {
                    backend.observe_idle_close(IdleClose { idle: age, at: now.into() });
                }
                quiet && age < timeout
            });
            let excess = own.idle.len().saturating_sub(own.share);
            let old = own.idle.iter().take(excess);
            let old = old.take_while(|idle| now.duration_since(idle.since) >= BURST).count();
            own.idle.drain(..old);
        }
    }

    /// Closes them all: descriptors are needed elsewhere, or the worker drains.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().flatten().for_each(|own| own.idle.clear());
    }
}
