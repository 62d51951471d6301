//! One good answer for each row of the table, as a server writes it. Keys that no type knows stand
//! among them: a newer server may have more.

use super::script::{Asked, Reply};

const BACKEND: &str = r#"{"name":"b1","address":"127.0.0.1:8081","url":"http://127.0.0.1:8081",
    "weight":1,"admin":"enabled","health":"healthy","health_since":"2030-01-01T00:00:00Z",
    "results":[{"time":"2030-01-01T00:00:00Z","took_ms":0.4,"fault":null}],"breaker":"closed",
    "suspected":null,"eligible":true,"reason":null,"in_flight":0,"requests":0,"error_rate":0.0,
    "source":"config","mood":"new"}"#;
pub(crate) const POOL: &str = r#"{"name":"web","strategy":"rr","mode":"normal","backends":[BACKEND],
    "waiting":0,"retry_budget":{"ratio":0.2,"floor":10,"refused":0},"colour":"new"}"#;
const STATUS: &str = r#"{"version":"1.0.0","uptime_seconds":3,"state":"ready","generation":1,
    "workers":2,"listeners":[LISTENER],"client_connections":0,
    "pools":[{"name":"web","mode":"failing_open","backends":1,"eligible":1}]}"#;
const LISTENER: &str = r#"{"name":"web","bind":":8080","protocol":"http","client_connections":0,
    "mounts":[{"path":"/health","serve":"health"}]}"#;
const ROUTE: &str = r#"{"name":"api","match":{"hosts":["a.example"],"path_prefix":"/v1"},
    "split":[{"pool":"web","weight":1}],"strip_prefix":false,"filters":[],"requests":0}"#;
const EXPLANATION: &str = r#"{"routes":[{"route":"api","matched":true,"reason":"path"}],
    "route":"api","pool":"web","backend":"b1","deadlines":{"connect_timeout_ms":3000},
    "candidates":[{"name":"b1","score":null,"eligible":true,"reason":"its turn"}]}"#;
const REQUEST: &str = r#"{"id":"1","time":"2030-01-01T00:00:00Z","kept":"failed","listener":"web",
    "client_ip":"127.0.0.1","method":"GET","host":"a.example","path":"/","status":502,
    "failure":"reset","timings":{},"total_ms":2.5,"bytes_in":10,"bytes_out":100,
    "tries":[{"backend":"b1","outcome":"reset","start_ms":0.1,"connect_ms":0.2}]}"#;
const HISTORY: &str = r#"{"step_seconds":5,"end":"2030-01-01T00:00:00Z","requests":3,"errors":1,
    "steps":[{"requests":2,"errors":1,"p50_ms":1.5,"p99_ms":2.5},{"requests":0,"errors":0}]}"#;
const REVISION: &str = r#"{"id":2,"author":"ann","time":"2030-01-01T00:00:00Z",
    "reason":"rollback to 1","diff":"- weight: 4\n+ weight: 1"}"#;
const HEALTH: &str = r#"{"status":"degraded","timestamp":"2030-01-01T00:00:00Z","backends":[
    {"address":"127.0.0.1:8081","status":"healthy","latency_ms":0.3,"error_rate":0.0,
    "active_connections":0,"last_check":null}]}"#;
const MIGRATION: &str = r#"{"id":"web-v2","route":"web","from":"stable","to":"canary",
    "state":"running","stage":0,"weight":25,"verdict":"NOT-ENOUGH-DATA","reason":"3 of 100",
    "started":"2030-01-01T00:00:00Z","ended":null,"checks":[{"time":"2030-01-01T00:01:00Z",
    "stage":0,"weight":25,"verdict":"GO","reason":"every gate holds","approved_by":null,
    "from":{"requests":300,"errors":0,"success_rate":1,"p50_ms":1.0,"p95_ms":2.0,"p99_ms":3.0},
    "to":{"requests":100,"errors":0,"success_rate":1,"p50_ms":1.0,"p95_ms":2.0,"p99_ms":null},
    "gates":[{"gate":"success_rate","threshold":0.99,"value":1,"confidence":null,
    "holds":true}]}]}"#;
const DIFFERENCES: &str = r#"{"compared":9,"differing":1,"differences":[{"pool":"shadow",
    "time":"2030-01-01T00:00:00Z","request_id":"1","method":"GET","path":"/","kinds":["body"],
    "status":{"real":200,"mirror":200},"headers":[{"name":"x","real":"1","mirror":null}],
    "body":{"path":"$.a","real":"1","mirror":"2"},"latency_ms":{"real":1.5,"mirror":2},
    "latency_delta_ms":0.5}]}"#;
