//! What is special about an exchange that is a gRPC call: a deadline of its own, an end that stands
//! in trailers, and local replies that look like one.

use crate::clock::Nanos;
use crate::exchange::Exchange;
use crate::net::Net;
use crate::pump::Pump;
use evenkeel_core::failure::{Failure, Side};
use evenkeel_core::field::Known;
use evenkeel_core::grpc::{self, TIMEOUT_BYTES};
use evenkeel_core::pool::{Outcome, Pick, Pool};
use evenkeel_core::request::RequestHead;
use evenkeel_core::response::ResponseHead;
use std::time::Duration;

/// The status of a call that ended well, for who counts by HTTP's.
const GOOD: u16 = 200;
/// And of one that did not.
const BAD: u16 = 503;

/// Timers of backends may be so much early.
const TIMER_SLACK: Duration = Duration::from_millis(10);

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    /// When its client stops waiting.
    pub(crate) until: Nanos,
    /// Where its timeout stands in the head for the backend; 0 = it has none.
    timeout_at: usize,
    /// The pool knows how it ends, or that it goes well.
    judged: bool,
    /// It is gRPC itself, not gRPC-Web: its end needs trailers.
    pub(crate) needs_trailers: bool,
}

impl Call {
    /// The call that a request is, if it is one.
    pub(crate) fn of(head: &RequestHead, bytes: &[u8], now: Nanos) -> Option<Call> {
        let kind = head.values(bytes, Known::ContentType).next()?;
        if !grpc::is_call(kind) {
            return None;
        }
        let timeout = value_of(&head.fields, bytes, b"grpc-timeout").and_then(grpc::parse_timeout);
        let until = timeout.map_or(Nanos::NEVER, |timeout| now.after(timeout));
        let needs_trailers = !grpc::is_web(kind);
        Some(Call { until, timeout_at: 0, judged: false, needs_trailers })
    }

    /// True if its client waits no longer, or hardly: a backend keeps the same time.
    pub(crate) fn is_past(&self, now: Nanos) -> bool {
        self.until <= now.after(TIMER_SLACK)
    }

    /// True if this end is a failure of the backend. How long it has had, the client says.
    fn blames(&self, status: u8, now: Nanos) -> bool {
        grpc::is_failure(status) && !(status == grpc::DEADLINE_EXCEEDED && self.is_past(now))
    }

    /// Makes room for a timeout of fixed width in the head for the backend.
    pub(crate) fn place_timeout(&mut self, head: &mut Vec<u8>) {
        const LINE: &[u8] = b"\ngrpc-timeout:";
        if self.until == Nanos::NEVER {
            return;
        }
        let is_line = |window: &[u8]| window.eq_ignore_ascii_case(LINE);
        let Some(at) = head.windows(LINE.len()).position(is_line) else { return };
        let start = at + LINE.len();
        let length = memchr::memchr(b'\r', &head[start..]).unwrap_or(0);
        let room = std::iter::once(b' ').chain([b'0'; TIMEOUT_BYTES]);
        head.splice(start..start + length, room);
        self.timeout_at = start + 1;
    }

    /// Tells the backend how much of the call's time is left.
    pub(crate) fn shorten(&self, head: &mut [u8], now: Nanos) {
        let place = head.get_mut(self.timeout_at..self.timeout_at + TIMEOUT_BYTES);
        if let Some(place) = place.filter(|_| self.timeout_at > 0) {
            place.copy_from_slice(&grpc::write_timeout(self.until.duration_since(now)));
        }
    }
}

fn value_of<'a>(
    fields: &[evenkeel_core::field::Field],
    bytes: &'a [u8],
    name: &[u8],
) -> Option<&'a [u8]> {
    let is_it =
        |field: &&evenkeel_core::field::Field| field.name.of_buf(bytes).eq_ignore_ascii_case(name);
    fields.iter().find(is_it).map(|field| field.value.of_buf(bytes))
}

impl<N: Net> Exchange<N> {
    /// Takes note of the head that a call is answered with. True if that says that the backend
    /// cannot serve, and nothing else: another may.
    pub(crate) fn hears_call(
        &mut self,
        (pool, pick): (&Pool, &mut Pick),
        head: &ResponseHead,
        bytes: &[u8],
    ) -> bool {
        let Some(call) = &mut self.call else { return false };
        let status = value_of(&head.fields, bytes, b"grpc-status").and_then(grpc::parse_status);
        let Some(status) = status else {
            self.worker().report(pool, pick, Outcome::Begun);
            return false;
        };
        call.judged = true;
        let blames = call.blames(status, self.record.worker().recent());
        self.record.grpc_status = Some(status);
        let outcome = match (blames, grpc::is_failure(status)) {
            (true, _) => Outcome::Answered(BAD),
            (false, true) => Outcome::Begun,
            (false, false) => Outcome::Answered(GOOD),
        };
        self.worker().report(pool, pick, outcome);
        status == grpc::UNAVAILABLE
    }

