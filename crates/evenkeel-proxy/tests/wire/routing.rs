//! Where a request goes and what is changed on its way.

use crate::arena::{Arena, DENIED, NO_BACKEND, NO_ROUTE, each, ensure, is_refusal};
use crate::stage::{eventually, status};
use evenkeel_core::mirror::MirrorPlan;
use evenkeel_core::plan::{AdminState, HeaderRules, PathMatch, RouteMatch};
use evenkeel_testkit::backend::{Backend, ok_with, whole_requests};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::{PlanBuilder, pool, route};
use evenkeel_testkit::proxy::Proxy;
use std::collections::BTreeSet;

fn ask(client: &mut Client, target: &str) -> String {
    let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    response.text()
}

#[test]
fn the_first_route_that_matches() {
    let backends = ["exact", "v1", "post", "host", "rest"].map(Backend::named);
    let matches = [
        RouteMatch { path: PathMatch::Exact("/exact".to_owned()), ..RouteMatch::default() },
        RouteMatch { path: PathMatch::Prefix("/v1".to_owned()), ..RouteMatch::default() },
        RouteMatch { methods: vec!["POST".to_owned()], ..RouteMatch::default() },
        RouteMatch { hosts: vec!["*.a.test".to_owned()], ..RouteMatch::default() },
        RouteMatch { path: PathMatch::Prefix("/rest".to_owned()), ..RouteMatch::default() },
    ];
    let plan = PlanBuilder::to(&[]).plan(|plan| {
        plan.pools = backends.iter().map(|b| pool(b.address(), &[b.address()])).collect();
        let routes = matches.into_iter().enumerate();
        plan.routes = routes.map(|(n, matches)| route(&format!("r{n}"), matches, n)).collect();
    });
    let proxy = Proxy::start(&plan.build());
    let cases = [
        ("exact", ("GET /exact?q", "x", "exact")),
        ("prefix", ("POST /v1/a", "x", "v1")),
        ("method", ("POST /exacter", "x", "post")),
        ("wildcard host", ("GET /", "b.a.test:80", "host")),
        ("wildcard is not the name itself", ("GET /rest", "a.test", "rest")),
    ];
    each(cases, |(start, host, expected)| {
        let request = format!("{start} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(proxy.connect().ask(request).text(), *expected);
        Ok(())
    });
    let none = proxy.connect().ask("GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    is_refusal(&none, NO_ROUTE).expect("404");
    let records = proxy.wait_for_records(6);
    let routes: Vec<_> = records.iter().map(|record| record["route"].as_str()).collect();
    assert_eq!(routes[..5], [Some("r0"), Some("r1"), Some("r2"), Some("r3"), Some("r4")]);
    assert_eq!(records[5]["failure"], "no_route", "{}", records[5]);
}

#[test]
fn header_rules_of_a_route() {
    let rules = |prefix: &str| HeaderRules {
        set: vec![(format!("x-{prefix}-set"), "ours".to_owned())],
        add: vec![(format!("x-{prefix}-add"), "more".to_owned())],
        remove: vec![format!("x-{prefix}-remove")],
    };
    let answer = b"HTTP/1.1 200 OK\r\nX-Out-Set: theirs\r\nX-Out-Set: again\r\nX-Out-Add: one\r\n\
        X-OUT-REMOVE: 1\r\nX-Kept: k\r\nContent-Length: 2\r\n\r\nok";
    let arena = Arena::before(Backend::answering(answer), |plan| {
        plan.route(|route| {
            route.request_headers = rules("in");
            route.response_headers = rules("out");
        })
    });
    let mut client = arena.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: x\r\nX-In-Set: theirs\r\nX-In-Add: one\r\nX-IN-REMOVE: 1\r\n\
         X-Kept: k\r\n\r\n",
    );
    let response = arena.answer(&mut client).expect("200");
    assert_eq!(response.value("x-out-set"), Some("ours"));
    assert_eq!(response.values("x-out-add"), ["one", "more"]);
    assert_eq!(response.value("x-out-remove"), None);
    assert_eq!(response.value("x-kept"), Some("k"));
    let (_, request) = arena.backend.requests().remove(0);
    assert_eq!(request.value("x-in-set"), Some("ours"));
    assert_eq!(request.values("x-in-add"), ["one", "more"]);
    assert_eq!(request.value("x-in-remove"), None);
    assert_eq!(request.value("x-kept"), Some("k"));
    arena.settles();
}

#[test]
fn header_rules_may_replace_our_own_fields() {
    // `set` replaces every field of the name, `remove` drops every one, whoever wrote it.
    let arena = Arena::with(|plan| {
        plan.route(|route| {
            route.request_headers.set = vec![
                ("host".to_owned(), "inner.test".to_owned()),
                ("x-forwarded-proto".to_owned(), "https".to_owned()),
            ];
            route.request_headers.remove = vec!["x-forwarded-for".to_owned()];
        })
    });
    let cases = [
        ("RFC 9112 3.2 origin form", ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "host")),
        ("RFC 9112 3.2.2 absolute form", ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "host")),
        ("RFC 9112 3.2 HTTP/1.0 without Host", ("GET / HTTP/1.0\r\n\r\n", "host")),
        ("set X-Forwarded-Proto", ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "x-forwarded-proto")),
        ("remove X-Forwarded-For", ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "x-forwarded-for")),
    ];
    each(cases, |(bytes, name)| {
        let mark = arena.backend.mark();
        let mut client = arena.connect();
        client.send(bytes);
        assert_eq!(arena.answer(&mut client)?.status(), 200);
        let seen = whole_requests(&arena.after(&mark)?.concat());
        let expected: &[&str] = match *name {
            "host" => &["inner.test"],
            "x-forwarded-proto" => &["https"],
            _ => &[],
        };
        ensure!(seen[0].values(name) == expected, "{name}: {:?}", seen[0].values(name));
        Ok(())
    });
}

