//! Who takes spans: the collector of a plan, over HTTP or HTTPS. What it is told is made by the
//! exporter of OpenTelemetry, in protobuf. How it is reached is ours: the exporter is given a
//! client that looks at nothing but the body, so that variables such as
//! `OTEL_EXPORTER_OTLP_HEADERS` change nothing.

mod refused;
mod translation;

use super::Loss;
use crate::outgoing::reach::{Place, Question, open};
use async_trait::async_trait;
use evenkeel_core::plan::TracingPlan;
use evenkeel_proxy::detail::Finished;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use refused::Refused;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// What is appended to the base URL.
const TRACES: &str = "/v1/traces";
/// Bytes of an answer that are read; it has nothing to say but what was not kept.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A collector, and what it is sent besides spans.
#[derive(Debug)]
pub(super) struct Collector {
    /// What it was made of.
    plan: TracingPlan,
    exporter: SpanExporter,
    way: Arc<Way>,
}

impl Collector {
    /// # Errors
    /// In words: its URL is none, its authorities cannot be read, or a header cannot be sent.
    pub(super) fn of(plan: &TracingPlan) -> Result<Collector, String> {
        let way = Arc::new(Way::of(plan)?);
        let client: Arc<dyn HttpClient> = Arc::<Way>::clone(&way);
        // Its pauses between retries would hold up whoever else runs on this thread.
        let built = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&way.url)
            .with_shared_http_client(client)
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        let mut exporter = built.map_err(|error| error.to_string())?;
        exporter.set_resource(&translation::resource());
        Ok(Collector { plan: plan.clone(), exporter, way })
    }

    /// Whether it is the one of this plan.
    pub(super) fn is_of(&self, plan: &TracingPlan) -> bool {
        self.plan == *plan
    }

    /// Sends one message with the spans of these exchanges.
    ///
    /// # Errors
    /// Nobody takes it, or not in time; or some of it was not kept.
    pub(super) async fn send(
        &self,
        batch: &[Box<Finished>],
        patience: Duration,
    ) -> Result<(), Loss> {
        let why = match timeout(patience, self.exporter.export(translation::spans(batch))).await {
            Ok(Ok(())) => {
                return self.way.refused().map_or(Ok(()), |it| Err(self.part(batch, &it)));
            }
            Ok(Err(error)) => self.way.fault().unwrap_or_else(|| error.to_string()),
            Err(_) => format!("no answer within {patience:?}"),
        };
        Err(Loss { exchanges: batch.len(), whole: true, why: format!("{}: {why}", self.way.url) })
    }

    /// Which exchanges the spans are of that were not kept, a collector does not say: of so many
    /// at most.
    fn part(&self, batch: &[Box<Finished>], refused: &Refused) -> Loss {
        let Refused { spans, why } = refused;
        let exchanges = usize::try_from(*spans).unwrap_or(usize::MAX).min(batch.len());
        let why = format!("{}: {spans} spans were not kept: {why}", self.way.url);
        Loss { exchanges, whole: false, why }
    }
}

/// How a collector is reached.
#[derive(Debug)]
struct Way {
    url: String,
    place: Place,
    path: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Why the last message was not taken; the exporter keeps silent about that.
    fault: Mutex<Option<String>>,
    /// What of the last message was not kept; it keeps silent about that, too.
    refused: Mutex<Option<Refused>>,
}

