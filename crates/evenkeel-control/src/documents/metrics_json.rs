//! `/metrics?format=json`.

use crate::metrics::{Traffic, View, condition, recent};
use evenkeel_core::backend::{Backend, Bar};
use evenkeel_core::pool::Pool;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// `{total_requests, uptime, algorithm, backends: {URL: {…}}}`. Times are whole nanoseconds.
///
/// `total_requests` leaves out local replies without a route; `algorithm` is the strategy of the
/// first pool, as it was spelt. Mean and percentiles are of the last minute, or of all time if
/// nothing happened in it. A backend in several pools is one entry: its numbers are added up, and
/// its health, weight and state are those in the first of them.
pub fn metrics_json(view: &View<'_>) -> Value {
    let strategy = view.snapshot.pools.first().map(|pool| &*pool.plan.strategy_text);
    let traffic = Traffic::of(view.totals);
    let entries = entries(view).into_iter();
    let backends = entries.map(|(url, members)| (url, entry(view, &traffic, &members)));
    json!({
        "total_requests": view.totals.routed(),
        "uptime": u64::try_from(view.uptime.as_nanos()).unwrap_or(u64::MAX),
        "algorithm": strategy.unwrap_or_default(),
        "backends": backends.collect::<Map<String, Value>>(),
    })
}

type Member<'a> = (&'a Pool, &'a Backend);

