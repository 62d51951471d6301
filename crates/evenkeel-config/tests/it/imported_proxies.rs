//! Proxies of HAProxy that share names, defaults and conditions.

use super::imported::{holds, proxies, tells};
use super::imports::{imported, routes};
use evenkeel_config::Fidelity::{Approximated as Near, Exact, Unsupported as Lost};
use evenkeel_config::Product::Haproxy;
use serde_json::{Value, json};

#[test]
fn a_backend_called_like_its_frontend_keeps_its_rules() {
    let rules = " http-request set-header X-Own yes\n http-request deny if { src 192.0.2.1 }\n";
    let apart = proxies("", rules);
    let alike = apart
        .replace("frontend f", "frontend web")
        .replace("backend b", "backend web")
        .replace("default_backend b", "default_backend web");
    for text in [&apart, &alike] {
        holds(&[
            (text, Haproxy, "/routes/0/request_headers/set", json!({ "x-own": "yes" })),
            (text, Haproxy, "/routes/0/deny", json!(["192.0.2.1/32"])),
        ]);
    }
    let both = "listen web\n mode http\n bind :80\n http-request add-header X-Own yes\n \
                server s 10.0.0.1:80\n";
    holds(&[(both, Haproxy, "/routes/0/request_headers/add", json!({ "x-own": "yes" }))]);
}

#[test]
fn sockets_without_an_address_are_told_and_the_others_are_bound() {
    for socket in ["fd@3", "abns@app", "sockpair@4"] {
        let text = proxies(&format!(" bind {socket}\n"), "");
        tells(&[(&text, Haproxy, &format!("bind {socket}"), Lost, "LISTEN_FDS")]);
        holds(&[
            (&text, Haproxy, "/listeners/0/bind", json!("0.0.0.0:80")),
            (&text, Haproxy, "/listeners/1", Value::Null),
        ]);
    }
}

#[test]
fn a_listen_of_templates_alone_goes_to_them() {
    let http = "listen a\n mode http\n bind :80\n server-template s 3 a.test:81 check\n\
                listen b\n mode http\n bind :82\n server-template s 3 b.test:81 check\n";
    let tcp = "listen a\n mode tcp\n bind :80\n server-template s 3 a.test:81 check\n";
    holds(&[
        (http, Haproxy, "/routes/0/pool", json!("a")),
        (http, Haproxy, "/routes/1/pool", json!("b")),
        (tcp, Haproxy, "/listeners/0/pool", json!("a")),
    ]);
}

#[test]
fn defaults_begin_with_those_they_name() {
    let text = "defaults base\n mode http\n timeout client 11s\n option httpchk GET /up\n\
                defaults web from base\n timeout client 22s\n\
                defaults other\n mode tcp\n\
                frontend f from web\n bind :80\n use_backend b if { path_beg /b }\n \
                default_backend b\n\
                backend b from web\n server s 10.0.0.1:80 check\n\
                backend raw\n server s 10.0.0.1:81 check\n";
    holds(&[
        (text, Haproxy, "/listeners/0/protocol", json!("http")),
        (text, Haproxy, "/listeners/0/limits/idle_timeout", json!("22s")),
        (text, Haproxy, "/pools/0/health/path", json!("/up")),
        (text, Haproxy, "/pools/1/health/type", json!("tcp")),
    ]);
    assert_eq!(routes(text, Haproxy).0.len(), 2);
    let circle = text.replace("defaults base\n", "defaults base from web\n");
    assert!(!imported(&circle, Haproxy).report.is_empty());
}

#[test]
fn several_tests_of_a_condition_are_not_taken_for_one() {
    let redirect = proxies(
        " redirect scheme https unless { ssl_fc } || { path_beg /.well-known/acme-challenge/ }\n",
        "",
    );
    let deny = proxies(" http-request deny unless { src 10.0.0.0/8 } or { path_beg /open }\n", "");
    let twice = proxies(" use_backend b if { hdr(X-V) 2 } { hdr(X-V) 3 }\n", "");
    holds(&[
        (&redirect, Haproxy, "/listeners/0/redirect", Value::Null),
        (&deny, Haproxy, "/routes/0/allow", json!([])),
        (&twice, Haproxy, "/routes/0/match/headers", json!({})),
    ]);
    tells(&[
        (&redirect, Haproxy, "redirect scheme", Lost, "is served"),
        (&deny, Haproxy, "http-request deny", Lost, "let in"),
        (&twice, Haproxy, "use_backend b if", Lost, "where the rules below"),
    ]);
}

#[test]
fn a_websocket_is_known_by_its_upgrade_alone() {
    let text = proxies(
        " acl up hdr(Connection) -i upgrade\n acl ws hdr(Upgrade) -i websocket\n \
         use_backend b if up ws\n",
        "",
    );
    holds(&[(&text, Haproxy, "/routes/0/match/headers", json!({ "upgrade": "websocket" }))]);
    tells(&[(&text, Haproxy, "use_backend b if", Near, "a route")]);
}

#[test]
fn what_is_answered_or_called_otherwise_is_told() {
    let refused = proxies(" http-request return status 403 if { path_beg /private }\n", "");
    let answered = proxies(" http-request return status 200 if { path /ping }\n", "");
    let port = proxies("", " server c 10.0.0.2\n");
    let nobody = proxies(" use_backend no if { path /x }\n", "")
        + "backend no\n mode http\n redirect location https://else.test/\n";
    tells(&[
        (&refused, Haproxy, "http-request return", Lost, "whom it kept out is let in"),
        (&answered, Haproxy, "http-request return", Lost, "path /ping }"),
        (&port, Haproxy, "server c", Near, "the port that a client called: always 80"),
        (&port, Haproxy, "server s", Exact, "a backend"),
        (&nobody, Haproxy, "redirect location", Lost, "is refused"),
    ]);
}
