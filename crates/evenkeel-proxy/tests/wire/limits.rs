//! Rate limits: a burst, then 429 with what a polite client needs to know.

use crate::arena::{Refusal, is_refusal};
use crate::stage::{Stage, get, get_with, pause};
use evenkeel_core::plan::{RateKey, RateLimitPlan};
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::PlanBuilder;
use std::time::{Duration, Instant};

const RATE_LIMITED: Refusal = (429, "rate_limited");

/// A burst, and then one more per `per`.
fn limited(key: RateKey, burst: u32, per: Duration) -> impl FnOnce(PlanBuilder) -> PlanBuilder {
    move |plan| {
        plan.route(|route| {
            route.rate_limit = Some(RateLimitPlan { requests: 1, per, burst, key });
        })
    }
}

fn number(response: &Message, field: &str) -> u64 {
    let value = response.value(field).unwrap_or_else(|| panic!("no {field}: {response:?}"));
    value.parse().unwrap_or_else(|_| panic!("{field}: {value}"))
}

fn from(ip: &str) -> String {
    get_with("/", &format!("X-Forwarded-For: {ip}\r\n"))
}

#[test]
fn a_burst_and_then_no_more() {
    let stage = Stage::of(1, limited(RateKey::ClientIp, 3, Duration::from_secs(10)));
    for (remaining, reset) in [(2, 10), (1, 20), (0, 30)] {
        let response = stage.ask(&get("/"));
        assert_eq!(response.status(), 200);
        assert_eq!(number(&response, "ratelimit-limit"), 3);
        assert_eq!(number(&response, "ratelimit-remaining"), remaining);
        assert!((reset - 2..=reset).contains(&number(&response, "ratelimit-reset")));
    }
    for _ in 0..3 {
        let response = stage.ask(&get("/"));
        is_refusal(&response, RATE_LIMITED).expect("429");
        assert!((8..=10).contains(&number(&response, "retry-after")), "{response:?}");
        assert_eq!(number(&response, "ratelimit-limit"), 3);
        assert_eq!(number(&response, "ratelimit-remaining"), 0);
        assert!((28..=30).contains(&number(&response, "ratelimit-reset")), "{response:?}");
    }
    assert_eq!(stage.counts(), [3], "what is refused costs no backend anything");
    let records = stage.proxy.wait_for_records(6);
    assert_eq!(records.iter().filter(|r| r["failure"] == "rate_limited").count(), 3);
}

#[test]
fn a_refusal_keeps_the_connection() {
    let stage = Stage::of(1, limited(RateKey::Route, 1, Duration::from_secs(60)));
    let mut client = stage.connect();
    let codes: Vec<_> = (0..3).map(|_| client.ask(get("/")).status()).collect();
    assert_eq!(codes, [200, 429, 429]);
}

#[test]
fn tokens_come_back() {
    let per = Duration::from_millis(250);
    let stage = Stage::of(1, limited(RateKey::Route, 1, per));
    assert_eq!(stage.ask(&get("/")).status(), 200);
    let began = Instant::now();
    let refused = stage.ask(&get("/"));
    is_refusal(&refused, RATE_LIMITED).expect("429");
    assert_eq!(number(&refused, "retry-after"), 1, "whole seconds, rounded up");
    pause(per.saturating_sub(began.elapsed()) + Duration::from_millis(10));
    assert_eq!(stage.ask(&get("/")).status(), 200);
    assert_eq!(stage.ask(&get("/")).status(), 429);
}

#[test]
fn a_spoofed_address_is_no_way_around() {
    let stage = Stage::of(1, limited(RateKey::ClientIp, 2, Duration::from_secs(60)));
    let codes: Vec<_> =
        (0..5).map(|number| stage.ask(&from(&format!("10.0.0.{number}"))).status()).collect();
    assert_eq!(codes, [200, 200, 429, 429, 429]);
}

#[test]
fn everybody_has_a_bucket_of_their_own() {
    let trusting = |plan: PlanBuilder| {
        plan.listener(|listener| {
            listener.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        })
    };
    let hour = Duration::from_secs(3600);
    let user = |name: &str| get_with("/", &format!("X-User: {name}\r\n"));
    let by_header = || RateKey::Header("x-user".into());
    type Case = (&'static str, RateKey, Vec<(String, u16)>);
    let cases: [Case; 5] = [
        (
            "by address",
            RateKey::ClientIp,
            vec![(from("10.0.0.1"), 200), (from("10.0.0.1"), 429), (from("10.0.0.2"), 200)],
        ),
        (
            "one customer's IPv6",
            RateKey::ClientIp,
            vec![
                (from("2001:db8:1:2::1"), 200),
                (from("2001:db8:1:2::2"), 429),
                (from("2001:db8:1:3::1"), 200),
            ],
        ),
        ("by header", by_header(), vec![(user("a"), 200), (user("a"), 429), (user("b"), 200)]),
        (
            "without the header",
            by_header(),
            vec![(user("a"), 200), (get("/"), 200), (get("/"), 429), (from("10.0.0.9"), 200)],
        ),
        ("the whole route", RateKey::Route, vec![(from("10.0.0.1"), 200), (from("10.0.0.2"), 429)]),
    ];
    for (name, key, asked) in cases {
        let stage = Stage::of(1, |plan| limited(key, 1, hour)(trusting(plan)));
        for (request, expected) in asked {
            assert_eq!(stage.ask(&request).status(), expected, "{name}: {request}");
        }
    }
}
