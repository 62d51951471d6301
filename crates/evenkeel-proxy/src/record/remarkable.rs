//! Exchanges that are worth a second look: those that failed, were slow or were drawn. The rest
//! pays for one comparison.

use super::{LostTry, Part, Record};
use crate::detail::{Detail, Finished, FinishedTry, Remark, TryOutcome};
use crate::net::Net;
use crate::verdict::chance;
use evenkeel_core::plan::CapturePlan;
use std::sync::Arc;
use std::time::Duration;

/// Bytes kept of one text of a request, so that each exchange takes a bounded place.
const MAX_TEXT_BYTES: usize = 1024;
/// Bytes kept of a head that was drawn.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// A status from here on is a failure, also as the backend's own answer.
const FIRST_FAILED_STATUS: u16 = 500;
/// A tunnel lasts as long as its client likes: it is never slow.
const TUNNEL_STATUS: u16 = 101;

/// Whether the exchange is worth a second look, and why.
#[inline]
pub(super) fn remark<N: Net>(record: &Record<N>, total: u64) -> Option<Remark> {
    let plan = &record.snapshot.plan.recorder;
    let failed = record.failure.is_some() || record.status >= FIRST_FAILED_STATUS;
    let slow = Duration::from_nanos(total) >= plan.slow && record.status != TUNNEL_STATUS;
    if plan.size == 0 {
        record.traced.is_some().then_some(Remark::Traced)
    } else if failed {
        Some(Remark::Failed)
    } else if slow {
        Some(Remark::Slow)
    } else {
        let drawn = is_drawn(record, &plan.capture).then_some(Remark::Drawn);
        drawn.or_else(|| record.traced.is_some().then_some(Remark::Traced))
    }
}

#[inline]
fn is_drawn<N: Net>(record: &Record<N>, plan: &CapturePlan) -> bool {
    plan.sample > 0.0 && chance(&record.worker.net) < plan.sample
}

/// Tells it to who keeps such things.
#[cold]
#[inline(never)]
pub(super) fn tell<N: Net>(record: &Record<N>, (remark, total): (Remark, u64), sent: &[u8]) {
    let Some(details) = record.worker.shared.events.details() else { return };
    let plan = &record.snapshot.plan;
    let capture = &plan.recorder.capture;
    let drawn = match remark {
        Remark::Drawn => true,
        Remark::Failed | Remark::Slow => is_drawn(record, capture),
        Remark::Traced => false,
    };
    let captured = drawn && !sent.is_empty();
    let text = |part| {
        let bytes = record.get(part);
        String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT_BYTES)]).into_owned()
    };
    let finished = Finished {
        remark,
        ended_unix: record.worker.net.unix_nanos(),
        id: text(Part::RequestId),
        client_ip: text(Part::ClientIp),
        method: text(Part::Method),
        host: text(Part::Host),
        path: text(Part::Path),
        listener: plan
            .listeners
            .get(record.listener)
            .map(|it| Arc::clone(&it.name))
            .unwrap_or_default(),
        route: record.route.and_then(|at| Some(Arc::clone(&plan.routes.get(at)?.name))),
        pool: record.pool.and_then(|at| Some(Arc::clone(&plan.pools.get(at)?.name))),
        status: record.status,
        failure: record.failure,
        tries: tries(record),
        accept: record.accept,
        queue: record.times.queue,
        body: body_time(record, total),
        total,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        traced: record.traced.clone(),
        captured: captured.then(|| capped(sent, capture.max_body_bytes)),
    };
    details.offer(Detail::Exchange(Box::new(finished)));
}

/// From the head of the response to the end.
fn body_time<N: Net>(record: &Record<N>, total: u64) -> Option<u64> {
    let until_head = record.try_at.since(record.started) + record.times.first_byte?;
    Some(total.saturating_sub(until_head))
}

fn tries<N: Net>(record: &Record<N>) -> Vec<FinishedTry> {
    let name = |index: usize| {
        let pool = record.pool.and_then(|at| record.snapshot.plan.pools.get(at));
        let backend = pool.and_then(|pool| pool.backends.get(index));
        backend.map(|backend| Arc::clone(&backend.name)).unwrap_or_default()
    };
    let lost = |lost: &LostTry| FinishedTry {
        backend: name(lost.backend),
        outcome: lost.outcome,
        start: lost.times.start.since(record.started),
        end: lost.times.end.since(record.started),
        pick: lost.times.pick,
        connect: lost.times.connect,
        first_byte: lost.times.first_byte,
    };
    let answered = record.answered_by.map(|index| {
        let start = record.try_at.since(record.started);
        FinishedTry {
            backend: name(index),
            outcome: TryOutcome::Status(record.status),
            start,
            end: start + record.times.first_byte.unwrap_or(0),
            pick: record.times.pick,
            connect: record.times.connect,
            first_byte: record.times.first_byte,
        }
    });
    record.lost.iter().map(lost).chain(answered).collect()
}

/// The head and the beginning of the body.
fn capped(sent: &[u8], max_body_bytes: usize) -> Vec<u8> {
    let end = memchr::memmem::find(sent, b"\r\n\r\n").map_or(sent.len(), |at| at + 4);
    let (head, body) = sent.split_at(end);
    let head = &head[..head.len().min(MAX_HEAD_BYTES)];
    [head, &body[..body.len().min(max_body_bytes)]].concat()
}

#[cfg(test)]
mod tests {
    use super::capped;

    #[test]
    fn bodies_are_cut_and_heads_are_not() {
        let sent = b"POST / HTTP/1.1\r\na: b\r\n\r\n0123456789";
        assert_eq!(capped(sent, 4), b"POST / HTTP/1.1\r\na: b\r\n\r\n0123");
        assert_eq!(capped(sent, 99), sent);
        assert_eq!(capped(b"no head", 0), b"no head");
    }
}
