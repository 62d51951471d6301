//! Idle connections to backends, per worker, newest first. One that is known to have closed or
//! spoken while it lay here is not used: its recorded readiness tells, without a system call.

use crate::clock::Nanos;
use crate::net::Stream;
use crate::tls::Connector;
use crate::wire::Wire;
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
    pub(crate) stream: Wire<S>,
    /// It has carried a request before.
    pub(crate) reused: bool,
    /// Its last response was long.
    pub(crate) long: bool,
    /// What TLS is spoken with.
    pub(crate) secure: Option<Arc<Connector>>,
}

impl<S: Stream> BackendConnection<S> {
    /// Ends it in the way of what is spoken on it.
    pub(crate) fn close(mut self) {
        self.stream.farewell();
    }
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
    /// How many of ours the backend's own count knows of.
    told: i64,
}

impl<S> PerBackend<S> {
    /// Corrects the backend's count of idle connections.
    fn tell(&mut self) {
        let count = i64::try_from(self.idle.len()).unwrap_or(i64::MAX);
        self.backend.note_idle(count - std::mem::replace(&mut self.told, count));
    }
}

/// All idle connections of one worker, by the backend's slot.
#[derive(Debug)]
pub(crate) struct IdleConnections<S> {
    slots: Vec<Option<PerBackend<S>>>,
    workers: usize,
    /// Slots of backends that closed a connection without an idle timer to explain it.
    unexplained: Vec<usize>,
    /// Connections that nobody uses any more and that are still open.
    going: Vec<BackendConnection<S>>,
}

impl<S: Stream> IdleConnections<S> {
    /// For one of so many workers.
    pub(crate) fn new(workers: usize) -> IdleConnections<S> {
        let (slots, unexplained, going) = (Vec::new(), Vec::new(), Vec::new());
        IdleConnections { slots, workers: workers.max(1), unexplained, going }
    }

    /// The connection that became idle last and is still quiet.
    #[inline]
    pub(crate) fn take(&mut self, backend: &Backend, now: Nanos) -> Option<BackendConnection<S>> {
        let own = self.slots.get_mut(backend.slot)?.as_mut()?;
        while let Some(mut idle) = own.idle.pop() {
            let age = now.duration_since(idle.since);
            if !idle.connection.stream.is_quiet() {
                if backend.observe_idle_close(IdleClose { idle: age, at: now.into() }) {
                    self.unexplained.push(backend.slot);
                }
            } else if age < backend.idle_timeout(own.timeout) {
                idle.connection.reused = true;
                return Some(idle.connection);
            }
        }
        None
    }

