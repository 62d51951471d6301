//! What every change of what is configured has in common: who wants it, of what, as of which state.

use super::Actor;
use super::asked::Segments;
use super::refusal::{Answer, Refusal};
use super::seam::Desk;
use crate::steering::{Applied, Author, Edit, EditError, Rejected, Steering, is_seen};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use evenkeel_api::{self as api, FieldError};
use evenkeel_config::{Diagnostic, Diagnostics};
use serde::Serialize;
use std::sync::Arc;

/// A change that somebody asks for.
pub(super) struct Change {
    desk: Desk,
    steering: Arc<Steering>,
    by: Author,
    at: Segments,
    if_match: Option<String>,
}

impl FromRequestParts<Desk> for Change {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Change, Refusal> {
        let at = Segments::from_request_parts(parts, desk).await?;
        let by = parts.extensions.get::<Actor>().map_or("", |actor| &actor.name);
        let by = Author { name: by.to_owned(), reason: "over the admin listener".to_owned() };
        let if_match = if_match(&parts.headers);
        let steering = Arc::clone(desk.steering()?);
        Ok(Change { desk: desk.clone(), steering, by, at, if_match })
    }
}

impl Desk {
    pub(super) fn steering(&self) -> Result<&Arc<Steering>, Refusal> {
        let fixed = || Refusal::new(StatusCode::CONFLICT, "Nothing can be changed here.");
        self.steering.as_ref().ok_or_else(fixed)
    }
}

impl Change {
    /// The name of the pool in the path. Refuses if it is not there, or is not what was seen.
    pub(super) fn pool(&self) -> Result<&str, Refusal> {
        let pool = self.at.get(0);
        let in_force = self.steering.configuration();
        let etag = in_force.etag_of_pool(pool);
        let etag = etag.ok_or_else(|| Refusal::not_found("pool", pool))?;
        self.expect(&[&etag, in_force.etag()])?;
        Ok(pool)
    }

    /// The names of pool and backend in the path; both are there, and the pool is what was seen.
    pub(super) fn backend(&self) -> Result<(&str, &str), Refusal> {
        let (pool, name) = (self.pool()?, self.at.get(1));
        self.show_backend(StatusCode::OK, name)?;
        Ok((pool, name))
    }

    /// The number of the revision in the path; it is there, and everything is as it was seen.
    pub(super) fn revision(&self) -> Result<u64, Refusal> {
        let number = self.at.get(0);
        if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) || number == "0" {
            let detail = format!("A revision is a whole number from 1, not {number:?}.");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, detail));
        }
        let revisions = self.steering.revisions();
        let known = number.parse().ok().filter(|id| revisions.iter().any(|it| it.id == *id));
        let revision = known.ok_or_else(|| Refusal::not_found("revision", number))?;
        self.expect(&[self.steering.configuration().etag()])?;
        Ok(revision)
    }

    fn expect(&self, etags: &[&str]) -> Result<(), Refusal> {
        if is_seen(self.if_match.as_deref(), etags) {
            return Ok(());
        }
        let current = etags.first().copied().unwrap_or_default().to_owned();
        Err(EditError::Stale { current }.into())
    }

    /// Makes the edits, if there are any.
    pub(super) fn make(&self, edits: &[Edit]) -> Result<(), EditError> {
        if edits.is_empty() {
            return Ok(());
        }
        self.steering.edit(edits, &self.by, self.if_match.as_deref()).map(drop)
    }

    /// Goes back to a revision.
    pub(super) fn go_back(&self, revision: u64) -> Result<api::Revision, EditError> {
        let by = Author::named(&self.by.name);
        self.steering.rollback(revision, &by, self.if_match.as_deref())
    }

    /// Reads the file again.
    pub(super) fn reload(&self) -> Result<Applied, Rejected> {
        self.steering.reload(&self.by, self.if_match.as_deref())
    }

    /// The pool as it is now.
    pub(super) fn show_pool(&self) -> Answer {
        let name = self.at.get(0);
        let pool = self.desk.draw(|portrait| portrait.pool(name))?;
        Ok(self.tagged(StatusCode::OK, pool.ok_or_else(|| Refusal::not_found("pool", name))?))
    }

    /// A backend of the pool as it is now.
    pub(super) fn show_backend(&self, status: StatusCode, name: &str) -> Answer {
        let pool = self.at.get(0);
        let backends = self.desk.draw(|portrait| portrait.backends(pool))?;
        let backends = backends.ok_or_else(|| Refusal::not_found("pool", pool))?;
        let backend = backends.into_iter().find(|backend| backend.name == name);
        let backend = backend.ok_or_else(|| Refusal::not_found("backend", name))?;
        Ok(self.tagged(status, backend))
    }

    /// With the ETag of the pool.
    fn tagged(&self, status: StatusCode, shown: impl Serialize) -> Response {
        let etag = self.desk.etag_of_pool(self.at.get(0)).unwrap_or_default();
        (status, [(ETAG, etag)], Json(shown)).into_response()
    }
}

/// What a client says that it has seen; a line that is no text is nothing that anybody has seen.
fn if_match(fields: &HeaderMap) -> Option<String> {
    let lines =
        fields.get_all(IF_MATCH).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.map(String::from).reduce(|all, line| format!("{all}, {line}"))
}

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Refusal {
        match error {
            EditError::NotFound(why) => Refusal::new(StatusCode::NOT_FOUND, sentence(&why)),
            EditError::Exists(why) => Refusal::new(StatusCode::CONFLICT, sentence(&why)),
            EditError::Refused(why) => Refusal::new(StatusCode::CONFLICT, sentence(&why)),
            EditError::Stale { current } => stale(&current),
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
            Rejected::Stale { current } => stale(&current),
        }
    }
}

fn stale(current: &str) -> Refusal {
    let detail = format!("It has changed since; its ETag is \"{current}\" now.");
    Refusal::new(StatusCode::PRECONDITION_FAILED, detail)
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn every_line_of_if_match_counts_and_none_is_passed_over() {
        let told = |lines: &[&[u8]]| {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(IF_MATCH, HeaderValue::from_bytes(line).unwrap());
            }
            if_match(&fields)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[b"\"a\""]).as_deref(), Some("\"a\""));
        assert!(is_seen(told(&[b"\"x\"", b"\"a\""]).as_deref(), &["a"]));
        assert!(!is_seen(told(&[b"\x80"]).as_deref(), &["a"]));
    }
}
