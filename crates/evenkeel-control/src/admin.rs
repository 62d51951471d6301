//! The operator's listener: what is asked there, and who answers.
//!
//! ```text
//! serve (connections) ── gate (whose requests, which token) ── router ── read, write ── Desk
//! ```
//!
//! The router is made from THE table of endpoints, so none can be forgotten.

mod asked;
mod candidate;
mod change;
mod gate;
mod read;
mod refusal;
mod seam;
mod seats;
mod serve;
mod stream;
mod traffic;
mod write;

pub use seam::{Desk, Readiness};

pub(crate) use asked::RawBody;
pub(crate) use gate::{Actor, Gate};
pub(crate) use serve::serve;

use crate::dashboard;
use crate::profile;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use evenkeel_api::{ENDPOINTS, Endpoint, Method};
use refusal::Refusal;
use std::sync::Arc;

/// The paths and their answers.
pub(crate) fn router(desk: Desk, gate: Gate) -> Router {
    let mut router = Router::new().route("/openapi.json", get(read::openapi));
    for endpoint in ENDPOINTS {
        if let Some(answers) = answers(endpoint) {
            router = router.route(endpoint.path, answers);
        }
    }
    if desk.pprof.is_some() {
        router = router.merge(profile::routes());
    }
    router
        .merge(dashboard::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::new(gate), gate::pass))
        .with_state(desk)
}

/// The paths of the listener for profiles, behind the same gate.
pub(crate) fn profiles(gate: Gate) -> Router {
    profile::routes()
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::new(gate), gate::pass))
}

/// Who answers what the table names; a test holds that nobody is missing.
fn answers(endpoint: &Endpoint) -> Option<MethodRouter<Desk>> {
    let method = match endpoint.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    };
    Some(match endpoint.operation {
        "patch_pool" => on(method, write::patch_pool),
        "add_backend" => on(method, write::add_backend),
        "patch_backend" => on(method, write::patch_backend),
        "remove_backend" => on(method, write::remove_backend),
        "check_config" => on(method, candidate::check_config),
        "rollback" => on(method, write::rollback),
        "reload" => on(method, write::reload),
        "preview_reload" => on(method, candidate::preview_reload),
        "status" => on(method, read::status),
        "pools" => on(method, read::pools),
        "pool" => on(method, read::pool),
        "backends" => on(method, read::backends),
        "routes" => on(method, read::routes),
        "listeners" => on(method, read::listeners),
        "config" => on(method, read::config),
        "requests" => on(method, read::requests),
        "events" => on(method, stream::events),
        "explain" => on(method, read::explain),
        "history" => on(method, read::history),
        "revisions" => on(method, read::revisions),
        "differences" => on(method, read::differences),
        "migrations" => on(method, traffic::migrations),
        "start_migration" => on(method, traffic::start_migration),
        "migration" => on(method, traffic::migration),
        "pause_migration" => on(method, traffic::pause_migration),
        "resume_migration" => on(method, traffic::resume_migration),
        "approve_migration" => on(method, traffic::approve_migration),
        "abort_migration" => on(method, traffic::abort_migration),
        "autoscalers" => on(method, traffic::autoscalers),
        "pause_autoscaler" => on(method, traffic::pause_autoscaler),
        "resume_autoscaler" => on(method, traffic::resume_autoscaler),
        "report" => on(method, read::report),
        "health" => on(method, read::health),
        "livez" => on(method, read::livez),
        "readyz" => on(method, read::readyz),
        "metrics" => on(method, read::metrics),
        "prometheus" => on(method, read::prometheus),
        _ => return None,
    })
}

/// Of a path that nobody serves.
pub(crate) async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "Nothing is served at this path.")
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "`Allow` names the methods of this path.")
}
