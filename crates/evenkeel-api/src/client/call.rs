//! One exchange with the admin listener.

use super::address::Address;
use super::{Client, ClientError, ETag, JSON};
use crate::endpoint::Endpoint;
use crate::problem::Problem;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use hyper::{Request, Response, http};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// Bytes of an answer's body.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an answer's head, and of what is read at once.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// What a segment or value may hold as it is: the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is to be asked.
pub(super) struct Call {
    endpoint: &'static Endpoint,
    target: String,
    request: http::request::Builder,
    body: Result<Bytes, serde_json::Error>,
}

impl Call {
    pub(super) fn to(endpoint: &'static Endpoint) -> Call {
        let method = endpoint.method.as_str();
        Call {
            endpoint,
            target: endpoint.path.to_owned(),
            request: Request::builder().method(method),
            body: Ok(Bytes::new()),
        }
    }

    /// Fills the segments in, in order.
    pub(super) fn at(mut self, values: &[&str]) -> Call {
        for (name, value) in self.endpoint.segments().zip(values) {
            self.target = self.target.replacen(&format!("{{{name}}}"), &encoded(value), 1);
        }
        self
    }

    pub(super) fn query(mut self, name: &str, value: Option<String>) -> Call {
        if let Some(value) = value {
            let sign = if self.target.contains('?') { '&' } else { '?' };
            self.target = format!("{}{sign}{name}={}", self.target, encoded(&value));
        }
        self
    }

    pub(super) fn if_match(mut self, tag: Option<&ETag>) -> Call {
        if let Some(tag) = tag {
            self.request = self.request.header(IF_MATCH, tag.as_str());
        }
        self
    }

    pub(super) fn accept(mut self, media_type: &str) -> Call {
        self.request = self.request.header(ACCEPT, media_type);
        self
    }

    pub(super) fn last_event(mut self, seen: Option<u64>) -> Call {
        if let Some(id) = seen {
            self.request = self.request.header("last-event-id", id);
        }
        self
    }

    pub(super) fn json(mut self, value: &impl Serialize) -> Call {
        self.body = serde_json::to_vec(value).map(Bytes::from);
        self.request = self.request.header(CONTENT_TYPE, JSON);
        self
    }

    pub(super) fn body(mut self, media_type: &str, text: String) -> Call {
        self.body = Ok(text.into());
        self.request = self.request.header(CONTENT_TYPE, media_type);
        self
    }
}

fn unsendable(error: impl std::fmt::Display) -> ClientError {
    ClientError::Unsendable { reason: error.to_string() }
}

/// Dots are encoded where they would be a step in the path.
fn encoded(value: &str) -> String {
    match value {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(value, RESERVED).to_string(),
    }
}

/// The task that moves bytes between socket and exchange; it ends with its holder.
struct Mover(JoinHandle<()>);

impl Drop for Mover {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer whose body has not been read.
pub(super) struct Opened {
    response: Response<Incoming>,
    _mover: Mover,
}

impl Opened {
    /// The next piece of the body; `None` at its end.
    pub(super) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        while let Some(frame) = self.response.body_mut().frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(piece)) => return Some(Ok(piece)),
                // Trailers say nothing here.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    async fn read(&mut self, address: &Address) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            let piece = piece.map_err(|error| address.bad_answer(error))?;
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                let max_bytes = MAX_ANSWER_BYTES;
                return Err(ClientError::TooLarge { address: address.to_string(), max_bytes });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    etag: Option<ETag>,
    body: Vec<u8>,
    address: Address,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.address.bad_answer(error))
    }

    pub(super) fn tagged<T: DeserializeOwned>(self) -> Result<(T, ETag), ClientError> {
        let value = self.json()?;
        let etag = self.etag.ok_or_else(|| self.address.bad_answer("it has no ETag"))?;
        Ok((value, etag))
    }

    pub(super) fn text(self) -> Result<String, ClientError> {
        String::from_utf8(self.body).map_err(|error| self.address.bad_answer(error))
    }
}

impl Client {
    /// One whole exchange.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, ClientError> {
        self.address.within(self.timeout, self.exchange(call)).await
    }

    async fn exchange(&self, call: Call) -> Result<Answer, ClientError> {
        let mut opened = self.open(call).await?;
        let body = opened.read(&self.address).await?;
        let etag = opened.response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        Ok(Answer {
            status: opened.response.status().as_u16(),
            etag: etag.map(|etag| ETag::from(etag.to_owned())),
            body,
            address: self.address.clone(),
        })
    }

    /// Up to the head of an answer that is no problem.
    pub(super) async fn open(&self, call: Call) -> Result<Opened, ClientError> {
        let endpoint = call.endpoint;
        let request = self.request(call)?;
        let stream = TokioIo::new(self.address.connect().await?);
        let broken = |error: hyper::Error| self.address.bad_answer(error);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (mut sender, connection) = builder.handshake(stream).await.map_err(broken)?;
        let mover = Mover(tokio::spawn(async move {
            // An error of the connection is one of the exchange, which reports it.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let mut opened = Opened { response, _mover: mover };
        if endpoint.answers_with(status) {
            return Ok(opened);
        }
        let body = opened.read(&self.address).await?;
        Err(self.refusal(&opened.response, &body))
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = call.request.uri(call.target).header(HOST, self.address.host());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = call.body.map_err(unsendable)?;
        request.body(Full::new(body)).map_err(unsendable)
    }

    fn refusal(&self, response: &Response<Incoming>, body: &[u8]) -> ClientError {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_problem = kind.is_some_and(|kind| kind.starts_with(Problem::MEDIA_TYPE));
        match serde_json::from_slice(body) {
            Ok(problem) if is_problem => ClientError::Refused(problem),
            Ok(_) | Err(_) => {
                let status = response.status();
                self.address.bad_answer(format!("status {status} without a problem document"))
            }
        }
    }
}