#[test]
fn a_split_keeps_to_its_weights() {
    let backends = ["stable", "canary", "none"].map(Backend::named);
    let plan = PlanBuilder::to(&[]).plan(|plan| {
        plan.pools = backends.iter().map(|b| pool(b.address(), &[b.address()])).collect();
        plan.routes = vec![route("split", RouteMatch::default(), 0)];
        plan.routes[0].split = vec![(0, 75), (1, 25), (2, 0)];
    });
    let proxy = Proxy::start(&plan.build());
    let mut client = proxy.connect();
    let canary = (0..1_000).filter(|_| ask(&mut client, "/") == "canary").count();
    assert!((170..330).contains(&canary), "{canary} of 1000 for a quarter");
    assert_eq!(backends[2].connections(), 0);
}

#[test]
fn backends_take_turns() {
    let backends = ["a", "b", "c", "off", "drained", "zero"].map(Backend::named);
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    let plan = PlanBuilder::to(&addresses).pool(|pool| {
        pool.backends[3].admin = AdminState::Disabled;
        pool.backends[4].admin = AdminState::Draining;
        pool.backends[5].weight = 0;
    });
    let proxy = Proxy::start(&plan.build());
    let mut client = proxy.connect();
    let order: Vec<_> = (0..6).map(|_| ask(&mut client, "/")).collect();
    let expected: Vec<_> =
        ["a", "b", "c"].iter().cycle().skip_while(|n| **n != order[0]).take(6).collect();
    assert_eq!(order.iter().collect::<Vec<_>>(), expected);
    assert!(backends[3..].iter().all(|backend| backend.connections() == 0));
}

#[test]
fn nobody_to_ask() {
    let states = [
        ("disabled", (AdminState::Disabled, 1)),
        ("draining", (AdminState::Draining, 1)),
        ("weight 0", (AdminState::Enabled, 0)),
    ];
    each(states, |(admin, weight)| {
        let backend = Backend::named("x");
        let plan = PlanBuilder::to(&[backend.address()]).pool(|pool| {
            pool.backends[0].admin = *admin;
            pool.backends[0].weight = *weight;
        });
        let proxy = Proxy::start(&plan.build());
        let mut client = proxy.connect();
        for _ in 0..2 {
            let response = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            is_refusal(&response, NO_BACKEND)?;
        }
        assert_eq!(backend.connections(), 0);
        Ok(())
    });
}

