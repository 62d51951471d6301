//! Files of nginx and HAProxy in the native form, and their reports.

use super::*;
use evenkeel_config::{Fidelity, Product, import};

const NGINX: &str = include_str!("../fixtures/imports/nginx.conf");
const NGINX_YAML: &str = include_str!("../fixtures/imports/nginx.yaml");
const HAPROXY: &str = include_str!("../fixtures/imports/haproxy.cfg");
const HAPROXY_YAML: &str = include_str!("../fixtures/imports/haproxy.yaml");

pub(crate) fn imported(text: &str, product: Product) -> evenkeel_config::Imported {
    let file = Source { name: "x.conf".to_owned(), text: text.to_owned(), format: Format::Yaml };
    import(&file, product, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Lines that are no directive: blank, a comment, a brace.
fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && line != "}"
}

#[test]
fn the_samples_become_what_is_expected() {
    for (text, product, wanted) in
        [(NGINX, Product::Nginx, NGINX_YAML), (HAPROXY, Product::Haproxy, HAPROXY_YAML)]
    {
        let found = imported(text, product);
        if std::env::var_os("EVENKEEL_BLESS").is_some() {
            let name = if product == Product::Nginx { "nginx" } else { "haproxy" };
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/imports");
            std::fs::write(format!("{folder}/{name}.yaml"), &found.text).expect("written");
            continue;
        }
        assert_eq!(found.text, wanted);
        convert::check(&found.text, Format::Yaml);
    }
}

#[test]
fn every_line_has_its_remark() {
    for (text, product) in [(NGINX, Product::Nginx), (HAPROXY, Product::Haproxy)] {
        let report = imported(text, product).report;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| says_something(line)) {
            let remarks: Vec<_> = report.iter().filter(|it| it.line == index + 1).collect();
            assert!(!remarks.is_empty(), "line {}: {line}", index + 1);
            let first = line.split_whitespace().next().unwrap_or_default().trim_end_matches(';');
            assert!(remarks.iter().any(|it| it.text.contains(first)), "{line}: {remarks:?}");
        }
    }
}

