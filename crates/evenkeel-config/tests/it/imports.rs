//! Files of nginx and HAProxy in the native form, and their reports.

use super::*;
use evenkeel_config::{Fidelity, Product, import};

const NGINX: &str = include_str!("../fixtures/imports/nginx.conf");
const NGINX_YAML: &str = include_str!("../fixtures/imports/nginx.yaml");
const HAPROXY: &str = include_str!("../fixtures/imports/haproxy.cfg");
const HAPROXY_YAML: &str = include_str!("../fixtures/imports/haproxy.yaml");

fn imported(text: &str, product: Product) -> evenkeel_config::Imported {
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
    for (verify, wanted) in
        [("on", "required"), ("optional", "optional"), ("optional_no_ca", "optional")]
    {
        let text = format!(
            "http {{ server {{ listen 443 ssl; ssl_certificate c; ssl_certificate_key k;\n\
             ssl_client_certificate ca.pem; ssl_verify_client {verify};\n\
             location / {{ proxy_pass http://a:1; }} }} }}"
        );
        assert_eq!(demanded(&text, Product::Nginx), format!("ca.pem {wanted}"));
    }
}

/// The routes of a file: hosts, listeners and pool of each.
fn routes(text: &str, product: Product) -> (Vec<String>, Vec<String>) {
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
