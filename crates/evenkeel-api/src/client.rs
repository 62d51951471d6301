//! The table of endpoints as methods.

mod address;
mod call;
mod error;
mod events;
mod traffic;

pub use error::ClientError;
pub use events::Events;

use crate::change::*;
use crate::difference::DifferenceList;
use crate::endpoint;
use crate::explain::{ExplainRequest, Explanation};
use crate::history::{History, HistoryOf};
use crate::pool::{Backend, BackendList, BackendPatch, NewBackend, Pool, PoolList, PoolPatch};
use crate::request::RequestList;
use crate::route::{ListenerList, RouteList};
use crate::status::{HealthDocument, Report, Status};
use address::Address;
use call::Call;
use hyper::header::HeaderValue;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Bound of one call, connection included.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";

/// Stands for what is configured, so that a change can be refused if somebody else was faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// With its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes the text of an `ETag` field, quotes included.
impl From<String> for ETag {
    fn from(text: String) -> ETag {
        ETag(text)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a configuration is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSyntax {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

impl ConfigSyntax {
    /// As `Content-Type` names it.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            ConfigSyntax::Yaml => "application/yaml",
            ConfigSyntax::Toml => "application/toml",
        }
    }
}

/// Calls one admin listener. Each call makes a connection of its own, and needs a tokio runtime
/// with time and I/O.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    /// Marked as sensitive: it is not printed.
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Client {
    /// For `http://HOST:PORT`, `HOST:PORT` or `unix:/PATH`. Nothing is called yet.
    ///
    /// # Errors
    /// `ClientError::BadAddress`.
    pub fn new(base: &str) -> Result<Client, ClientError> {
        let address = Address::parse(base)?;
        Ok(Client { address, authorization: None, timeout: DEFAULT_TIMEOUT })
    }

    /// Sends this token from now on; white space around it does not count.
    ///
    /// # Errors
    /// `ClientError::Unsendable` if no field can hold it.
    pub fn token(mut self, token: String) -> Result<Client, ClientError> {
        let field = format!("Bearer {}", token.trim());
        let mut field = HeaderValue::try_from(field).map_err(|_| ClientError::Unsendable {
            reason: "the token has characters that no token has".to_owned(),
        })?;
        field.set_sensitive(true);
        self.authorization = Some(field);
        Ok(self)
    }

    /// Bound of one call, connection included; 10 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }
}

/// One method for each endpoint. Every error is a [`ClientError`]; what evenkeel itself refused is
/// [`ClientError::Refused`].
#[expect(clippy::missing_errors_doc, reason = "they are the same for all of them")]
impl Client {
    /// What the process does now.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.send(Call::to(&endpoint::STATUS)).await?.json()
    }

    /// All pools with their backends.
    pub async fn pools(&self) -> Result<PoolList, ClientError> {
        self.send(Call::to(&endpoint::POOLS)).await?.json()
    }

    /// One pool, and what stands for its configuration.
    pub async fn pool(&self, pool: &str) -> Result<(Pool, ETag), ClientError> {
        self.send(Call::to(&endpoint::POOL).at(&[pool])).await?.tagged()
    }

    /// Changes the strategy of a pool.
    pub async fn patch_pool(
        &self,
        pool: &str,
        patch: &PoolPatch,
        if_match: Option<&ETag>,
    ) -> Result<(Pool, ETag), ClientError> {
        let call = Call::to(&endpoint::PATCH_POOL).at(&[pool]).json(patch).if_match(if_match);
        self.send(call).await?.tagged()
    }

    /// The backends of a pool.
    pub async fn backends(&self, pool: &str) -> Result<BackendList, ClientError> {
        self.send(Call::to(&endpoint::BACKENDS).at(&[pool])).await?.json()
    }

    /// Adds a backend to a pool.
    pub async fn add_backend(
        &self,
        pool: &str,
        backend: &NewBackend,
        if_match: Option<&ETag>,
    ) -> Result<(Backend, ETag), ClientError> {
        let call = Call::to(&endpoint::ADD_BACKEND).at(&[pool]).json(backend).if_match(if_match);
        self.send(call).await?.tagged()
    }

    /// Changes weight or admin state of a backend. The tag is that of its pool.
    pub async fn patch_backend(
        &self,
        pool: &str,
        name: &str,
        patch: &BackendPatch,
        if_match: Option<&ETag>,
    ) -> Result<(Backend, ETag), ClientError> {
        let call = Call::to(&endpoint::PATCH_BACKEND).at(&[pool, name]).json(patch);
        self.send(call.if_match(if_match)).await?.tagged()
    }

    /// Removes a backend: at once, or after it has finished what runs, for which it has so long.
    pub async fn remove_backend(
        &self,
        pool: &str,
        name: &str,
        drain: Option<Duration>,
        if_match: Option<&ETag>,
    ) -> Result<(), ClientError> {
        let drain = drain.map(|drain| format!("{}ms", drain.as_millis()));
        let call = Call::to(&endpoint::REMOVE_BACKEND).at(&[pool, name]);
        self.send(call.query("drain", drain).if_match(if_match)).await.map(drop)
    }

    /// All routes.
    pub async fn routes(&self) -> Result<RouteList, ClientError> {
        self.send(Call::to(&endpoint::ROUTES)).await?.json()
    }