#[test]
fn allow_and_deny() {
    let cases = [
        ("allowed", (vec!["127.0.0.0/8"], vec![], 200)),
        ("not allowed", (vec!["10.0.0.0/8"], vec![], 403)),
        ("denied", (vec![], vec!["127.0.0.1/32"], 403)),
        ("deny wins", (vec!["127.0.0.0/8"], vec!["127.0.0.1/32"], 403)),
        ("denied to others", (vec![], vec!["10.0.0.0/8"], 200)),
    ];
    each(cases, |(allow, deny, status)| {
        let backend = Backend::named("x");
        let nets = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("a network")).collect();
        let plan = PlanBuilder::to(&[backend.address()]).route(|route| {
            route.allow = nets(allow);
            route.deny = nets(deny);
        });
        let proxy = Proxy::start(&plan.build());
        let response = proxy.connect().ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(response.status(), *status);
        if *status == 403 {
            is_refusal(&response, DENIED)?;
            assert_eq!(backend.connections(), 0);
        }
        Ok(())
    });
}

#[test]
fn local_replies_speak_the_clients_language() {
    let proxy = Proxy::start(&PlanBuilder::to(&[]).build());
    let cases = [
        ("json by default", ("", "application/json", "\"error\": \"no_backend\"")),
        ("json for anything", ("Accept: */*\r\n", "application/json", "\"error\": \"no_backend\"")),
        ("plain", ("Accept: text/plain\r\n", "text/plain; charset=utf-8", "no_backend")),
        (
            "html",
            ("Accept: text/html, */*;q=0.1\r\n", "text/html; charset=utf-8", "<code>no_backend"),
        ),
    ];
    each(cases, |(fields, media, text)| {
        let mut client = proxy.connect();
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        assert_eq!((response.status(), response.value("content-type")), (503, Some(*media)));
        assert!(response.text().contains(text), "{}", response.text());
        Ok(())
    });
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.response_to_head().expect("503");
    assert_ne!(head.value("content-length"), Some("0"), "RFC 9110 9.3.2: as GET would say");
    let next = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(next.status(), 503, "no body came in between");
}

#[test]
fn a_request_id_joins_request_answer_and_log() {
    let arena = Arena::new();
    arena.settles();
    let (_, request) = arena.backend.requests().remove(0);
    let id = request.value("x-request-id").expect("always one").to_owned();
    assert!(id.len() >= 16 && id.bytes().all(|b| b.is_ascii_graphic()), "{id}");
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["request_id"], id.as_str());
    assert_eq!(record["backend"], arena.backend.address());
    let texts = ["method", "host", "path", "pool", "route"].map(|key| record[key].as_str());
    assert_eq!(texts, [Some("GET"), Some("x"), Some("/good"), Some("web"), Some("all")]);
    assert_eq!((&record["status"], &record["bytes_out"]), (&200.into(), &2.into()), "{record}");
}

#[test]
fn a_backend_with_a_path_gets_every_path_behind_it() {
    // Each try is written for its own backend, and a copy for the shadow.
    let failing = Backend::answering(status(503));
    let seen = |request: &Message| ok_with(&format!("{} {}", request.target(), request.text()));
    let (good, shadow) = (Backend::by_request(seen), Backend::by_request(seen));
    let at = |backend: &Backend, path: &str| format!("http://{}{path}", backend.address());
    let web = [at(&failing, "/failing/base"), at(&good, "/good/"), at(&good, "")];
    let plan = PlanBuilder::to(&web.each_ref().map(String::as_str)).plan(|plan| {
        plan.pools[0].breaker.enabled = false;
        plan.pools.push(pool("shadow", &[&at(&shadow, "/shadow")]));
        let mirror = MirrorPlan { pool: 1, percent: 100.0, max_body_bytes: 100, diff: None };
        plan.routes[0].mirrors = vec![mirror];
    });
    let proxy = Proxy::start(&plan.build());
    let mut client = proxy.connect();
    let mut answers = BTreeSet::new();
    for _ in 0..6 {
        let fields = "Host: x\r\nContent-Length: 4";
        let response = client.ask(format!("PUT /a%2Fb?c=/ HTTP/1.1\r\n{fields}\r\n\r\nbody"));
        answers.insert(response.text());
    }
    let expected = ["/a%2Fb?c=/ body", "/good/a%2Fb?c=/ body"].map(String::from);
    assert_eq!(answers, BTreeSet::from(expected));
    let targets = |backend: &Backend| -> BTreeSet<String> {
        backend.requests().iter().map(|(_, request)| request.target().to_owned()).collect()
    };
    assert_eq!(targets(&failing), BTreeSet::from(["/failing/base/a%2Fb?c=/".to_owned()]));
    eventually("six copies", || shadow.requests().len() == 6);
    assert_eq!(targets(&shadow), BTreeSet::from(["/shadow/a%2Fb?c=/".to_owned()]));
}
