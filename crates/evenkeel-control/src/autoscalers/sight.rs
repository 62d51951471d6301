//! Whether a backend that was started would pass the probes of its pool.

use crate::outgoing::call;
use evenkeel_core::plan::{HealthCheck, HealthPlan};
use hyper::Method;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What the pool's own health check would say.
pub(super) async fn is_healthy(health: &HealthPlan, address: &str) -> bool {
    match &health.check {
        HealthCheck::Http(check) => {
            let url = format!("http://{address}{}", check.path);
            let method = Method::from_bytes(check.method.as_bytes()).unwrap_or(Method::GET);
            let answer = call(method, &url, None, health.timeout).await;
            let fits = |status: u16| {
                check.expect_status.iter().any(|range| range.contains(&status))
                    || check.by_default && status == 404
            };
            answer.is_ok_and(fits)
        }
        // Its own probes ask more, once it is in the pool.
        HealthCheck::Off | HealthCheck::Tcp | HealthCheck::Grpc(_) => {
            let connecting = TcpStream::connect(address);
            timeout(health.timeout, connecting).await.is_ok_and(|connected| connected.is_ok())
        }
    }
}