    /// What the client is told of a failure: a call whose own time is up is late, however its
    /// backend broke off.
    pub(crate) fn as_told(&self, failure: Failure) -> Failure {
        let late = failure.side() == Side::Backend && self.is_past_call(self.worker().recent());
        if late { Failure::ResponseTimeout } else { failure }
    }

    /// The trailers of a call whose backend broke off in the middle of the response: it ends badly,
    /// but in order. With their status; `None` for what is no call or was not ended by its backend.
    pub(crate) fn last_words(&self, failure: Failure) -> Option<(u8, Vec<u8>)> {
        self.call.as_ref().filter(|call| call.needs_trailers)?;
        if failure.side() != Side::Backend {
            return None;
        }
        let told = self.as_told(failure);
        let status = grpc::status_of(told);
        let (code, message) = (told.code(), told.message());
        let lines = format!("grpc-status: {status}\r\ngrpc-message: {code}: {message}\r\n");
        Some((status, lines.into_bytes()))
    }

    /// Tells the pool how a call goes, once that is known: its first message is a good sign, its
    /// trailers are the end.
    pub(crate) fn judge_call(&mut self, (pool, pick): (&Pool, &mut Pick), down: &Pump) {
        let Some(call) = &mut self.call else { return };
        let ended = down.has_ended();
        if self.record.grpc_status.is_some() || (call.judged && !ended) {
            return;
        }
        let outcome = match (ended, down.moved > 0) {
            (true, _) => {
                let told = grpc::status_of_trailers(down.trailers());
                // Without one, the end of gRPC-Web stands in its body.
                let status = told.or(call.needs_trailers.then_some(grpc::UNKNOWN));
                self.record.grpc_status = status;
                let now = self.record.worker().recent();
                match status.filter(|status| grpc::is_failure(*status)) {
                    Some(status) if call.blames(status, now) => Outcome::Failed,
                    Some(_) => return,
                    None => Outcome::Answered(GOOD),
                }
            }
            (false, true) => Outcome::Answered(GOOD),
            (false, false) => return,
        };
        let known = std::mem::replace(&mut call.judged, true);
        if !(known && outcome == Outcome::Answered(GOOD)) {
            self.worker().report(pool, pick, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::request::HeadLimits;

    fn call(fields: &str) -> Option<Call> {
        let text = format!("POST /a.B/C HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        let limits = HeadLimits { max_bytes: 8192, max_fields: 100 };
        head.parse(text.as_bytes(), limits).expect("a head");
        Call::of(&head, text.as_bytes(), Nanos(1_000_000_000))
    }

    #[test]
    fn a_timeout_shrinks_in_place() {
        let mut call = call("Content-Type: application/grpc\r\ngrpc-timeout: 5S\r\n").expect("one");
        assert_eq!(call.until, Nanos(6_000_000_000));
        let mut head = b"POST / HTTP/1.1\r\nGrpc-Timeout: 5S\r\nHost: x\r\n\r\n".to_vec();
        call.place_timeout(&mut head);
        call.shorten(&mut head, Nanos(2_000_000_000));
        assert_eq!(head, b"POST / HTTP/1.1\r\nGrpc-Timeout: 04000000u\r\nHost: x\r\n\r\n");
        call.shorten(&mut head, Nanos(7_000_000_000));
        assert_eq!(head, b"POST / HTTP/1.1\r\nGrpc-Timeout: 00000000n\r\nHost: x\r\n\r\n");
    }

    #[test]
    fn what_is_a_call() {
        assert!(call("").is_none());
        assert!(call("Content-Type: application/json\r\n").is_none());
        let plain = call("Content-Type: application/grpc+proto\r\n").expect("one");
        assert!(plain.until == Nanos::NEVER && plain.needs_trailers);
        let web = call("Content-Type: application/grpc-web+proto\r\n").expect("one");
        assert!(!web.needs_trailers);
        let mut head = b"POST / HTTP/1.1\r\n\r\n".to_vec();
        let (mut without, before) = (plain, head.clone());
        without.place_timeout(&mut head);
        without.shorten(&mut head, Nanos(0));
        assert_eq!(head, before);
    }
}
