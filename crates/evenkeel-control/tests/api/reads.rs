//! What is read, by the typed client.

use super::desk::{Stage, TWO_POOLS, filled};
use evenkeel_api::{
    AdminState, ENDPOINTS, ExplainRequest, HealthState, HistoryOf, Method, Overall, PoolMode, Role,
    State,
};
use serde_json::Value;

#[tokio::test]
async fn status_and_lists() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let status = client.status().await.expect("status");
    assert_eq!((status.version.as_str(), status.state), ("1.2.3", State::Ready));
    assert_eq!((status.workers, status.generation, status.client_connections), (2, 1, 0));
    let pools: Vec<_> =
        status.pools.iter().map(|it| (it.name.as_str(), it.backends, it.eligible)).collect();
    assert_eq!(pools, [("web", 2, 1), ("spare", 1, 0)]);
    assert_eq!(status.role, Some(Role::Admin), "where no token is asked for");
    let listeners = client.listeners().await.expect("listeners").listeners;
    assert_eq!((listeners[0].name.as_str(), listeners[0].max_connections), ("web", Some(7)));
    assert_eq!(client.migrations().await.expect("migrations").migrations, []);
    assert_eq!(client.autoscalers().await.expect("autoscalers").autoscalers, []);
    assert_eq!(client.requests().await.expect("requests").requests, []);
    let archive = client.requests_har().await.expect("archive");
    assert_eq!(archive["log"]["entries"], Value::Array(Vec::new()));
    stage.end();
}

#[tokio::test]
async fn a_listener_says_what_it_speaks() {
    let stage = Stage::open(
        "listeners:\n  - { name: web, bind: \"127.0.0.1:0\" }\n  \
         - { name: sql, bind: \"127.0.0.1:0\", protocol: tcp, pool: wire }\n  \
         - { name: dns, bind: \"127.0.0.1:0\", protocol: udp, pool: wire }\n\
         workers: 1\nroutes: [{ pool: wire }]\n\
         pools: [{ name: wire, backends: [\"127.0.0.1:1\"], health: { type: none } }]\n",
    );
    let listeners = stage.client().listeners().await.expect("listeners").listeners;
    let spoken: Vec<_> = listeners.iter().map(|it| (&*it.name, &*it.protocol)).collect();
    assert_eq!(spoken, [("web", "http"), ("sql", "tcp"), ("dns", "udp")]);
    stage.end();
}

#[tokio::test]
async fn pools_and_backends() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let (pool, etag) = client.pool("web").await.expect("pool");
    assert_eq!((pool.strategy.as_str(), pool.mode), ("Round-Robin", PoolMode::Normal));
    assert!(etag.as_str().starts_with('"'));
    let (_, again) = client.pool("web").await.expect("pool");
    assert_eq!(etag, again);
    let [b1, b2] = &pool.backends[..] else { panic!("{pool:?}") };
    assert_eq!((b1.name.as_str(), b1.weight, b1.eligible), ("b1", 3, true));
    assert_eq!((b1.health, b1.reason.as_deref()), (HealthState::Unchecked, None));
    assert_eq!(b2.url, "http://127.0.0.1:8082");
    assert_eq!((b2.admin, b2.reason.as_deref()), (AdminState::Draining, Some("draining")));
    let spare = client.backends("spare").await.expect("backends").backends;
    assert_eq!((spare[0].address.as_str(), spare[0].eligible), ("unix:/run/s1", false));
    let pools = client.pools().await.expect("pools").pools;
    assert_eq!((pools.len(), pools[1].mode), (2, PoolMode::Down));
    stage.end();
}

#[tokio::test]
async fn histories_of_everything_and_of_a_part() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let backend = HistoryOf::Backend { pool: "web", name: "b1" };
    for of in [HistoryOf::All, HistoryOf::Route("api"), HistoryOf::Pool("web"), backend] {
        let history = client.history(of).await.expect("history");
        assert_eq!((history.step_seconds, history.requests, history.errors), (5, 0, 0), "{of:?}");
    }
    for query in ["backend=b1", "route=api&pool=web", "route=api&backend=b1"] {
        let (status, _, _) = stage.ask(&format!("GET /api/v1/history?{query}"), "", "");
        assert_eq!(status, 404, "{query}");
    }
    for (query, kind) in
        [("route=none", "route"), ("pool=none", "pool"), ("pool=web&backend=none", "backend")]
    {
        let (status, _, body) = stage.ask(&format!("GET /api/v1/history?{query}"), "", "");
        assert_eq!((status, body.contains("There is no")), (404, true), "{query}: {body}");
        assert!(body.contains(kind), "{query}: {body}");
    }
    stage.end();
}

