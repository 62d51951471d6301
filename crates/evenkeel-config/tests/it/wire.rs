//! What lies below HTTP: which keys go together, and what is refused with its own line.

use super::*;
use evenkeel_core::plan::{HealthCheck, ListenerProtocol};

/// A tcp listener and its pool, one key a line.
const TCP: &str = r#"listeners:
  - name: sql
    bind: "127.0.0.1:5432"
    protocol: tcp
    pool: sql
pools:
  - name: sql
    backends: ["127.0.0.1:5433"]
"#;

#[test]
fn a_tcp_listener_needs_no_route_and_probes_by_connecting() {
    let (plan, warnings) = yaml(TCP).unwrap_or_else(|e| panic!("{e}")).plan();
    assert_eq!(warnings, []);
    assert!(
        matches!(&plan.listeners[0].protocol, ListenerProtocol::Tcp(tcp) if tcp.pool == Some(0))
    );
    assert_eq!(plan.pools[0].health.check, HealthCheck::Tcp);
    let asked = TCP.to_owned() + "    health: { path: /ping }\n";
    let (plan, _) = yaml(&asked).unwrap_or_else(|e| panic!("{e}")).plan();
    assert!(matches!(plan.pools[0].health.check, HealthCheck::Http(_)));
}

#[test]
fn what_is_for_http_only_is_refused_with_its_line() {
    let listener = |key: &str| TCP.replace("pools:", &format!("    {key}\npools:"));
    let pool = |key: &str| TCP.to_owned() + "    " + key + "\n";
    for (text, line, path) in [
        (listener("mounts: [{ path: /h, serve: health }]"), 6, "listeners[0].mounts"),
        (listener("redirect: { port: 443 }"), 6, "listeners[0].redirect"),
        (listener("limits: { max_request_body: 1k }"), 6, "listeners[0].limits.max_request_body"),
        (pool("affinity: { type: cookie }"), 9, "pools[0].affinity.type"),
        (pool("retry: { methods: all }"), 9, "pools[0].retry.methods"),
        (pool("retry: { on: [reset, \"503\"] }"), 9, "pools[0].retry.on[1]"),
        (pool("health: { type: http }"), 9, "pools[0].health.type"),
        (pool("health: { type: grpc }"), 9, "pools[0].health.type"),
        (pool("protocol: h2"), 9, "pools[0].protocol"),
        (pool("hash: { key: path }"), 9, "pools[0].hash.key"),
        (TCP.replace("\"127.0.0.1:5433", "\"http://a:1/base"), 8, "pools[0].backends[0]"),
        (TCP.replace("    pool: sql\n", ""), 2, "listeners[0].pool"),
        (
            listener("tls: { certificates: [{ cert: c, key: k }] }")
                .replace("pools:", "    sni_routes: [{ hosts: [a], pool: sql }]\npools:"),
            7,
            "listeners[0].sni_routes",
        ),
        (listener("proxy_protocol: required"), 6, "listeners[0].proxy_protocol"),
    ] {
        let Diagnostics(found) = yaml(&text).expect_err(path);
        assert_eq!(found.len(), 1, "{}", Diagnostics(found.clone()));
        assert_eq!((found[0].line, found[0].path.as_str()), (line, path));
    }
}

#[test]
fn what_would_do_nothing_is_refused_with_its_line() {
    let sni = TCP.replace("    pool: sql\n", "    sni_routes: [{ hosts: [], pool: sql }]\n");
    let health = |keys: &str| format!("{GOOD}    health: {{ {keys} }}\n");
    for (text, path, hint) in [
        (sni, "listeners[0].sni_routes[0].hosts", "hosts: [\"a.example.com\"]"),
        (health("type: grpc, path: /x"), "pools[0].health.path", "type: http; or leave it out"),
        (health("type: grpc, expect_status: 200"), "pools[0].health.expect_status", "type: http"),
        (health("type: grpc, host: x"), "pools[0].health.host", "type: http"),
        (health("type: tcp, expect_body: x"), "pools[0].health.expect_body", "type: http"),
        (health("type: tcp, method: HEAD"), "pools[0].health.method", "type: http"),
        (health("type: http, service: x"), "pools[0].health.service", "type: grpc"),
        (health("service: x"), "pools[0].health.service", "type: grpc"),
    ] {
        let Diagnostics(found) = yaml(&text).expect_err(path);
        assert_eq!(found.len(), 1, "{}", Diagnostics(found.clone()));
        assert_eq!(found[0].path, path);
        assert!(found[0].line > 0 && found[0].to_string().contains(hint), "{}", found[0]);
    }
    for keys in
        ["type: none, path: /x, service: x", "type: http, path: /x", "type: grpc, service: x"]
    {
        let text = health(keys);
        assert!(yaml(&text).is_ok(), "{keys}");
    }
}