    /// True if there may be an idle connection to the backend.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        let own = self.slots.get(backend.slot).and_then(Option::as_ref);
        own.is_some_and(|own| !own.idle.is_empty())
    }

    /// Keeps a connection, unless it is a stream of one. More than this worker's share of
    /// `max_idle` stay for a moment only.
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
        if backend.is_gone() {
            return;
        }
        let own = self.slots[backend.slot].get_or_insert_with(|| PerBackend {
            backend: Arc::clone(backend),
            idle: Vec::new(),
            timeout: Duration::ZERO,
            share: 0,
            told: 0,
        });
        // They may differ from those of the last configuration.
        own.timeout = bounds.idle_timeout;
        own.share = bounds.max_idle.div_ceil(self.workers);
        let whole = !matches!(connection.stream, Wire::Outbound(_));
        if whole && own.share > 0 && own.idle.len() < MAX_BURST {
            own.idle.push(Idle { connection, since: now });
        }
    }

    /// Lets go of what has closed or grown too old.
    pub(crate) fn sweep(&mut self, now: Nanos) {
        let (unexplained, going) = (&mut self.unexplained, &mut self.going);
        for own in self.slots.iter_mut().flatten() {
            let timeout = own.backend.idle_timeout(own.timeout);
            let backend = &own.backend;
            let ends = |idle: &mut Idle<S>| {
                let age = now.duration_since(idle.since);
                let quiet = idle.connection.stream.is_quiet();
                if !quiet && backend.observe_idle_close(IdleClose { idle: age, at: now.into() }) {
                    unexplained.push(backend.slot);
                }
                !quiet || age >= timeout
            };
            going.extend(own.idle.extract_if(.., ends).map(|idle| idle.connection));
            let excess = own.idle.len().saturating_sub(own.share);
            let old = own.idle.iter().take(excess);
            let old = old.take_while(|idle| now.duration_since(idle.since) >= BURST).count();
            going.extend(own.idle.drain(..old).map(|idle| idle.connection));
            own.tell();
        }
    }

    /// What is to be closed. Each close wakes its backend: many at once hold up whoever waits.
    pub(crate) fn take_going(&mut self) -> Vec<BackendConnection<S>> {
        std::mem::take(&mut self.going)
    }

    /// Backends that may have gone: they closed connections, and no idle timer explains it.
    #[inline]
    pub(crate) fn take_unexplained(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.unexplained)
    }

    /// Lets go of those to backends that the configuration in force has no more.
    pub(crate) fn forget_gone(&mut self) {
        for slot in &mut self.slots {
            if let Some(gone) = slot.take_if(|own| own.backend.is_gone()) {
                gone.backend.note_idle(-gone.told);
                self.going.extend(gone.idle.into_iter().map(|idle| idle.connection));
            }
        }
    }

    /// Closes them all: descriptors are needed elsewhere, or the worker drains.
    pub(crate) fn clear(&mut self) {
        for own in self.slots.iter_mut().flatten() {
            self.going.extend(own.idle.drain(..).map(|idle| idle.connection));
            own.tell();
        }
        self.going.drain(..).for_each(BackendConnection::close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Peek;
    use evenkeel_core::address::BackendAddress;
    use evenkeel_core::plan::{BackendPlan, ConnectionsPlan};
    use std::cell::Cell;
    use std::io;
    use std::io::IoSlice;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    /// Quiet until its backend closes.
    struct Line(Rc<Cell<Peek>>);

    impl Stream for Line {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(
            &mut self,
            _: &mut Context<'_>,
            _: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
            if self.0.get() == Peek::Nothing { Poll::Pending } else { Poll::Ready(()) }
        }

        fn peek(&mut self) -> Peek {
            self.0.get()
        }

        fn reset(self) {}
    }

    const BOUNDS: ConnectionsPlan = ConnectionsPlan {
        max: 0,
        max_idle: 10,
        idle_timeout: Duration::from_secs(30),
        max_connecting: 0,
        queue_max: 0,
        queue_timeout: Duration::ZERO,
    };

    fn backend() -> Arc<Backend> {
        let address = BackendAddress::parse("127.0.0.1:1").expect("valid");
        Arc::new(Backend::new("p", BackendPlan::bare(address)))
    }

    fn fill(idle: &mut IdleConnections<Line>, backend: &Arc<Backend>, state: &Rc<Cell<Peek>>) {
        for _ in 0..100 {
            let stream = Wire::Plain(Line(Rc::clone(state)));
            let connection = BackendConnection { stream, reused: false, long: false, secure: None };
            idle.give(backend, &BOUNDS, connection, Nanos(0));
        }
    }

    fn take_all(idle: &mut IdleConnections<Line>, backend: &Backend, now: Nanos) -> usize {
        std::iter::from_fn(|| idle.take(backend, now)).count()
    }

    #[test]
    fn a_burst_stays_for_a_moment_then_each_worker_keeps_its_share() {
        let (backend, open) = (backend(), Rc::new(Cell::new(Peek::Nothing)));
        let mut idle = IdleConnections::new(2);
        let soon = Nanos(0).after(Duration::from_millis(900));
        fill(&mut idle, &backend, &open);
        idle.sweep(soon);
        assert_eq!(take_all(&mut idle, &backend, soon), 100, "wanted again in a moment");
        fill(&mut idle, &backend, &open);
        let later = Nanos(0).after(BURST);
        idle.sweep(later);
        assert_eq!(take_all(&mut idle, &backend, later), 5, "max_idle 10 for two workers");
        assert_eq!(idle.take_going().len(), 95);
    }

    #[test]
    fn those_to_a_backend_that_has_gone_are_not_closed_at_once() {
        let (backend, open) = (backend(), Rc::new(Cell::new(Peek::Nothing)));
        let mut idle = IdleConnections::new(1);
        fill(&mut idle, &backend, &open);
        idle.forget_gone();
        assert!(idle.take_going().is_empty() && idle.has(&backend));
        backend.leave();
        idle.forget_gone();
        assert!(!idle.has(&backend));
        assert_eq!(Rc::strong_count(&open), 101, "they are open still");
        idle.take_going().into_iter().for_each(BackendConnection::close);
        assert_eq!(Rc::strong_count(&open), 1);
    }

    #[test]
    fn what_closed_or_grew_old_is_not_used() {
        let (backend, open) = (backend(), Rc::new(Cell::new(Peek::Nothing)));
        let mut idle = IdleConnections::new(1);
        fill(&mut idle, &backend, &open);
        assert_eq!(take_all(&mut idle, &backend, Nanos(0).after(Duration::from_secs(30))), 0);
        fill(&mut idle, &backend, &open);
        open.set(Peek::End);
        assert_eq!(take_all(&mut idle, &backend, Nanos(0)), 0);
    }
}
