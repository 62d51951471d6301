//! What the flight recorder keeps: the last exchanges that failed or were slow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The exchanges that the flight recorder holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestList {
    /// The newest first.
    pub requests: Vec<RecordedRequest>,
}

/// One exchange that failed or was slow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedRequest {
    /// The request id that backend, log and client have seen.
    pub id: String,
    /// When the request began.
    pub time: String,
    /// Why it was kept.
    pub kept: Kept,
    /// Where the client came in.
    pub listener: String,
    /// After trusted forwarding fields.
    pub client_ip: String,
    /// As sent.
    pub method: String,
    /// The host asked for.
    pub host: String,
    /// Without the query.
    pub path: String,
    /// What the client got; 0 if nothing.
    pub status: u16,
    /// The code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What probably helps against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The route that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The last backend tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// In order.
    pub tries: Vec<Try>,
    /// Where the time went.
    pub timings: Timings,
    /// From the end of the request's head to the end of the exchange.
    pub total_ms: f64,
    /// Received from the client.
    pub bytes_in: u64,
    /// Sent to the client.
    pub bytes_out: u64,
    /// What the request said, if `recorder.capture` drew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
}

/// What a request said on its way to the backend, secrets hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Captured {
    /// In the order sent.
    pub headers: Vec<CapturedHeader>,
    /// The beginning of the body, as far as it is text.
    pub body: String,
}

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapturedHeader {
    /// As spelt.
    pub name: String,
    /// As sent, or `[redacted]`.
    pub value: String,
}

/// Why an exchange was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It ended in a failure, or in a 5xx of the backend.
    Failed,
    /// It took longer than `recorder.slow`.
    Slow,
    /// It was drawn by `recorder.capture`.
    Drawn,
}

/// Phases of an exchange that belong to no single try; those that did not happen are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// From accept to the end of the head, of the connection's first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_ms: Option<f64>,
    /// The TLS handshake of the connection's first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<f64>,
    /// Waiting for a backend with room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<f64>,
    /// From the first byte of the answer to its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_ms: Option<f64>,
}

/// One go at one backend; phases that were not reached are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Try {
    /// Who was called.
    pub backend: String,
    /// A status, or the code of what went wrong.
    pub outcome: String,
    /// When it began, from the end of the request's head.
    pub start_ms: f64,
    /// Choosing the backend; measured where a connection was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick_ms: Option<f64>,
    /// Making a connection; left out as well if an idle one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// From the start of the try to the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
}
