//! An exchange as the API tells it.

use super::captured::captured;
use evenkeel_api::{Kept, RecordedRequest, Timings, Try};
use evenkeel_core::failure::Failure;
use evenkeel_core::record::TimeStamp;
use evenkeel_proxy::detail::{Finished, FinishedTry, Remark, TryOutcome};

/// Nanoseconds as milliseconds, to the microsecond.
pub(super) fn ms(nanos: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "more than 285 years are not told exactly")]
    let micros = ((nanos.saturating_add(500)) / 1000) as f64;
    micros / 1000.0
}

/// What is kept of it; `redact` names fields whose captured values are hidden.
pub(super) fn recorded(finished: &Finished, redact: &[String]) -> RecordedRequest {
    let Finished { tries, .. } = finished;
    let began = finished.ended_unix.saturating_sub(finished.total);
    let time = String::from_utf8_lossy(TimeStamp::default().at(began)).into_owned();
    RecordedRequest {
        id: finished.id.clone(),
        time,
        kept: match finished.remark {
            Remark::Failed => Kept::Failed,
            Remark::Slow => Kept::Slow,
            Remark::Drawn | Remark::Traced => Kept::Drawn,
        },
        listener: finished.listener.to_string(),
        client_ip: finished.client_ip.clone(),
        method: finished.method.clone(),
        host: finished.host.clone(),
        path: finished.path.clone(),
        status: finished.status,
        failure: finished.failure.map(|failure| failure.code().to_owned()),
        hint: hint(finished),
        route: finished.route.as_deref().map(str::to_owned),
        pool: finished.pool.as_deref().map(str::to_owned),
        backend: tries.last().map(|last| last.backend.to_string()),
        tries: tries.iter().map(one_try).collect(),
        timings: Timings {
            accept_ms: finished.accept.map(ms),
            tls_ms: None,
            queue_ms: finished.queue.map(ms),
            body_ms: finished.body.map(ms),
        },
        total_ms: ms(finished.total),
        bytes_in: finished.bytes_in,
        bytes_out: finished.bytes_out,
        captured: finished.captured.as_ref().map(|bytes| captured(bytes, redact)),
    }
}

fn one_try(one: &FinishedTry) -> Try {
    Try {
        backend: one.backend.to_string(),
        outcome: match one.outcome {
            TryOutcome::Status(status) => status.to_string(),
            TryOutcome::Code(code) => code.to_owned(),
        },
        start_ms: ms(one.start),
        pick_ms: one.pick.map(ms),
        connect_ms: one.connect.map(ms),
        first_byte_ms: one.first_byte.map(ms),
    }
}

/// What probably helps.
fn hint(finished: &Finished) -> Option<String> {
    match (finished.failure, finished.remark) {
        (Some(failure), _) => Some(Failure::hint(failure).to_owned()),
        (None, Remark::Failed) => {
            Some(format!("The backend itself answered {}: look in its log.", finished.status))
        }
        (None, Remark::Slow) => Some(slow_hint(finished).to_owned()),
        (None, Remark::Drawn | Remark::Traced) => None,
    }
}

/// Where most of the time went.
fn slow_hint(finished: &Finished) -> &'static str {
    let half = finished.total / 2;
    let first_byte = finished.tries.last().and_then(|last| last.first_byte).unwrap_or(0);
    let connect = finished.tries.last().and_then(|last| last.connect).unwrap_or(0);
    if finished.queue.is_some_and(|queue| queue > half) {
        "Most of the time it waited for a backend with room: add backends, or raise \
         `connections.max`."
    } else if connect > half {
        "Most of the time went into making a connection: is the backend far away, or its accept \
         queue full?"
    } else if finished.tries.len() > 1 && first_byte < half {
        "Most of the time went into earlier tries: see why they failed."
    } else if finished.body.is_some_and(|body| body > half) {
        "Most of the time the response was on its way: a large body, a slow client or a stream."
    } else {
        "Most of the time the backend took to answer: look at its log and its load."
    }
}
