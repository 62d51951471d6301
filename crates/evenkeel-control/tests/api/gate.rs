//! Whose requests are believed.

use super::desk::{Stage, TWO_POOLS, row};
use serde_json::Value;

#[test]
fn unknown_things_are_problems() {
    let stage = Stage::open(TWO_POOLS);
    let cases = [
        ("GET /api/v1/pools/nope", "", 404, "no pool named \\\"nope\\\""),
        ("GET /api/v1/pools/nope/backends", "", 404, "nope"),
        ("GET /api/v1/pools/%ff", "", 400, "UTF-8"),
        ("GET /api/v1/nothing", "", 404, "Nothing is served"),
        ("GET /api/v1/status/", "", 404, "Nothing is served"),
        ("POST /api/v1/status", "", 405, "Allow"),
        ("POST /api/v1/explain", "", 400, "not JSON"),
    ];
    for (line, fields, status, wanted) in cases {
        let (got, head, body) = stage.ask(line, fields, "");
        assert_eq!(got, status, "{line}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(body.contains(wanted), "{line}: {body}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(problem["status"], status);
    }
    stage.end();
}

#[test]
fn bodies_are_looked_at_closely() {
    let stage = Stage::open(TWO_POOLS);
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let cases = [
        (json, "{", 400, "not JSON", None),
        (json, "[]", 422, "not a JSON object", None),
        (json, "", 400, "it is empty", None),
        (json, "{}", 422, "is missing", Some("url")),
        (json, r#"{"url": 3}"#, 422, "expected a URL", Some("url")),
        (json, r#"{"url": "http://a/", "hdrs": {}}"#, 422, "known here: url, method", Some("hdrs")),
        (json, r#"{"url": "http://a/", "headers": {"a": 1}}"#, 422, "names", Some("headers")),
        (form, "url=x", 415, "application/json is expected", None),
    ];
    for (kind, body, status, wanted, field) in cases {
        let (got, _, answer) = stage.ask("POST /api/v1/explain", kind, body);
        assert_eq!(got, status, "{body}: {answer}");
        assert!(answer.contains(wanted), "{body}: {answer}");
        let problem: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(problem["errors"][0]["field"].as_str(), field, "{body}");
    }
    let huge = format!("{{\"url\": \"{}\"}}", "x".repeat(9 * 1024 * 1024));
    assert_eq!(stage.ask("POST /api/v1/explain", json, &huge).0, 413);
    stage.end();
}

#[test]
fn pages_of_others_are_refused() {
    let stage = Stage::open(TWO_POOLS);
    let own = stage.address();
    let cases = [
        (format!("Origin: http://{own}\r\n"), 200),
        ("Host: localhost\r\nOrigin: http://localhost\r\n".to_owned(), 200),
        ("Host: localhost\r\n".to_owned(), 200),
        ("Origin: http://evil.example\r\n".to_owned(), 421),
        ("Origin: null\r\n".to_owned(), 421),
        ("Origin: http://127.0.0.1:1\r\n".to_owned(), 421),
        (format!("Origin: http://{own}\r\nOrigin: http://evil.example\r\n"), 421),
        ("Host: evil.example\r\n".to_owned(), 421),
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(), 421),
    ];
    for (fields, wanted) in cases {
        let (status, head, _) = stage.ask("GET /api/v1/config", &fields, "");
        assert_eq!(status, wanted, "{fields}");
        assert!(!head.contains("access-control-allow-origin"), "{head}");
    }
    stage.end();
}

#[test]
fn tokens_open_what_their_role_allows() {
    let stage = Stage::guarded(TWO_POOLS);
    let token = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let cases = [
        ("GET /livez", String::new(), 200),
        ("GET /readyz", String::new(), 200),
        ("GET /health", String::new(), 401),
        ("GET /metrics", String::new(), 401),
        ("GET /openapi.json", String::new(), 401),
        ("GET /nothing", String::new(), 401),
        ("GET /api/v1/events", String::new(), 401),
        ("GET /api/v1/status", token("nobody"), 401),
        ("GET /api/v1/status", token("viewer"), 200),
        ("GET /api/v1/status", token("admin"), 200),
        ("GET /", String::new(), 200),
        ("GET /assets/main.js", String::new(), 200),
        ("GET /nothing", token("viewer"), 404),
        ("GET /api/v1/status", format!("Host: lb.internal\r\n{}", token("viewer")), 200),
    ];
    for (line, fields, wanted) in cases {
        let (status, head, _) = stage.ask(line, &fields, "");
        assert_eq!(status, wanted, "{line} {fields}");
        assert_eq!(head.contains("www-authenticate: bearer"), status == 401, "{head}");
    }
    let log = stage.end();
    assert!(!log.contains("nobody"), "no token is in the log: {log}");
}

#[test]
fn who_may_not_change_anything_is_written_down_by_name() {
    let stage = Stage::guarded(TWO_POOLS);
    let ask = |fields: &str| stage.ask("POST /api/v1/reload", fields, "").0;
    assert_eq!(ask("Authorization: Bearer viewer\r\n"), 403);
    assert_eq!(ask("Authorization: Bearer nobody\r\n"), 401);
    let log = stage.end();
    let audit: Vec<&str> = log.lines().filter(|line| line.contains("\"admin_change\"")).collect();
    let [refused, unknown] = audit[..] else { panic!("{log}") };
    assert!(refused.contains("\"author\":\"viewer-1\""), "{refused}");
    assert!(unknown.contains("\"author\":\"\""), "{unknown}");
}

#[tokio::test]
async fn the_typed_client_shows_its_token() {
    let stage = Stage::guarded(TWO_POOLS);
    let refused = stage.client().status().await.expect_err("no token").to_string();
    assert!(refused.contains("401") && refused.contains("Bearer"), "{refused}");
    let client = stage.client().token("viewer\n".to_owned()).expect("a token");
    client.status().await.expect("status");
    stage.end();
}

#[test]
fn guessing_tokens_ends_in_429_and_locks_out_nobody() {
    let stage = Stage::guarded(TWO_POOLS);
    let guess = |_| stage.ask("GET /api/v1/status", "Authorization: Bearer guess\r\n", "");
    let answers: Vec<_> = (0..15).map(guess).collect();
    assert_eq!(answers[0].0, 401);
    let limited = answers.iter().find(|(status, ..)| *status == 429).expect("at last");
    assert!(limited.1.contains("retry-after: "), "{}", limited.1);
    let own = stage.ask("GET /api/v1/status", "Authorization: Bearer viewer\r\n", "");
    assert_eq!(own.0, 200, "a token of ours, from the same address");
    assert_eq!(stage.ask("GET /livez", "", "").0, 200);
    stage.end();
}

#[test]
fn roles_of_the_table_are_asked_for() {
    assert!(row("livez").role.is_none() && row("status").role.is_some());
}
