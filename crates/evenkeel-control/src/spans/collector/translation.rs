//! Exchanges as spans of OpenTelemetry, named by its semantic conventions of HTTP 1.2x.

use evenkeel_proxy::detail::{Finished, FinishedTry, TryOutcome};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A status from here on is an error of the server.
const FIRST_ERROR: u16 = 500;
const SERVICE: &str = "evenkeel";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whose spans they are.
pub(super) fn resource() -> Resource {
    let own = [text("service.name", SERVICE), text("service.version", VERSION)];
    Resource::builder_empty().with_attributes(own).build()
}

/// The spans of these exchanges: one of each, and one below it for each of its tries.
pub(super) fn spans(batch: &[Box<Finished>]) -> Vec<SpanData> {
    let scope = InstrumentationScope::builder(SERVICE).with_version(VERSION).build();
    let mut spans = Vec::new();
    for finished in batch {
        let Some(traced) = &finished.traced else { continue };
        let place = Place { trace: traced.trace, span: traced.span, parent: traced.parent };
        spans.push(exchange(finished).at(place, &scope));
        for (at, (tried, span)) in finished.tries.iter().zip(&traced.tries).enumerate() {
            let place = Place { span: *span, parent: Some(traced.span), ..place };
            spans.push(one_try(finished, at, tried).at(place, &scope));
        }
    }
    spans
}

/// Where a span is in its trace.
#[derive(Clone, Copy)]
struct Place {
    trace: u128,
    span: u64,
    parent: Option<u64>,
}

/// What a span tells.
struct Tale {
    kind: SpanKind,
    name: String,
    /// Nanoseconds since 1970, as all times here.
    start: u64,
    end: u64,
    attributes: Vec<KeyValue>,
    failed: bool,
}

impl Tale {
    fn at(self, place: Place, scope: &InstrumentationScope) -> SpanData {
        let (trace, span) = (place.trace.into(), place.span.into());
        let state = TraceState::default();
        SpanData {
            span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, state),
            parent_span_id: place.parent.map_or(SpanId::INVALID, SpanId::from),
            // That of a try is the exchange's own.
            parent_span_is_remote: self.kind == SpanKind::Server && place.parent.is_some(),
            span_kind: self.kind,
            name: self.name.into(),
            start_time: time(self.start),
            end_time: time(self.end),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if self.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: scope.clone(),
        }
    }
}

fn exchange(finished: &Finished) -> Tale {
    let mut attributes = vec![
        text("http.request.method", finished.method.clone()),
        text("url.path", finished.path.clone()),
        text("server.address", finished.host.clone()),
        text("client.address", finished.client_ip.clone()),
        number("http.response.status_code", finished.status.into()),
        number("http.request.body.size", finished.bytes_in),
        number("http.response.body.size", finished.bytes_out),
        text("evenkeel.request_id", finished.id.clone()),
        text("evenkeel.listener", Arc::clone(&finished.listener)),
    ];
    attributes.extend(finished.route.clone().map(|route| text("evenkeel.route", route)));
    attributes.extend(finished.pool.clone().map(|pool| text("evenkeel.pool", pool)));
    attributes.extend(finished.queue.map(|queue| number("evenkeel.queue_ns", queue)));
    let code = finished.failure.map(|failure| failure.code());
    attributes.extend(code.map(|code| text("error.type", code)));
    let name = finished.route.as_deref().unwrap_or("no route");
    Tale {
        kind: SpanKind::Server,
        name: format!("{} {name}", finished.method),
        start: began(finished),
        end: finished.ended_unix,
        attributes,
        failed: code.is_some() || finished.status >= FIRST_ERROR,
    }
}

fn one_try(finished: &Finished, at: usize, tried: &FinishedTry) -> Tale {
    let mut attributes = vec![
        text("http.request.method", finished.method.clone()),
        text("server.address", Arc::clone(&tried.backend)),
        number("http.request.resend_count", at as u64),
    ];
    let failed = match tried.outcome {
        TryOutcome::Status(status) => {
            attributes.push(number("http.response.status_code", status.into()));
            status >= FIRST_ERROR
        }
        TryOutcome::Code(code) => {
            attributes.push(text("error.type", code));
            true
        }
    };
    attributes.extend(tried.connect.map(|connect| number("evenkeel.connect_ns", connect)));
    // The last one's response was read to the end of the exchange.
    let is_last = at + 1 == finished.tries.len();
    let end = if is_last && !failed { finished.total } else { tried.end };
    Tale {
        kind: SpanKind::Client,
        name: format!("try {}", tried.backend),
        start: began(finished).saturating_add(tried.start),
        end: began(finished).saturating_add(end),
        attributes,
        failed,
    }
}

/// When the exchange began.
fn began(finished: &Finished) -> u64 {
    finished.ended_unix.saturating_sub(finished.total)
}

fn time(unix_nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nanos)
}

fn text(key: &'static str, value: impl Into<StringValue>) -> KeyValue {
    KeyValue::new(key, value.into())
}

fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
