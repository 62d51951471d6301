//! Where spans go.

use super::Check;
use crate::diagnostic::Fault;
use crate::sections::Otlp;

impl Check<'_> {
    pub(super) fn collector(&mut self, otlp: &Otlp) {
        let endpoint = &otlp.endpoint.0;
        let rest = endpoint.split_once("://").map_or("", |(_, rest)| rest);
        if !endpoint.is_empty() && rest.contains(['@', '?', '#']) {
            let message = "a login or a query in the URL would not be sent".to_owned();
            let hint = "leave it out; tracing.otlp.headers: { authorization: \"Basic …\" }";
            self.report("tracing.otlp.endpoint", Fault::new(message).hint(hint));
        } else if !endpoint.is_empty() && !is_plain_url(endpoint) {
            let message = format!("`{endpoint}` is not of the form http(s)://HOST:PORT");
            let hint = "OTLP over HTTP, as in http://127.0.0.1:4318; /v1/traces is appended";
            self.report("tracing.otlp.endpoint", Fault::new(message).hint(hint));
        }
        let file = &otlp.ca_file.0;
        if !file.is_empty() {
            if let Err(error) = std::fs::metadata(file) {
                let message = format!("cannot read {file}: {error}");
                self.report("tracing.otlp.ca_file", Fault::new(message));
            }
            if endpoint.starts_with("http://") {
                let hint = "https://… as tracing.otlp.endpoint";
                let message = "`ca_file` is of no use without TLS".to_owned();
                self.report("tracing.otlp.ca_file", Fault::new(message).hint(hint));
            }
        }
        let sendable = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if otlp.headers.0.iter().any(|(_, value)| !sendable(&value.0)) {
            let fault = Fault::new("a value holds what no header may: use printable ASCII");
            self.report("tracing.otlp.headers", fault);
        }
    }
}

/// `http://` or `https://`, a host, and nothing that no URL has.
fn is_plain_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|b| b.is_ascii_graphic())
    })
}
