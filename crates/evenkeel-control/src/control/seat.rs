//! Where the admin listener of a running control plane is, and how it moves: the new place is bound
//! before the old one is left.

use super::{AdminSockets, Course, Stage, reaches};
use crate::admin::{self, Desk, Gate};
use crate::bind::Bound;
use crate::origin::ServedHosts;
use evenkeel_core::address::BindAddress;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;

/// Moves that the control thread has not taken yet.
const MAX_MOVES: usize = 8;
/// What its sockets are called when they are handed over.
pub(super) const ADMIN: &str = "admin";

/// A listener, and whose requests it believes.
pub(super) type Listener = (Bound, ServedHosts);

/// Where it is.
#[derive(Default)]
struct Place {
    bind: Option<BindAddress>,
    local_addr: Option<SocketAddr>,
    sockets: AdminSockets,
}

impl Place {
    fn of(bind: Option<&BindAddress>, listener: Option<&Listener>) -> io::Result<Place> {
        let bound = listener.map(|(bound, _)| bound);
        let mut sockets = AdminSockets::new();
        if let Some(bound) = bound {
            sockets.extend(bound.sockets()?.into_iter().map(|it| (ADMIN.to_owned(), it)));
        }
        let local_addr = bound.and_then(Bound::local_addr);
        Ok(Place { bind: bind.cloned(), local_addr, sockets })
    }
}

/// Where the admin listener is, and will be.
pub struct Seat {
    place: Mutex<Place>,
    moves: Sender<Option<Listener>>,
}

/// A place that is bound, and not yet served.
pub struct NextPlace {
    place: Place,
    listener: Option<Listener>,
}

impl Seat {
    /// At this place; moves come out at the other end.
    pub(super) fn at(
        bind: Option<&BindAddress>,
        listener: Option<&Listener>,
    ) -> io::Result<(Seat, Receiver<Option<Listener>>)> {
        let (moves, taken) = channel(MAX_MOVES);
        Ok((Seat { place: Mutex::new(Place::of(bind, listener)?), moves }, taken))
    }

    /// Binds another place; `None` if it is there already.
    ///
    /// # Errors
    /// The address cannot be bound; nothing has changed.
    pub fn prepare(&self, bind: Option<&BindAddress>) -> io::Result<Option<NextPlace>> {
        if self.is_at(bind) {
            return Ok(None);
        }
        let listener = match bind {
            Some(bind) => Some((Bound::to(bind)?, ServedHosts::of(bind))),
            None => None,
        };
        let place = Place::of(bind, listener.as_ref())?;
        Ok(Some(NextPlace { place, listener }))
    }

    /// Answers there from now on. Connections to the place before end with the answer that they are
    /// at.
    ///
    /// # Errors
    /// The control thread does not take it; nothing has changed.
    pub fn take(&self, next: NextPlace) -> Result<(), String> {
        let mut place = self.lock();
        let sent = self.moves.try_send(next.listener);
        sent.map_err(|_| "the control thread takes no other admin.bind now".to_owned())?;
        *place = next.place;
        Ok(())
    }

    /// True if it is there.
    pub fn is_at(&self, bind: Option<&BindAddress>) -> bool {
        self.lock().bind.as_ref() == bind
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.lock().local_addr
    }

    /// Its address as text, a unix socket as it is written; empty if it is off.
    pub fn address(&self) -> String {
        let place = self.lock();
        let written = place.bind.as_ref().filter(|_| !place.sockets.is_empty());
        let real = place.local_addr.map(|at| at.to_string());
        real.or_else(|| written.map(ToString::to_string)).unwrap_or_default()
    }

    /// Descriptors of its sockets.
    pub(super) fn sockets(&self) -> io::Result<AdminSockets> {
        let place = self.lock();
        let all = place.sockets.iter();
        all.map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves wherever it is, from the opening on until another process does.
pub(super) async fn serve(
    first: Option<Listener>,
    mut moves: Receiver<Option<Listener>>,
    desk: Desk,
    course: Course,
) {
    let spawn = |(bound, served): Listener, course| {
        let router = admin::router(desk.clone(), Gate::of(&desk, served));
        tokio::spawn(admin::serve(bound, router, course));
    };
    let (mut own, seen) = watch::channel(Stage::Closed);
    if let Some(listener) = first {
        spawn(listener, seen);
    }
    reaches(Stage::Open, course.clone()).await;
    if *course.borrow() == Stage::Closed {
        // The thread ends, and has not served at all.
        return;
    }
    own.send_replace(Stage::Open);
    loop {
        tokio::select! {
            () = reaches(Stage::Released, course.clone()) => {
                own.send_replace(Stage::Released);
                return;
            }
            Some(next) = moves.recv() => {
                own.send_replace(Stage::Left);
                let (next_own, seen) = watch::channel(Stage::Open);
                own = next_own;
                if let Some(listener) = next {
                    spawn(listener, seen);
                }
            }
        }
    }
}