#[test]
fn an_http_listener_has_no_pool_of_its_own() {
    let listener = |key: &str| GOOD.replace("routes:", &format!("    {key}\nroutes:"));
    let pool = |key: &str| GOOD.to_owned() + "    " + key + "\n";
    for (text, line, path) in [
        (listener("pool: web"), 5, "listeners[0].pool"),
        (listener("udp: { max_flows: 1 }"), 5, "listeners[0].udp"),
        (listener("tls: { certificates: [] }"), 5, "listeners[0].tls.certificates"),
        (
            listener("tls: { certificates: [{ cert: c, key: k }], client_auth: optional }"),
            5,
            "listeners[0].tls.client_auth",
        ),
        (
            listener("tls: { certificates: [{ cert: c, key: k }], client_auth: required }"),
            5,
            "listeners[0].tls.client_auth",
        ),
        (
            listener("tls: { certificates: [{ cert: c, key: k }], client_ca: \"\" }"),
            5,
            "listeners[0].tls.client_ca",
        ),
        (pool("tls: { client_cert: c.pem }"), 11, "pools[0].tls"),
    ] {
        let Diagnostics(found) = yaml(&text).expect_err(path);
        assert_eq!(found.len(), 1, "{}", Diagnostics(found.clone()));
        assert_eq!((found[0].line, found[0].path.as_str()), (line, path));
    }
}

#[test]
fn a_redirect_alone_needs_no_pool() {
    let text = "listeners: [{ bind: \":80\", redirect: {} }]\n";
    let (plan, _) = yaml(text).unwrap_or_else(|e| panic!("{e}")).plan();
    let redirect = plan.listeners[0].redirect.expect("a redirect");
    assert_eq!((redirect.secure, redirect.port, redirect.status), (true, 443, 308));
    let (plan, _) = yaml(&text.replace("{}", "{ scheme: http }")).expect("valid").plan();
    let redirect = plan.listeners[0].redirect.expect("a redirect");
    assert_eq!((redirect.secure, redirect.port), (false, 80), "the port of its own scheme");
}

#[test]
fn a_port_of_tcp_and_one_of_udp_are_two() {
    let text = |second: &str| {
        format!(
            "listeners:\n  - {{ bind: \":53\", protocol: tcp, pool: dns }}\n\
             \x20 - {{ bind: \":53\", protocol: {second}, pool: dns }}\n\
             pools: [{{ name: dns, backends: [\"127.0.0.1:1\"] }}]\n"
        )
    };
    assert!(yaml(&text("udp")).is_ok());
    assert!(yaml(&text("tcp")).is_err());
}

#[test]
fn a_tunnel_offers_the_protocols_that_are_named() {
    use evenkeel_core::plan::Alpn::{H2, Http11};
    let offered = |protocol: &str, alpn: &str| {
        let text = format!(
            "listeners:\n  - bind: \":443\"\n    protocol: {protocol}\n    pool: a\n    \
             tls: {{ certificates: [{{ cert: c, key: k }}]{alpn} }}\n\
             pools: [{{ name: a, backends: [\"127.0.0.1:1\"] }}]\n"
        );
        let text = if protocol == "http" { text.replace("    pool: a\n", "") } else { text };
        let (plan, _) = yaml(&text).unwrap_or_else(|e| panic!("{e}")).plan();
        plan.listeners[0].tls.as_ref().expect("TLS").alpn.clone()
    };
    assert_eq!(offered("tcp", ""), []);
    assert_eq!(offered("tcp", ", alpn: [h2, http/1.1]"), [H2, Http11]);
    assert_eq!(offered("http", ""), [H2, Http11]);
    assert_eq!(offered("http", ", alpn: [http/1.1]"), [Http11]);
}

#[test]
fn a_udp_listener_is_served_and_bounds_flows_not_connections() {
    let text = |keys: &str| {
        format!(
            "listeners:\n  - bind: \"127.0.0.1:53\"\n    protocol: udp\n    pool: dns\n{keys}\
             pools:\n  - {{ name: dns, strategy: maglev, backends: [\"10.0.0.1:53\"] }}\n"
        )
    };
    let good = text("    udp: { idle_timeout: 5s, max_flows: 7 }\n");
    let both = good.replace(
        "listeners:\n",
        "listeners:\n  - { bind: \"127.0.0.1:53\", protocol: tcp, pool: dns }\n",
    );
    assert!(yaml(&both).is_ok(), "a port of tcp is none of udp");
    let plan = yaml(&good).expect("valid").plan().0;
    let ListenerProtocol::Udp(udp) = &plan.listeners[0].protocol else { panic!("udp") };
    assert_eq!((udp.pool, udp.idle_timeout.as_secs(), udp.max_flows), (0, 5, 7));
    assert_eq!(plan.pools[0].health.check, HealthCheck::Off, "nobody has asked for probes");
    for (keys, line, path) in [
        ("    limits: { max_connections: 5 }\n", 5, "listeners[0].limits.max_connections"),
        (
            "    limits: { max_connections_per_ip: 5 }\n",
            5,
            "listeners[0].limits.max_connections_per_ip",
        ),
        ("    limits: { idle_timeout: 5s }\n", 5, "listeners[0].limits.idle_timeout"),
    ] {
        let Diagnostics(found) = yaml(&text(keys)).expect_err(path);
        assert_eq!(found.len(), 1, "{}", Diagnostics(found.clone()));
        assert_eq!((found[0].line, found[0].path.as_str()), (line, path));
    }
    let scale = "autoscale: { min: 0, driver: { type: exec, command: [c] } } }";
    let sleepy = text("").replace("] }", &format!("], {scale}"));
    let Diagnostics(found) = yaml(&sleepy).expect_err("datagrams");
    assert_eq!((found[0].line, found[0].path.as_str()), (6, "pools[0].autoscale.min"));
    let unix = text("").replace("127.0.0.1:53", "unix:/run/dns.sock");
    let Diagnostics(found) = yaml(&unix).expect_err("unix");
    assert_eq!((found[0].line, found[0].path.as_str()), (2, "listeners[0].bind"));
}
