//! Whether a backend that was started would pass the probes of its pool.

use evenkeel_core::plan::HealthPlan;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_proxy::sounding::Sounding;
use std::sync::Arc;

/// What the pool's own health check would say, spoken as the pool speaks.
pub(super) async fn is_healthy(
    snapshot: Arc<Snapshot>,
    (pool, health): (&Arc<str>, &HealthPlan),
    address: &str,
) -> bool {
    let (check, timeout) = (health.check.clone(), health.timeout);
    let sounding = Sounding { snapshot, pool: Arc::clone(pool), check, timeout };
    sounding.ask_at(address).await.is_ok()
}
