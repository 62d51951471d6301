//! Idle connections to backends, per worker, newest first. One that closed or spoke while it lay
//! here is never used: its recorded readiness tells, without a system call.

use crate::clock::Nanos;
use crate::net::Stream;
use evenkeel_core::backend::Backend;
use std::sync::Arc;
use std::time::Duration;

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
}

/// All idle connections of one worker, by the backend's slot.
#[derive(Debug)]
pub(crate) struct IdleConnections<S> {
    slots: Vec<Option<PerBackend<S>>>,
}

impl<S: Stream> IdleConnections<S> {
    pub(crate) fn new() -> IdleConnections<S> {
        IdleConnections { slots: Vec::new() }
    }

    /// The connection that became idle last and is still quiet.
    #[inline]
    pub(crate) fn take(&mut self, backend: &Backend, now: Nanos) -> Option<BackendConnection<S>> {
        let own = self.slots.get_mut(backend.slot)?.as_mut()?;
        while let Some(mut idle) = own.idle.pop() {
            let age = now.duration_since(idle.since);
            if !idle.connection.stream.is_quiet() {
                backend.observe_idle_close(age);
            } else if age < backend.idle_timeout(own.timeout) {
                idle.connection.reused = true;
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection, unless the backend has `max_idle` already.
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
        });
        if own.idle.len() < bounds.max_idle {
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
                    backend.observe_idle_close(age);
                }
                quiet && age < timeout
            });
        }
    }

    /// Closes them all: descriptors are needed elsewhere, or the worker drains.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().flatten().for_each(|own| own.idle.clear());
    }
}
