//! Events as they happen (WHATWG HTML, "Server-sent events").

use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use crate::journal::{Journal, Numbered};
use crate::limits::{EVENTS_ALIVE, MAX_EVENT_LISTENERS};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

/// Pieces that wait for the client to take them.
const QUEUED_PIECES: usize = 16;

/// Streams that are open.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

/// One open stream, counted until dropped.
struct Seat;

impl Seat {
    fn take() -> Option<Seat> {
        let seat = Seat;
        (LISTENING.fetch_add(1, Ordering::Relaxed) < MAX_EVENT_LISTENERS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        LISTENING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of the last event that a client has seen before it came back.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn events(State(desk): State<Desk>, fields: HeaderMap) -> Answer {
    let full = || Refusal::too_many("Too many clients listen to events already.", 1);
    let seat = Seat::take().ok_or_else(full)?;
    let (pieces, taken) = mpsc::channel(QUEUED_PIECES);
    let seen = fields.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let feed = desk.journal.map(|journal| (journal.listen(seen), journal));
    tokio::spawn(async move {
        match feed {
            Some((feed, journal)) => tell(feed, &pieces, &journal).await,
            None => stay(&pieces).await,
        }
        drop(seat);
    });
    let body = Body::new(Pieces(taken));
    Ok((StatusCode::OK, [(CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// Passes events on until the client or the feed has left. A client that takes them too slowly is
/// told how many it has lost.
async fn tell(
    (missed, mut feed): (Vec<Numbered>, broadcast::Receiver<Numbered>),
    to: &mpsc::Sender<Bytes>,
    journal: &Journal,
) {
    for event in missed {
        if to.send(message(&event)).await.is_err() {
            return;
        }
    }
    let mut piece = Bytes::from_static(b": listening\n\n");
    loop {
        if to.send(piece).await.is_err() {
            return;
        }
        piece = tokio::select! {
            next = timeout(EVENTS_ALIVE, feed.recv()) => match next {
                Ok(Ok(event)) => message(&event),
                Ok(Err(broadcast::error::RecvError::Lagged(lost))) => {
                    journal.count_unheard(lost);
                    format!(": {lost} events lost\n\n").into()
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => return,
                Err(_) => Bytes::from_static(b":\n\n"),
            },
            () = to.closed() => return,
        };
    }
}

fn message(event: &Numbered) -> Bytes {
    format!("id: {}\ndata: {}\n\n", event.id, event.json).into()
}

/// Nothing happens: the stream stays open.
async fn stay(to: &mpsc::Sender<Bytes>) {
    let mut piece = Bytes::from_static(b": listening\n\n");
    while to.send(piece).await.is_ok() {
        if timeout(EVENTS_ALIVE, to.closed()).await.is_ok() {
            return;
        }
        piece = Bytes::from_static(b":\n\n");
    }
}

struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
