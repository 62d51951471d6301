//! Whether a backend that was started would pass the probes of its pool.

use crate::lookup::{Lookup, SystemLookup};
use evenkeel_core::address::{BackendAddress, Endpoint};
use evenkeel_core::plan::HealthPlan;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_proxy::sounding::Sounding;
use std::sync::Arc;

/// What the pool's own health check would say, spoken as the pool speaks.
pub(super) async fn is_healthy(
    snapshot: Arc<Snapshot>,
    (pool, health): (&Arc<str>, &HealthPlan),
    (address, lookup): (&str, &SystemLookup),
) -> bool {
    let Ok(address) = BackendAddress::parse(address) else { return false };
    let hosts = match &address.endpoint {
        Endpoint::Name(name, _) => match lookup.look_up(name).await {
            Ok(answer) => answer.addresses,
            Err(_) => return false,
        },
        Endpoint::Ip(_) | Endpoint::Unix(_) => Vec::new(),
    };
    let (check, timeout) = (health.check.clone(), health.timeout);
    let sounding = Sounding { snapshot, pool: Arc::clone(pool), check, timeout };
    sounding.ask_at(address, &hosts).await.is_ok()
}
