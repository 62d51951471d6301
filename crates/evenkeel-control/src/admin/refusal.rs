//! A request that is not done, as its sender reads it (RFC 9457).

use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use evenkeel_api::{FieldError, Problem};

/// Why a request is not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The end of a request.
pub(crate) type Answer = Result<Response, Refusal>;

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Refusal {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: Some(detail.into()),
            errors: Vec::new(),
        };
        Refusal { problem: Box::new(problem), field: None }
    }

    /// There is no such thing.
    pub(crate) fn not_found(kind: &str, name: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, format!("There is no {kind} named {name:?}."))
    }

    /// A value cannot be.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Refusal {
        let mut refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "A value cannot be.");
        if let [FieldError { field, message }] = errors.as_slice() {
            // What is wrong with the whole is of no field.
            let of_field = if field.is_empty() { String::new() } else { format!("`{field}`: ") };
            refusal.problem.detail = Some(format!("{of_field}{message}"));
        }
        refusal.problem.errors = errors;
        refusal
    }

    /// The same, with one field at fault.
    pub(crate) fn at(mut self, field: &str, message: impl Into<String>) -> Refusal {
        self.problem.errors.push(FieldError { field: field.to_owned(), message: message.into() });
        self
    }

    /// No token, or one that is not known.
    pub(crate) fn unauthorized(detail: &str) -> Refusal {
        let challenge = HeaderValue::from_static("Bearer realm=\"evenkeel\"");
        Refusal {
            field: Some(Box::new((WWW_AUTHENTICATE, challenge))),
            ..Refusal::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// Come again in so many seconds.
    pub(crate) fn too_many(detail: &str, seconds: u32) -> Refusal {
        Refusal {
            field: Some(Box::new((RETRY_AFTER, seconds.into()))),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal { problem: Box::new(problem), field: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Strings and numbers only: it cannot fail.
        let body = serde_json::to_string(&self.problem).unwrap_or_default();
        let kind = [(CONTENT_TYPE, Problem::MEDIA_TYPE)];
        let mut response = (status, kind, body).into_response();
        if let Some((name, value)) = self.field.map(|field| *field) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
