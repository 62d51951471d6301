//! The response of one try on its way to the client: interim ones, the final head, both bodies.

use super::{Answer, Try, client_patience};
use crate::exchange::Exchange;
use crate::http1::{Client, LINGER};
use crate::net::{Net, Peek, Stream};
use crate::pump::{COPY_BELOW_BYTES, Pump, PumpError, Toward};
use crate::session;
use crate::try_failure::{Retriable, TryError};
use crate::wire::Wire;
use crate::worker::{Scratch, Worker};
use evenkeel_core::failure::{Failure, Side};
use evenkeel_core::field::{Known, Span};
use evenkeel_core::framing::{BodyLength, Version};
use evenkeel_core::headers::{self, ClientSide, Persistence};
use evenkeel_core::plan::HeaderRules;
use evenkeel_core::pool::Outcome;
use evenkeel_core::request::Parsed;
use evenkeel_core::response::{MAX_INTERIM_RESPONSES, ResponseHead};
use evenkeel_core::retry::retry_after;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A response this small waits for its last byte before its head goes out: one write instead of
/// two, and a backend that dies between them costs nothing that can be repeated.
const HOLD_BELOW_BYTES: u64 = 16 * 1024;
/// But not longer than this.
const HOLD_TIME: Duration = Duration::from_millis(100);
/// A response this long goes by without coming here, as far as it can.
const LONG_BYTES: u64 = 48 * 1024;
/// Statuses below are never worth another try.
const FIRST_RETRIABLE_STATUS: u16 = 400;
const SERVICE_UNAVAILABLE: u16 = 503;
const SWITCHING_PROTOCOLS: u16 = 101;
const NOT_IMPLEMENTED: u16 = 501;
/// The status of every answer to a gRPC call, however the call ends.
const CALL_STATUS: u16 = 200;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
static NO_RULES: HeaderRules = HeaderRules { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

impl<S: Stream> Try<'_, S> {
    /// Parses what has come; passes interim responses on, keeps a partial head, delivers a final
    /// one. `None`: more must be read.
    pub(super) fn read_head<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        length: usize,
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<Option<Answer>, TryError> {
        let mut start = 0;
        let mut head = std::mem::take(&mut scratch.response);
        let result = loop {
            let bytes = &scratch.bytes[start..length];
            match head.parse(bytes, exchange.verb, exchange.upgrade) {
                Err(_) => {
                    if head.status == SWITCHING_PROTOCOLS {
                        // Who takes us for a tunnel may have heard more than one request.
                        exchange.persistence = Persistence::Close;
                    }
                    break Err(TryError::BadResponse);
                }
                Ok(Parsed::Partial) => {
                    self.partial.extend_from_slice(bytes);
                    break Ok(None);
                }
                Ok(Parsed::Complete) if head.is_interim() => {
                    let forwarded = self.pass_interim(cx, &head, bytes, (client, exchange));
                    if let Err(error) = forwarded {
                        break Err(error);
                    }
                    start += head.bytes;
                }
                Ok(Parsed::Complete) if self.holds(&head, bytes.len(), (client, exchange)) => {
                    self.partial.extend_from_slice(bytes);
                    break Ok(None);
                }
                Ok(Parsed::Complete) if is_wrongly_accepted(&head, bytes, &client.stream) => {
                    break Err(TryError::BadResponse);
                }
                Ok(Parsed::Complete) => {
                    if let Some(elsewhere) = self.hears(&head, bytes, exchange) {
                        break Err(elsewhere);
                    }
                    if (200..300).contains(&head.status) && client.stream.awaits_tunnel() {
                        // The backend does not know the protocol; the client must not take its
                        // answer for a tunnel (RFC 9220 3).
                        head.status = NOT_IMPLEMENTED;
                        head.reason = Span::default();
                    }
                    let answer =
                        self.deliver(cx, scratch, (&head, start..length), (client, exchange));
                    break answer.map(Some);
                }
            }
        };
        scratch.response = head;
        result
    }

    /// Takes note of the final response head; `Some` if another backend should answer instead.
    fn hears<N: Net<Stream = S>>(
        &mut self,
        head: &ResponseHead,
        bytes: &[u8],
        exchange: &mut Exchange<N>,
    ) -> Option<TryError> {
        exchange.worker().now();
        let sent = exchange.upload.kept.written;
        if exchange.call.is_some() && head.status == CALL_STATUS {
            let elsewhere = exchange.hears_call((self.pool, self.pick), head, bytes)
                && exchange.wants_another(self.pool, Retriable::GrpcUnavailable, sent);
            return elsewhere.then_some(TryError::Unavailable);
        }
        let worker = exchange.worker();
        worker.report(self.pool, self.pick, Outcome::Answered(head.status));
        if head.status < FIRST_RETRIABLE_STATUS {
            return None;
        }
        if head.status == SERVICE_UNAVAILABLE
            && let Some(wait) = retry_after_of(head, bytes, worker.net.unix_nanos())
        {
            worker.pause(self.pool, self.pick.index, wait);
        }
        let again = exchange.wants_another(self.pool, Retriable::Status(head.status), sent);
        again.then_some(TryError::Status(head.status))
    }

    /// True if this response is small and should wait for its last byte.
    fn holds<N: Net<Stream = S>>(
        &mut self,
        head: &ResponseHead,
        arrived: usize,
        (client, exchange): (&Client<S>, &Exchange<N>),
    ) -> bool {
        let BodyLength::Fixed(length) = head.body else { return false };
        let missing = ((arrived - head.bytes) as u64) < length;
        if !missing || length > HOLD_BELOW_BYTES || !exchange.upload.is_sent() {
            return false;
        }
        let worker = exchange.worker();
        let until = *self.held_until.get_or_insert_with(|| {
            let until = worker.now().after(HOLD_TIME);
            client.deadline.set(until);
            until
        });
        worker.tick() < until
    }

    /// 103 and its like go to clients that know them; 100 ends here, we have answered that.
    fn pass_interim<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<(), TryError> {
        self.interim_count += 1;
        if self.interim_count > MAX_INTERIM_RESPONSES {
            return Err(TryError::BadResponse);
        }
        if head.status == 100 || exchange.version == Version::Http10 {
            return Ok(());
        }
        let mut out = Vec::new();
        headers::for_client(head, bytes, &client_side(exchange), &mut out);
        let sent = exchange.ahead.send(cx, &mut client.stream, [&out, &[], &[]]);
        sent.map_err(|_| TryError::ClientGone)
    }

    /// Writes the final head, and what has come of the body, to the client.
    fn deliver<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        (head, range): (&ResponseHead, std::ops::Range<usize>),
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<Answer, TryError> {
        let Scratch { bytes, out, tail, .. } = scratch;
        let (head_bytes, body) = bytes[range].split_at_mut(head.bytes);
        let to_client = headers::body_for_client(head.body, exchange.version);
        let ends = to_client == BodyLength::UntilClose || head.status == SWITCHING_PROTOCOLS;
        let unread = !exchange.upload.has_arrived();
        if ends || unread || self.send_failed || exchange.is_draining() {
            exchange.persistence = Persistence::Close;
        }
        out.clear();
        tail.clear();
        let mut own_lines = std::mem::take(&mut exchange.own_lines.0);
        session::write_tie(exchange, self.pool, self.pick, &mut own_lines);
        let date = exchange.worker().date.borrow();
        let to = ClientSide { date: &date, own_lines: &own_lines, ..client_side(exchange) };
        headers::for_client(head, head_bytes, &to, out);
        drop(date);
        exchange.record.status = head.status;
        exchange.record.answered_by = Some(self.pick.index);
        let waited = exchange.worker().recent().since(self.pick.at);
        exchange.record.note_answer(waited);
        let (from, to) = match head.status {
            SWITCHING_PROTOCOLS => (BodyLength::UntilClose, BodyLength::UntilClose),
            _ => (head.body, to_client),
        };
        let mut pump = Pump::new(from, to, Toward::Client, 0).with_trailers(exchange.trailers);
        if head.status == SWITCHING_PROTOCOLS && switches_to_websocket(head, head_bytes) {
            pump.follow_frames();
        }
        if exchange.copying.is_some() {
            exchange.send_copies();
            exchange.watch_answer(head, head_bytes, &mut pump);
        }
        let framed = pump.frame(body, out, tail).map_err(|_| TryError::BadResponse)?;
        pump.outbox = std::mem::take(&mut exchange.ahead);
        pump.excess |= framed.consumed < body.len();
        let piece = &body[framed.body];
        self.connection.long =
            matches!(head.body, BodyLength::Fixed(length) if length >= LONG_BYTES);
        let ends = (&mut self.connection.stream, &client.stream);
        let parts: [&[u8]; 3] = if piece.len() < COPY_BELOW_BYTES {
            out.extend_from_slice(piece);
            out.append(tail);
            [out, &[], &[]]
        } else {
            [out, piece, tail]
        };
        let sent = if pump.draw_ahead(cx, exchange.worker(), ends) {
            pump.outbox.send_ahead(cx, &mut client.stream, parts)
        } else {
            pump.outbox.send(cx, &mut client.stream, parts)
        };
        sent.map_err(|_| TryError::ClientGone)?;
        exchange.record.bytes_out = pump.moved;
        exchange.judge_call((self.pool, self.pick), &pump);
        self.reusable = head.reusable && !pump.excess && exchange.upload.is_sent();
        if head.status == SWITCHING_PROTOCOLS {
            return Ok(Answer::Tunnel(Box::new(pump)));
        }
        if pump.is_done() && exchange.upload.has_arrived() {
            return Ok(Answer::Whole);
        }
        Ok(Answer::Bodies(Box::new(pump)))
    }

    /// Moves both bodies until the response is with the client. False if it could not be completed:
    /// the client's connection then ends without the end of the message.
    pub(super) async fn stream_bodies<N: Net<Stream = S>>(
        &mut self,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &mut Exchange<N>,
        mut down: Box<Pump>,
    ) -> bool {
        let pool = Arc::clone(self.pool);
        let idle = pool.plan.timeouts.idle;
        let mut ignored = Vec::new();
        client.deadline.set(exchange.until(idle));
        let ended = poll_fn(|cx| {
            let before = (down.progress(), exchange.upload.progress());
            if let Err(error) = self.send(cx, worker, client, exchange) {
                return Poll::Ready(Err(error.into()));
            }
            let from = (&mut self.connection.stream, &mut ignored);
            let polled = down.poll(cx, worker, from, &mut client.stream);
            exchange.record.bytes_out = down.moved;
            exchange.judge_call((&pool, self.pick), &down);
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(PumpError::Read)) if self.connection.stream.is_malformed() => {
                    return Poll::Ready(Err(Failure::BadResponse));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(of_response(&error))),
                Poll::Pending => {}
            }
            if self.watches_client(cx, client, exchange) == Peek::Gone {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            if (down.progress(), exchange.upload.progress()) != before {
                worker.now();
                let client_stalls = !down.is_flushed();
                let patience =
                    if client_stalls { client_patience(client, exchange, &pool) } else { idle };
                client.deadline.set(exchange.until(patience));
            } else if client.deadline.has_passed(worker.tick()) {
                let client_stalls = !down.is_flushed();
                let failure =
                    if client_stalls { Failure::ClientGone } else { Failure::ResponseTimeout };
                return Poll::Ready(Err(failure));
            }
            Poll::Pending
        });
        let ended = ended.await;
        self.reusable &= ended.is_ok() && !down.excess && exchange.upload.is_sent();
        exchange.record.failure = ended.err();
        let backends = ended.is_err_and(|failure| failure.side() == Side::Backend);
        let late = ended == Err(Failure::ResponseTimeout) && exchange.is_past_call(worker.recent());
        if backends && !late {
            worker.report(&pool, self.pick, Outcome::Failed);
        }
        let whole = match ended {
            Ok(()) => true,
            Err(failure) => say_last_words(client, exchange, &mut down, failure).await,
        };
        down.release(worker);
        whole
    }
}

