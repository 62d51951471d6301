//! Configurations that are not in force: checked, or looked at as what a reload would bring.

use super::asked::{Fields, RawBody};
use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use evenkeel_api as api;
use evenkeel_config::{Conflict, Diagnostic, Format, Overrides, Source};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What a candidate is called in messages.
const CANDIDATE: &str = "candidate";
/// Who reads a candidate; the others wait. Whoever may look may ask, and one is 8 MiB at most.
static READING: Semaphore = Semaphore::const_new(1);

/// Which edits do not fit the file any more, and why.
pub(super) fn troubles(conflicts: Vec<Conflict>) -> Vec<String> {
    conflicts.iter().filter(|it| it.kind.is_trouble()).map(ToString::to_string).collect()
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
        conflicts: troubles(preview.conflicts),
        warnings,
    };
    Ok(Json(plan).into_response())
}

pub(super) async fn check_config(body: RawBody) -> Answer {
    let source = candidate(&body)?;
    match errors_of(source).await?.as_slice() {
        [] => {
            let valid = api::CheckResult { valid: true, errors: Vec::new() };
            Ok(Json(valid).into_response())
        }
        errors => Ok(failed_check(api::CheckResult { valid: false, errors: errors.to_vec() })),
    }
}

/// What is wrong with a candidate. A large one takes a while: probes and pages go on meanwhile.
async fn errors_of(source: Source) -> Result<Vec<api::ConfigError>, Refusal> {
    // Nobody closes the semaphore. The turn ends with the reading, also if nobody waits for it.
    let turn = READING.acquire().await.ok();
    let read = spawn_blocking(move || {
        let checked = evenkeel_config::read(Some(&source), &Overrides::default());
        drop(turn);
        checked.err().map_or_else(Vec::new, |found| found.0.iter().map(config_error).collect())
    });
    read.await.map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("It could not be read: {error}."))
    })
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
}
