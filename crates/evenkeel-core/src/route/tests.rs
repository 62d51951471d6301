use super::*;
use crate::path::{PathScratch, view};
use crate::plan::{HeaderRules, PathPolicy};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::time::Duration;

/// Field lines as name and value, the name in lower case.
struct Lines<'a>(&'a [(&'a str, &'a str)]);

impl FieldLookup for Lines<'_> {
    fn any_value(&self, lower_name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut lines = self.0.iter().filter(|(name, _)| name.as_bytes() == lower_name);
        lines.any(|(_, value)| test(value.as_bytes()))
    }
}

fn route(matches: RouteMatch) -> RoutePlan {
    RoutePlan {
        name: "r".into(),
        matches,
        split: vec![(0, 1)],
        strip_prefix: false,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        allow: Vec::new(),
        deny: Vec::new(),
        timeout: Duration::ZERO,
        rate_limit: None,
        arms: None,
        mirrors: Vec::new(),
    }
}

fn hosts(names: &[&str]) -> RouteMatch {
    let hosts = names.iter().map(|&name| name.to_owned()).collect();
    RouteMatch { hosts, ..RouteMatch::default() }
}

fn prefix(text: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(text.to_owned()), ..RouteMatch::default() }
}

fn exact(text: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Exact(text.to_owned()), ..RouteMatch::default() }
}

fn table(tests: Vec<RouteMatch>) -> RouteTable {
    let routes: Vec<_> = tests.into_iter().map(route).collect();
    RouteTable::compile(&routes)
}

fn query<'a>(host: &'a str, path: &'a str) -> RouteQuery<'a> {
    let (host, path) = (host.as_bytes(), path.as_bytes());
    RouteQuery { listener: "web", host, path, method: b"GET", fields: &Lines(&[]) }
}

#[test]
fn a_route_of_one_listener_is_none_of_another() {
    let only = |names: &[&str], test: RouteMatch| RouteMatch {
        listeners: names.iter().map(|&name| name.to_owned()).collect(),
        ..test
    };
    let table = table(vec![
        only(&["inner"], hosts(&["a.test"])),
        only(&["web", "inner"], prefix("/v1")),
        only(&["other"], RouteMatch::default()),
    ]);
    let on = |listener: &'static str, path: &'static str| RouteQuery {
        listener,
        ..query("a.test", path)
    };
    for (listener, path, wanted) in [
        ("inner", "/v1", Some(0)),
        ("web", "/v1", Some(1)),
        ("web", "/", None),
        ("other", "/v1", Some(2)),
    ] {
        assert_eq!(table.find(&on(listener, path)), wanted, "{listener} {path}");
    }
    let why = table.why_not(2, &on("web", "/"));
    assert_eq!(why, Some("the listener is none of its listeners"));
}

#[test]
fn hosts_exact_and_below_a_suffix() {
    let table = table(vec![
        hosts(&["api.example.com", "[::1]"]),
        hosts(&["*.example.org"]),
        hosts(&["*.b.example.org", "deep.b.example.net"]),
        hosts(&["x.example.org"]),
    ]);
    let cases = [
        ("api.example.com", Some(0)),
        ("[::1]", Some(0)),
        ("example.com", None),
        ("example.org", None),
        (".example.org", None),
        ("notexample.org", None),
        ("x.example.org", Some(1)),
        ("a.b.example.org", Some(1)),
        ("deep.b.example.net", Some(2)),
        ("", None),
        ("org", None),
    ];
    for (host, expected) in cases {
        assert_eq!(table.find(&query(host, "/")), expected, "{host}");
    }
}

#[test]
fn first_in_order_wins_whatever_the_kind_of_host() {
    let on_a = |test: RouteMatch, names: &[&str]| RouteMatch { hosts: hosts(names).hosts, ..test };
    let table = table(vec![
        on_a(prefix("/late"), &["a.test"]),
        on_a(prefix("/x"), &["*.test"]),
        prefix("/any"),
        hosts(&["a.test"]),
        hosts(&["*"]),
    ]);
    let cases = [
        ("a.test", "/late", Some(0)),
        ("a.test", "/x", Some(1)),
        ("a.test", "/any", Some(2)),
        ("a.test", "/", Some(3)),
        ("b.test", "/", Some(4)),
        ("b.test", "/late", Some(4)),
        ("", "/x", Some(4)),
    ];
    for (host, path, expected) in cases {
        assert_eq!(table.find(&query(host, path)), expected, "{host} {path}");
    }
}

