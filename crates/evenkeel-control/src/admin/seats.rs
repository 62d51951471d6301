//! Who has a connection of the admin listener; and, when all places are taken, who gives theirs up:
//! whoever has kept us waiting the longest, for a request or for taking its answer.

use crate::limits::SEAT_PAUSE;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Stands for not waiting.
const NEVER: u64 = 0;

/// All places.
pub(super) struct Seats {
    free: Arc<Semaphore>,
    guests: Mutex<Vec<Arc<Guest>>>,
    /// Counts what begins, in order.
    moment: Arc<AtomicU64>,
}

/// Who has a place.
pub(super) struct Guest {
    /// Since when a request is awaited.
    silent: AtomicU64,
    /// Since when nothing of an answer is taken.
    stalled: AtomicU64,
    moment: Arc<AtomicU64>,
    leave: Notify,
}

/// A place that nobody has yet.
pub(super) struct FreeSeat(OwnedSemaphorePermit);

/// A place that somebody has; free again once dropped.
pub(super) struct Seat {
    guest: Arc<Guest>,
    seats: Arc<Seats>,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(count: usize) -> Arc<Seats> {
        let free = Arc::new(Semaphore::new(count));
        // What begins first is 1, which is not `NEVER`.
        let moment = Arc::new(AtomicU64::new(NEVER + 1));
        Arc::new(Seats { free, guests: Mutex::default(), moment })
    }

    /// Waits for a free place, and sees to it that there will be one. `None`: there never will.
    pub(super) async fn free(&self) -> Option<FreeSeat> {
        loop {
            if self.free.available_permits() == 0 {
                self.dismiss();
            }
            // All may be busy, and one of them begin to wait meanwhile.
            let taken = timeout(SEAT_PAUSE, Arc::clone(&self.free).acquire_owned()).await;
            let Ok(taken) = taken else { continue };
            return taken.ok().map(FreeSeat);
        }
    }

    /// Gives a place to somebody who has come just now.
    pub(super) fn take(self: &Arc<Seats>, FreeSeat(permit): FreeSeat) -> Seat {
        let guest = Arc::new(Guest {
            silent: AtomicU64::new(NEVER),
            stalled: AtomicU64::new(NEVER),
            moment: Arc::clone(&self.moment),
            leave: Notify::new(),
        });
        guest.note(&guest.silent);
        self.lock().push(Arc::clone(&guest));
        Seat { guest, seats: Arc::clone(self), _permit: permit }
    }

    /// Asks whoever has kept us waiting the longest to leave, if anybody has.
    fn dismiss(&self) {
        let guests = self.lock();
        let waiting = guests.iter().filter_map(|guest| Some((guest.keeps_waiting()?, guest)));
        if let Some((_, guest)) = waiting.min_by_key(|(since, _)| *since) {
            guest.leave.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(super) fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().retain(|guest| !Arc::ptr_eq(guest, &self.guest));
    }
}

impl Guest {
    /// Somebody else needs the place more. Who has asked meanwhile stays.
    pub(super) async fn dismissed(&self) {
        loop {
            self.leave.notified().await;
            if self.keeps_waiting().is_some() {
                return;
            }
        }
    }

    /// A request has come; until what is returned is dropped, it is not for the client to act.
    pub(super) fn answer(self: &Arc<Guest>) -> Answering {
        self.silent.store(NEVER, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    fn keeps_waiting(&self) -> Option<u64> {
        let since = [&self.silent, &self.stalled].map(|since| since.load(Ordering::Relaxed));
        since.into_iter().filter(|since| *since != NEVER).min()
    }

    fn note(&self, what: &AtomicU64) {
        what.store(self.moment.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was to be written has been, or has not.
    fn note_written<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.stalled.store(NEVER, Ordering::Relaxed);
        } else if self.stalled.load(Ordering::Relaxed) == NEVER {
            self.note(&self.stalled);
        }
        written
    }
}

/// An answer that is being made.
pub(super) struct Answering(Arc<Guest>);

impl Answering {
    /// Goes on until the answer is made to its end.
    pub(super) fn until_end_of(self, body: Body) -> Body {
        Body::new(Answer { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.note(&self.0.silent);
    }
}

struct Answer {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a guest, which notes whether what is written is taken.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) guest: Arc<Guest>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.guest.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.guest.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