/// Backends by URL, in the order configured; none of the lists is empty.
fn entries<'a>(view: &View<'a>) -> Vec<(String, Vec<Member<'a>>)> {
    let mut places = HashMap::new();
    let mut entries: Vec<(String, Vec<Member<'a>>)> = Vec::new();
    for (pool, backend) in view.backends() {
        let place = *places.entry(&*backend.plan.address.text).or_insert(entries.len());
        match entries.get_mut(place) {
            Some((_, members)) => members.push((pool, backend)),
            None => entries.push((url(&backend.plan.address.text), vec![(pool, backend)])),
        }
    }
    entries
}

/// As written in the configuration, `host:port` with a scheme before it.
fn url(text: &str) -> String {
    let is_whole = text.contains("://") || text.starts_with("unix:");
    if is_whole { text.to_owned() } else { format!("http://{text}") }
}

fn entry(view: &View<'_>, traffic: &Traffic<'_>, members: &[Member<'_>]) -> Value {
    let series: Vec<_> =
        members.iter().flat_map(|(pool, backend)| traffic.series(pool, backend)).collect();
    let mut codes: Map<String, Value> = Map::new();
    let (mut requests, mut selections) = (0, 0);
    for (_, totals) in &series {
        selections += totals.tries;
        for ((code, _), count) in &totals.requests {
            requests += count;
            let sum = codes.entry(code.to_string()).or_insert(json!(0));
            *sum = json!(sum.as_u64().unwrap_or_default() + count);
        }
    }
    codes.sort_keys();
    let durations = recent(view, series.iter().map(|entry| **entry));
    let percentile = |quantile| durations.percentile(quantile).unwrap_or_default();
    let in_flight = members.iter().map(|(_, backend)| u64::from(backend.in_flight()));
    let mut entry = json!({
        "requests": requests,
        "selections": selections,
        "avg_response": durations.mean().unwrap_or_default(),
        "p50_response": percentile(0.5),
        "p95_response": percentile(0.95),
        "p99_response": percentile(0.99),
        "status_codes": codes,
        "active_connections": in_flight.sum::<u64>(),
    });
    if let Some((pool, backend)) = members.first() {
        entry["healthy"] = json!(condition(pool, backend).is_up());
        entry["weight"] = json!(backend.plan.weight);
        entry["state"] = json!(state(backend.barred(view.now)));
        entry["name"] = json!(&*backend.plan.name);
    }
    entry
}

fn state(bar: Option<Bar>) -> &'static str {
    match bar {
        None => "eligible",
        Some(Bar::Disabled) => "disabled",
        Some(Bar::Draining) => "draining",
        Some(Bar::NoWeight) => "no_weight",
        Some(Bar::Unhealthy) => "unhealthy",
        Some(Bar::BreakerOpen) => "breaker_open",
        Some(Bar::Suspected) => "suspected",
        Some(Bar::Paused) => "paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fixture::{Fixture, TWO_POOLS};

    #[test]
    fn the_document_has_its_exact_keys() {
        let mut fixture = Fixture::of(TWO_POOLS);
        for (backend, code) in [("b1", 200), ("b1", 200), ("b1", 503), ("b2", 200)] {
            fixture.exchange("web", backend, code);
        }
        fixture.tried("web", "b2");
        fixture.local_reply(404);
        let document = metrics_json(&fixture.view());
        let expected = ["total_requests", "uptime", "algorithm", "backends"];
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), expected);
        assert_eq!(document["total_requests"], 4);
        assert_eq!(document["uptime"], 61_000_000_000_u64);
        assert_eq!(document["algorithm"], "Round-Robin");
        let urls: Vec<_> = document["backends"].as_object().unwrap().keys().cloned().collect();
        let expected = ["http://127.0.0.1:8081", "http://127.0.0.1:8082", "unix:/run/g1"];
        assert_eq!(urls, expected);

        let b1 = &document["backends"]["http://127.0.0.1:8081"];
        assert_eq!((&b1["requests"], &b1["selections"]), (&json!(3), &json!(3)));
        assert_eq!(b1["status_codes"], json!({"200": 2, "503": 1}));
        let fixed = [&b1["healthy"], &b1["weight"], &b1["state"], &b1["active_connections"]];
        assert_eq!(fixed, [&json!(true), &json!(3), &json!("eligible"), &json!(0)]);
        let [mean, p50, p95, p99] =
            ["avg", "p50", "p95", "p99"].map(|key| b1[format!("{key}_response")].as_u64().unwrap());
        assert_eq!(mean, 2_000_000);
        assert!(p50 <= p95 && p95 <= p99 && p50.abs_diff(2_000_000) < 40_000, "{p50} {p95} {p99}");
        let b2 = &document["backends"]["http://127.0.0.1:8082"];
        assert_eq!((&b2["requests"], &b2["selections"]), (&json!(1), &json!(2)));
    }

    #[test]
    fn without_traffic_all_numbers_are_there() {
        let document = metrics_json(&Fixture::of(TWO_POOLS).view());
        let keys = "requests selections avg_response p50_response p95_response p99_response \
                    weight active_connections";
        for backend in document["backends"].as_object().unwrap().values() {
            for key in keys.split_ascii_whitespace() {
                assert!(backend[key].is_u64(), "{key} in {backend}");
            }
            assert_eq!(backend["status_codes"], json!({}));
        }
    }

    #[test]
    fn percentiles_forget_what_is_older_than_a_minute_but_not_all() {
        let mut fixture = Fixture::of(TWO_POOLS);
        fixture.exchange_taking(("web", "b1"), 900_000_000);
        fixture.tick();
        fixture.now_seconds += 70;
        let mean = |fixture: &Fixture| {
            metrics_json(&fixture.view())["backends"]["http://127.0.0.1:8081"]["avg_response"]
                .clone()
        };
        assert_eq!(mean(&fixture), 900_000_000, "nothing happened since");
        fixture.exchange_taking(("web", "b1"), 1_000_000);
        assert_eq!(mean(&fixture), 1_000_000);
    }

    #[test]
    fn one_address_in_two_pools_is_one_entry() {
        let mut fixture = Fixture::of(
            "listeners: [{bind: \":0\"}]\nroutes: [{pool: a}]\npools:\n  \
             - {name: a, backends: [{name: x, address: \"127.0.0.1:1\", admin: draining}]}\n  \
             - {name: b, backends: [{name: y, address: \"127.0.0.1:1\"}]}\n",
        );
        fixture.exchange("a", "x", 200);
        fixture.exchange("b", "y", 200);
        let document = metrics_json(&fixture.view());
        let entry = &document["backends"]["http://127.0.0.1:1"];
        assert_eq!(entry["status_codes"], json!({"200": 2}));
        assert_eq!((&entry["state"], &entry["name"]), (&json!("draining"), &json!("x")));
    }

    #[test]
    fn urls_are_as_written() {
        let cases = [
            ("localhost:1", "http://localhost:1"),
            ("[::1]:1", "http://[::1]:1"),
            ("https://a.test/", "https://a.test/"),
            ("h2c://a:1", "h2c://a:1"),
            ("unix:/run/a", "unix:/run/a"),
        ];
        for (text, expected) in cases {
            assert_eq!(url(text), expected);
        }
    }
}
