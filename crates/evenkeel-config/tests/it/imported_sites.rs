//! nginx as it is installed: a file that includes others.

use super::imported::{holds, tells};
use super::yaml;
use evenkeel_config::Fidelity::{Approximated as Near, Exact, Unsupported as Lost};
use evenkeel_config::{Format, Product, Source, import, import_with};
use serde_json::json;

fn named(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned(), format: Format::Yaml }
}

const MAIN: &str =
    "user www;\nhttp {\n include mime.types;\n include sites/*;\n include none/*;\n}\n";
const SITE: &str = "upstream app { server 10.0.0.1:80; }\nserver {\n listen 80;\n include hosts;\n \
                    location / {\n  include proxy_params;\n  proxy_pass http://app;\n }\n}\n";

fn find(pattern: &str) -> Option<Vec<Source>> {
    Some(match pattern {
        "sites/*" => vec![named("sites/a", SITE)],
        "hosts" => vec![named("hosts", "server_name a.test;\n")],
        "proxy_params" => vec![named("proxy_params", "proxy_set_header Host $host;\ngzip on;\n")],
        "none/*" => Vec::new(),
        "self" => vec![named("self", "include self;\ninclude self;\n")],
        _ => return None,
    })
}

#[test]
fn included_files_stand_in_their_places() {
    let main = named("nginx.conf", MAIN);
    let found = import_with(&main, Product::Nginx, Format::Yaml, &find);
    let found = found.unwrap_or_else(|errors| panic!("{errors}"));
    let json = yaml(&found.text).unwrap_or_else(|errors| panic!("{errors}")).to_json();
    assert_eq!(json["pools"][0]["backends"][0]["address"], "10.0.0.1:80");
    assert_eq!(json["routes"][0]["request_headers"]["set"], serde_json::json!({}), "Host is kept");
    let told = |file: &str, line, start: &str| {
        let mut of = found.report.iter().filter(|it| it.file == file && it.line == line);
        let remark = of.find(|it| it.text.starts_with(start));
        remark.unwrap_or_else(|| panic!("{file}:{line} {start} {:#?}", found.report)).fidelity
    };
    assert_eq!(told("nginx.conf", 1, "user"), Lost);
    assert_eq!(told("nginx.conf", 4, "include sites/*: what its files say, 1"), Exact);
    assert_eq!(told("nginx.conf", 5, "include none/*: what its files say, 0"), Exact);
    assert_eq!(told("sites/a", 7, "proxy_pass"), Exact);
    assert_eq!(told("hosts", 1, "server_name a.test"), Exact);
    assert_eq!(told("proxy_params", 1, "proxy_set_header Host"), Exact);
    assert_eq!(told("proxy_params", 2, "gzip on"), Lost);
}

#[test]
fn mistakes_of_included_files_are_told_there() {
    let broken = |pattern: &str| match pattern {
        "sites/*" => Some(vec![named("sites/a", "server {\n listen 80\n}\n")]),
        _ => None,
    };
    let main = named("nginx.conf", MAIN);
    let told = import_with(&main, Product::Nginx, Format::Yaml, &broken).expect_err("unfinished");
    let told = told.to_string();
    assert!(told.starts_with("sites/a:2:1: syntax: `listen` is not ended by ;\n2 |"), "{told}");
}

#[test]
fn files_that_include_themselves_come_to_an_end() {
    let main = named("nginx.conf", &format!("include self;\n{SITE}"));
    let found = import_with(&main, Product::Nginx, Format::Yaml, &find);
    let found = found.unwrap_or_else(|errors| panic!("{errors}"));
    let lost = found.report.iter().filter(|it| it.fidelity == Lost && it.text == "include self");
    assert!(lost.count() > 0, "{:#?}", found.report);
}

#[test]
fn without_any_backend_that_is_what_is_told() {
    let main = named("nginx.conf", MAIN);
    let told = import(&main, Product::Nginx, Format::Yaml).expect_err("nothing").to_string();
    assert!(told.contains("nothing is sent anywhere: no `proxy_pass`"), "{told}");
    assert!(told.contains("`include`"), "{told}");
    let global = named("haproxy.cfg", "global\n daemon\ndefaults\n mode http\n");
    let told = import(&global, Product::Haproxy, Format::Yaml).expect_err("nothing").to_string();
    assert_eq!(told.matches("haproxy.cfg:").count(), 1, "{told}");
}

#[test]
fn a_server_of_patterns_alone_is_told() {
    let pass = "location / { proxy_pass http://10.0.0.1:1; }";
    let text = format!(
        "http {{ server {{ listen 80; server_name a.test; {pass} }}\n\
         server {{ listen 80; server_name ~^(www)[.]b[.]test$; {pass} }} }}"
    );
    tells(&[
        (&text, Product::Nginx, "server_name ~", Lost, "no patterns"),
        (&text, Product::Nginx, "server: none of its names", Lost, "default server"),
    ]);
}

#[test]
fn what_nginx_says_of_ipv6_and_of_its_own_host_is_kept() {
    let file = |listen: &str, host: &str| {
        format!(
            "http {{ server {{ listen {listen}; location / {{ proxy_pass http://10.0.0.1:1; \
             proxy_set_header Host {host}; }} }} }}"
        )
    };
    let (both, only) = (file("[::]:80 ipv6only=off", "$host"), file("[::]:80", "$proxy_host"));
    let host = "/routes/0/request_headers/set/host";
    holds(&[
        (&both, Product::Nginx, "/listeners/0/bind", json!(":80")),
        (&both, Product::Nginx, host, json!(null)),
        (&only, Product::Nginx, "/listeners/0/bind", json!("[::]:80")),
        (&only, Product::Nginx, host, json!("10.0.0.1:1")),
    ]);
}