#[test]
fn remarks_are_honest() {
    let cases: &[(Product, &str, Fidelity)] = &[
        (Product::Nginx, "image_filter resize", Fidelity::Unsupported),
        (Product::Nginx, "location ~ \\.php$", Fidelity::Unsupported),
        (Product::Nginx, "fastcgi_pass", Fidelity::Unsupported),
        (Product::Nginx, "least_conn", Fidelity::Exact),
        (Product::Nginx, "backup", Fidelity::Unsupported),
        (Product::Nginx, "proxy_set_header X-Real-IP", Fidelity::Unsupported),
        (Product::Nginx, "proxy_set_header Host $host", Fidelity::Exact),
        (Product::Nginx, "return 301 https", Fidelity::Exact),
        (Product::Haproxy, "http-request lua.dance", Fidelity::Unsupported),
        (Product::Haproxy, "use_backend api", Fidelity::Exact),
        (Product::Haproxy, "use_backend odd", Fidelity::Unsupported),
        (Product::Haproxy, "stats enable", Fidelity::Unsupported),
        (Product::Haproxy, "redirect scheme https", Fidelity::Exact),
        (Product::Haproxy, "server spare", Fidelity::Unsupported),
    ];
    for (product, start, fidelity) in cases {
        let text = if *product == Product::Nginx { NGINX } else { HAPROXY };
        let report = imported(text, *product).report;
        let found = report.iter().find(|remark| remark.text.contains(start));
        let found = found.unwrap_or_else(|| panic!("{start} is not in {report:#?}"));
        assert_eq!(found.fidelity, *fidelity, "{found:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    for (text, product, line, words) in [
        ("http {\n", Product::Nginx, 2, "missing"),
        (
            "http { server { location / { proxy_pass http://a:99999; } } }",
            Product::Nginx,
            1,
            "port",
        ),
        ("", Product::Nginx, 1, "pools"),
        (
            "frontend web\n bind :80\n default_backend nowhere\n mode http\n",
            Product::Haproxy,
            3,
            "nowhere",
        ),
        ("server a\n", Product::Haproxy, 1, "before any section"),
        // A demand for certificates is never dropped.
        (
            "http { server { listen 443 ssl; ssl_certificate c; ssl_certificate_key k;\n\
             ssl_verify_client on;\n location / { proxy_pass http://a:1; } } }",
            Product::Nginx,
            2,
            "everybody would be let in",
        ),
        (
            "frontend f\n mode http\n bind :443 ssl crt c verify required\n default_backend b\n\
             backend b\n server s 127.0.0.1:1\n",
            Product::Haproxy,
            3,
            "everybody would be let in",
        ),
    ] {
        let file = Source { name: "x".to_owned(), text: text.to_owned(), format: Format::Yaml };
        let errors = import(&file, product, Format::Yaml).expect_err(text);
        let found = errors.0.iter().any(|it| it.line == line && it.to_string().contains(words));
        assert!(found, "{errors}");
    }
}

/// Which client certificates the first listener demands: the file, and how.
fn demanded(text: &str, product: Product) -> String {
    let found = imported(text, product);
    let json = yaml(&found.text).unwrap_or_else(|e| panic!("{e}\n{}", found.text)).to_json();
    let tls = &json["listeners"][0]["tls"];
    format!("{} {}", tls["client_ca"], tls["client_auth"]).replace('"', "")
}

#[test]
fn client_certificates_are_demanded_as_before() {
    for (words, wanted) in [
        ("ca-file ca.pem verify required", "ca.pem required"),
        ("verify optional ca-file ca.pem", "ca.pem optional"),
        ("ca-file ca.pem", " required"),
        ("ca-file ca.pem verify none", " required"),
    ] {
        let text = format!(
            "frontend f\n mode http\n bind :443 ssl crt c {words}\n default_backend b\n\
             backend b\n server s 127.0.0.1:1\n"
        );
        assert_eq!(demanded(&text, Product::Haproxy), wanted, "{words}");
    }
    for (verify, wanted) in [
        ("on", "ca.pem required"),
        ("optional", "ca.pem optional"),
        ("optional_no_ca", "ca.pem optional"),
        ("off", " required"),
    ] {
        let text = format!(
            "http {{ server {{ listen 443 ssl; ssl_certificate c; ssl_certificate_key k;\n\
             ssl_client_certificate ca.pem; ssl_verify_client {verify};\n\
             location / {{ proxy_pass http://a:1; }} }} }}"
        );
        assert_eq!(demanded(&text, Product::Nginx), wanted, "{verify}");
    }
}

/// The routes of a file: hosts, listeners and pool of each.
pub(crate) fn routes(text: &str, product: Product) -> (Vec<String>, Vec<String>) {
    let found = imported(text, product);
    let json = yaml(&found.text).unwrap_or_else(|e| panic!("{e}\n{}", found.text)).to_json();
    let words = |list: &serde_json::Value| {
        let words = list.as_array().expect("a list").iter().filter_map(|it| it.as_str());
        words.collect::<Vec<_>>().join(",")
    };
    let show = |route: &serde_json::Value| {
        let test = &route["match"];
        format!("{}|{}|{}", words(&test["hosts"]), words(&test["listeners"]), route["pool"])
    };
    let listeners = json["listeners"].as_array().expect("a list").iter();
    let listeners = listeners.map(|it| format!("{}={}", it["name"], it["bind"])).collect();
    (json["routes"].as_array().expect("a list").iter().map(show).collect(), listeners)
}

#[test]
fn servers_of_nginx_keep_their_ports() {
    let server = |listen: &str, names: &str, port: u16| {
        format!("server {{ {listen} {names} location / {{ proxy_pass http://10.0.0.1:{port}; }} }}")
    };
    let apart = format!(
        "http {{ {} {} {} }}",
        server("listen 80;", "server_name a.test;", 1),
        server("listen 8080; listen 80 default_server;", "server_name b.test;", 2),
        server("listen 9000;", "server_name a.test;", 3),
    );
    let (found, listeners) = routes(&apart, Product::Nginx);
    assert_eq!(listeners[0], "\"listener-0\"=\"0.0.0.0:80\"");
    let pool = |port: u16| format!("\"10.0.0.1:{port}\"");
    let wanted = [
        format!("a.test|listener-0|{}", pool(1)),
        format!("b.test|listener-1,listener-0|{}", pool(2)),
        format!("|listener-0,listener-1|{}", pool(2)),
        format!("|listener-2|{}", pool(3)),
    ];
    assert_eq!(found, wanted);
    let together = format!(
        "http {{ {} {} }}",
        server("listen 80;", "server_name a.test;", 1),
        server("listen 80;", "server_name b.test;", 2),
    );
    let wanted =
        [format!("a.test||{}", pool(1)), format!("b.test||{}", pool(2)), format!("||{}", pool(1))];
    assert_eq!(routes(&together, Product::Nginx).0, wanted, "on one port nothing is named");
}

#[test]
fn frontends_of_haproxy_keep_their_ports() {
    let text = "\
backend a
 mode http
 server a 10.0.0.1:1
backend b
 mode http
 server b 10.0.0.1:2
frontend one
 mode http
 bind :80
 bind :81
 default_backend a
frontend two
 mode http
 bind :90
 acl old hdr(host) -i old.test
 use_backend a if old
 default_backend b
";
    let (found, listeners) = routes(text, Product::Haproxy);
    assert_eq!(found, ["|one,one-1|\"a\"", "old.test|two|\"a\"", "|two|\"b\""]);
    assert!(listeners[1].starts_with("\"one-1\"="), "{listeners:?}");
    let alone = text.split("frontend two").next().expect("the first");
    assert_eq!(routes(alone, Product::Haproxy).0, ["||\"a\""]);
}

/// A key of the native form, and the remarks on a line.
fn kept(text: &str, product: Product, key: &str) -> serde_json::Value {
    let found = imported(text, product);
    let json = yaml(&found.text).unwrap_or_else(|e| panic!("{e}\n{}", found.text)).to_json();
    json.pointer(key).cloned().unwrap_or_else(|| panic!("no {key} in {json:#}"))
}

pub(crate) fn told(text: &str, product: Product, start: &str) -> (Fidelity, String) {
    let report = imported(text, product).report;
    let found = report.iter().find(|it| it.text.starts_with(start));
    let found = found.unwrap_or_else(|| panic!("{start} is not in {report:#?}"));
    (found.fidelity, found.text.clone())
}

#[test]
fn nginx_verifies_backends_only_if_told_so() {
    let file = |tls: &str| {
        format!("http {{ {tls} server {{ location / {{ proxy_pass https://up.test; }} }} }}")
    };
    let key = "/pools/0/tls/insecure_skip_verify";
    assert_eq!(kept(&file(""), Product::Nginx, key), true);
    assert_eq!(kept(&file("proxy_ssl_verify off;"), Product::Nginx, key), true);
    assert_eq!(kept(&file("proxy_ssl_verify on;"), Product::Nginx, key), false);
}

#[test]
fn certificates_of_the_whole_of_nginx_are_those_of_its_listeners() {
    let text = "http { ssl_certificate a.pem; ssl_certificate_key a.key; ssl_protocols TLSv1.3; \
                server { listen 443 ssl; location / { proxy_pass http://a.test; } } }";
    assert_eq!(kept(text, Product::Nginx, "/listeners/0/tls/certificates/0/cert"), "a.pem");
    assert_eq!(kept(text, Product::Nginx, "/listeners/0/tls/min_version"), "1.3");
    assert_eq!(told(text, Product::Nginx, "ssl_certificate a.pem").0, Fidelity::Exact);
}

#[test]
fn what_nginx_refuses_is_refused() {
    let file = |inner: &str| {
        format!("http {{ server {{ {inner} location / {{ proxy_pass http://a.test; }} }} }}")
    };
    let everybody = serde_json::json!(["0.0.0.0/0", "::/0"]);
    for (location, fidelity) in [
        ("location /admin { deny all; }", Fidelity::Exact),
        ("location = /admin { return 403; }", Fidelity::Exact),
        ("location ^~ /admin/ { return 404; }", Fidelity::Approximated),
    ] {
        let text = file(location);
        assert_eq!(kept(&text, Product::Nginx, "/routes/0/deny"), everybody, "{location}");
        assert_eq!(kept(&text, Product::Nginx, "/routes/1/deny"), serde_json::json!([]));
        let rule = if location.contains("deny") { "deny all" } else { "return 40" };
        assert_eq!(told(&text, Product::Nginx, rule).0, fidelity, "{location}");
    }
    // Without `deny all` the others are let in too.
    let some = file("allow 10.0.0.0/8; deny 10.1.0.0/16;");
    assert_eq!(kept(&some, Product::Nginx, "/routes/0/allow"), serde_json::json!([]));
    assert_eq!(kept(&some, Product::Nginx, "/routes/0/deny/0"), "10.1.0.0/16");
    let only = file("allow 10.0.0.0/8; deny all;");
    assert_eq!(kept(&only, Product::Nginx, "/routes/0/allow/0"), "10.0.0.0/8");
    // Behind `all` no rule matters, and rules of a location take the place of all others.
    let closed = file("deny all; allow 10.0.0.0/8;");
    assert_eq!(kept(&closed, Product::Nginx, "/routes/0/deny"), everybody);
    assert_eq!(kept(&closed, Product::Nginx, "/routes/0/allow"), serde_json::json!([]));
    let own = file("deny all; location /in { deny 10.0.0.0/8; proxy_pass http://a.test; }");
    assert_eq!(kept(&own, Product::Nginx, "/routes/0/deny"), serde_json::json!(["10.0.0.0/8"]));
    assert_eq!(kept(&own, Product::Nginx, "/routes/1/deny"), everybody);
    // A `return` comes before what is proxied, in a location and in a server.
    let early = file("location /old { return 410; proxy_pass http://a.test; }");
    assert_eq!(kept(&early, Product::Nginx, "/routes/0/deny"), everybody);
    let whole = "http { server { server_name a.test; location / { proxy_pass http://a.test; } }\n\
                 server { listen 80 default_server; return 444; location / { root /x; } } }";
    assert_eq!(kept(whole, Product::Nginx, "/routes/0/deny"), serde_json::json!([]));
    assert_eq!(kept(whole, Product::Nginx, "/routes/1/deny"), everybody);
    assert_eq!(kept(whole, Product::Nginx, "/routes/1/match/hosts"), serde_json::json!([]));
    assert_eq!(told(whole, Product::Nginx, "return 444").0, Fidelity::Approximated);
    for (guard, start) in [
        ("auth_basic x;", "auth_basic x: whom it kept out is let in"),
        ("location ~ /\\.git { deny all; }", "location ~ /\\.git: a pattern of paths; what it was"),
    ] {
        assert_eq!(told(&file(guard), Product::Nginx, start).0, Fidelity::Unsupported);
    }
}

#[test]
fn the_proxy_header_is_taken_from_whom_it_was_taken() {
    let nginx = |more: &str| {
        format!(
            "http {{ server {{ listen 80 proxy_protocol; {more} \
             location / {{ proxy_pass http://a.test; }} }} }}"
        )
    };
    let stream = "stream { server { listen 5432 proxy_protocol backlog=7; proxy_pass a.test:1; } }";
    let haproxy = "frontend f\n mode http\n bind :80 accept-proxy\n bind /run/x accept-proxy\n \
                   default_backend b\nbackend b\n mode http\n server s 10.0.0.1:80\n";
    let everybody = serde_json::json!(["0.0.0.0/0", "::/0"]);
    let some = nginx("set_real_ip_from 10.0.0.0/8;");
    for (text, product, trusted) in [
        (nginx("").as_str(), Product::Nginx, &everybody),
        (&some, Product::Nginx, &serde_json::json!(["10.0.0.0/8"])),
        (stream, Product::Nginx, &everybody),
        (haproxy, Product::Haproxy, &everybody),
    ] {
        assert_eq!(kept(text, product, "/listeners/0/proxy_protocol"), "required");
        assert_eq!(kept(text, product, "/listeners/0/trusted_proxies"), *trusted);
    }
    assert_eq!(kept(haproxy, Product::Haproxy, "/listeners/1/proxy_protocol"), "off");
    for start in ["bind :80 accept", "bind /run/x accept"] {
        assert_eq!(told(haproxy, Product::Haproxy, start).0, Fidelity::Approximated);
    }
    let (fidelity, text) = told(stream, Product::Nginx, "listen 5432");
    assert_eq!(fidelity, Fidelity::Approximated);
    assert!(text.ends_with("without backlog=7"), "{text}");
}

#[test]
fn what_haproxy_decides_for_each_request_is_told_and_no_mistake() {
    let file = |rules: &str| {
        format!(
            "frontend f\n mode http\n bind :80\n{rules} default_backend b\n\
             backend b\n mode http\n server s 10.0.0.1:80 check\n \
             option httpchk GET /up HTTP/1.1\\r\\nHost:\\ up.test\n"
        )
    };
    let by_map = file(" use_backend %[req.hdr(host),map(/m)]\n");
    assert_eq!(told(&by_map, Product::Haproxy, "use_backend %[").0, Fidelity::Unsupported);
    assert_eq!(kept(&by_map, Product::Haproxy, "/routes/0/pool"), "b");
    assert_eq!(kept(&by_map, Product::Haproxy, "/pools/0/health/host"), "up.test");
    let check = "option httpchk GET /up HTTP/1.1\\r\\nHost: up.test";
    assert_eq!(told(&by_map, Product::Haproxy, check).0, Fidelity::Approximated);
    for rule in ["unless { ssl_fc }", "if !{ ssl_fc }"] {
        let redirect = file(&format!(" http-request redirect scheme https {rule}\n"));
        assert_eq!(kept(&redirect, Product::Haproxy, "/listeners/0/redirect/scheme"), "https");
        assert_eq!(told(&redirect, Product::Haproxy, "http-request red").0, Fidelity::Exact);
    }
    for rule in [
        "http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }",
        "tcp-request connection reject if { src 10.0.0.0/8 }",
    ] {
        let (fidelity, text) = told(&file(&format!(" {rule}\n")), Product::Haproxy, rule);
        assert_eq!(fidelity, Fidelity::Unsupported);
        assert!(text.ends_with("whom it kept out is let in"), "{text}");
    }
}
