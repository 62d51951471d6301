//! Pages of ours on a traffic listener.

use crate::program::{Shell, get};

const FILE: &str = r#"
listeners:
  - bind: "127.0.0.1:0"
    mounts:
      - { path: /health, serve: health, down_status: 299 }
      - { path: /metrics, serve: metrics, default_format: json }
      - { path: /report, serve: report }
      - { path: /board, serve: dashboard }
pools:
  - name: web
    backends: [{ address: "127.0.0.1:9", admin: disabled }]
"#;

/// Status line, head in lower case, body.
fn parts(response: &str) -> (&str, String, &str) {
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole head");
    (&head[9..12], head.to_ascii_lowercase(), body)
}

#[test]
fn every_kind_of_mount_is_served() {
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    shell.write("config.yaml", FILE);
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    for (path, status, kind, wanted) in [
        ("/health", "299", "application/json", "\"status\":\"unhealthy\""),
        ("/metrics", "200", "application/json", "\"total_requests\":"),
        ("/metrics?format=prometheus", "200", "text/plain", "evenkeel_build_info"),
        ("/report", "200", "application/json", "{\"apps\":[{\"host\":\"*\""),
        ("/board", "200", "text/html", "<base href=\"/board/\">"),
        ("/board/assets/main.js", "200", "text/javascript", "import"),
        ("/board/api/v1/pools", "200", "application/json", "\"name\":\"web\""),
        ("/board/api/v1/status", "200", "application/json", "\"state\":\"ready\""),
        ("/board/api/v1/history", "200", "application/json", "\"step_seconds\":5"),
        ("/board/api/v1/history?pool=w%65b", "200", "application/json", "\"steps\":[]"),
        ("/board/api/v1/history?pool=a%20b", "404", "application/json", "Not Found"),
        ("/board/api/v1/history?backend=b", "404", "application/json", "Not Found"),
        ("/board/api/v1/migrations", "200", "application/json", "\"migrations\":["),
        ("/board/api/v1/autoscalers", "200", "application/json", "\"autoscalers\":["),
        ("/board/api/v1/config", "404", "application/json", "Not Found"),
        ("/board/api/v1/requests", "404", "application/json", "Not Found"),
        ("/other", "503", "application/json", "no_backend"),
    ] {
        let response = get(&address, path);
        let (got, head, body) = parts(&response);
        assert_eq!(got, status, "{path}: {response}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(body.contains(wanted), "{path}: {body}");
    }
}
