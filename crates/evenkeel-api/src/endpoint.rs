//! THE table of what the admin listener serves. The OpenAPI document and the client are made from
//! it, and a test of the server holds its routes against it.

mod body;
mod shape;
pub(crate) mod traffic;

pub(crate) use shape::{Answer, Content, Parameter, SchemaOf, Values};
pub use shape::{Endpoint, Method};

use crate::change::*;
use crate::event::Event;
use crate::explain::{ExplainRequest, Explanation};
use crate::history::History;
use crate::pool::{Backend, BackendList, BackendPatch, NewBackend, Pool, PoolList, PoolPatch};
use crate::problem::{Problem, Role};
use crate::request::RequestList;
use crate::route::{ListenerList, RouteList};
use crate::status::{HealthDocument, Report, Status};
use shape::{answer, json, schema_of, tagged};

/// A read for everybody who has a token.
const READ: Endpoint = Endpoint {
    method: Method::Get,
    path: "",
    summary: "",
    role: Some(Role::Viewer),
    operation: "",
    query: &[],
    conditional: false,
    body: &[],
    body_required: true,
    answers: &[],
    problems: &[],
};
/// A question that needs a body.
const ASK: Endpoint = Endpoint { method: Method::Post, ..READ };
/// A change of what is configured.
const CHANGE: Endpoint = Endpoint { role: Some(Role::Operator), conditional: true, ..READ };

const PROMETHEUS: Content = Content::Text("text/plain; version=0.0.4");
const OPEN_METRICS: Content = Content::Text("application/openmetrics-text; version=1.0.0");
const PLAIN: Content = Content::Text("text/plain");
const HTML: Content = Content::Text("text/html");
const YAML: Content = Content::As("application/yaml", body::short_configuration);
const TOML: Content = Content::Text("application/toml");
const CHECKED: Content = Content::Problem(schema_of::<CheckResult>);
/// A body that is no question at all.
const NOT_CHECKED: Content = Content::Problem(schema_of::<Problem>);
const ARCHIVE: Content = Content::Json(body::http_archive);
/// JSON of another product's shape.
const FOREIGN: Content = Content::Json(body::any_object);
const POOL_NOW: &[Answer] = &[tagged(200, "The pool as it is now.", &[json::<Pool>()])];
const BACKEND_NOW: &[Answer] = &[tagged(200, "The backend as it is now.", &[json::<Backend>()])];