#[test]
fn paths_by_whole_segments() {
    let table = table(vec![
        exact("/v1/exact"),
        prefix("/v1"),
        prefix("/caf\u{e9}/"),
        prefix("/%7euser"),
        prefix("/"),
    ]);
    let cases = [
        ("/v1/exact", Some(0)),
        ("/v1/exact/", Some(1)),
        ("/v1", Some(1)),
        ("/v1/", Some(1)),
        ("/v10", Some(4)),
        ("/caf%C3%A9", Some(2)),
        ("/~user/x", Some(3)),
        ("*", Some(4)),
    ];
    for (path, expected) in cases {
        assert_eq!(table.find(&query("h", path)), expected, "{path}");
    }
}

#[test]
fn reasons_in_order() {
    let test = RouteMatch {
        listeners: Vec::new(),
        hosts: vec!["*.a.test".to_owned()],
        path: PathMatch::Prefix("/v1".to_owned()),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        headers: vec![("x-role".to_owned(), "admin".to_owned())],
    };
    let table = table(vec![test]);
    let both: &[(&str, &str)] = &[("x-role", "user"), ("x-role", "admin")];
    let joined: &[(&str, &str)] = &[("x-role", "user, admin")];
    let cases = [
        ("a.test", "/v1", "GET", both, Some("the host is none of its hosts")),
        ("b.a.test", "/v2", "GET", both, Some("the path differs")),
        ("b.a.test", "/v1", "get", both, Some("the method is none of its methods")),
        ("b.a.test", "/v1", "GET", joined, Some("a header is missing or has another value")),
        ("b.a.test", "/v1", "GET", both, None),
        ("c.b.a.test", "/v1/x", "HEAD", both, None),
    ];
    for (host, path, method, lines, reason) in cases {
        let fields = Lines(lines);
        let query = RouteQuery { method: method.as_bytes(), fields: &fields, ..query(host, path) };
        assert_eq!(table.why_not(0, &query), reason, "{host} {path} {method} {lines:?}");
        assert_eq!(table.find(&query).is_some(), reason.is_none(), "{host} {path} {method}");
    }
    assert_eq!(table.why_not(1, &query("a.test", "/")), Some("there is no such route"));
}

#[test]
fn the_number_of_hosts_changes_nothing() {
    for count in [1, 100, 101, 10_000] {
        let name = |n: usize| format!("h{n:05}.test");
        let mut tests: Vec<_> = (0..count).map(|n| hosts(&[&name(n)])).collect();
        tests.push(hosts(&["*.wild.test"]));
        let table = table(tests);
        for n in 0..count {
            assert_eq!(table.find(&query(&name(n), "/")), Some(n), "{n} of {count}");
        }
        assert_eq!(table.find(&query("a.wild.test", "/")), Some(count));
        assert_eq!(table.find(&query("unknown.test", "/")), None);
    }
}

#[test]
fn prefixes_are_stripped_from_the_forwarded_spelling() {
    let cases = [
        ("/v1", "/v1", "/"),
        ("/v1/", "/v1", "/"),
        ("/v1/x", "/v1", "/x"),
        ("/v1/x", "/v1/", "/x"),
        ("/v1/x", "", "/v1/x"),
        ("/v1/x", "/", "/v1/x"),
        ("/v1//x", "/v1", "//x"),
        ("//v1/x", "/v1", "/x"),
        ("/%5C/v1/x%2Fy", "/v1", "/x%2Fy"),
        ("/v1%2fx%2Fy", "/v1", "/x%2Fy"),
        ("/v1%2f", "/v1", "/"),
        ("/a//b%2f%2Fc/d", "/a/b/c", "/d"),
        ("/caf%c3%a9/x", "/caf%C3%A9", "/x"),
        ("/v10/x", "/v1", "/v10/x"),
        ("/v", "/v1", "/v"),
        ("*", "/v1", "*"),
    ];
    for (forward, prefix, expected) in cases {
        let stripped = strip_prefix(forward.as_bytes(), prefix);
        assert_eq!(stripped, expected.as_bytes(), "{forward} without {prefix}");
    }
}