impl Way {
    fn of(plan: &TracingPlan) -> Result<Way, String> {
        let place = Place::of_url(&plan.endpoint, plan.ca_file.as_deref())?;
        let uri: Uri = plan.endpoint.parse().map_err(|error| format!("not a URL: {error}"))?;
        let field = |(name, value): &(String, String)| {
            let cannot = |what| format!("headers: {name:?}: its {what} cannot be sent");
            let own = HeaderName::try_from(name).map_err(|_| cannot("name"))?;
            let mut value = HeaderValue::try_from(value).map_err(|_| cannot("value"))?;
            value.set_sensitive(true);
            Ok((own, value))
        };
        Ok(Way {
            url: format!("{}{TRACES}", plan.endpoint),
            place,
            path: format!("{}{TRACES}", uri.path().trim_end_matches('/')),
            fields: plan.headers.iter().map(field).collect::<Result<_, String>>()?,
            fault: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    fn refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep_fault(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

#[async_trait]
impl HttpClient for Way {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let question = Question {
            method: Method::POST,
            path: self.path.clone(),
            fields: self.fields.clone(),
            body: Some(("application/x-protobuf", request.into_body())),
        };
        let answer = open(&self.place, question).await.inspect_err(|why| {
            self.keep_fault(why.clone());
        })?;
        let status = answer.status;
        if (200..300).contains(&status) {
            // It was taken, however the answer ends.
            let answer = answer.whole(MAX_ANSWER_BYTES).await;
            let refused = answer.ok().and_then(|answer| Refused::in_answer(&answer.body));
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        } else {
            self.keep_fault(format!("status {status}"));
        }
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Line, Scripted};
    use evenkeel_proxy::detail::Remark;
    use std::fs;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn plan(endpoint: &str, ca_file: Option<&std::path::Path>) -> TracingPlan {
        let headers = vec![("authorization".to_owned(), "Bearer s3cret".to_owned())];
        let ca_file = ca_file.map(std::path::Path::to_owned);
        TracingPlan { endpoint: endpoint.to_owned(), headers, ca_file, sample: 1.0 }
    }

    #[tokio::test]
    async fn a_collector_behind_tls_gets_its_message_and_headers() {
        let script = vec![Line::json("{}"), Line::answer("401 Unauthorized", "", "who?")];
        let (server, pem) = Scripted::start_tls(script).await;
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, pem).unwrap();
        let plan = plan(&format!("{}/otlp", server.url), Some(&ca_file));
        let collector = Collector::of(&plan).unwrap();
        assert_eq!(collector.send(&[], PATIENCE).await, Ok(()));
        let asked = server.asked().remove(0);
        assert!(asked.starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer s3cret\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/x-protobuf\r\n"), "{asked}");
        assert!(asked.contains("service.name"), "{asked}");
        let refused = collector.send(&[], PATIENCE).await.unwrap_err().why;
        assert!(refused.ends_with("/otlp/v1/traces: status 401"), "{refused}");
        assert!(!refused.contains("s3cret"));
    }

    fn exchange() -> Box<Finished> {
        Box::new(Finished {
            remark: Remark::Traced,
            ended_unix: 0,
            id: String::new(),
            client_ip: String::new(),
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            listener: "web".into(),
            route: None,
            pool: None,
            status: 200,
            failure: None,
            tries: Vec::new(),
            accept: None,
            queue: None,
            body: None,
            total: 0,
            bytes_in: 0,
            bytes_out: 0,
            traced: None,
            captured: None,
        })
    }

    #[tokio::test]
    async fn what_a_collector_did_not_keep_is_lost() {
        // Two spans, and nine.
        let (two, nine) = ("\n\x07\x08\x02\x12\x03old", "\n\x02\x08\x09");
        let script = [two, nine, ""].map(|body| Line::answer("200 OK", "", body)).to_vec();
        let server = Scripted::start(script).await;
        let collector = Collector::of(&plan(&server.url, None)).unwrap();
        let batch = [exchange(), exchange(), exchange()];
        let loss = collector.send(&batch, PATIENCE).await.unwrap_err();
        assert_eq!((loss.exchanges, loss.whole), (2, false));
        assert!(loss.why.ends_with("/v1/traces: 2 spans were not kept: old"), "{}", loss.why);
        let loss = collector.send(&batch, PATIENCE).await.unwrap_err();
        assert_eq!((loss.exchanges, loss.whole), (3, false), "no more than there were");
        assert_eq!(collector.send(&batch, PATIENCE).await, Ok(()));
    }

    #[tokio::test]
    async fn a_collector_that_nobody_vouches_for_gets_nothing() {
        let (server, _) = Scripted::start_tls(vec![Line::json("{}")]).await;
        let collector = Collector::of(&plan(&server.url, None)).unwrap();
        let why = collector.send(&[], PATIENCE).await.unwrap_err().why;
        assert!(why.contains("TLS"), "{why}");
        assert!(server.asked().is_empty());
    }

    #[test]
    fn what_cannot_be_sent_is_said_without_the_secret() {
        let mut broken = plan("http://127.0.0.1:1", None);
        broken.headers = vec![("x-key".to_owned(), "s3\ncret".to_owned())];
        let why = Collector::of(&broken).unwrap_err();
        assert!(why.contains("x-key") && !why.contains("cret"), "{why}");
        let missing = plan("https://a.test", Some(std::path::Path::new("/nowhere/ca.pem")));
        assert!(Collector::of(&missing).is_err());
    }
}