/// Ends a call in order although its backend broke off. False if that cannot be.
async fn say_last_words<N: Net>(
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    down: &mut Pump,
    failure: Failure,
) -> bool {
    let Some((status, words)) = exchange.last_words(failure) else { return false };
    if !down.end_early(&words) {
        return false;
    }
    exchange.record.grpc_status = Some(status);
    let said = poll_fn(|cx| down.poll_flush(cx, &mut client.stream));
    matches!(tokio::time::timeout(LINGER, said).await, Ok(Ok(())))
}

/// How long the backend asks to be left alone.
/// True of a switch to a protocol that answers another handshake than ours.
fn is_wrongly_accepted<S: Stream>(head: &ResponseHead, bytes: &[u8], client: &Wire<S>) -> bool {
    if head.status != SWITCHING_PROTOCOLS {
        return false;
    }
    let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"sec-websocket-accept");
    let field = head.fields.iter().find(|field| is_it(field.name.of_buf(bytes)));
    !client.is_accepted(field.map(|field| field.value.of_buf(bytes)))
}

fn retry_after_of(head: &ResponseHead, bytes: &[u8], unix_nanos: u64) -> Option<Duration> {
    let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"retry-after");
    let field = head.fields.iter().find(|field| is_it(field.name.of_buf(bytes)))?;
    retry_after(field.value.of_buf(bytes), unix_nanos / NANOS_PER_SECOND)
}

fn switches_to_websocket(head: &ResponseHead, bytes: &[u8]) -> bool {
    let mut upgrades = head.fields.iter().filter(|field| field.known == Known::Upgrade);
    upgrades.any(|field| field.value.of_buf(bytes).eq_ignore_ascii_case(b"websocket"))
}

fn of_response(error: &PumpError) -> Failure {
    match error {
        PumpError::Read | PumpError::Truncated => Failure::Reset,
        PumpError::BadChunk | PumpError::TooLarge => Failure::BadResponse,
        PumpError::Write | PumpError::TooSlow => Failure::ClientGone,
    }
}

fn client_side<N: Net>(exchange: &Exchange<N>) -> ClientSide<'_> {
    ClientSide {
        version: exchange.version,
        persistence: exchange.persistence,
        trailers: exchange.trailers,
        date: "",
        own_lines: &[],
        rules: exchange.route().map_or(&NO_RULES, |route| &route.response_headers),
    }
}
