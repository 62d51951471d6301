//! Answers that change nothing.

use super::Actor;
use super::asked::{Fields, Parameters, Segments};
use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use crate::history::Scope;
use crate::metrics::{Format, negotiate};
use crate::numbers::Numbers;
use crate::pages::{self, Page};
use crate::portrait::Portrait;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use evenkeel_api as api;
use evenkeel_api::{ExplainRequest, FieldError, RequestList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Status of `/health` while nobody serves.
const DOWN_STATUS: u16 = 503;

impl Desk {
    fn numbers(&self) -> Result<&Arc<Numbers>, Refusal> {
        let nothing = || Refusal::new(StatusCode::NOT_FOUND, "Nothing is counted here.");
        self.numbers.as_ref().ok_or_else(nothing)
    }

    /// Draws what is asked for, as it is now.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&Portrait<'_>) -> T) -> Result<T, Refusal> {
        let sources = self.steering.as_ref().map(|steering| steering.sources());
        let sources = sources.unwrap_or_default();
        Ok(self.numbers()?.render(|view| draw(&Portrait::of(view).with(sources))))
    }

    /// Stands for what is configured of a pool, not for what it counts; quotes included.
    pub(super) fn etag_of_pool(&self, name: &str) -> Option<String> {
        let etag = self.steering.as_ref()?.etag_of_pool(name)?;
        Some(format!("\"{etag}\""))
    }

    pub(crate) fn state(&self) -> api::State {
        match self.readiness.not_ready().as_deref() {
            None => api::State::Ready,
            Some("starting") => api::State::Starting,
            Some(_) => api::State::Draining,
        }
    }
}

pub(super) async fn status(State(desk): State<Desk>, Extension(actor): Extension<Actor>) -> Answer {
    let workers = desk.numbers()?.workers();
    let state = desk.state();
    let status = desk.draw(|portrait| portrait.status(state, workers))?;
    let handover = desk.readiness.handover();
    let in_force = desk.steering.as_ref().map(|steering| steering.configuration());
    let conflicts = in_force.iter().flat_map(|in_force| &in_force.conflicts);
    let conflicts = conflicts.filter(|it| it.kind.is_trouble()).map(ToString::to_string).collect();
    let rejected = desk.steering.as_ref().and_then(|steering| steering.trouble());
    let edits = in_force.as_ref().map_or(0, |in_force| in_force.edits);
    let edits = u64::try_from(edits).unwrap_or(u64::MAX);
    let role = Some(actor.role);
    let status = api::Status { role, handover, conflicts, edits, rejected, ..status };
    Ok(Json(status).into_response())
}

pub(super) async fn pools(State(desk): State<Desk>) -> Answer {
    let pools = desk.draw(|portrait| portrait.pools())?;
    Ok(Json(api::PoolList { pools }).into_response())
}

pub(super) async fn pool(State(desk): State<Desk>, at: Segments) -> Answer {
    let name = at.get(0);
    let pool = desk.draw(|portrait| portrait.pool(name))?;
    let pool = pool.ok_or_else(|| Refusal::not_found("pool", name))?;
    let etag = desk.etag_of_pool(name).unwrap_or_default();
    Ok(([(ETAG, etag)], Json(pool)).into_response())
}

pub(super) async fn backends(State(desk): State<Desk>, at: Segments) -> Answer {
    let name = at.get(0);
    let backends = desk.draw(|portrait| portrait.backends(name))?;
    let backends = backends.ok_or_else(|| Refusal::not_found("pool", name))?;
    Ok(Json(api::BackendList { backends }).into_response())
}

pub(super) async fn routes(State(desk): State<Desk>) -> Answer {
    let routes = desk.draw(|portrait| portrait.routes())?;
    Ok(Json(api::RouteList { routes }).into_response())
}

pub(super) async fn differences(State(desk): State<Desk>, at: Segments) -> Answer {
    let name = at.get(0);
    let numbers = desk.numbers()?;
    let snapshot = numbers.snapshot();
    if !snapshot.plan.routes.iter().any(|route| *route.name == *name) {
        return Err(Refusal::not_found("route", name));
    }
    Ok(Json(numbers.differences().of_route(name)).into_response())
}

pub(super) async fn listeners(State(desk): State<Desk>) -> Answer {
    let listeners = desk.draw(|portrait| portrait.listeners())?;
    Ok(Json(api::ListenerList { listeners }).into_response())
}

pub(super) async fn config(State(desk): State<Desk>) -> Answer {
    let in_force = desk.steering()?.configuration();
    let document = in_force.json().as_object().cloned().unwrap_or_default();
    let etag = format!("\"{}\"", in_force.etag());
    Ok(([(ETAG, etag)], Json(api::ConfigDocument(document))).into_response())
}

