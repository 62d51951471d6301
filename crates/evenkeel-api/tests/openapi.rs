//! The OpenAPI document: as it was agreed on, and sound in itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use evenkeel_api::{ENDPOINTS, openapi};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Set to write the document anew.
const BLESS: &str = "EVENKEEL_BLESS";

#[test]
fn the_document_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
    let document = format!("{:#}\n", openapi("0.0.0"));
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, &document).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differing = golden.lines().zip(document.lines()).position(|(old, new)| old != new);
    assert!(golden == document, "differs at line {differing:?} (from 0); {BLESS}=1 accepts it");
}

#[test]
fn the_document_has_every_endpoint_and_the_version() {
    let document = openapi("1.2.3");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], "1.2.3");
    let paths = document["paths"].as_object().unwrap();
    let operations: usize = paths.values().map(|methods| methods.as_object().unwrap().len()).sum();
    assert_eq!(operations, ENDPOINTS.len());
    for endpoint in ENDPOINTS {
        let method = endpoint.method.as_str().to_lowercase();
        assert_eq!(paths[endpoint.path][method]["operationId"], endpoint.operation);
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = openapi("0.0.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "{}", references.len());
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&reference), "{name} is used by nobody");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    if let Some(Value::String(reference)) = value.get("$ref") {
        references.push(reference.clone());
    }
    match value {
        Value::Object(members) => members.values().for_each(|it| collect(it, references)),
        Value::Array(items) => items.iter().for_each(|it| collect(it, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn bodies_ask_for_what_is_needed_and_answers_promise_what_is_there() {
    let document = openapi("0.0.0");
    let required = |name: &str| document["components"]["schemas"][name]["required"].clone();
    assert_eq!(required("NewBackend"), serde_json::json!(["address"]));
    assert_eq!(required("BackendPatch"), Value::Null);
    assert_eq!(required("ExplainRequest"), serde_json::json!(["url"]));
    let promised = required("Backend");
    let promised: Vec<&str> = promised.as_array().unwrap().iter().flat_map(Value::as_str).collect();
    for key in [
        "name",
        "address",
        "weight",
        "admin",
        "health",
        "breaker",
        "eligible",
        "reason",
        "in_flight",
    ] {
        assert!(promised.contains(&key), "{key}");
    }
    assert!(!promised.contains(&"p99_ms"), "left out without requests");
}
