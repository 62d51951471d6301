//! Keys of a health check that its kind does not use.

use super::Check;
use crate::diagnostic::Fault;
use crate::sections::{Health, HealthType, Pool};

impl Check<'_> {
    /// Whoever writes a key means something by it: one that does nothing is refused, where it is.
    pub(super) fn probes(&mut self, pool: &Pool, path: &str) {
        let (health, usual) = (&pool.health, Health::default());
        let of_http = [
            ("path", health.path != usual.path),
            ("method", health.method != usual.method),
            ("host", health.host != usual.host),
            ("expect_status", health.expect_status != usual.expect_status),
            ("expect_body", health.expect_body != usual.expect_body),
        ];
        let silent = health.r#type == HealthType::Http && health.method.0 == "HEAD";
        if silent && health.expect_body != usual.expect_body {
            let fault = Fault::new("an answer to HEAD has no body: no backend would be healthy");
            let full = format!("{path}.health.expect_body");
            self.report(&full, fault.hint("method: GET; or leave `expect_body` out"));
        }
        let service = ("service", health.service != usual.service);
        let (kind, unused) = match health.r#type {
            HealthType::Http => ("http", vec![service]),
            HealthType::Grpc => ("grpc", of_http.to_vec()),
            HealthType::Tcp => ("tcp", [&of_http[..], &[service]].concat()),
            // Switched off for a while: what it would ask stays as it is.
            HealthType::None => return,
        };
        for (key, _) in unused.into_iter().filter(|(_, says)| *says) {
            let full = format!("{path}.health.{key}");
            let place = self.tree.key_place_at(&full).clone();
            let needed = if key == "service" { "grpc" } else { "http" };
            let fault = Fault::new(format!("`{key}` does nothing with `type: {kind}`"));
            self.report_at(place, &full, fault.hint(format!("type: {needed}; or leave it out")));
        }
    }
}