pub(crate) const STATUS: Endpoint = Endpoint {
    path: "/api/v1/status",
    operation: "status",
    summary: "What the process does now.",
    answers: &[answer(200, "As of now.", &[json::<Status>()])],
    ..READ
};
pub(crate) const POOLS: Endpoint = Endpoint {
    path: "/api/v1/pools",
    operation: "pools",
    summary: "All pools with their backends.",
    answers: &[answer(200, "As of now.", &[json::<PoolList>()])],
    ..READ
};
pub(crate) const POOL: Endpoint = Endpoint {
    path: "/api/v1/pools/{pool}",
    operation: "pool",
    summary: "One pool. Its ETag stands for what is configured, not for counters.",
    answers: POOL_NOW,
    ..READ
};
pub(crate) const PATCH_POOL: Endpoint = Endpoint {
    method: Method::Patch,
    path: "/api/v1/pools/{pool}",
    operation: "patch_pool",
    summary: "Changes the strategy of a pool.",
    body: &[json::<PoolPatch>()],
    answers: POOL_NOW,
    ..CHANGE
};
pub(crate) const BACKENDS: Endpoint = Endpoint {
    path: "/api/v1/pools/{pool}/backends",
    operation: "backends",
    summary: "The backends of a pool.",
    answers: &[answer(200, "As of now.", &[json::<BackendList>()])],
    ..READ
};
pub(crate) const ADD_BACKEND: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/pools/{pool}/backends",
    operation: "add_backend",
    summary: "Adds a backend to a pool.",
    body: &[json::<NewBackend>()],
    answers: &[tagged(201, "The backend as it is now.", &[json::<Backend>()])],
    problems: &[409],
    ..CHANGE
};
pub(crate) const PATCH_BACKEND: Endpoint = Endpoint {
    method: Method::Patch,
    path: "/api/v1/pools/{pool}/backends/{name}",
    operation: "patch_backend",
    summary: "Changes weight or admin state of a backend.",
    body: &[json::<BackendPatch>()],
    answers: BACKEND_NOW,
    ..CHANGE
};
pub(crate) const REMOVE_BACKEND: Endpoint = Endpoint {
    method: Method::Delete,
    path: "/api/v1/pools/{pool}/backends/{name}",
    operation: "remove_backend",
    summary: "Removes a backend, at once or after it has drained.",
    query: &[DRAIN],
    answers: &[
        answer(202, "It takes no new traffic, and is removed when it has drained.", &[]),
        answer(204, "It is removed.", &[]),
    ],
    problems: &[409],
    ..CHANGE
};
pub(crate) const ROUTES: Endpoint = Endpoint {
    path: "/api/v1/routes",
    operation: "routes",
    summary: "All routes; the first match wins.",
    answers: &[answer(200, "As of now.", &[json::<RouteList>()])],
    ..READ
};
pub(crate) const LISTENERS: Endpoint = Endpoint {
    path: "/api/v1/listeners",
    operation: "listeners",
    summary: "Where clients come in.",
    answers: &[answer(200, "As of now.", &[json::<ListenerList>()])],
    ..READ
};
pub(crate) const CONFIG: Endpoint = Endpoint {
    path: "/api/v1/config",
    operation: "config",
    summary: "The configuration in force, defaults included, secrets redacted.",
    answers: &[tagged(200, "As of now.", &[json::<ConfigDocument>()])],
    ..READ
};
pub(crate) const CHECK_CONFIG: Endpoint = Endpoint {
    path: "/api/v1/config/check",
    operation: "check_config",
    summary: "Says whether a configuration could serve; changes nothing.",
    body: &[YAML, TOML, json::<CheckRequest>()],
    answers: &[
        answer(200, "It could.", &[json::<CheckResult>()]),
        answer(422, "It could not: every error with its place.", &[CHECKED, NOT_CHECKED]),
    ],
    ..ASK
};
pub(crate) const EXPLAIN: Endpoint = Endpoint {
    path: "/api/v1/explain",
    operation: "explain",
    summary: "Which way a request would go now, and why.",
    body: &[json::<ExplainRequest>()],
    answers: &[answer(200, "As of now.", &[json::<Explanation>()])],
    ..ASK
};
pub(crate) const REQUESTS: Endpoint = Endpoint {
    path: "/api/v1/requests",
    operation: "requests",
    summary: "Recent exchanges that failed or were slow.",
    query: &[REQUESTS_FORMAT],
    answers: &[answer(
        200,
        "The newest first; with `format=har` an HTTP Archive.",
        &[json::<RequestList>(), ARCHIVE],
    )],
    ..READ
};
pub(crate) const EVENTS: Endpoint = Endpoint {
    path: "/api/v1/events",
    operation: "events",
    summary: "What happens from now on, as server-sent events; comments keep it alive.",
    answers: &[answer(200, "Each event's data is JSON.", &[Content::Events(schema_of::<Event>)])],
    ..READ
};
/// How traffic went.
pub(crate) const HISTORY: Endpoint = Endpoint {
    path: "/api/v1/history",
    operation: "history",
    summary: "How traffic went over the last quarter of an hour.",
    query: &[HISTORY_ROUTE, HISTORY_POOL, HISTORY_BACKEND],
    answers: &[answer(200, "The oldest step first.", &[json::<History>()])],
    problems: &[404],
    ..READ
};
pub(crate) const REVISIONS: Endpoint = Endpoint {
    path: "/api/v1/revisions",
    operation: "revisions",
    summary: "How the configuration came to be.",
    answers: &[answer(200, "The newest last.", &[json::<RevisionList>()])],
    ..READ
};
pub(crate) const ROLLBACK: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/revisions/{n}/rollback",
    operation: "rollback",
    summary: "Restores the state as of a revision, as a new revision.",
    role: Some(Role::Admin),
    answers: &[answer(200, "The new revision.", &[json::<Revision>()])],
    problems: &[409],
    ..CHANGE
};
pub(crate) const RELOAD: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/reload",
    operation: "reload",
    summary: "Reads the configuration file again.",
    answers: &[answer(200, "What that did.", &[json::<ReloadReport>()])],
    problems: &[409, 422],
    ..CHANGE
};
pub(crate) const PREVIEW_RELOAD: Endpoint = Endpoint {
    path: "/api/v1/reload/plan",
    operation: "preview_reload",
    summary: "Says what a reload would change and touch; with a body, of that instead of the file.",
    body: &[YAML, TOML, json::<CheckRequest>()],
    body_required: false,
    answers: &[answer(200, "As of now.", &[json::<ReloadPlan>()])],
    problems: &[409],
    ..ASK
};
pub(crate) const REPORT: Endpoint = Endpoint {
    path: "/api/v1/loadBalancers/report",
    operation: "report",
    summary: "Who serves which host.",
    answers: &[answer(200, "As of now.", &[json::<Report>()])],
    ..READ
};
pub(crate) const HEALTH: Endpoint = Endpoint {
    path: "/health",
    operation: "health",
    summary: "Every backend on one page.",
    answers: &[
        answer(200, "Somebody serves.", &[json::<HealthDocument>(), HTML]),
        answer(503, "Nobody does.", &[json::<HealthDocument>(), HTML]),
    ],
    ..READ
};
pub(crate) const LIVEZ: Endpoint = Endpoint {
    path: "/livez",
    operation: "livez",
    summary: "Whether the process lives.",
    role: None,
    answers: &[answer(200, "It does.", &[PLAIN])],
    ..READ
};
pub(crate) const READYZ: Endpoint = Endpoint {
    path: "/readyz",
    operation: "readyz",
    summary: "Whether traffic may be sent here.",
    role: None,
    answers: &[answer(200, "It may.", &[PLAIN]), answer(503, "Why not, in a word.", &[PLAIN])],
    ..READ
};
pub(crate) const METRICS: Endpoint = Endpoint {
    path: "/metrics",
    operation: "metrics",
    summary: "All counters; the format is chosen by `format` or `Accept`.",
    query: &[METRICS_FORMAT],
    answers: &[answer(200, "As of now.", &[PROMETHEUS, OPEN_METRICS, FOREIGN])],
    ..READ
};
pub(crate) const PROMETHEUS_METRICS: Endpoint = Endpoint {
    path: "/prometheus",
    operation: "prometheus",
    summary: "All counters, in the text format of Prometheus.",
    answers: &[answer(200, "As of now.", &[PROMETHEUS])],
    ..READ
};

