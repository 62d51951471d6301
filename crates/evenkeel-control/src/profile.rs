//! Profiles of this process, as `go tool pprof` reads them: CPU time, memory by call stack and by
//! mapping, threads. Nothing runs until somebody asks, but that the allocator notes one call stack
//! in so many bytes.

#[cfg(unix)]
mod cpu;
#[cfg(windows)]
#[path = "profile/no_cpu.rs"]
mod cpu;
#[cfg(test)]
mod decoded;
mod heap;
mod memory;
mod message;
mod symbol;

use crate::admin::RawBody;
use axum::Router;
use axum::extract::{Query, RawQuery};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// How long a CPU profile runs unless told otherwise, as in Go.
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The longest.
const MAX_SECONDS: u64 = 300;
const PLAIN: &str = "text/plain; charset=utf-8";

const INDEX: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>/debug/pprof/</title></head><body><h1>/debug/pprof/</h1><ul>\
    <li><a href=\"profile?seconds=5\">profile</a>: CPU time, sampled for <code>seconds</code> \
    (30 unless told otherwise, 300 at most); one at a time</li>\
    <li><a href=\"heap\">heap</a>: memory in use, by who allocated it</li>\
    <li><a href=\"allocs\">allocs</a>: all that was allocated since the start, by whom</li>\
    <li><a href=\"mappings\">mappings</a>: resident memory by mapping</li>\
    <li><a href=\"threads\">threads</a>: every thread, its state and its CPU time</li>\
    <li><a href=\"cmdline\">cmdline</a>: the arguments of this process</li>\
    <li><a href=\"symbol\">symbol</a>: names of addresses, as <code>?0x1234+0x5678</code></li></ul>\
    <p><code>go tool pprof http://HOST/debug/pprof/profile?seconds=5</code></p></body></html>\n";

/// The paths below `/debug/pprof`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/debug/pprof", get(async || (StatusCode::FOUND, [(LOCATION, "/debug/pprof/")])))
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/heap", get(async || heap(heap::View::Heap).await))
        .route("/debug/pprof/allocs", get(async || heap(heap::View::Allocations).await))
        .route("/debug/pprof/mappings", get(mappings))
        .route("/debug/pprof/threads", get(threads))
        .route("/debug/pprof/goroutine", get(threads))
        .route("/debug/pprof/cmdline", get(command_line))
        .route("/debug/pprof/symbol", get(symbols).post(symbols))
}

async fn index() -> Response {
    ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "text/html; charset=utf-8")], INDEX)
        .into_response()
}

async fn profile(Query(asked): Query<HashMap<String, String>>) -> Response {
    let time = match asked.get("seconds").map(|text| text.parse::<u64>()) {
        None => DEFAULT_TIME,
        Some(Ok(seconds @ 1..=MAX_SECONDS)) => Duration::from_secs(seconds),
        Some(Ok(_) | Err(_)) => {
            let why = format!("seconds: a whole number from 1 to {MAX_SECONDS}\n");
            return (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, PLAIN)], why).into_response();
        }
    };
    match cpu::sample(time).await {
        Ok(message) => compressed("profile", &message),
        Err(cpu::NoProfile::Busy) => {
            let why = "a profile is being taken already; try again when it has ended\n";
            (StatusCode::CONFLICT, [(CONTENT_TYPE, PLAIN)], why).into_response()
        }
        Err(cpu::NoProfile::Failed(why)) => failed(&why),
    }
}

async fn heap(view: heap::View) -> Response {
    // To find the names takes a while: the admin listener answers meanwhile.
    match tokio::task::spawn_blocking(move || heap::by_call_site(view)).await {
        Ok(Some(message)) => compressed(view.name(), &message),
        Ok(None) => failed("this program does not note who allocates"),
        Err(error) => failed(&error.to_string()),
    }
}

async fn mappings() -> Response {
    match memory::by_mapping() {
        Ok(message) => compressed("mappings", &message),
        Err(error) => failed(&format!("cannot read /proc/self/smaps: {error}")),
    }
}

async fn threads() -> Response {
    match memory::threads() {
        Ok(text) => ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, PLAIN)], text).into_response(),
        Err(error) => failed(&format!("cannot read /proc/self/task: {error}")),
    }
}

/// As Go has it: addresses are in the query of GET, and in the body of POST.
async fn symbols(RawQuery(query): RawQuery, body: RawBody) -> Response {
    let addresses = match body.bytes.is_empty() {
        true => query.unwrap_or_default(),
        false => String::from_utf8_lossy(&body.bytes).into_owned(),
    };
    // To find the names takes a while: the admin listener answers meanwhile.
    match tokio::task::spawn_blocking(move || symbol::names(&addresses)).await {
        Ok(text) => ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, PLAIN)], text).into_response(),
        Err(error) => failed(&error.to_string()),
    }
}

/// As Go has it: the arguments, a NUL between two.
async fn command_line() -> Response {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, PLAIN)], words.join("\0")).into_response()
}

fn failed(why: &str) -> Response {
    let text = format!("{why}\n");
    (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, PLAIN)], text).into_response()
}

fn compressed(name: &str, message: &[u8]) -> Response {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(message);
    let body = encoder.finish().unwrap_or_default();
    let fields = [
        (CACHE_CONTROL, "no-store".to_owned()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.pb.gz\"")),
    ];
    (fields, body).into_response()
}
