//! The engine of containers (Docker and what speaks like it), by its HTTP API over its socket,
//! version 1.41 and later.

use crate::outgoing::reach::{Answer, Lines, Place, Question, ask, open};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// One call; stopping a container takes its own time on top.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an event.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
const VERSION: &str = "/v1.41";
/// Labels of containers that an autoscaler of ours has started.
pub(crate) const POOL_LABEL: &str = "evenkeel.pool";
pub(crate) const OWNER_LABEL: &str = "evenkeel.owner";

/// Why the engine did not do what it was asked.
#[derive(Debug, PartialEq)]
pub(crate) struct EngineError {
    /// Of its answer, if it gave one.
    pub(crate) status: Option<u16>,
    text: String,
}

impl From<EngineError> for String {
    fn from(error: EngineError) -> String {
        error.text
    }
}

/// Asks the engine.
///
/// # Errors
/// What it says, or why it says nothing.
pub(crate) async fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, EngineError> {
    let mut question = question(path);
    question.method = method;
    // Some of its calls want a media type without a body.
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    question.body = Some(("application/json", Bytes::from(text)));
    let place = Place::Unix(socket.to_owned());
    let answer = ask(&place, question, MAX_ANSWER_BYTES, CALL_TIMEOUT).await;
    let failed = |status, why: &str| EngineError { status, text: named(socket, why) };
    let answer = answer.map_err(|why| failed(None, &why))?;
    // 304: it is so already.
    if (200..300).contains(&answer.status) || answer.status == 304 {
        return Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null));
    }
    Err(failed(Some(answer.status), &refusal(&answer)))
}

/// What happens from now on, a line of JSON for each event.
///
/// # Errors
/// What the engine says, or why it says nothing.
pub(crate) async fn events(socket: &Path, filters: &Value) -> Result<Lines, String> {
    let path = format!("/events?filters={}", escaped(&filters.to_string()));
    let place = Place::Unix(socket.to_owned());
    let opened = timeout(CALL_TIMEOUT, open(&place, question(&path))).await;
    let late = |_| format!("no answer within {CALL_TIMEOUT:?}");
    let opened = opened.map_err(late).and_then(|opened| opened);
    let opened = opened.map_err(|why| named(socket, &why))?;
    if opened.status != 200 {
        return Err(named(socket, &opened.status.to_string()));
    }
    Ok(opened.lines(MAX_EVENT_BYTES))
}

/// A value in a query.
pub(crate) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn question(path: &str) -> Question {
    Question::get(&format!("{VERSION}{path}"))
}

fn refusal(answer: &Answer) -> String {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = said["message"].as_str().unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    format!("{} {words}", answer.status)
}

fn named(socket: &Path, why: &str) -> String {
    let socket = socket.display().to_string();
    if why.starts_with(&socket) { why.to_owned() } else { format!("{socket}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Line, Scripted};
    use serde_json::json;

    #[tokio::test]
    async fn an_engine_is_asked_over_its_socket_and_says_no_in_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let script = vec![
            Line::json("{\"Id\": \"x\"}"),
            Line::answer("304 Not Modified", "", ""),
            Line::answer("409 Conflict", "", "{\"message\": \"name in use\"}"),
            Line::Hang,
        ];
        let engine = Scripted::start_unix(socket.clone(), script);
        let create = "/containers/create?name=a";
        let body = Some(json!({ "Image": "i" }));
        let made = call(&socket, Method::POST, create, body).await.unwrap();
        assert_eq!(made["Id"], "x");
        assert_eq!(call(&socket, Method::POST, "/x/stop", None).await, Ok(Value::Null));
        let refused = call(&socket, Method::POST, create, None).await.unwrap_err();
        assert_eq!(refused.status, Some(409));
        assert_eq!(refused.text, format!("{}: 409 name in use", socket.display()));
        assert!(call(&socket, Method::GET, "/x", None).await.is_err());
        let asked = &engine.asked()[0];
        assert!(asked.starts_with("POST /v1.41/containers/create?name=a HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with("{\"Image\":\"i\"}"), "{asked}");
        let missing = folder.path().join("none.sock");
        let why = call(&missing, Method::GET, "/x", None).await.unwrap_err();
        assert!(why.text.starts_with(&format!("{}: ", missing.display())), "{why:?}");
        assert_eq!(why.status, None);
    }
}
