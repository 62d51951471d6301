//! Answers that change something: each by the one road, each as a revision with its author.

use super::Actor;
use super::asked::{Fields, Parameters, RawBody, Segments};
use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use crate::steering::{Author, Edit, EditError, NewBackend, Rejected, Steering};
use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use evenkeel_api as api;
use evenkeel_api::FieldError;
use evenkeel_config::{Diagnostic, Diagnostics, Format, Overrides, Source, parse_duration};
use evenkeel_core::address::BackendAddress;
use evenkeel_core::plan::AdminState;
use std::sync::Arc;
use std::time::Duration;

/// The largest weight.
const MAX_WEIGHT: u64 = 65_535;
/// What a candidate is called in messages.
const CANDIDATE: &str = "candidate";
const STATES: &str = "enabled, draining or disabled";

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Refusal {
        match error {
            EditError::NotFound(why) => Refusal::new(StatusCode::NOT_FOUND, sentence(&why)),
            EditError::Exists(why) => Refusal::new(StatusCode::CONFLICT, sentence(&why)),
            EditError::Refused(why) => Refusal::new(StatusCode::CONFLICT, sentence(&why)),
            EditError::Stale { current } => {
                let detail = format!("It has changed since; its ETag is \"{current}\" now.");
                Refusal::new(StatusCode::PRECONDITION_FAILED, detail)
            }
            EditError::Invalid(found) => invalid(&found),
        }
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Refusal {
        match rejected {
            Rejected::Invalid(found) => invalid(&found),
            Rejected::Unreadable(why) => {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, sentence(&why))
            }
            Rejected::Refused(why) => Refusal::new(StatusCode::CONFLICT, sentence(&why)),
        }
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// Mistakes by the last part of their key, which is the field of a body.
fn invalid(found: &Diagnostics) -> Refusal {
    let error = |it: &Diagnostic| {
        let field = it.path.rsplit('.').next().unwrap_or(&it.path);
        // An address alone stands for the whole backend.
        let field = if field.starts_with("backends[") { "address" } else { field };
        let place = if it.line > 0 && !it.file.is_empty() {
            format!("{}:{}:{}: ", it.file, it.line, it.column)
        } else {
            String::new()
        };
        let hint = it.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        FieldError { field: field.to_owned(), message: format!("{place}{}{hint}", it.message) }
    };
    Refusal::invalid(found.0.iter().map(error).collect())
}

impl Actor {
    fn author(&self) -> Author {
        Author { name: self.name.to_string(), reason: "over the admin listener".to_owned() }
    }
}

fn if_match(fields: &HeaderMap) -> Option<&str> {
    fields.get(IF_MATCH)?.to_str().ok()
}

/// Whether an ETag, without its quotes, is what the client has seen.
fn is_seen(if_match: Option<&str>, etags: &[&str]) -> bool {
    let Some(wanted) = if_match else { return true };
    wanted.split(',').any(|wanted| {
        let wanted = wanted.trim().trim_start_matches("W/").trim_matches('"');
        wanted == "*" || etags.contains(&wanted)
    })
}

impl Desk {
    pub(super) fn steering(&self) -> Result<&Arc<Steering>, Refusal> {
        let fixed = || Refusal::new(StatusCode::CONFLICT, "Nothing can be changed here.");
        self.steering.as_ref().ok_or_else(fixed)
    }

    /// Refuses if the pool is not there, or not what the client has seen.
    fn look_at(&self, pool: &str, if_match: Option<&str>) -> Result<(), Refusal> {
        let in_force = self.steering()?.configuration();
        let etag = in_force.etag_of_pool(pool);
        let etag = etag.ok_or_else(|| Refusal::not_found("pool", pool))?;
        if is_seen(if_match, &[&etag, in_force.etag()]) {
            return Ok(());
        }
        Err(EditError::Stale { current: etag }.into())
    }

    /// The backend as it is now, with the ETag of its pool.
    fn show(&self, status: StatusCode, pool: &str, name: &str) -> Answer {
        let backends = self.draw(|portrait| portrait.backends(pool))?;
        let backends = backends.ok_or_else(|| Refusal::not_found("pool", pool))?;
        let backend = backends.into_iter().find(|backend| backend.name == name);
        let backend = backend.ok_or_else(|| Refusal::not_found("backend", name))?;
        let etag = self.etag_of_pool(pool).unwrap_or_default();
        Ok((status, [(ETAG, etag)], Json(backend)).into_response())
    }
}

fn admin_state(state: api::AdminState) -> AdminState {
    match state {
        api::AdminState::Enabled => AdminState::Enabled,
        api::AdminState::Draining => AdminState::Draining,
        api::AdminState::Disabled => AdminState::Disabled,
    }
}

pub(super) async fn patch_pool(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    asked: HeaderMap,
    mut fields: Fields,
) -> Answer {
    let pool = at.get(0).to_owned();
    desk.look_at(&pool, if_match(&asked))?;
    let strategy = fields.need::<String>("strategy", "a strategy, such as round_robin");
    fields.end()?;
    let edit = Edit::Strategy { pool: pool.clone(), strategy: strategy.unwrap_or_default() };
    desk.steering()?.edit(&[edit], &actor.author(), if_match(&asked))?;
    let shown = desk.draw(|portrait| portrait.pool(&pool))?;
    let shown = shown.ok_or_else(|| Refusal::not_found("pool", &pool))?;
    Ok(([(ETAG, desk.etag_of_pool(&pool).unwrap_or_default())], Json(shown)).into_response())
}

pub(super) async fn patch_backend(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    asked: HeaderMap,
    mut fields: Fields,
) -> Answer {
    let (pool, name) = (at.get(0), at.get(1));
    desk.look_at(pool, if_match(&asked))?;
    desk.show(StatusCode::OK, pool, name)?;
    let weight = fields.count("weight", MAX_WEIGHT);
    let admin = fields.take::<api::AdminState>("admin", STATES);
    fields.end()?;
    let of = || (pool.to_owned(), name.to_owned());
    let weight = weight.map(|weight| {
        let (pool, backend) = of();
        Edit::Weight { pool, backend, weight }
    });
    let admin = admin.map(|admin| {
        let (pool, backend) = of();
        Edit::Admin { pool, backend, admin: admin_state(admin) }
    });
    let edits: Vec<Edit> = weight.into_iter().chain(admin).collect();
    if !edits.is_empty() {
        desk.steering()?.edit(&edits, &actor.author(), if_match(&asked))?;
    }
    desk.show(StatusCode::OK, pool, name)
}

pub(super) async fn add_backend(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    asked: HeaderMap,
    mut fields: Fields,
) -> Answer {
    let pool = at.get(0);
    desk.look_at(pool, if_match(&asked))?;
    let name = fields.take::<String>("name", "a name that is unique in the pool");
    let address = fields.need::<String>("address", "an address, such as 127.0.0.1:8081");
    let weight = fields.count("weight", MAX_WEIGHT);
    let admin = fields.take::<api::AdminState>("admin", STATES);
    let parsed = address.as_deref().map(BackendAddress::parse).transpose();
    let parsed = parsed.unwrap_or_else(|why| {
        fields.refuse("address", why);
        None
    });
    fields.end()?;
    let own_name = parsed.map(|address| address.default_name()).unwrap_or_default();
    let name = name.map(|name| name.trim().to_owned());
    let shown = name.clone().unwrap_or(own_name);
    let admin = admin.map(admin_state);
    let backend = NewBackend { name, address: address.unwrap_or_default(), weight, admin };
    let edit = Edit::AddBackend { pool: pool.to_owned(), backend };
    desk.steering()?.edit(&[edit], &actor.author(), if_match(&asked))?;
    desk.show(StatusCode::CREATED, pool, &shown)
}

pub(super) async fn remove_backend(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    asked: HeaderMap,
    query: Parameters,
) -> Answer {
    let (pool, name) = (at.get(0), at.get(1));
    desk.look_at(pool, if_match(&asked))?;
    desk.show(StatusCode::OK, pool, name)?;
    let time = |text: &str| parse_duration(text).ok();
    let drain = query.one_of("drain", time, "a duration, such as 30s")?.unwrap_or(Duration::ZERO);
    let edit = Edit::RemoveBackend { pool: pool.to_owned(), backend: name.to_owned(), drain };
    match desk.steering()?.edit(&[edit], &actor.author(), if_match(&asked)) {
        Ok(_) if drain.is_zero() => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(_) => Ok(StatusCode::ACCEPTED.into_response()),
        // What does not hold without it is the rest: not the fault of a field.
        Err(EditError::Invalid(found)) => {
            let why = found.0.first().map_or_else(String::new, |it| it.message.clone());
            let detail = format!("Without it the configuration does not hold: {why}.");
            Err(Refusal::new(StatusCode::CONFLICT, detail))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn rollback(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    asked: HeaderMap,
) -> Answer {
    let number = at.get(0);
    let broken = |_| {
        let detail = format!("A revision is a whole number, not {number:?}.");
        Refusal::new(StatusCode::BAD_REQUEST, detail)
    };
    let revision = number.parse::<u64>().map_err(broken)?;
    let steering = desk.steering()?;
    let in_force = steering.configuration();
    if !is_seen(if_match(&asked), &[in_force.etag()]) {
        return Err(EditError::Stale { current: in_force.etag().to_owned() }.into());
    }
    let author = Author::named(&actor.name);
    Ok(Json(steering.rollback(revision, &author)?).into_response())
}

pub(super) async fn reload(State(desk): State<Desk>, Extension(actor): Extension<Actor>) -> Answer {
    let applied = desk.steering()?.reload(&actor.author())?;
    let result =
        if applied.changed { api::ReloadResult::Applied } else { api::ReloadResult::Unchanged };
    let (generation, changes) = (applied.generation, applied.changes);
    let conflicts = applied.conflicts.into_iter().map(|it| it.message).collect();
    let report = api::ReloadReport { result, generation, changes, notes: applied.notes, conflicts };
    Ok(Json(report).into_response())
}

/// What a reload would do; with a body, of that instead of the file.
pub(super) async fn preview_reload(State(desk): State<Desk>, body: RawBody) -> Answer {
    let candidate = if body.bytes.is_empty() { None } else { Some(candidate(&body)?) };
    let preview = desk.steering()?.preview(candidate)?;
    let touched = preview.touched;
    let warnings = preview.warnings.iter().map(config_error).collect();
    let plan = api::ReloadPlan {
        changes: preview.changes.iter().map(ToString::to_string).collect(),
        listeners: touched.listeners,
        connections: touched.connections as u64,
        backends: touched.backends,
        requests: touched.requests,
        tunnels: touched.tunnels,
        sessions: touched.sessions,
        notes: preview.notes,
        conflicts: preview.conflicts.into_iter().map(|it| it.message).collect(),
        warnings,
    };
    Ok(Json(plan).into_response())
}

pub(super) async fn check_config(body: RawBody) -> Answer {
    let source = candidate(&body)?;
    let checked = evenkeel_config::read(Some(&source), &Overrides::default());
    match checked.and_then(|configuration| configuration.plan().map(drop)) {
        Ok(()) => {
            let valid = api::CheckResult { valid: true, errors: Vec::new() };
            Ok(Json(valid).into_response())
        }
        Err(found) => {
            let errors = found.0.iter().map(config_error).collect();
            Ok(failed_check(api::CheckResult { valid: false, errors }))
        }
    }
}

/// A result that is a problem as well.
fn failed_check(result: api::CheckResult) -> axum::response::Response {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": "The configuration does not hold.",
        "valid": result.valid,
        "errors": result.errors,
    });
    let kind = [(axum::http::header::CONTENT_TYPE, api::Problem::MEDIA_TYPE)];
    (status, kind, document.to_string()).into_response()
}

fn config_error(it: &Diagnostic) -> api::ConfigError {
    api::ConfigError {
        file: it.file.clone(),
        line: u32::try_from(it.line).unwrap_or(u32::MAX),
        column: u32::try_from(it.column).unwrap_or(u32::MAX),
        path: it.path.clone(),
        message: it.message.clone(),
        hint: it.hint.clone(),
    }
}

/// The text of a configuration: the body itself, or `config` of a JSON object.
fn candidate(body: &RawBody) -> Result<Source, Refusal> {
    let source = |text: String, format| Source { name: CANDIDATE.to_owned(), text, format };
    let text = || {
        let not_text = |_| Refusal::new(StatusCode::BAD_REQUEST, "The body is not UTF-8.");
        String::from_utf8(body.bytes.to_vec()).map_err(not_text)
    };
    match body.media_type.as_deref() {
        Some("application/yaml" | "application/x-yaml" | "text/yaml") => {
            Ok(source(text()?, Format::Yaml))
        }
        Some("application/toml" | "text/toml") => Ok(source(text()?, Format::Toml)),
        None | Some("application/json") => {
            let mut fields = Fields::of(body.members()?);
            let config = fields.need::<String>("config", "the text of a configuration");
            fields.end()?;
            let text = config.unwrap_or_default();
            let format = guess(&text);
            Ok(source(text, format))
        }
        Some(kind) => {
            let detail = format!("The body is {kind:?}; YAML, TOML or JSON is expected.");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// TOML has `key = value` or `[table]` on its first line that says something; YAML has not.
fn guess(text: &str) -> Format {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let key = first.split(['=', ':', '"', '{']).next().unwrap_or_default();
    let is_pair = first.get(key.len()..).is_some_and(|rest| rest.starts_with('='));
    let is_table = first.starts_with('[') && first.ends_with(']') && !first.contains(',');
    if is_pair || is_table { Format::Toml } else { Format::Yaml }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_their_form() {
        let cases = [
            ("listen: \":80\"\n", Format::Yaml),
            ("# x = 1\n\nversion: 1", Format::Yaml),
            ("{\"listen\": \":80\", \"a\": \"b=c\"}", Format::Yaml),
            ("a: b=c", Format::Yaml),
            ("", Format::Yaml),
            ("listen = \":80\"", Format::Toml),
            ("# x\n[[pools]]\nname = \"x\"", Format::Toml),
        ];
        for (text, wanted) in cases {
            assert_eq!(guess(text), wanted, "{text}");
        }
    }

    #[test]
    fn tags_are_compared_without_their_quotes() {
        for (field, wanted) in [
            (None, true),
            (Some("\"a\""), true),
            (Some("W/\"a\""), true),
            (Some("\"x\", \"b\""), true),
            (Some("*"), true),
            (Some("\"x\""), false),
            (Some(""), false),
        ] {
            assert_eq!(is_seen(field, &["a", "b"]), wanted, "{field:?}");
        }
    }
}