/// The rules once more, by brute force: routes in order, every part by itself.
fn naive_find(tests: &[RouteMatch], query: &RouteQuery<'_>) -> Option<usize> {
    let host_ok = |pattern: &String| match pattern.strip_prefix("*.") {
        None => pattern.as_bytes() == query.host,
        Some(suffix) => {
            let mut below = (1..query.host.len()).filter(|&at| query.host[at] == b'.');
            below.any(|at| &query.host[at + 1..] == suffix.as_bytes())
        }
    };
    let with_slash = [query.path, b"/"].concat();
    tests.iter().position(|test| {
        let path_ok = match &test.path {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => exact.as_bytes() == query.path,
            PathMatch::Prefix(prefix) => with_slash.starts_with(format!("{prefix}/").as_bytes()),
        };
        (test.listeners.is_empty() || test.listeners.iter().any(|it| it == query.listener))
            && (test.hosts.is_empty() || test.hosts.iter().any(host_ok))
            && (test.methods.is_empty()
                || test.methods.iter().any(|m| m.as_bytes() == query.method))
            && path_ok
    })
}

fn any_test() -> impl Strategy<Value = RouteMatch> {
    let names = vec!["a.test", "b.a.test", "*.test", "*.a.test", "*.b.a.test", "other"];
    let hosts = subsequence(names, 0..=3);
    let path = prop_oneof![
        Just(PathMatch::Any),
        select(vec!["/a", "/a/b", "/"]).prop_map(|text| PathMatch::Exact(text.to_owned())),
        select(vec!["/a", "/a/b", "/ab"]).prop_map(|text| PathMatch::Prefix(text.to_owned())),
    ];
    let methods = subsequence(vec!["GET", "POST"], 0..=2);
    let listeners = subsequence(vec!["web", "other"], 0..=2);
    (listeners, hosts, path, methods).prop_map(|(listeners, hosts, path, methods)| RouteMatch {
        listeners: listeners.into_iter().map(str::to_owned).collect(),
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        path,
        methods: methods.into_iter().map(str::to_owned).collect(),
        headers: Vec::new(),
    })
}

proptest! {
    #[test]
    fn same_answer_as_one_after_the_other(
        tests in vec(any_test(), 0..12),
        host in "(a|b|c)?\\.?(b\\.)?(a\\.)?(test|other)?",
        path in select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/abc", "*"]),
        method in select(vec!["GET", "POST", "PUT"]),
    ) {
        let query = RouteQuery { method: method.as_bytes(), ..query(&host, path) };
        let expected = naive_find(&tests, &query);
        let table = table(tests);
        prop_assert_eq!(table.find(&query), expected);
        let explained = (0..table.tests.len()).find(|&n| table.why_not(n, &query).is_none());
        prop_assert_eq!(explained, expected);
    }

    #[test]
    fn stripping_removes_what_matched(
        path in "/{1,2}(v1|%61)(/|//|%2f|%5C)(x|b%c3)?(/|%2F|//)?(y|%2541)?",
        prefix in select(vec!["/v1", "/a", "/v1/x", "/a/b%C3", "/z"]),
    ) {
        let (mut scratch, mut again) = (PathScratch::default(), PathScratch::default());
        let Ok(whole) = view(path.as_bytes(), PathPolicy::Lenient, &mut scratch) else {
            return Err(TestCaseError::fail("a legal path was refused"));
        };
        let stripped = strip_prefix(whole.forward, prefix);
        let Ok(rest) = view(&stripped, PathPolicy::Lenient, &mut again) else {
            return Err(TestCaseError::fail("stripping made a path illegal"));
        };
        let expected = match whole.matching.strip_prefix(prefix.as_bytes()) {
            Some([]) => b"/",
            Some(rest @ [b'/', ..]) => rest,
            Some(_) | None => whole.matching,
        };
        prop_assert_eq!(rest.matching, expected);
        prop_assert_eq!(rest.forward, &stripped[..]);
    }
}
