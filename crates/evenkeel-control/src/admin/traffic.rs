//! Answers about migrations and autoscalers.

use super::Actor;
use super::asked::{Fields, Parameters, RawBody, Segments};
use super::gate::Rehearsed;
use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use crate::migrations::{MigrationError, Migrations};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use evenkeel_api::{AutoscalerList, FieldError, MigrationList};
use evenkeel_config::{Format, Source};
use evenkeel_core::autoscale::Paused;
use evenkeel_core::migration::Wish;
use std::sync::Arc;

impl From<MigrationError> for Refusal {
    fn from(error: MigrationError) -> Refusal {
        match error {
            MigrationError::NotFound => Refusal::new(
                StatusCode::NOT_FOUND,
                "There is no such migration; GET /api/v1/migrations lists those there are.",
            ),
            MigrationError::Conflict(why) => Refusal::new(StatusCode::CONFLICT, why),
            MigrationError::Unknown(field, message, wrong) => {
                let detail = format!("`{field}`: {message}");
                let refusal = Refusal::new(StatusCode::NOT_FOUND, detail).at(field, message);
                wrong.0.iter().fold(refusal, |refusal, it| refusal.at(&it.path, &it.message))
            }
            MigrationError::Unfit(field, message) => {
                Refusal::invalid(vec![FieldError { field: field.to_owned(), message }])
            }
            MigrationError::Invalid(wrong) => {
                let error = |it: &evenkeel_config::Diagnostic| FieldError {
                    field: it.path.clone(),
                    message: it.message.clone(),
                };
                Refusal::invalid(wrong.0.iter().map(error).collect())
            }
        }
    }
}

impl Desk {
    fn moving(&self, id: &str) -> Result<&Arc<Migrations>, Refusal> {
        self.migrations.as_ref().ok_or_else(|| Refusal::not_found("migration", id))
    }

    async fn wish(&self, segments: &Segments, wish: Wish) -> Answer {
        let id = segments.get(0);
        let moving = self.moving(id)?;
        let done = moving.wish(id, wish)?;
        moving.kept().await;
        Ok(Json(done).into_response())
    }

    async fn set_paused(&self, segments: &Segments, paused: Paused) -> Answer {
        let pool = segments.get(0);
        let scales = self.autoscalers.as_ref().and_then(|it| it.set_paused(pool, paused));
        let autoscaler = scales.ok_or_else(|| Refusal::not_found("autoscaler", pool))?;
        if let Some(autoscalers) = &self.autoscalers {
            autoscalers.kept(pool).await;
        }
        Ok(Json(autoscaler).into_response())
    }
}

pub(super) async fn migrations(State(desk): State<Desk>) -> Response {
    let empty = MigrationList { migrations: Vec::new() };
    Json(desk.migrations.map_or(empty, |it| it.list())).into_response()
}

pub(super) async fn migration(State(desk): State<Desk>, segments: Segments) -> Answer {
    let id = segments.get(0);
    Ok(Json(desk.moving(id)?.get(id)?).into_response())
}

/// YAML, TOML or JSON, which is YAML.
pub(super) async fn start_migration(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    asked: Parameters,
    body: RawBody,
) -> Answer {
    asked.only(&["dry_run"])?;
    let format = match body.media_type.as_deref() {
        Some("application/toml") => Format::Toml,
        None | Some("application/json" | "application/yaml" | "application/x-yaml") => Format::Yaml,
        Some(kind) => {
            let detail = format!("The body is {kind:?}; YAML, TOML or JSON is expected.");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let not_text = |_| Refusal::new(StatusCode::BAD_REQUEST, "The body is not UTF-8.");
    let text = String::from_utf8(body.bytes.to_vec()).map_err(not_text)?;
    let source = Source { name: "plan".to_owned(), text, format };
    let flag = |text: &str| text.parse::<bool>().ok();
    let dry_run = asked.one_of("dry_run", flag, "true or false")?.unwrap_or(false);
    let moving = desk.moving("")?;
    if dry_run {
        let outline = moving.outline(&source).map_err(Refusal::from);
        let answer = outline.map(|outline| Json(outline).into_response());
        let mut answer = answer.unwrap_or_else(IntoResponse::into_response);
        answer.extensions_mut().insert(Rehearsed);
        return Ok(answer);
    }
    let started = moving.start(source, &actor.name)?;
    moving.kept().await;
    Ok((StatusCode::CREATED, Json(started)).into_response())
}

pub(super) async fn pause_migration(State(desk): State<Desk>, at: Segments) -> Answer {
    desk.wish(&at, Wish::Pause).await
}

pub(super) async fn resume_migration(State(desk): State<Desk>, at: Segments) -> Answer {
    desk.wish(&at, Wish::Resume).await
}

pub(super) async fn approve_migration(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
    mut fields: Fields,
) -> Answer {
    let by = fields.take::<String>("by", "a name");
    fields.end()?;
    // Nobody is called nothing.
    let by = by.map(|by| by.trim().to_owned()).filter(|by| !by.is_empty());
    desk.wish(&at, Wish::Approve(by.unwrap_or_else(|| actor.name.to_string()))).await
}

pub(super) async fn abort_migration(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    at: Segments,
) -> Answer {
    desk.wish(&at, Wish::Abort(actor.name.to_string())).await
}

pub(super) async fn autoscalers(State(desk): State<Desk>) -> Response {
    let empty = AutoscalerList { autoscalers: Vec::new() };
    Json(desk.autoscalers.map_or(empty, |it| it.list())).into_response()
}

pub(super) async fn pause_autoscaler(State(desk): State<Desk>, at: Segments) -> Answer {
    desk.set_paused(&at, Paused::Yes).await
}

pub(super) async fn resume_autoscaler(State(desk): State<Desk>, at: Segments) -> Answer {
    desk.set_paused(&at, Paused::No).await
}
