//! The API of Kubernetes, as far as we need it: a document is read or patched, a list is watched.
//! Inside a cluster the account of the pod is used; its token is read again for each question,
//! because it is replaced every hour.
//!
//! ```text
//! list ─ resourceVersion ─▶ watch ─ event, event, ... ─▶ end: watch again from the last version
//!   ▲                         └─ 410 Gone: that version is forgotten ─┐
//!   └─────────────────────────────────────────────────────────────────┘
//! ```

use crate::outgoing::reach::{Answer, Lines, Place, Question, ask, open};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde_json::Value;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Bytes of an answer; a list comes in pages.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an event: an object has 1.5 MiB at most (etcd).
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a token.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// One question.
const PATIENCE: Duration = Duration::from_secs(15);
/// A watch is asked to end after so long; then another one begins.
const WATCH_SECONDS: u32 = 240;
/// A watch that says nothing for longer than it may last is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Why there is no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesError {
    /// Nobody answers, or nothing that makes sense.
    Unreachable(String),
    /// The API says no.
    Refused {
        /// 403 if the account may not, 404 if it is not there, 409 if somebody else was faster.
        status: u16,
        /// In its own words.
        message: String,
    },
}

impl KubernetesError {
    /// True if a watch cannot go on from this version: list again.
    pub fn is_gone(&self) -> bool {
        matches!(self, KubernetesError::Refused { status: 410, .. })
    }
}

impl fmt::Display for KubernetesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KubernetesError::Unreachable(why) => f.write_str(why),
            KubernetesError::Refused { status, message } => write!(f, "{status} {message}"),
        }
    }
}

impl std::error::Error for KubernetesError {}

/// Asks one API server. Files are read, and connections made, when something is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Such as `https://10.96.0.1:443`.
    server: String,
    /// `None` = without one, such as to `kubectl proxy`.
    token_file: Option<PathBuf>,
    /// Authorities that signed its certificate; `None` = those of the system.
    ca_file: Option<PathBuf>,
}

impl Kubernetes {
    /// Any API server.
    pub fn at(server: &str, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Kubernetes {
        Kubernetes { server: server.trim_end_matches('/').to_owned(), token_file, ca_file }
    }

    /// That of the cluster around us, by what the kubelet has told this process.
    ///
    /// # Errors
    /// We are in none.
    pub fn around_us() -> Result<Kubernetes, KubernetesError> {
        Kubernetes::told_by(|name| std::env::var(name).ok(), Path::new(ACCOUNT))
    }

    fn told_by(
        variable: impl Fn(&str) -> Option<String>,
        account: &Path,
    ) -> Result<Kubernetes, KubernetesError> {
        let told = |name: &str| variable(name).filter(|value| !value.is_empty());
        let host = told("KUBERNETES_SERVICE_HOST").ok_or_else(|| {
            let why =
                "this process is in no Kubernetes cluster: KUBERNETES_SERVICE_HOST is not set";
            KubernetesError::Unreachable(why.to_owned())
        })?;
        let port =
            told("KUBERNETES_SERVICE_PORT_HTTPS").or_else(|| told("KUBERNETES_SERVICE_PORT"));
        let port = port.unwrap_or_else(|| "443".to_owned());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let (token, ca) = (account.join("token"), account.join("ca.crt"));
        Ok(Kubernetes::at(&format!("https://{host}:{port}"), Some(token), Some(ca)))
    }

    /// Reads a document, or a page of a list.
    ///
    /// # Errors
    /// See [`KubernetesError`].
    pub async fn get(&self, path: &str) -> Result<Value, KubernetesError> {
        self.call(Question::get(path)).await
    }

    /// Changes what the patch names (RFC 7386), and tells what came of it.
    ///
    /// # Errors
    /// See [`KubernetesError`].
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, KubernetesError> {
        let body = Some((MERGE_PATCH, Bytes::from(patch.to_string())));
        self.call(Question { method: Method::PATCH, body, ..Question::get(path) }).await
    }

    /// Watches a list from a version on. `path` may have a query already.
    ///
    /// # Errors
    /// See [`KubernetesError`]; [`KubernetesError::is_gone`] asks for a new list.
    pub async fn watch(&self, path: &str, version: &str) -> Result<Watch, KubernetesError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let version: String =
            percent_encoding::utf8_percent_encode(version, percent_encoding::NON_ALPHANUMERIC)
                .collect();
        let path = format!(
            "{path}{joint}watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}\
             &resourceVersion={version}"
        );
        let (place, question) = self.ready(Question::get(&path))?;
        let opened = timeout(PATIENCE, open(&place, question)).await;
        let late = |_| format!("no answer within {PATIENCE:?}");
        let opened = opened.map_err(late).and_then(|opened| opened);
        let opened = opened.map_err(|why| self.unreachable(&why))?;
        if opened.status != 200 {
            let answer = timeout(PATIENCE, opened.whole(MAX_ANSWER_BYTES)).await;
            let answer = answer.map_err(late).and_then(|answer| answer);
            let answer = answer.map_err(|why| self.unreachable(&why))?;
            return Err(refused(&answer));
        }
        Ok(Watch { server: self.server.clone(), lines: opened.lines(MAX_EVENT_BYTES) })
    }

