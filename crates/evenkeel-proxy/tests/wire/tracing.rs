//! Which trace a backend is told of, and which spans are kept.

use crate::details::details;
use crate::stage::{Stage, answer, get, get_with, status};
use evenkeel_core::plan::TracingPlan;
use evenkeel_proxy::detail::Remark;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn stage(count: usize, sample: f64) -> Stage {
    let endpoint = "http://127.0.0.1:1".to_owned();
    let tracing = TracingPlan { endpoint, headers: Vec::new(), ca_file: None, sample };
    Stage::of(count, |plan| plan.plan(|plan| plan.tracing = Some(tracing)))
}

/// The one value of `traceparent` that each request had.
fn parents(stage: &Stage) -> Vec<Option<String>> {
    let requests = stage.players.iter().flat_map(|player| player.tally().requests);
    requests
        .map(|request| {
            let all: Vec<_> = request.values("traceparent");
            assert!(all.len() <= 1, "{all:?}");
            all.first().map(|only| (*only).to_owned())
        })
        .collect()
}

fn sent(flags: &str) -> String {
    get_with("/", &format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: k=v\r\n"))
}

#[test]
fn a_clients_trace_goes_on_with_a_span_of_ours() {
    let stage = stage(1, 0.0);
    let mut next = details(&stage);
    stage.ask(&sent("01"));
    let parent = parents(&stage).remove(0).expect("a parent");
    let parts: Vec<&str> = parent.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"));
    let finished = next();
    assert_eq!(finished.remark, Remark::Traced);
    let traced = finished.traced.as_ref().expect("recorded");
    assert_eq!(format!("{:032x}", traced.trace), TRACE);
    assert_eq!(traced.parent.map(|span| format!("{span:016x}")).as_deref(), Some(SPAN));
    let tries: Vec<_> = traced.tries.iter().map(|span| format!("{span:016x}")).collect();
    assert_eq!(tries, [parts[2]], "the try's own span");
    assert_ne!(traced.tries[0], traced.span);
}

#[test]
fn what_is_not_recorded_passes_untouched() {
    let stage = stage(1, 0.0);
    stage.ask(&sent("00"));
    stage.ask(&get("/"));
    let untouched = format!("00-{TRACE}-{SPAN}-00");
    assert_eq!(parents(&stage), [Some(untouched), None]);
}

#[test]
fn a_drawn_request_begins_a_trace_and_each_try_has_a_span() {
    let stage = stage(2, 1.0);
    let mut next = details(&stage);
    stage.players[0].says(status(503));
    stage.players[1].says(answer(200, "", "hello"));
    let finished = loop {
        stage.ask(&get_with("/", "traceparent: nonsense\r\n"));
        let finished = next();
        if finished.tries.len() == 2 {
            break finished;
        }
    };
    let traced = finished.traced.as_ref().expect("drawn");
    assert_eq!((traced.parent, traced.tries.len()), (None, 2));
    assert_ne!(traced.tries[0], traced.tries[1]);
    let seen: Vec<_> = parents(&stage).into_iter().flatten().collect();
    for span in &traced.tries {
        let wanted = format!("00-{:032x}-{span:016x}-01", traced.trace);
        assert_eq!(seen.iter().filter(|parent| **parent == wanted).count(), 1, "{seen:?}");
    }
}

#[test]
fn without_tracing_everything_passes() {
    let stage = Stage::of(1, |plan| plan);
    let two = "traceparent: nonsense\r\ntracestate: k=v\r\n";
    stage.ask(&get_with("/", two));
    assert_eq!(parents(&stage), [Some("nonsense".to_owned())]);
}
