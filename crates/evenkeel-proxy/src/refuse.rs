//! An exchange that ends with an answer of ours: the local reply, and what is left of the request.

use crate::buffer::Outbox;
use crate::exchange::{Exchange, Next};
use crate::http1::Client;
use crate::net::{Net, Stream};
use crate::record::Part;
use crate::reply::{self, ReplyForm, ReplyTo};
use crate::worker::Worker;
use evenkeel_core::failure::Failure;
use evenkeel_core::framing::BodyLength;
use evenkeel_core::grpc;
use evenkeel_core::headers::Persistence;
use evenkeel_core::request::Verb;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// The status of every answer to a gRPC call.
pub(crate) const CALL_STATUS: u16 = 200;
/// Rest of a refused request's body that is read and forgotten, so that the connection can stay.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// Sends the local reply of a failure, and settles what is left of the request's body.
pub(crate) async fn refuse<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    failure: Failure,
) -> Next {
    let failure = exchange.as_told(failure);
    exchange.record.failure = Some(failure);
    exchange.record.status = failure.status();
    if failure.status() == 0 {
        return Next::Close;
    }
    if exchange.form == ReplyForm::Grpc {
        exchange.record.status = CALL_STATUS;
        exchange.record.grpc_status = Some(grpc::status_of(failure));
    }
    // A client that broke a rule may not be where we think it is.
    let broken = matches!(failure, Failure::BadRequest | Failure::BodyTimeout);
    let unread = settle(exchange, broken);
    let mut reply = std::mem::take(&mut exchange.ahead);
    exchange.record.bytes_out = {
        let to = ReplyTo {
            form: exchange.form,
            version: exchange.version,
            persistence: exchange.persistence,
            date: &worker.date.borrow(),
            request_id: exchange.record.get(Part::RequestId),
            host: exchange.record.get(Part::Host),
            omit_body: exchange.verb == Verb::Head,
            own_lines: &exchange.own_lines.0,
            retry_after: exchange.retry_after,
        };
        reply::write(failure, &to, &mut reply.bytes)
    };
    deliver(worker, client, exchange, (reply, unread)).await
}

/// Decides whether the connection stays after an answer of ours, and says what is left of the
/// request's body.
pub(crate) fn settle<N: Net>(exchange: &mut Exchange<N>, broken: bool) -> BodyLength {
    let unread = exchange.upload.unread();
    let short = match unread {
        BodyLength::None => true,
        BodyLength::Fixed(left) => left <= MAX_DISCARDED_BYTES,
        BodyLength::Chunked | BodyLength::UntilClose => false,
    };
    // Nor may one be that was never told to go on.
    let in_step = !broken && !exchange.upload.owes_continue();
    if !short || !in_step || exchange.is_draining() {
        exchange.persistence = Persistence::Close;
    }
    unread
}

/// Sends an answer of ours, and takes what is left of the request's body.
pub(crate) async fn deliver<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    (mut reply, unread): (Outbox, BodyLength),
) -> Next {
    let idle = exchange.record.snapshot().listener(client.listener);
    let idle = idle.map(|listener| listener.limits.idle_timeout).unwrap_or_default();
    client.deadline.set_waiting(worker.now().after(idle), None);
    let written = poll_fn(|cx| match reply.poll_flush(cx, &mut client.stream) {
        Poll::Pending if client.deadline.has_passed(worker.tick()) => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
        Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
    });
    if !written.await {
        return Next::Close;
    }
    match (exchange.persistence, unread) {
        (Persistence::Close, _) => Next::Linger,
        (Persistence::Keep, BodyLength::Fixed(left)) if left > 0 => {
            discard(worker, client, left).await
        }
        (Persistence::Keep, _) => Next::Request,
    }
}

/// Reads the rest of a body and forgets it.
async fn discard<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    mut left: u64,
) -> Next {
    let mut buffer = [0; 4096];
    while left > 0 {
        let window = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        let read = poll_fn(|cx| match client.stream.poll_read(cx, &mut buffer[..window]) {
            Poll::Pending if client.deadline.has_passed(worker.tick()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => Poll::Ready(read.ok()),
        });
        match read.await {
            Some(length) if length > 0 => left -= length as u64,
            _ => return Next::Close,
        }
    }
    Next::Request
}