pub(super) async fn requests(State(desk): State<Desk>, asked: Parameters) -> Answer {
    let format = |text: &str| match text {
        "json" => Some(false),
        "har" => Some(true),
        _ => None,
    };
    let as_archive = asked.one_of("format", format, "json or har")?.unwrap_or(false);
    Ok(match desk.journal {
        Some(journal) if as_archive => Json(journal.archive()).into_response(),
        Some(journal) => Json(journal.requests()).into_response(),
        None if as_archive => Json(empty_archive()).into_response(),
        None => Json(RequestList { requests: Vec::new() }).into_response(),
    })
}

/// HAR 1.2 without an entry.
fn empty_archive() -> serde_json::Value {
    let creator = serde_json::json!({ "name": "evenkeel", "version": "" });
    serde_json::json!({ "log": { "version": "1.2", "creator": creator, "entries": [] } })
}

pub(super) async fn explain(State(desk): State<Desk>, mut fields: Fields) -> Answer {
    let url = fields.need::<String>("url", "a URL, such as http://api.example.com/v1/users");
    let method = fields.take::<String>("method", "a method, such as GET");
    let headers = fields.take::<BTreeMap<String, String>>("headers", "names and values");
    let client = fields.take::<String>("client", "an IP address");
    fields.end()?;
    let request = ExplainRequest {
        url: url.unwrap_or_default(),
        method,
        headers: headers.unwrap_or_default(),
        client,
    };
    let wrong = |(field, message): (&str, String)| {
        Refusal::invalid(vec![FieldError { field: field.to_owned(), message }])
    };
    let explanation = desk.numbers()?.explain(&request).map_err(wrong)?;
    Ok(Json(explanation).into_response())
}

pub(super) async fn history(State(desk): State<Desk>, asked: Parameters) -> Answer {
    let scope = Scope::named(|name| asked.get(name).map(Arc::from)).ok_or_else(|| {
        let detail = "There is no such history: one is of a `route`, a `pool`, or a `backend` of a \
            `pool`.";
        Refusal::new(StatusCode::NOT_FOUND, detail).at("backend", "needs `pool`")
    })?;
    let history = desk.numbers()?.history(&scope).ok_or_else(|| {
        let (kind, name) = scope.subject().map_or(("history", ""), |(kind, name)| (kind, name));
        Refusal::not_found(kind, name)
    })?;
    Ok(Json(history).into_response())
}

pub(super) async fn revisions(State(desk): State<Desk>) -> Response {
    let revisions = desk.steering.map_or_else(Vec::new, |steering| steering.revisions());
    Json(api::RevisionList { revisions }).into_response()
}

pub(super) async fn report(State(desk): State<Desk>) -> Answer {
    Ok(pages::report(desk.numbers()?).into_response())
}

pub(super) async fn health(State(desk): State<Desk>, fields: HeaderMap) -> Answer {
    Ok(pages::health(desk.numbers()?, accept_of(&fields), DOWN_STATUS).into_response())
}

pub(super) async fn livez() -> &'static str {
    "ok"
}

/// Ready means that traffic is welcome, and that somebody is there to take it.
pub(super) async fn readyz(State(desk): State<Desk>) -> Response {
    let is_down = |numbers: &Arc<Numbers>| numbers.is_down();
    let reason = match desk.readiness.not_ready() {
        None if desk.numbers.as_ref().is_some_and(is_down) => Some("no backend".to_owned()),
        reason => reason,
    };
    match reason {
        None => "ready".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

pub(super) async fn metrics(
    State(desk): State<Desk>,
    asked: Parameters,
    fields: HeaderMap,
) -> Answer {
    let format = asked.one_of("format", Format::parse, "prometheus, openmetrics or json")?;
    let accepted = || negotiate(None, accept_of(&fields), Format::Prometheus);
    let page = pages::metrics(desk.numbers()?, format.unwrap_or_else(accepted));
    Ok(page.into_response())
}

pub(super) async fn prometheus(State(desk): State<Desk>) -> Answer {
    Ok(pages::metrics(desk.numbers()?, Format::Prometheus).into_response())
}

pub(super) async fn openapi(State(desk): State<Desk>) -> Response {
    let write = if desk.tokens.is_some() { api::openapi_with_tokens } else { api::openapi };
    Json(write(env!("CARGO_PKG_VERSION"))).into_response()
}

fn accept_of(fields: &HeaderMap) -> Option<&str> {
    fields.get(ACCEPT)?.to_str().ok()
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let fields = [(CONTENT_TYPE, self.content_type), (VARY, "Accept")];
        let policy = self.policy.map(|policy| [(CONTENT_SECURITY_POLICY, policy)]);
        match policy {
            Some(policy) => (status, fields, policy, self.body).into_response(),
            None => (status, fields, self.body).into_response(),
        }
    }
}