const DRAIN: Parameter = Parameter {
    name: "drain",
    meaning: "How long what runs may take, as `30s`; left out: it is removed at once.",
    values: Values::Duration,
};
const REQUESTS_FORMAT: Parameter = Parameter {
    name: "format",
    meaning: "`har` for an HTTP Archive.",
    values: Values::OneOf(&["json", "har"]),
};
const HISTORY_ROUTE: Parameter =
    Parameter { name: "route", meaning: "Of this route only.", values: Values::Name };
const HISTORY_POOL: Parameter =
    Parameter { name: "pool", meaning: "Of this pool only.", values: Values::Name };
const HISTORY_BACKEND: Parameter = Parameter {
    name: "backend",
    meaning: "Of this backend of the pool only.",
    values: Values::Name,
};
const METRICS_FORMAT: Parameter = Parameter {
    name: "format",
    meaning: "Wins over `Accept`.",
    values: Values::OneOf(&["prometheus", "openmetrics", "json"]),
};

/// Everything that is served, the dashboard and the OpenAPI document themselves apart.
pub const ENDPOINTS: &[Endpoint] = &[
    STATUS,
    POOLS,
    POOL,
    PATCH_POOL,
    BACKENDS,
    ADD_BACKEND,
    PATCH_BACKEND,
    REMOVE_BACKEND,
    ROUTES,
    traffic::DIFFERENCES,
    LISTENERS,
    CONFIG,
    CHECK_CONFIG,
    EXPLAIN,
    REQUESTS,
    EVENTS,
    HISTORY,
    REVISIONS,
    ROLLBACK,
    RELOAD,
    PREVIEW_RELOAD,
    traffic::MIGRATIONS,
    traffic::START_MIGRATION,
    traffic::MIGRATION,
    traffic::PAUSE_MIGRATION,
    traffic::RESUME_MIGRATION,
    traffic::APPROVE_MIGRATION,
    traffic::ABORT_MIGRATION,
    traffic::AUTOSCALERS,
    traffic::PAUSE_AUTOSCALER,
    traffic::RESUME_AUTOSCALER,
    REPORT,
    HEALTH,
    LIVEZ,
    READYZ,
    METRICS,
    PROMETHEUS_METRICS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_is_complete_and_stands_once() {
        let mut rows = HashSet::new();
        let mut operations = HashSet::new();
        for it in ENDPOINTS {
            let name = it.operation;
            assert!(rows.insert((it.method, it.path)), "{name}: {} {}", it.method, it.path);
            assert!(operations.insert(name), "{name}");
            assert!(it.path.starts_with('/') && !it.path.ends_with('/'), "{name}");
            assert!(it.summary.ends_with('.') && !name.is_empty(), "{name}");
            assert!(!it.answers.is_empty(), "{name}");
            assert!(it.method != Method::Get || it.body.is_empty(), "{name}: GET has no body");
        }
    }

    #[test]
    fn what_changes_something_needs_more_than_a_viewer() {
        for it in ENDPOINTS {
            let asks = [CHECK_CONFIG.path, EXPLAIN.path, PREVIEW_RELOAD.path].contains(&it.path);
            let changes = it.method != Method::Get && !asks;
            assert_eq!(it.role >= Some(Role::Operator), changes, "{}", it.operation);
        }
    }

    #[test]
    fn segments_are_what_stands_in_braces() {
        assert_eq!(PATCH_BACKEND.segments().collect::<Vec<_>>(), ["pool", "name"]);
        assert_eq!(STATUS.segments().count(), 0);
    }
}