    async fn call(&self, question: Question) -> Result<Value, KubernetesError> {
        let (place, question) = self.ready(question)?;
        let answer = ask(&place, question, MAX_ANSWER_BYTES, PATIENCE).await;
        let answer = answer.map_err(|why| self.unreachable(&why))?;
        if !(200..300).contains(&answer.status) {
            return Err(refused(&answer));
        }
        let parsed = serde_json::from_slice(&answer.body);
        parsed.map_err(|error| self.unreachable(&format!("the answer is no JSON: {error}")))
    }

    /// With what the files say now.
    fn ready(&self, mut question: Question) -> Result<(Place, Question), KubernetesError> {
        let place = Place::of_url(&self.server, self.ca_file.as_deref());
        let place = place.map_err(KubernetesError::Unreachable)?;
        question.fields.push((ACCEPT, HeaderValue::from_static("application/json")));
        if let Some(file) = &self.token_file {
            let why = |error: io::Error| format!("cannot read {}: {error}", file.display());
            let token = token(file).map_err(|error| KubernetesError::Unreachable(why(error)))?;
            question.fields.push((AUTHORIZATION, token));
        }
        Ok((place, question))
    }

    fn unreachable(&self, why: &str) -> KubernetesError {
        KubernetesError::Unreachable(format!("{}: {why}", self.server))
    }
}

/// What is sent for this token; it is never shown.
fn token(file: &Path) -> io::Result<HeaderValue> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| io::Error::other("it holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the API says when it says no (`Status`), or the status alone.
fn refused(answer: &Answer) -> KubernetesError {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message = said["message"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control());
    KubernetesError::Refused { status: answer.status, message: message.take(300).collect() }
}

/// What happened to an object of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// It is new, or different: as it is now.
    Present(Value),
    /// It is gone: as it was.
    Absent(Value),
    /// Nothing; but a later watch can begin here.
    Bookmark(Value),
}

impl WatchEvent {
    /// The object.
    pub fn object(&self) -> &Value {
        let (WatchEvent::Present(it) | WatchEvent::Absent(it) | WatchEvent::Bookmark(it)) = self;
        it
    }

    /// Where a later watch can begin.
    pub fn version(&self) -> Option<&str> {
        self.object()["metadata"]["resourceVersion"].as_str()
    }
}

/// A list that is watched.
#[derive(Debug)]
pub struct Watch {
    server: String,
    lines: Lines,
}

impl Watch {
    /// The next event; `None` when it is over, and another watch should begin.
    ///
    /// # Errors
    /// See [`KubernetesError`].
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, KubernetesError> {
        let unreachable =
            |why: &str| KubernetesError::Unreachable(format!("{}: watching: {why}", self.server));
        let line = timeout(WATCH_SILENCE, self.lines.next()).await;
        let line = line.map_err(|_| unreachable(&format!("silent for {WATCH_SILENCE:?}")))?;
        let Some(line) = line.map_err(|why| unreachable(&why))? else { return Ok(None) };
        let event: Value = serde_json::from_slice(&line)
            .map_err(|error| unreachable(&format!("an event is no JSON: {error}")))?;
        event_of(event).map(Some)
    }
}

fn event_of(mut event: Value) -> Result<WatchEvent, KubernetesError> {
    let object = event["object"].take();
    match event["type"].as_str().unwrap_or_default() {
        "ADDED" | "MODIFIED" => Ok(WatchEvent::Present(object)),
        "DELETED" => Ok(WatchEvent::Absent(object)),
        "BOOKMARK" => Ok(WatchEvent::Bookmark(object)),
        "ERROR" => {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let body = Bytes::from(object.to_string());
            let fields = hyper::HeaderMap::new();
            Err(refused(&Answer { status: code.unwrap_or(500), fields, body }))
        }
        other => {
            let why = format!("an event of unknown type {other:?}");
            Err(KubernetesError::Unreachable(why))
        }
    }
}

#[cfg(test)]
mod tests;
