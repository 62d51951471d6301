//! What a request says: segments of its path, its query, its body.

use super::refusal::Refusal;
use crate::limits::{BODY_TIMEOUT, MAX_BODY_BYTES};
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use evenkeel_api::FieldError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashMap;
use tokio::time::timeout;

/// What stands in the place of `{…}`, decoded, in order.
pub(crate) struct Segments(Vec<String>);

impl Segments {
    /// Empty if the path has no such segment.
    pub(crate) fn get(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments, Refusal> {
        let found = RawPathParams::from_request_parts(parts, state).await;
        let undecodable = |_| Refusal::new(StatusCode::BAD_REQUEST, "The path is not UTF-8.");
        let found = found.map_err(undecodable)?;
        Ok(Segments(found.iter().map(|(_, value)| value.to_owned()).collect()))
    }
}

/// The parameters of the query; of several with one name, the last.
pub(crate) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Refuses what is not one of these: a slip in a name must not change what a write does.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let Some(name) = self.0.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let detail = format!("There is no parameter {name:?} here.");
        let expected = format!("expected {}", known.join(", "));
        Err(Refusal::new(StatusCode::BAD_REQUEST, detail).at(name, expected))
    }

    /// One of a closed set; `None` if it is not given.
    pub(crate) fn one_of<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        known: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refuse = || {
            let detail = format!("`{name}` cannot be {text:?}.");
            Refusal::new(StatusCode::BAD_REQUEST, detail).at(name, format!("expected {known}"))
        };
        parse(text).map(Some).ok_or_else(refuse)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters, Refusal> {
        let parameters = Query::try_from_uri(&parts.uri);
        let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "The query cannot be read.");
        parameters.map(|Query(all)| Parameters(all)).map_err(broken)
    }
}

/// The body as it came, and the media type it says it has: lower case, without parameters.
pub(crate) struct RawBody {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<RawBody, Refusal> {
        let too_large = || {
            let detail = format!("A body has at most {MAX_BODY_BYTES} bytes.");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let announced = announced.and_then(|it| it.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(too_large());
        }
        let media_type = media_type(request.headers());
        let Ok(read) = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY_BYTES)).await
        else {
            let detail = format!("The body did not come within {} s.", BODY_TIMEOUT.as_secs());
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, detail));
        };
        // What fails besides the bound is the connection, and then nobody reads the answer.
        Ok(RawBody { bytes: read.map_err(|_| too_large())?, media_type })
    }
}

fn media_type(fields: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(fields.get(CONTENT_TYPE)?.as_bytes()).into_owned();
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

impl RawBody {
    /// The members of a JSON object. A body without a media type is taken for JSON.
    pub(crate) fn members(&self) -> Result<Map<String, Value>, Refusal> {
        let is_json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
        if let Some(kind) = self.media_type.as_deref().filter(|kind| !is_json(kind)) {
            let detail = format!("The body is {kind:?}; application/json is expected.");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        if self.bytes.is_empty() {
            let detail = "The body is not JSON: it is empty; an object is expected.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, detail));
        }
        match serde_json::from_slice(&self.bytes) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => {
                let detail = "The body is not a JSON object.";
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
            }
            Err(error) => {
                let detail = format!("The body is not JSON: {error}.");
                Err(Refusal::new(StatusCode::BAD_REQUEST, detail))
            }
        }
    }
}

/// The members of a JSON object, taken one by one; what is wrong with them is gathered.
pub(crate) struct Fields {
    members: Map<String, Value>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Fields, Refusal> {
        Ok(Fields::of(RawBody::from_request(request, state).await?.members()?))
    }
}

impl Fields {
    pub(crate) fn of(members: Map<String, Value>) -> Fields {
        Fields { members, known: Vec::new(), errors: Vec::new() }
    }

    /// A whole number up to `max`, which JSON may write as `4` or `4.0`.
    pub(crate) fn count(&mut self, name: &'static str, max: u64) -> Option<u32> {
        let expected = format!("a whole number from 0 to {max}");
        let number: f64 = self.take(name, &expected)?;
        let fits = number.fract() == 0.0 && number >= 0.0;
        let text = format!("{number:.0}");
        match text.parse::<u32>().ok().filter(|value| fits && u64::from(*value) <= max) {
            Some(value) => Some(value),
            None => {
                self.refuse(name, format!("expected {expected}"));
                None
            }
        }
    }

    /// The value of a field; `None` if it is left out, `null`, or wrong: what is wrong is told by
    /// `end`. `expected` says what would be right.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.members.remove(name)?;
        if value.is_null() {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(_) => {
                self.refuse(name, format!("expected {expected}"));
                None
            }
        }
    }

    /// The value of a field that must be there.
    pub(crate) fn need<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Option<T> {
        let is_there = self.members.get(name).is_some_and(|value| !value.is_null());
        let value = self.take(name, expected);
        if !is_there {
            self.refuse(name, format!("is missing: expected {expected}"));
        }
        value
    }

    pub(crate) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: name.to_owned(), message: message.into() });
    }

    /// Refuses what was wrong, and what was not asked for.
    pub(crate) fn end(mut self) -> Result<(), Refusal> {
        let known = self.known.join(", ");
        for name in std::mem::take(&mut self.members).keys() {
            self.refuse(name, format!("unknown field; known here: {known}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::response::IntoResponse;
    use hyper::body::{Body as HttpBody, Frame};
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    struct Stalled;

    impl HttpBody for Stalled {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_body_that_does_not_come() {
        let request = Request::new(Body::new(Stalled));
        let Err(refusal) = RawBody::from_request(request, &()).await else { panic!("no body") };
        assert_eq!(refusal.into_response().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