#[test]
fn a_host_that_no_request_can_have_is_told_and_the_rest_is_kept() {
    let host = |host: &str| {
        format!(
            "http {{ server {{ listen 80; location / {{ proxy_pass http://10.0.0.1:1; \
             proxy_set_header Host {host}; proxy_set_header X-A b; }} }} }}"
        )
    };
    let proxies = "frontend f\n mode http\n bind :80\n http-request set-header Host a,b\n \
                   http-request set-header X-A b\n default_backend b\n\
                   backend b\n mode http\n server s 10.0.0.1:80\n";
    let set = "/routes/0/request_headers/set";
    for value in ["a,b", "\"a b\"", "a:b:1"] {
        let text = host(value);
        let start = "proxy_set_header Host";
        tells(&[(&text, Product::Nginx, start, Lost, "no request can have")]);
        holds(&[(&text, Product::Nginx, set, json!({ "x-a": "b" }))]);
    }
    holds(&[(&host("a.test:80"), Product::Nginx, &format!("{set}/host"), json!("a.test:80"))]);
    tells(&[(proxies, Product::Haproxy, "http-request set-header Host", Lost, "")]);
    holds(&[(proxies, Product::Haproxy, set, json!({ "x-a": "b" }))]);
}

#[test]
fn http2_without_tls_asks_for_no_certificate() {
    let file = |listen: &str| {
        format!(
            "http {{ server {{ listen {listen}; ssl_certificate c; ssl_certificate_key k; \
             location / {{ grpc_pass grpc://10.0.0.1:50051; }} }} }}"
        )
    };
    let (plain, secure) = (file("80 http2"), file("443 ssl http2"));
    holds(&[
        (&plain, Product::Nginx, "/listeners/0/tls", json!(null)),
        (&plain, Product::Nginx, "/pools/0/protocol", json!("h2")),
        (&secure, Product::Nginx, "/listeners/0/tls/alpn", json!(["h2", "http/1.1"])),
    ]);
}

#[test]
fn names_of_stream_are_apart_from_those_of_http() {
    let http = "http { upstream u { server 10.0.0.1:1; } server { listen 80; \
                location / { proxy_pass http://u; } \
                location /b { proxy_pass http://10.0.0.2:2; } } }";
    let stream = "stream { upstream u { server 10.0.0.3:3; } \
                  server { listen 5; proxy_pass u; } server { listen 6; proxy_pass 10.0.0.2:2; } \
                  server { listen 7; proxy_pass unix:/run/x; } }";
    let retries = json!(["connect_failure", "reset", "per_try_timeout"]);
    for text in [format!("{http}\n{stream}"), format!("{stream}\n{http}")] {
        let pool = |at: usize| format!("/listeners/{at}/pool");
        holds(&[
            (&text, Product::Nginx, &pool(1), json!("u-stream")),
            (&text, Product::Nginx, &pool(2), json!("10.0.0.2:2-stream")),
            (&text, Product::Nginx, &pool(3), json!("unix:-run-x")),
            (&text, Product::Nginx, "/pools/0/name", json!("u")),
            (&text, Product::Nginx, "/pools/0/backends/0/address", json!("10.0.0.1:1")),
            (&text, Product::Nginx, "/pools/1/name", json!("10.0.0.2:2")),
            (&text, Product::Nginx, "/pools/1/retry/on", retries.clone()),
        ]);
    }
}

#[test]
fn a_location_that_goes_nowhere_known_is_told_with_all_in_it() {
    let text = "http { server { listen 80; location / { proxy_pass http://10.0.0.1:1; }\n \
                location /in { allow 10.0.0.0/8; deny all; proxy_pass http://$where; } } }";
    tells(&[
        (text, Product::Nginx, "location /in", Lost, "where the other locations send it"),
        (text, Product::Nginx, "allow 10.0.0.0/8", Lost, "whom it kept out is let in"),
        (text, Product::Nginx, "proxy_pass http://$where", Lost, "not known before a request"),
    ]);
}

#[test]
fn a_variable_with_one_value_stands_for_it() {
    let file = |set: &str, pass: &str| {
        format!(
            "http {{ server {{ listen 80; resolver 127.0.0.11; {set}\n \
             location / {{ proxy_pass {pass}; }} }} }}"
        )
    };
    for (set, pass) in [
        ("set $up http://app:3000;", "$up"),
        ("set $up app;", "http://$up:3000"),
        ("set $up app; set $port 3000;", "http://${up}:$port$request_uri"),
    ] {
        let text = file(set, pass);
        holds(&[
            (&text, Product::Nginx, "/pools/0/backends/0/address", json!("app:3000")),
            (&text, Product::Nginx, "/routes/0/strip_prefix", json!(false)),
        ]);
        tells(&[
            (&text, Product::Nginx, "set $up", Near, "proxy_pass"),
            (&text, Product::Nginx, "proxy_pass", Exact, "pool app:3000"),
        ]);
    }
    for (set, pass) in [
        ("set $up a; if ($http_x) { set $up b; }", "http://$up"),
        ("set $up a; set $up b;", "http://$up"),
        ("set $up $http_x;", "http://$up"),
        ("set $up http://a/b;", "$up"),
        ("", "http://$host"),
        ("", "http://$"),
    ] {
        let text =
            file(set, pass) + " http { server { listen 81; location / { proxy_pass http://b; } } }";
        tells(&[(&text, Product::Nginx, "proxy_pass", Lost, "")]);
    }
}
