//! Real files of nginx and HAProxy: nothing of them is dropped in silence, or turned round.

use super::imports::{imported, routes, told};
use super::yaml;
use evenkeel_config::Fidelity::{self, Approximated as Near, Exact, Unsupported as Lost};
use evenkeel_config::Product::{self, Haproxy, Nginx};
use serde_json::{Value, json};

/// A file with a key of its native form: that is the value.
pub(crate) fn holds(cases: &[(&str, Product, &str, Value)]) {
    for (text, product, key, wanted) in cases {
        let found = imported(text, *product);
        let json = yaml(&found.text).unwrap_or_else(|e| panic!("{e}\n{}", found.text)).to_json();
        let value = json.pointer(key).cloned().unwrap_or_default();
        assert_eq!(value, *wanted, "{key} of\n{text}\n{}", found.text);
    }
}

/// A file with the start of a remark: that is its kind, and these are words of it.
pub(crate) fn tells(cases: &[(&str, Product, &str, Fidelity, &str)]) {
    for (text, product, start, fidelity, words) in cases {
        let (found, said) = told(text, *product, start);
        assert_eq!(found, *fidelity, "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// One server of nginx around this.
fn server(inner: &str) -> String {
    format!("http {{ server {{ listen 80; {inner} }} }}")
}

const PASS: &str = "location / { proxy_pass http://10.0.0.1:1; }";

#[test]
fn nginx_redirects_a_whole_listener_however_it_is_written() {
    let tls = "listen 443 ssl; ssl_certificate c; ssl_certificate_key k;";
    for written in [
        "location / { return 301 https://$host$request_uri; }",
        "location /.well-known/acme-challenge/ { root /x; } \
         location / { return 301 https://$host$request_uri; }",
        "server_name a.test; return 301 https://a.test$request_uri;",
        "server_name a.test; if ($host = a.test) { return 301 https://$host$request_uri; } \
         return 404;",
        "rewrite ^ https://$host$request_uri? permanent;",
    ] {
        let secure = format!("server {{ {tls} server_name a.test; {PASS} }}");
        let text = format!("http {{ server {{ listen 80; {written} }} {secure} }}");
        holds(&[
            (&text, Nginx, "/listeners/0/redirect/status", json!(301)),
            (&text, Nginx, "/listeners/1/redirect", Value::Null),
        ]);
        assert_eq!(routes(&text, Nginx).0.len(), 1, "{written}");
    }
    let both = server(&format!(
        "{tls} if ($scheme = http) {{ return 301 https://$host$request_uri; }} {PASS}"
    ));
    holds(&[
        (&both, Nginx, "/listeners/0/redirect/scheme", json!("https")),
        (&both, Nginx, "/listeners/1/redirect", Value::Null),
    ]);
    // A listener of TLS would send its clients to itself.
    let round = format!("http {{ server {{ {tls} return 301 https://a.test$request_uri; }} }}");
    let round = round.replace("listen", "server_name a.test b.test; listen") + "stream { }";
    let round = round.replace("http {", &format!("http {{ server {{ listen 81; {PASS} }}"));
    tells(&[(&round, Nginx, "return 301", Lost, "refused")]);
}

#[test]
fn hosts_of_nginx_never_get_the_backends_of_others() {
    let text = format!(
        "http {{ server {{ listen 80; {PASS} }} \
         server {{ listen 80; server_name a.test; \
         location /app {{ proxy_pass http://10.0.0.2:2; }} }} \
         server {{ listen 80; server_name old.test; return 301 https://$host$request_uri; }} \
         server {{ listen 80; server_name gone.test; {PASS} return 410; }} }}"
    );
    let everybody = json!(["0.0.0.0/0", "::/0"]);
    holds(&[
        (&text, Nginx, "/routes/0/match/path_prefix", json!("/app")),
        (&text, Nginx, "/routes/1/match/hosts", json!(["a.test"])),
        (&text, Nginx, "/routes/1/deny", everybody.clone()),
        (&text, Nginx, "/routes/2/match/hosts", json!(["old.test"])),
        (&text, Nginx, "/routes/2/deny", everybody.clone()),
        (&text, Nginx, "/routes/3/match/hosts", json!(["gone.test"])),
        (&text, Nginx, "/routes/3/deny", everybody),
        (&text, Nginx, "/routes/4/match/hosts", json!([])),
        (&text, Nginx, "/routes/4/deny", json!([])),
    ]);
    tells(&[(&text, Nginx, "return 301", Lost, "what it was for is refused")]);
    // The longest wildcard is asked first.
    let wild = "http { server { server_name *.a.test; location / { proxy_pass http://x:1; } } \
                server { server_name *.b.a.test; location / { proxy_pass http://y:1; } } }";
    assert!(routes(wild, Nginx).0[0].starts_with("*.b.a.test|"));
}

#[test]
fn client_certificates_of_nginx_are_inherited_and_never_dropped() {
    let file = |first: &str, second: &str| {
        format!(
            "http {{ ssl_certificate c; ssl_certificate_key k; ssl_client_certificate ca.pem; \
             ssl_verify_client on; \
             server {{ listen 443 ssl; server_name a.test; {first} {PASS} }} \
             server {{ listen 443 ssl; server_name b.test; {second} {PASS} }} }}"
        )
    };
    for text in
        [file("", ""), file("", "ssl_verify_client off;"), file("ssl_verify_client optional;", "")]
    {
        holds(&[
            (&text, Nginx, "/listeners/0/tls/client_auth", json!("required")),
            (&text, Nginx, "/listeners/0/tls/client_ca", json!("ca.pem")),
        ]);
    }
    let mixed = file("", "ssl_verify_client off;");
    tells(&[(&mixed, Nginx, "server: another", Near, "client_auth: required")]);
    let nobody = file("ssl_verify_client off;", "ssl_verify_client off;");
    holds(&[(&nobody, Nginx, "/listeners/0/tls/client_ca", json!(""))]);
    let kinds = server(
        "listen 443 ssl; ssl_certificate rsa; ssl_certificate_key rsa.key; ssl_certificate ec; \
         ssl_certificate_key ec.key; location / { proxy_pass http://a:1; }",
    );
    holds(&[(&kinds, Nginx, "/listeners/1/tls/certificates/1/key", json!("ec.key"))]);
}

#[test]
fn bounds_of_nginx_hold_for_whom_they_held() {
    let zones = "limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m; \
                 limit_req_zone $binary_remote_addr zone=fast:1m rate=10r/s; \
                 limit_req_zone $binary_remote_addr$uri zone=odd:1m rate=1r/s; \
                 limit_conn_zone $server_name zone=names:1m;";
    let http = |inner: &str| {
        let location = format!("location / {{ {inner} proxy_pass http://a; }}");
        format!("http {{ {zones} server {{ listen 80; {location} }} }}")
    };
    let two = http("limit_req zone=slow burst=2; limit_req zone=fast;");
    let odd = http("limit_req zone=odd;");
    let conn = http("").replace("location", "limit_conn names 5; location");
    let bodies = format!(
        "http {{ server {{ listen 80; client_max_body_size 2m; {PASS} }} \
         server {{ listen 80; server_name b; {PASS} \
         location /up {{ client_max_body_size 1g; proxy_pass http://a; }} }} }}"
    );
    let keep = server(&format!("keepalive_timeout 0; {PASS}"));
    holds(&[
        (&two, Nginx, "/routes/0/rate_limit/per", json!("1m")),
        (&odd, Nginx, "/routes/0/rate_limit", Value::Null),
        (&bodies, Nginx, "/listeners/0/limits/max_request_body", json!("1GiB")),
        (&keep, Nginx, "/listeners/0/limits/idle_timeout", json!("1m15s")),
    ]);
    tells(&[
        (&odd, Nginx, "limit_req zone=odd", Lost, "nothing is limited"),
        (&conn, Nginx, "limit_conn names", Lost, "nothing is limited"),
        (&keep, Nginx, "keepalive_timeout 0", Lost, "kept open"),
    ]);
}

#[test]
fn who_nginx_lets_in_is_let_in() {
    let rules = |rules: &str| server(&format!("{rules} {PASS}"));
    holds(&[
        // Behind `all` nothing means anything.
        (
            &rules("deny all; allow 10.0.0.0/8;"),
            Nginx,
            "/routes/0/deny",
            json!(["0.0.0.0/0", "::/0"]),
        ),
        (&rules("deny all; allow 10.0.0.0/8;"), Nginx, "/routes/0/allow", json!([])),
        (&rules("deny 10.0.0.1; allow all;"), Nginx, "/routes/0/deny", json!(["10.0.0.1/32"])),
        // An inner level stands for itself.
        (
            &server(
                "allow 10.0.0.0/8; deny all; \
                 location / { deny 192.0.2.1; proxy_pass http://a; }",
            ),
            Nginx,
            "/routes/0/allow",
            json!([]),
        ),
    ]);
    let any = rules("satisfy any; allow 10.0.0.0/8; deny all; auth_basic x;");
    tells(&[(&any, Nginx, "satisfy any", Lost, "kept out")]);
    let stream = "stream { server { listen 1; deny all; proxy_pass a:1; } }";
    tells(&[(stream, Nginx, "deny all", Lost, "let in")]);
}

#[test]
fn what_nginx_sends_to_backends_is_sent() {
    let location = |inner: &str| server(&format!("location / {{ {inner} }}"));
    let host = "/routes/0/request_headers/set";
    holds(&[
        (&location("proxy_pass http://app:81/;"), Nginx, host, json!({ "host": "app:81" })),
        (
            &location("proxy_pass http://unix:/run/a:/;"),
            Nginx,
            host,
            json!({ "host": "localhost" }),
        ),
        (&location("proxy_pass http://a; proxy_set_header Host $host;"), Nginx, host, json!({})),
        (
            &server("location /v2 { proxy_pass http://a/; }"),
            Nginx,
            "/routes/0/strip_prefix",
            json!(true),
        ),
        (
            &server(
                "try_files $uri @app; location @app { proxy_pass http://10.0.0.9; \
                 proxy_set_header Host $http_host; }",
            ),
            Nginx,
            "/routes/0/pool",
            json!("10.0.0.9"),
        ),
        (
            "stream { server { listen 1; proxy_ssl on; proxy_pass a:1; } }",
            Nginx,
            "/pools/0/backends/0/address",
            json!("https://a:1"),
        ),
    ]);
    let passed = location("proxy_pass http://a; proxy_set_header User-Agent $http_user_agent;");
    let forged =
        location("proxy_pass http://a; proxy_set_header X-Forwarded-For $http_x_forwarded_for;");
    let upgrade = format!(
        "http {{ map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }} \
         server {{ {PASS} }} }}"
    );
    let tried = server("location / { try_files $uri @a; } location @a { proxy_pass http://a; }");
    tells(&[
        (&passed, Nginx, "proxy_set_header User-Agent", Exact, "sent anyway"),
        (&forged, Nginx, "proxy_set_header X-Forwarded-For", Lost, ""),
        (&upgrade, Nginx, "map $http_upgrade", Exact, "anyway"),
        (&tried, Nginx, "try_files", Near, "no file is served"),
    ]);
}

#[test]
fn pools_of_nginx_are_told_what_they_cannot_say() {
    let up = |servers: &str, more: &str| {
        format!(
            "http {{ upstream u {{ {servers} }} server {{ location / {{ proxy_pass http://u; }} \
             location /x {{ {more} proxy_pass http://u; }} }} }}"
        )
    };
    let steady = up("server a fail_timeout=0; server b max_fails=0;", "");
    let mixed = up("server a; server b max_fails=0;", "");
    let odd = up("hash $request_body; server a weight=3; server b;", "");
    let slow = up("server a;", "proxy_read_timeout 1h;");
    let again = up("server a;", "proxy_next_upstream error invalid_header;");
    holds(&[
        (&steady, Nginx, "/pools/0/circuit_breaker/enabled", json!(false)),
        (&mixed, Nginx, "/pools/0/circuit_breaker/enabled", json!(true)),
        (&odd, Nginx, "/pools/0/strategy", json!("weighted_round_robin")),
    ]);
    tells(&[
        (&mixed, Nginx, "server b", Near, "the breaker is for all"),
        (&slow, Nginx, "pool u has one timeouts.response_head", Near, "all that goes there"),
        (&again, Nginx, "proxy_next_upstream", Near, "as far as"),
    ]);
}

#[test]
fn server_names_of_tls_choose_pools_unopened() {
    let nginx = "stream { map $ssl_preread_server_name $to { hostnames; .b.test b; a.test a; \
                 ~x c; default d:443; } upstream a { server a:1; } upstream b { server b:1; } \
                 server { listen 443; ssl_preread on; proxy_pass $to; } }";
    let haproxy = "frontend f\n mode tcp\n bind :443\n tcp-request inspect-delay 5s\n \
                   tcp-request content accept if { req_ssl_hello_type 1 }\n \
                   use_backend a if { req_ssl_sni -i a.test }\n \
                   acl sub req.ssl_sni -m end .b.test\n use_backend b if sub\n \
                   use_backend c if { src 10.0.0.1 }\n use_backend d:443\n\
                   backend a\n mode tcp\n server s a:1\nbackend b\n mode tcp\n server s b:1\n\
                   backend c\n mode tcp\n server s c:1\nbackend d:443\n mode tcp\n server s d:1\n";
    for (text, product, exact, wild) in [(nginx, Nginx, 1, 2), (haproxy, Haproxy, 0, 1)] {
        let exact = format!("/listeners/0/sni_routes/{exact}");
        let wild = format!("/listeners/0/sni_routes/{wild}");
        holds(&[
            (text, product, "/listeners/0/pool", json!("d:443")),
            (text, product, &(exact.clone() + "/pool"), json!("a")),
            (text, product, &(exact + "/hosts"), json!(["a.test"])),
            (text, product, &(wild.clone() + "/hosts"), json!(["*.b.test"])),
            (text, product, &(wild + "/pool"), json!("b")),
        ]);
    }
    tells(&[
        (nginx, Nginx, "~x c", Lost, "default"),
        (haproxy, Haproxy, "use_backend c", Lost, "where the others go"),
        (haproxy, Haproxy, "tcp-request content", Near, "sni_routes"),
    ]);
}

#[test]
fn what_http_includes_is_read_as_it_is() {
    let tls = "listen 443 ssl; http2 on; ssl_certificate c; ssl_certificate_key k;";
    let other = "location /s { proxy_pass https://app; }";
    let site = format!(
        "upstream app {{ server 10.0.0.1:1; }} \
         server {{ listen 443 quic; {tls} location / {{ proxy_pass http://app; }} {other} }} \
         server {{ listen 443 ssl default_server; server_name b.test; {PASS} }}"
    );
    holds(&[
        (&site, Nginx, "/pools/0/name", json!("app")),
        (&site, Nginx, "/listeners/0/tls/alpn", json!(["h2", "http/1.1"])),
        (&site, Nginx, "/listeners/1", Value::Null),
    ]);
    tells(&[
        (&site, Nginx, "listen 443 quic", Lost, "QUIC"),
        (&site, Nginx, "proxy_pass https://app: the pool", Near, "TLS for all"),
    ]);
    let list = proxies(" bind :443 ssl crt-list /etc/list.txt\n", "");
    tells(&[(&list, Haproxy, "bind :443", Lost, "name the files")]);
}

/// A frontend and a backend of HAProxy with these lines.
pub(crate) fn proxies(front: &str, back: &str) -> String {
    format!(
        "frontend f\n mode http\n bind :80\n{front} default_backend b\n\
         backend b\n mode http\n{back} server s 10.0.0.1:80\n"
    )
}

#[test]
fn what_haproxy_keeps_out_stays_out_or_is_told() {
    let only = proxies(" http-request deny unless { src 10.0.0.0/8 }\n", "");
    let twice = only.replace(
        " default_backend",
        " http-request deny if !{ src 10.1.0.0/16 }\n default_backend",
    );
    let own = proxies("", " acl bad src 192.0.2.1\n http-request deny if bad\n");
    let rate = proxies(
        " stick-table type ip size 1m expire 1m store conn_cur,http_req_rate(10s)\n \
         http-request track-sc0 src\n \
         http-request deny deny_status 429 if { sc_http_req_rate(0) gt 20 }\n",
        "",
    );
    let untracked = rate.replace(" http-request track-sc0 src\n", "");
    let tcp = proxies(" tcp-request connection reject if { src -f /x }\n", "");
    let gone = proxies(" use_backend gone if { path_beg /gone }\n", "")
        + "backend gone\n mode http\n http-request deny deny_status 503\n";
    holds(&[
        (&only, Haproxy, "/routes/0/allow", json!(["10.0.0.0/8"])),
        (&twice, Haproxy, "/routes/0/allow", json!([])),
        (&own, Haproxy, "/routes/0/deny", json!(["192.0.2.1/32"])),
        (&rate, Haproxy, "/routes/0/rate_limit/requests", json!(20)),
        (&rate, Haproxy, "/routes/0/rate_limit/per", json!("10s")),
        (&untracked, Haproxy, "/routes/0/rate_limit", Value::Null),
        (&gone, Haproxy, "/routes/0/deny", json!(["0.0.0.0/0", "::/0"])),
        (&gone, Haproxy, "/routes/1/deny", json!([])),
    ]);
    tells(&[
        (&only, Haproxy, "http-request deny", Near, "allow and deny"),
        (&twice, Haproxy, "http-request deny unless", Lost, "let in"),
        (&rate, Haproxy, "http-request deny", Near, "rate_limit"),
        (&untracked, Haproxy, "http-request deny", Lost, "let in"),
        (&untracked, Haproxy, "stick-table", Lost, "nothing is kept"),
        (&tcp, Haproxy, "tcp-request connection", Lost, "let in"),
        (&gone, Haproxy, "backend gone", Near, "refused"),
    ]);
}

#[test]
fn files_of_haproxy_that_were_refused_are_read() {
    let stats = "listen stats\n mode http\n bind :7000\n stats enable\n\
                 listen db\n mode tcp\n bind :5432\n server a 10.0.0.1:5432\n\
                 listen other\n mode tcp\n bind :5433\n server a 10.0.0.1:5432\n";
    let template =
        proxies("", "").replace(" server s 10.0.0.1:80", " server-template s 3 a.test:81");
    let ports = proxies(" bind :8000-8002\n bind quic4@:443 ssl crt x alpn h3\n", "");
    let named = "defaults web\n mode http\n timeout client 11s\n\
                 defaults raw\n mode tcp\n timeout client 22s\n\
                 frontend f from web\n bind :80\n default_backend b\n\
                 backend b from web\n server s a:1\n";
    let based = "global\n crt-base /keys/\n ca-base /cas\n".to_owned()
        + &proxies(" bind :443 ssl crt a.pem crt /own/b.pem\n", "")
            .replace("10.0.0.1:80", "10.0.0.1:443 ssl crt c.pem ca-file ca.pem");
    holds(&[
        (&based, Haproxy, "/listeners/1/tls/certificates/0/cert", json!("/keys/a.pem")),
        (&based, Haproxy, "/listeners/1/tls/certificates/1/key", json!("/own/b.pem")),
        (&based, Haproxy, "/pools/0/tls/client_cert", json!("/keys/c.pem")),
        (&based, Haproxy, "/pools/0/tls/ca_file", json!("/cas/ca.pem")),
        (stats, Haproxy, "/listeners/0/bind", json!("0.0.0.0:5432")),
        (&template, Haproxy, "/pools/0/discovery/name", json!("a.test")),
        (&template, Haproxy, "/pools/0/discovery/port", json!("81")),
        (&ports, Haproxy, "/listeners/3/bind", json!("0.0.0.0:8002")),
        (named, Haproxy, "/listeners/0/limits/idle_timeout", json!("11s")),
        (named, Haproxy, "/listeners/0/protocol", json!("http")),
    ]);
    assert_eq!(imported(&ports, Haproxy).text.matches("bind:").count(), 4);
    tells(&[
        (stats, Haproxy, "bind :7000", Lost, "nothing behind it"),
        (&ports, Haproxy, "bind quic4@", Lost, "QUIC"),
    ]);
}

#[test]
fn words_of_haproxy_mean_what_they_mean() {
    let set = |rule: &str| proxies(&format!(" http-request {rule}\n"), "");
    let sent = "/routes/0/request_headers/set";
    let proto = "X-Forwarded-Proto https";
    let (open, closed) = (
        " server w 10.0.0.2:443 ssl verify none\n",
        " server v 10.0.0.3:443 ssl verify required ca-file c\n",
    );
    let mixed = proxies("", &format!("{open}{closed}"));
    let turned = proxies("", &format!("{closed}{open}"));
    let again = proxies("", " retry-on all-retryable-errors\n");
    let ws = proxies(" acl ws hdr(Upgrade) -i WebSocket\n use_backend b if ws\n", "");
    let loose = proxies(" use_backend b if { path_beg -i /api }\n", "");
    let checked =
        proxies("", " balance first\n option httpchk GET /up\n server c 10.0.0.2:80 check\n");
    let secure = proxies(
        "",
        " option httpchk GET /up\n server c 10.0.0.2:6443 check check-ssl verify none\n",
    );
    let to = |to: &str| set(&format!("redirect code 301 location {to} unless {{ ssl_fc }}"));
    let same = to("https://%[req.hdr(Host)]%[capture.req.uri]");
    let other = to("https://www.test%[capture.req.uri]");
    let elsewhere = proxies("", " server c 10.0.0.2:80 check port 8080\n");
    holds(&[
        (
            &set(&format!("set-header {proto}")),
            Haproxy,
            sent,
            json!({"x-forwarded-proto": "https"}),
        ),
        (&set(&format!("set-header {proto} if {{ ssl_fc }}")), Haproxy, sent, json!({})),
        (&set("set-header X-CN %{+Q}[ssl_c_s_dn(cn)]"), Haproxy, sent, json!({})),
        (&mixed, Haproxy, "/pools/0/tls/insecure_skip_verify", json!(false)),
        (&turned, Haproxy, "/pools/0/tls/insecure_skip_verify", json!(false)),
        (
            &again,
            Haproxy,
            "/pools/0/retry/on",
            json!(["500", "502", "503", "504", "connect_failure", "per_try_timeout", "reset"]),
        ),
        (&ws, Haproxy, "/routes/0/match/headers", json!({ "upgrade": "websocket" })),
        (&checked, Haproxy, "/pools/0/health/interval", json!("2s")),
        (&checked, Haproxy, "/pools/0/strategy", json!("weighted_round_robin")),
        (&secure, Haproxy, "/pools/0/health/type", json!("tcp")),
        (&same, Haproxy, "/listeners/0/redirect/status", json!(301)),
        (&other, Haproxy, "/listeners/0/redirect", Value::Null),
    ]);
    tells(&[
        (
            &set(&format!("add-header {proto} if {{ ssl_fc }}")),
            Haproxy,
            "http-request add-header",
            Exact,
            "sent anyway",
        ),
        (&set("set-header X-CN %{+Q}[ssl_c_s_dn(cn)]"), Haproxy, "http-request set", Lost, ""),
        (&mixed, Haproxy, "server v", Near, "certificates of all are verified"),
        (&loose, Haproxy, "use_backend", Near, "letter case counts"),
        (&other, Haproxy, "http-request redirect", Lost, "is served"),
        (&secure, Haproxy, "option httpchk", Near, "no TLS of their own"),
        (&elsewhere, Haproxy, "server c", Lost, "checks go to the backend itself"),
        (
            &proxies(" option forwardfor header X-Client\n", ""),
            Haproxy,
            "option forwardfor",
            Near,
            "under that name",
        ),
    ]);
}

#[test]
fn fields_that_no_rule_may_change_are_told_and_the_rest_is_kept() {
    let auth = server(&format!(
        "{PASS} location /auth {{ proxy_pass http://10.0.0.2:1; proxy_set_header Content-Length \
         \"\"; proxy_set_header Host \"\"; proxy_hide_header Connection; add_header Trailer x; \
         add_header X-A b; }}"
    ));
    let haproxy = "defaults\n mode http\nfrontend f\n bind :80\n default_backend b\n \
                   http-request set-header Connection close\n http-request del-header Host\n \
                   http-response del-header Content-Length\n http-response del-header Server\n\
                   backend b\n server s 10.0.0.1:1\n";
    let written = "what frames a message or belongs to a connection";
    tells(&[
        (&auth, Nginx, "proxy_set_header Content-Length", Lost, written),
        (&auth, Nginx, "proxy_set_header Host", Lost, "a request has one Host"),
        (&auth, Nginx, "proxy_hide_header Connection", Lost, written),
        (&auth, Nginx, "add_header Trailer", Lost, written),
        (haproxy, Haproxy, "http-request set-header Connection", Lost, ""),
        (haproxy, Haproxy, "http-request del-header Host", Lost, ""),
        (haproxy, Haproxy, "http-response del-header Content-Length", Lost, ""),
    ]);
    holds(&[
        (&auth, Nginx, "/routes/0/response_headers/add", json!({ "x-a": "b" })),
        (&auth, Nginx, "/routes/0/request_headers/remove", json!([])),
        (haproxy, Haproxy, "/routes/0/response_headers/remove", json!(["server"])),
    ]);
}

#[test]
fn what_nginx_keeps_to_itself_is_open_to_nobody() {
    let text = server(&format!(
        "{PASS} location /auth {{ internal; proxy_pass http://10.0.0.2:1; }} \
         location = /50x.html {{ root /x; internal; }} \
         location /status {{ stub_status; allow 127.0.0.1; deny all; }}"
    ));
    let nobody = || json!(["0.0.0.0/0", "::/0"]);
    holds(&[
        (&text, Nginx, "/routes/0/match/path", json!("/50x.html")),
        (&text, Nginx, "/routes/0/deny", nobody()),
        (&text, Nginx, "/routes/1/match/path_prefix", json!("/status")),
        (&text, Nginx, "/routes/1/deny", nobody()),
        (&text, Nginx, "/routes/2/match/path_prefix", json!("/auth")),
        (&text, Nginx, "/routes/2/deny", nobody()),
        (&text, Nginx, "/routes/3/deny", json!([])),
    ]);
    tells(&[
        (&text, Nginx, "internal", Near, "deny of the route"),
        (&text, Nginx, "allow 127.0.0.1", Lost, "nobody is let in"),
    ]);
}

#[test]
fn a_server_that_nginx_names_twice_is_there_twice() {
    let text = "http { upstream u { server a:1; server a:1 weight=2; } server { listen 80; \
                location / { proxy_pass http://u; } } }";
    holds(&[
        (text, Nginx, "/pools/0/backends/0/name", json!("a:1")),
        (text, Nginx, "/pools/0/backends/1/name", json!("a:1-2")),
        (text, Nginx, "/pools/0/backends/1/address", json!("a:1")),
    ]);
    tells(&[(text, Nginx, "server a:1 weight=2", Near, "under another name")]);
}

#[test]
fn a_named_location_that_nothing_goes_to_is_told_line_by_line() {
    let named = "location @app { proxy_pass http://10.0.0.2:1; }";
    let text = server(&format!("{PASS} location ~ \\.js$ {{ try_files $uri @app; }} {named}"));
    tells(&[
        (&text, Nginx, "location @app", Lost, "nothing that is kept goes there"),
        (&text, Nginx, "proxy_pass http://10.0.0.2:1", Lost, ""),
    ]);
    let text = server(&format!("location / {{ try_files $uri @app; }} {named}"));
    tells(&[
        (&text, Nginx, "location @app", Exact, "see try_files"),
        (&text, Nginx, "proxy_pass http://10.0.0.2:1", Exact, "pool"),
    ]);
}
