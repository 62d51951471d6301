//! Every mistake with its line, path and words.

use super::*;

/// How a text is made from the valid one.
enum Text {
    Swap(&'static str, &'static str),
    Add(&'static str),
    Alone(&'static str),
}
use Text::{Add, Alone, Swap};

/// Text, line, path, words of the message or hint.
const MISTAKES: &[(Text, usize, &str, &str)] = &[
    (Swap("strategy:", "stratgy:"), 9, "pools[0].stratgy", "did you mean `strategy`?"),
    (Add("loging: { level: info }\n"), 11, "loging", "did you mean `logging`?"),
    (Add("wholly_else: 1\n"), 11, "wholly_else", "known keys here: version, "),
    (Swap("round_robin", "round_robbin"), 9, "pools[0].strategy", "`round_robin`"),
    (Swap("round_robin", "[1, 2]"), 9, "pools[0].strategy", "found a list"),
    (Add("    timeouts: { connect: 3 }\n"), 11, "pools[0].timeouts.connect", "unit missing"),
    (Add("    timeouts: { connect: 3 x }\n"), 11, "pools[0].timeouts.connect", "units are"),
    (Swap("- pool: web", "- pool: wbe"), 6, "routes[0].pool", "did you mean `web`?"),
    (Swap("8081\"", "99999\""), 10, "pools[0].backends[0]", "port"),
    (Swap("127.0.0.1:8081", "ftp://x:80"), 10, "pools[0].backends[0]", "scheme"),
    (Swap("[\"127.0.0.1:8081\"]", "[]"), 10, "pools[0].backends", "needs at least one"),
    (Swap("[\"127.0.0.1:8081\"]", ""), 10, "pools[0].backends", "needs at least one"),
    (Add("    retry: { budget: 20q }\n"), 11, "pools[0].retry.budget", "20%"),
    (Add("    retry: { attempts: 0 }\n"), 11, "pools[0].retry.attempts", "from 1"),
    (Add("    retry: { attempts: 17 }\n"), 11, "pools[0].retry.attempts", "from 1 to 16"),
    (Add("    retry: { buffer: 64Kix }\n"), 11, "pools[0].retry.buffer", "KiB"),
    (Add("    health: { expect_status: x }\n"), 11, "pools[0].health.expect_status", "200-399"),
    (Add("    name: again\n"), 11, "pools[0].name", "twice, first on line 8"),
    (
        Add("tracing: { otlp: { endpoint: \"http://u:p@a:4318\" } }\n"),
        11,
        "tracing.otlp.endpoint",
        "a login or a query in the URL would not be sent",
    ),
    (
        Add("tracing: { otlp: { endpoint: \"http://a:4318/?key=x\" } }\n"),
        11,
        "tracing.otlp.endpoint",
        "tracing.otlp.headers",
    ),
    (
        Add("    autoscale: { driver: { type: webhook, url: \"http://u:p@x/\" } }\n"),
        11,
        "pools[0].autoscale.driver.url",
        "a login in the URL would not be sent",
    ),
    (Add("pools: []\n"), 11, "pools", "twice, first on line 7"),
    (
        Swap("routes:", "    trusted_proxies: [\"10.0.0.0/99\"]\nroutes:"),
        5,
        "listeners[0].trusted_proxies[0]",
        "not a network",
    ),
    (
        Add("  - name: web\n    backends: [\"127.0.0.1:1\"]\n"),
        11,
        "pools[1].name",
        "a second pool named \"web\"; the first is on line 8",
    ),
    (
        Swap("\"127.0.0.1:8081\"", "{ address: \"a:1\", weight: -1 }"),
        10,
        "pools[0].backends[0].weight",
        "out of range",
    ),
    (Swap("\"127.0.0.1:8081\"", "{ weight: 1 }"), 10, "pools[0].backends[0].address", "missing"),
    (
        Swap("\"127.0.0.1:8081\"", "\"a:1\", \"a:1\""),
        10,
        "pools[0].backends[1].name",
        "a second backend named \"a:1\"",
    ),
    (Swap("version: 1", "version: 2"), 1, "version", "only 1 is known"),
    (Swap("- pool: web", "- { pool: web, split: [{ pool: web }] }"), 6, "routes[0].split", "excl"),
    (Swap("- pool: web", "- split: [{ pool: web, weight: 0 }]"), 6, "routes[0].split", "is 0"),
    (
        Swap("- pool: web", "- { pool: web, mirror: { pool: shadow } }"),
        6,
        "routes[0].mirror.pool",
        "unknown pool \"shadow\"",
    ),
    (
        Swap("- pool: web", "- { pool: web, mirror: { pool: web } }"),
        6,
        "routes[0].mirror.pool",
        "the route's own pool",
    ),
    (
        Swap("- pool: web", "- { split: [{ pool: web }], mirror: { pool: web } }"),
        6,
        "routes[0].mirror.pool",
        "the route's own pool",
    ),
    (
        Swap("- pool: web", "- { pool: web, mirror: { percent: 1 } }"),
        6,
        "routes[0].mirror.pool",
        "missing",
    ),
    (
        Alone(concat!(
            "listeners: [{ bind: \":1\" }]\nroutes:\n",
            "  - { pool: a, mirror: { pool: b, percent: 101 } }\n",
            "pools: [{ name: a, backends: [\"a:1\"] }, { name: b, backends: [\"b:1\"] }]\n",
        )),
        3,
        "routes[0].mirror.percent",
        "from 0 to 100",
    ),
    (
        Alone(concat!(
            "listeners: [{ bind: \":1\" }]\nroutes:\n",
            "  - { pool: a, mirror: { pool: b, max_body: 17MiB } }\n",
            "pools: [{ name: a, backends: [\"a:1\"] }, { name: b, backends: [\"b:1\"] }]\n",
        )),
        3,
        "routes[0].mirror.max_body",
        "16",
    ),
    (
        Alone(concat!(
            "listeners: [{ bind: \":1\" }]\nroutes:\n",
            "  - { pool: a, mirror: { pool: b, diff: { ignore: [time] } } }\n",
            "pools: [{ name: a, backends: [\"a:1\"] }, { name: b, backends: [\"b:1\"] }]\n",
        )),
        3,
        "routes[0].mirror.diff.ignore[0]",
        "such as $.time",
    ),
    (Swap("- pool: web", "- { name: x }"), 6, "routes[0].pool", "names no pool"),
    (Swap("- pool: web", "- split: [{ pool: x1 }]"), 6, "routes[0].split[0].pool", "unknown pool"),
    (
        Swap("- pool: web", "- { pool: web, match: { path: /a, path_prefix: /b } }"),
        6,
        "routes[0].match.path_prefix",
        "exclude",
    ),
    (
        Swap("- pool: web", "- { pool: web, request_headers: { add: { Host: x } } }"),
        6,
        "routes[0].request_headers.add.Host",
        "can be set, but not added",
    ),
    (
        Swap("- pool: web", "- { pool: web, request_headers: { set: { Upgrade: x } } }"),
        6,
        "routes[0].request_headers.set.Upgrade",
        "cannot be changed",
    ),
    (
        Swap("routes:", "  - bind: \"127.0.0.1:8080\"\nroutes:"),
        5,
        "listeners[1].bind",
        "already bound by `listeners[0].bind`",
    ),
    (
        Swap("routes:", "  - bind: \":8080\"\nroutes:"),
        5,
        "listeners[1].bind",
        ":8080 is already bound by `listeners[0].bind`, which is 127.0.0.1:8080",
    ),
    (Add("admin: { bind: \"0.0.0.0:9900\" }\n"), 11, "admin.bind", "tokens_file"),
    (Add("debug: { pprof: \"127.0.0.1:8080\" }\n"), 11, "debug.pprof", "already bound"),
    (Add("logging: { access: { sample: 1.1 } }\n"), 11, "logging.access.sample", "range"),
    (Add("logging: { level: inof }\n"), 11, "logging.level", "did you mean `info`?"),
    (
        Swap("routes:", "    limits: { max_request_head: 2m }\nroutes:"),
        5,
        "listeners[0].limits.max_request_head",
        "from 1KiB to 1MiB",
    ),
    (
        Swap("routes:", "    limits: { max_request_fields: 257 }\nroutes:"),
        5,
        "listeners[0].limits.max_request_fields",
        "from 1 to 256",
    ),
    (
        Swap("- pool: web", "- { pool: web, match: { path: \"/a/..%2fb\" } }"),
        6,
        "routes[0].match.path",
        "no request can have",
    ),
    (
        Swap("- pool: web", "- { pool: web, match: { path_prefix: \"/%zz\" } }"),
        6,
        "routes[0].match.path_prefix",
        "two hex digits",
    ),
    (Add("listen: \":80\"\n"), 11, "listen", "cannot stand beside `listeners`"),
    (
        Swap("listeners:\n  - name: web\n    bind: \"127.0.0.1:8080\"\n", ""),
        1,
        "listeners",
        "missing",
    ),
    (Alone("listen: \":80\"\n"), 1, "backends", "needs at least one backend"),
    (Alone("backends: [\"x\"]\n"), 1, "backends[0]", "port"),
    (Alone("backends: [\"a:1\"]\nstrategy: rrr\n"), 2, "strategy", "`rr`"),
    (Alone("- a\n"), 1, "", "expected a map, found a list"),
    (
        Swap("routes:", "    redirect: { status: 304 }\nroutes:"),
        5,
        "listeners[0].redirect.status",
        "one of: 301, 302, 303, 307, 308",
    ),
    (
        Swap("routes:", "    mounts: [{ path: /h, serve: health, down_status: 204 }]\nroutes:"),
        5,
        "listeners[0].mounts[0].down_status",
        "has no body",
    ),
    (
        Add("    health: { method: HEAD, expect_body: ok }\n"),
        11,
        "pools[0].health.expect_body",
        "no backend would be healthy",
    ),
    (
        Swap("- pool: web", "- { pool: web, request_headers: { set: { Host: \"a b\" } } }"),
        6,
        "routes[0].request_headers.set.host",
        "no host that a request can have",
    ),
    (
        Swap("- pool: web", "- { pool: web, request_headers: { set: { host: \"\" } } }"),
        6,
        "routes[0].request_headers.set.host",
        "no host that a request can have",
    ),
    (Add("    discovery: { type: etcd }\n"), 11, "pools[0].discovery.type", "one of: dns"),
    (Add("    discovery: { name: a }\n"), 11, "pools[0].discovery.type", "is missing"),
    (Add("    autoscale: { max: 3 }\n"), 11, "pools[0].autoscale.driver", "is missing"),
    (
        Add("    autoscale: { driver: { type: exec, command: \"./app\" } }\n"),
        11,
        "pools[0].autoscale.driver.command",
        "expected a list",
    ),
    (Swap("routes:", "    tls: {}\nroutes:"), 5, "listeners[0].tls.certificates", "is missing"),
    (Swap("\"127.0.0.1:8081\"", "8081"), 10, "pools[0].backends[0]", "an address or a map"),
    (Swap("\"127.0.0.1:8080\"", "8080"), 4, "listeners[0].bind", "write \":8080\""),
    (Swap("127.0.0.1:8080", "127.0.0.1:9900"), 4, "admin.bind", "a port or an address of its own"),
    (Add("servers: []\n"), 11, "servers", "did you mean `backends`?"),
    (Add("admin: { <<: 1 }\n"), 11, "syntax", "a map or a list of maps"),
    (Alone("listen: 8080\nbackends: [\"a:1\"]\n"), 1, "listen", "write \":8080\""),
];

#[test]
fn every_mistake_has_its_line_path_and_words() {
    for (text, line, path, words) in MISTAKES {
        let text = match text {
            Swap(from, to) => GOOD.replace(from, to),
            Add(more) => GOOD.to_owned() + more,
            Alone(text) => (*text).to_owned(),
        };
        let Err(Diagnostics(found)) = yaml(&text) else { panic!("valid:\n{text}") };
        assert_eq!(found.len(), 1, "{}\n{text}", Diagnostics(found.clone()));
        let told = found[0].to_string();
        assert_eq!((found[0].line, found[0].path.as_str()), (*line, *path), "{told}\n{text}");
        assert!(told.contains(words), "{told}: {words}");
        assert!(found[0].column > 0);
    }
}

#[test]
fn all_errors_come_at_once_and_in_order() {
    let text = GOOD
        .replace("strategy: round_robin", "stratgy: x")
        .replace("- pool: web", "- pool: wbe")
        .replace("  - name: web\n    bind", "  - nme: web\n    bind")
        + "    timeouts: { connect: 3, idle: 5 }\n";
    let Diagnostics(found) = yaml(&text).expect_err("five errors");
    let lines: Vec<usize> = found.iter().map(|one| one.line).collect();
    assert_eq!(lines, [3, 6, 9, 11, 11]);
}

#[test]
fn nothing_at_all_is_an_error_that_shows_the_smallest_file() {
    for text in ["", "{}", "# only a comment\n"] {
        let told = yaml(text).expect_err("empty").to_string();
        assert!(told.contains("a.yaml:1:1: pools: `pools` is missing"), "{told}");
        assert!(told.contains("hint: smallest file: backends:"), "{told}");
    }
    let told = read(None, &Overrides::default()).expect_err("nothing").to_string();
    assert!(told.contains("command line: pools:"), "{told}");
}

#[test]
fn an_error_reads_as_documented() {
    let told = yaml(&GOOD.replace("strategy:", "stratgy:")).expect_err("unknown").to_string();
    assert_eq!(
        told,
        "a.yaml:9:5: pools[0].stratgy: unknown key `stratgy`; did you mean `strategy`?\n\
         9 |     stratgy: round_robin\n  |     ^\nhint: rename it to `strategy`"
    );
    let told = yaml("version: 1\npools: [a, b\nroutes: }\n").expect_err("syntax").to_string();
    assert!(told.starts_with("a.yaml:3:"), "{told}");
    assert!(told.contains(": syntax: "), "{told}");
}

#[test]
fn an_address_without_quotes_is_told_as_such() {
    for (text, place) in [
        ("backends:\n  - 127.0.0.1:1\n  - [::1]:9002\n", "3:5"),
        ("backends: [127.0.0.1:1, [::1]:9002]\n", "1:25"),
        ("listen: [::1]:9002\nbackends: [\"a:1\"]\n", "1:9"),
    ] {
        let told = yaml(text).expect_err("no quotes").to_string();
        let expected =
            format!("a.yaml:{place}: syntax: an address that begins with [ needs quotes");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.ends_with("hint: write \"[::1]:9002\""), "{told}");
    }
    let told = yaml("backends: [\"[::1]:9002\", }\n").expect_err("syntax").to_string();
    assert!(!told.contains("quotes"), "{told}");
}

#[test]
fn many_mistakes_stay_cheap() {
    let route = |index| format!("  - {{ pool: nowhere{index} }}\n");
    let text = GOOD.replace("  - pool: web\n", &(0..2_000).map(route).collect::<String>());
    assert_eq!(yaml(&text).expect_err("unknown pools").0.len(), 2_000);
}

#[test]
fn a_line_of_nothing_but_brackets_stays_cheap() {
    // An address without quotes is looked for behind each of them.
    let told = yaml(&format!("x: {}", "[".repeat(4_000_000))).expect_err("syntax").to_string();
    assert!(told.starts_with("a.yaml:1:"), "{told}");
    assert!(!told.contains("quotes"), "{told}");
}

#[test]
fn a_route_names_listeners_that_ask_routes() {
    let text = |names: &str| {
        format!(
            "listeners: [{{ name: web, bind: \":80\" }}, {{ name: sql, bind: \":1\", \
             protocol: tcp, pool: p }}]\n\
             routes: [{{ pool: p, match: {{ listeners: [{names}] }} }}]\n\
             pools: [{{ name: p, backends: [\"127.0.0.1:1\"] }}]\n"
        )
    };
    for (names, at, message) in [
        ("web, wbe", 1, "unknown listener \"wbe\"; did you mean `web`?"),
        ("sql", 0, "listener \"sql\" is no http listener"),
    ] {
        let Diagnostics(found) = yaml(&text(names)).expect_err(names);
        let path = format!("routes[0].match.listeners[{at}]");
        assert!(found.iter().any(|it| it.path == path && it.message == message), "{found:?}");
    }
    let (plan, _) = yaml(&text("web")).expect("valid").plan();
    assert_eq!(plan.routes[0].matches.listeners, ["web"]);
}
