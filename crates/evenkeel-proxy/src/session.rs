//! The tie between a client and its backend: found in the request's cookie, made in the response.

use crate::exchange::Exchange;
use crate::net::Net;
use evenkeel_core::affinity::{Tie, find_cookie, set_cookie};
use evenkeel_core::backend::Backend;
use evenkeel_core::headers;
use evenkeel_core::plan::{AdminState, AffinityPlan, CookiePlan};
use evenkeel_core::pool::Pool;
use evenkeel_core::request::RequestHead;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

fn cookie_of(pool: &Pool) -> Option<&CookiePlan> {
    match &pool.plan.affinity {
        AffinityPlan::Cookie(plan) => Some(plan),
        AffinityPlan::Off | AffinityPlan::ClientIp => None,
    }
}

/// The name of the cookie that is ours; empty if the pool sets none.
pub(crate) fn cookie_name(pool: &Pool) -> &str {
    cookie_of(pool).map_or("", |plan| &plan.name)
}

/// What a genuine cookie of the request says.
pub(crate) fn tie(pool: &Pool, head: &RequestHead, bytes: &[u8], unix_nanos: u64) -> Option<Tie> {
    let (plan, keys) = (cookie_of(pool)?, pool.cookie_keys.as_ref()?);
    let mut values = headers::cookie_lines(head, bytes)
        .filter_map(|line| find_cookie(line, plan.name.as_bytes()));
    let now = unix_nanos / NANOS_PER_SECOND;
    // Only the first counts: a second one of the same name is not ours.
    keys.verify(&pool.plan.name, values.next()?, now).ok()
}

/// A `Set-Cookie` line for a client whose session begins on this backend, moves there, or has come
/// to the second half of its cookie's life.
pub(crate) fn write_tie<N: Net>(
    exchange: &Exchange<N>,
    pool: &Pool,
    backend: &Backend,
    out: &mut Vec<u8>,
) {
    let (Some(plan), Some(keys)) = (cookie_of(pool), &pool.cookie_keys) else { return };
    let known = exchange.tie.filter(|tie| tie.backend == backend.id);
    // One that is to be emptied keeps its sessions, but prolongs none.
    let stays = backend.plan.admin == AdminState::Enabled && backend.plan.weight > 0;
    if known.is_some_and(|tie| !tie.is_old(plan) || !stays) {
        return;
    }
    let now = exchange.worker().net.unix_nanos() / NANOS_PER_SECOND;
    let value = keys.issue(&pool.plan.name, backend.id, now.saturating_add(plan.ttl.as_secs()));
    if known.is_none() {
        backend.note_tie();
    }
    out.extend_from_slice(b"Set-Cookie: ");
    out.extend_from_slice(set_cookie(plan, &value, exchange.secure).as_bytes());
    out.extend_from_slice(b"\r\n");
}