    /// All listeners.
    pub async fn listeners(&self) -> Result<ListenerList, ClientError> {
        self.send(Call::to(&endpoint::LISTENERS)).await?.json()
    }

    /// The configuration in force.
    pub async fn config(&self) -> Result<(ConfigDocument, ETag), ClientError> {
        self.send(Call::to(&endpoint::CONFIG)).await?.tagged()
    }

    /// Whether a configuration could serve; one that could not is no error of the call.
    pub async fn check_config(
        &self,
        text: String,
        syntax: ConfigSyntax,
    ) -> Result<CheckResult, ClientError> {
        let call = Call::to(&endpoint::CHECK_CONFIG).body(syntax.media_type(), text);
        self.send(call).await?.json()
    }

    /// What the copies of a route's requests have shown.
    pub async fn differences(&self, route: &str) -> Result<DifferenceList, ClientError> {
        self.send(Call::to(&endpoint::traffic::DIFFERENCES).at(&[route])).await?.json()
    }

    /// Which way a request would go now, and why.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ClientError> {
        self.send(Call::to(&endpoint::EXPLAIN).json(request)).await?.json()
    }

    /// Recent exchanges that failed or were slow.
    pub async fn requests(&self) -> Result<RequestList, ClientError> {
        self.send(Call::to(&endpoint::REQUESTS)).await?.json()
    }

    /// The same as an HTTP Archive, for other tools.
    pub async fn requests_har(&self) -> Result<Value, ClientError> {
        let call = Call::to(&endpoint::REQUESTS).query("format", Some("har".to_owned()));
        self.send(call).await?.json()
    }

    /// What happens from now on. The stream ends with the process; after that, or when events were
    /// too much for the connection, call again.
    pub async fn events(&self) -> Result<Events, ClientError> {
        self.events_after(None).await
    }

    /// The same, and first what is kept of what happened after this event, if one is given: see
    /// `Events::last_id`.
    pub async fn events_after(&self, seen: Option<u64>) -> Result<Events, ClientError> {
        let call = Call::to(&endpoint::EVENTS).accept("text/event-stream").last_event(seen);
        let opening = self.address.within(self.timeout, self.open(call));
        Ok(Events::new(opening.await?, self.address.clone()))
    }

    /// How traffic went over the last quarter of an hour.
    pub async fn history(&self, of: HistoryOf<'_>) -> Result<History, ClientError> {
        let call = Call::to(&endpoint::HISTORY);
        let named = |name: &str| Some(name.to_owned());
        let call = match of {
            HistoryOf::All => call,
            HistoryOf::Route(route) => call.query("route", named(route)),
            HistoryOf::Pool(pool) => call.query("pool", named(pool)),
            HistoryOf::Backend { pool, name } => {
                call.query("pool", named(pool)).query("backend", named(name))
            }
        };
        self.send(call).await?.json()
    }

    /// How the configuration came to be.
    pub async fn revisions(&self) -> Result<RevisionList, ClientError> {
        self.send(Call::to(&endpoint::REVISIONS)).await?.json()
    }

    /// Restores the state as of a revision, as a new revision.
    pub async fn rollback(
        &self,
        revision: u64,
        if_match: Option<&ETag>,
    ) -> Result<Revision, ClientError> {
        let call = Call::to(&endpoint::ROLLBACK).at(&[&revision.to_string()]);
        self.send(call.if_match(if_match)).await?.json()
    }

    /// Reads the configuration file again.
    pub async fn reload(&self, if_match: Option<&ETag>) -> Result<ReloadReport, ClientError> {
        self.send(Call::to(&endpoint::RELOAD).if_match(if_match)).await?.json()
    }

    /// What a reload would do: of the file, or of a candidate for it.
    pub async fn preview_reload(
        &self,
        candidate: Option<(String, ConfigSyntax)>,
    ) -> Result<ReloadPlan, ClientError> {
        let call = Call::to(&endpoint::PREVIEW_RELOAD);
        let call = match candidate {
            Some((text, syntax)) => call.body(syntax.media_type(), text),
            None => call,
        };
        self.send(call).await?.json()
    }

    /// Who serves which host.
    pub async fn report(&self) -> Result<Report, ClientError> {
        self.send(Call::to(&endpoint::REPORT)).await?.json()
    }

    /// Every backend on one page.
    pub async fn health(&self) -> Result<HealthDocument, ClientError> {
        self.send(Call::to(&endpoint::HEALTH)).await?.json()
    }

    /// Succeeds if the process lives.
    pub async fn livez(&self) -> Result<(), ClientError> {
        self.send(Call::to(&endpoint::LIVEZ)).await.map(drop)
    }

    /// Why no traffic may be sent there, in a word; `None` if it may.
    pub async fn readyz(&self) -> Result<Option<String>, ClientError> {
        let answer = self.send(Call::to(&endpoint::READYZ)).await?;
        if answer.status == 200 { Ok(None) } else { answer.text().map(Some) }
    }

    /// All counters, in the text format of Prometheus.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let call = Call::to(&endpoint::METRICS).query("format", Some("prometheus".to_owned()));
        self.send(call).await?.text()
    }

    /// The same, from the path that is never anything else.
    pub async fn prometheus(&self) -> Result<String, ClientError> {
        self.send(Call::to(&endpoint::PROMETHEUS_METRICS)).await?.text()
    }
}