const OUTLINE: &str = r#"{"id":"web-v2","route":"web","from":"stable","to":"canary","stages":[],
    "watch_s":600,"least_s":600,"rate_rps":null,"eta_s":null}"#;
const AUTOSCALER: &str = r#"{"pool":"web","current":1,"desired":2,"min":1,"max":5,"paused":true,
    "decisions":[{"time":"2030-01-01T00:00:00Z","from":1,"to":2,"reason":"25 requests",
    "signals":{"requests":25}}]}"#;
const EVENTS: &str = ": welcome\n\nevent: backend_unhealthy\ndata: {\"timestamp\":\"\",\
    \"level\":\"warn\",\"event\":\"backend_unhealthy\",\"message\":\"b1 fails\",\
    \"backend\":\"b1\"}\n\ndata: {\"timestamp\":\"\",\"level\":\"info\",\
    \"event\":\"config_reloaded\"}\n\n";

/// The answer to a request of the table.
pub(crate) fn reply(asked: &Asked) -> Reply {
    let pool = POOL.replace("BACKEND", BACKEND);
    let har = asked.target.ends_with("format=har");
    match asked.operation().as_str() {
        "status" => Reply::json(200, &STATUS.replace("LISTENER", LISTENER)),
        "pools" => Reply::json(200, &format!(r#"{{"pools":[{pool}]}}"#)),
        "pool" | "patch_pool" => Reply::json(200, &pool).tagged("\"7\""),
        "backends" => Reply::json(200, &format!(r#"{{"backends":[{BACKEND}]}}"#)),
        "add_backend" => Reply::json(201, BACKEND).tagged("\"8\""),
        "patch_backend" => Reply::json(200, BACKEND).tagged("\"8\""),
        "remove_backend" => Reply::new(204, "", ""),
        "routes" => Reply::json(200, &format!(r#"{{"routes":[{ROUTE}]}}"#)),
        "listeners" => Reply::json(200, &format!(r#"{{"listeners":[{LISTENER}]}}"#)),
        "config" => Reply::json(200, r#"{"workers":2}"#).tagged("\"7\""),
        "check_config" => Reply::json(200, r#"{"valid":true}"#),
        "explain" => Reply::json(200, EXPLANATION),
        "requests" if har => Reply::json(200, r#"{"log":{"version":"1.2","entries":[]}}"#),
        "requests" => Reply::json(200, &format!(r#"{{"requests":[{REQUEST}]}}"#)),
        "events" => Reply::new(200, "text/event-stream", EVENTS),
        "history" => Reply::json(200, HISTORY),
        "revisions" => Reply::json(200, &format!(r#"{{"revisions":[{REVISION}]}}"#)),
        "rollback" => Reply::json(200, REVISION),
        "preview_reload" => Reply::json(
            200,
            r#"{"changes":[],"listeners":[],"connections":0,"backends":[],"requests":0,
                "tunnels":0,"sessions":0}"#,
        ),
        "reload" => Reply::json(200, r#"{"result":"unchanged","generation":1}"#),
        "differences" => Reply::json(200, DIFFERENCES),
        "migrations" => Reply::json(200, &format!(r#"{{"migrations":[{MIGRATION}]}}"#)),
        "start_migration" if asked.target.ends_with("dry_run=true") => Reply::json(200, OUTLINE),
        "start_migration" => Reply::json(201, MIGRATION),
        "migration" | "pause_migration" | "resume_migration" | "approve_migration"
        | "abort_migration" => Reply::json(200, MIGRATION),
        "pause_autoscaler" | "resume_autoscaler" => Reply::json(200, AUTOSCALER),
        "autoscalers" => Reply::json(200, r#"{"autoscalers":[]}"#),
        "report" => Reply::json(
            200,
            r#"{"apps":[{"host":"*","instances":[{"url":"http://b1","healthy":true}]}]}"#,
        ),
        "health" => Reply::json(200, HEALTH),
        "livez" => Reply::new(200, "text/plain", "ok"),
        "readyz" => Reply::new(200, "text/plain", "ready"),
        "metrics" | "prometheus" => Reply::new(200, "text/plain", "# HELP evenkeel_up Up.\n"),
        other => panic!("{other:?}: {} {}", asked.method, asked.target),
    }
}