#[tokio::test]
async fn routes_and_configuration() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let routes = client.routes().await.expect("routes").routes;
    let api = &routes[0];
    assert_eq!((api.name.as_str(), api.timeout_ms, api.strip_prefix), ("api", Some(3000), true));
    assert_eq!(api.matches.path_prefix.as_deref(), Some("/v1"));
    assert_eq!((api.split[0].pool.as_str(), api.split[0].weight), ("web", 95));
    assert_eq!(api.filters, ["deny 10.0.0.0/8", "strip the prefix"]);
    assert_eq!(routes[1].name, "route-1");
    let none = client.differences("api").await.expect("differences");
    assert_eq!((none.compared, none.differing, none.differences.len()), (0, 0, 0));
    let (status, _, body) = stage.ask("GET /api/v1/routes/nope/differences", "", "");
    assert_eq!(status, 404, "{body}");
    let (config, etag) = client.config().await.expect("config");
    assert_eq!(config.0["pools"][0]["strategy"], "Round-Robin");
    assert!(etag.as_str().len() > 2);
    let asked = ExplainRequest { url: "http://x.test/".to_owned(), ..ExplainRequest::default() };
    let explanation = client.explain(&asked).await.expect("explanation");
    assert_eq!(explanation.route.as_deref(), Some("route-1"));
    assert_eq!(explanation.backend.as_deref(), Some("b1"));
    let report = client.report().await.expect("report");
    assert_eq!(report.apps[0].host, "api.test");
    stage.end();
}

#[tokio::test]
async fn health_metrics_and_probes_of_the_process() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let health = client.health().await.expect("health");
    assert_eq!((health.status, health.backends.len()), (Overall::Degraded, 3));
    client.livez().await.expect("alive");
    assert_eq!(client.readyz().await.expect("ready"), None);
    assert!(client.metrics().await.expect("metrics").contains("evenkeel_build_info"));
    assert!(client.prometheus().await.expect("metrics").contains("evenkeel_backend_up"));
    let mut events = client.events().await.expect("a stream");
    let silent = tokio::time::timeout(std::time::Duration::from_millis(50), events.next()).await;
    assert!(silent.is_err(), "open, and nothing happens");
    stage.end();
}

#[test]
fn nobody_is_ready_without_a_backend() {
    let stage = Stage::open(&TWO_POOLS.replace("weight: 3", "weight: 0"));
    assert_eq!(stage.ask("GET /readyz", "", "").0, 503);
    assert_eq!(stage.ask("GET /livez", "", "").0, 200);
    assert_eq!(stage.ask("GET /health", "", "").0, 503);
    stage.end();
}

#[test]
fn formats_are_chosen() {
    let stage = Stage::open(TWO_POOLS);
    let html = "Accept: text/html,*/*;q=0.8\r\n";
    let cases = [
        ("GET /health", "", 200, "content-type: application/json"),
        ("GET /health", html, 200, "content-type: text/html"),
        ("GET /metrics", "", 200, "content-type: text/plain; version=0.0.4"),
        ("GET /metrics?format=json", "", 200, "content-type: application/json"),
        ("GET /metrics?format=openmetrics", "", 200, "content-type: application/openmetrics-text"),
        ("GET /metrics?format=yaml", "", 400, "content-type: application/problem+json"),
        ("GET /api/v1/requests?format=xml", "", 400, "content-type: application/problem+json"),
        ("GET /openapi.json", "", 200, "content-type: application/json"),
        ("GET /api/v1/status", html, 200, "content-type: application/json"),
        ("GET /api/v1/status", "Accept: text/html\r\n", 406, "application/problem+json"),
    ];
    for (line, fields, status, wanted) in cases {
        let (got, head, _) = stage.ask(line, fields, "");
        assert_eq!(got, status, "{line} {fields}");
        assert!(head.contains(wanted), "{line} {fields}: {head}");
    }
    stage.end();
}

/// Every row of the table is served: a wrong method on its path is 405, so the path is known; and
/// with its own method it is neither 404 nor 405, but where the thing itself is not there.
#[test]
fn every_read_of_the_table_is_served() {
    let stage = Stage::open(TWO_POOLS);
    for endpoint in ENDPOINTS.iter().filter(|it| it.method == Method::Get) {
        // One never ends, the other has nothing to tell of.
        if ["events", "migration"].contains(&endpoint.operation) {
            continue;
        }
        let line = format!("{} {}", endpoint.method, filled(endpoint));
        let (status, head, body) = stage.ask(&line, "", "");
        assert_eq!(status, 200, "{line}: {body}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        let (status, _, body) = stage.ask(&line.replace("GET", "HEAD"), "", "");
        assert_eq!((status, body.as_str()), (200, ""), "{line}");
        let (status, head, _) = stage.ask(&line.replace("GET", "PUT"), "", "");
        assert_eq!(status, 405, "{line}");
        assert!(head.contains("allow: get,head"), "{head}");
    }
    stage.end();
}
