//! Spans reach a collector, and a collector that is gone costs nothing.

use crate::program::{Program, Shell, get};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A balancer before a port where nobody listens, which sends its spans there.
fn traced(collector: &str) -> (Program, String) {
    let shell = Shell::new();
    shell.write(
        "config.yaml",
        &format!(
            "listen: \"127.0.0.1:0\"\nbackends: [\"127.0.0.1:1\"]\nadmin: {{ bind: \"\" }}\n\
             tracing: {{ otlp: {{ endpoint: \"http://{collector}\", sample: 100% }} }}\n"
        ),
    );
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    (balancer, address)
}

/// One POST: its head and its message.
fn read_post(stream: &mut TcpStream) -> (String, ExportTraceServiceRequest) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).expect("a request");
        bytes.extend_from_slice(&piece[..length]);
        assert!(length > 0, "ended early: {}", String::from_utf8_lossy(&bytes));
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let body = &bytes[end + 4..];
        let expected = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if expected.and_then(|length| length.parse().ok()) == Some(body.len()) {
            return (head, ExportTraceServiceRequest::decode(body).expect("protobuf"));
        }
    }
}

/// An attribute as text.
fn told(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let value = found.value.as_ref()?.value.as_ref()?;
    if let Value::IntValue(number) = value {
        return Some(number.to_string());
    }
    let Value::StringValue(text) = value else { panic!("{key}: {value:?}") };
    Some(text.clone())
}

#[test]
fn a_collector_gets_a_span_for_the_exchange_and_one_for_each_try() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let collector = listener.local_addr().expect("bound").to_string();
    let (balancer, address) = traced(&collector);
    assert!(get(&address, "/seen").starts_with("HTTP/1.1 50"));
    let (mut stream, _) = listener.accept().expect("the balancer");
    let (head, message) = read_post(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let [resource] = &message.resource_spans[..] else { panic!("{message:?}") };
    let own = &resource.resource.as_ref().expect("a resource").attributes;
    assert_eq!(told(own, "service.name").as_deref(), Some("evenkeel"));
    assert!(told(own, "service.version").is_some());
    let [scope] = &resource.scope_spans[..] else { panic!("{resource:?}") };
    let (exchange, tries) = scope.spans.split_first().expect("spans");
    assert_eq!((exchange.kind(), exchange.trace_id.len()), (SpanKind::Server, 16));
    assert!(exchange.parent_span_id.is_empty(), "nobody called us");
    let status = exchange.status.as_ref().expect("a status");
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(told(&exchange.attributes, "url.path").as_deref(), Some("/seen"));
    let code = told(&exchange.attributes, "http.response.status_code").expect("a status");
    assert!(code.starts_with("50"), "{code}");
    assert!(!tries.is_empty());
    for (at, tried) in tries.iter().enumerate() {
        assert_eq!(tried.trace_id, exchange.trace_id);
        assert_eq!(tried.parent_span_id, exchange.span_id);
        assert_eq!(tried.kind(), SpanKind::Client);
        assert!(tried.start_time_unix_nano <= tried.end_time_unix_nano, "{tried:?}");
        assert!(exchange.start_time_unix_nano <= tried.start_time_unix_nano, "{tried:?}");
        let resent = told(&tried.attributes, "http.request.resend_count");
        assert_eq!(resent, Some(at.to_string()));
    }
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn a_collector_that_is_gone_is_told_once_and_costs_nothing() {
    let (mut balancer, address) = traced("127.0.0.1:1");
    for _ in 0..20 {
        assert!(get(&address, "/").starts_with("HTTP/1.1 50"));
    }
    let lost = balancer.event("traces_lost");
    assert!(lost["lost"].as_u64().is_some_and(|lost| lost > 0), "{lost}");
    assert!(get(&address, "/").starts_with("HTTP/1.1 50"));
    assert_eq!(balancer.terminate().code, 0);
}
