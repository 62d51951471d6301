//! An admin listener that answers as a test says, and remembers what it was asked.

use evenkeel_api::{Client, ENDPOINTS, Endpoint};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A piece of an endless body.
const PIECE: &[u8] = &[b'x'; 64 * 1024];

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    /// The row of the table that it hits; empty if none.
    pub(crate) fn operation(&self) -> String {
        let path = self.target.split('?').next().unwrap();
        let hits = |row: &&Endpoint| row.method.as_str() == self.method && fits(row.path, path);
        ENDPOINTS.iter().find(hits).map_or_else(String::new, |row| row.operation.to_owned())
    }

    /// The value of a field; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn fits(template: &str, path: &str) -> bool {
    let wanted: Vec<&str> = template.split('/').collect();
    let segments: Vec<&str> = path.split('/').collect();
    let same = |(want, is): (&&str, &&str)| want.starts_with('{') || want == is;
    wanted.len() == segments.len() && wanted.iter().zip(&segments).all(same)
}

/// What is answered.
pub(crate) struct Reply {
    status: u16,
    media_type: &'static str,
    etag: Option<&'static str>,
    text: Text,
}

/// The body of an answer.
enum Text {
    Whole(Option<Bytes>),
    Endless,
    /// Not even its head comes.
    Never,
}

impl Reply {
    pub(crate) fn new(status: u16, media_type: &'static str, text: &str) -> Reply {
        let text = Text::Whole(Some(Bytes::copy_from_slice(text.as_bytes())));
        Reply { status, media_type, etag: None, text }
    }

    pub(crate) fn json(status: u16, text: &str) -> Reply {
        Reply::new(status, "application/json", text)
    }

    pub(crate) fn tagged(self, etag: &'static str) -> Reply {
        Reply { etag: Some(etag), ..self }
    }

    pub(crate) fn endless() -> Reply {
        Reply { text: Text::Endless, ..Reply::new(200, "text/plain", "") }
    }

    pub(crate) fn never() -> Reply {
        Reply { text: Text::Never, ..Reply::new(200, "text/plain", "") }
    }
}

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Text::Whole(text) => text.take(),
            Text::Endless => Some(Bytes::from_static(PIECE)),
            Text::Never => None,
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

type Answers = fn(&Asked) -> Reply;
type Memory = Arc<Mutex<Vec<Asked>>>;

/// Answers until it is dropped.
pub(crate) struct Script {
    base: String,
    asked: Memory,
    accepting: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Script {
    pub(crate) async fn tcp(answers: Answers) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Memory::default();
        let memory = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers, Arc::clone(&memory)));
            }
        });
        Script { base, asked, accepting }
    }

    #[cfg(unix)]
    pub(crate) fn unix(path: &std::path::Path, answers: Answers) -> Script {
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let base = format!("unix:{}", path.display());
        let asked = Memory::default();
        let memory = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers, Arc::clone(&memory)));
            }
        });
        Script { base, asked, accepting }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.base).unwrap()
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// In the order in which they arrived.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<S>(stream: S, answers: Answers, memory: Memory)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |request| answer(request, answers, Arc::clone(&memory));
    // A client that gives up is part of the script.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(
    request: Request<Incoming>,
    answers: Answers,
    memory: Memory,
) -> Result<Response<Text>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        fields: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let reply = answers(&asked);
    memory.lock().unwrap().push(asked);
    if let Text::Never = reply.text {
        pending::<()>().await;
    }
    let mut response = Response::builder().status(reply.status);
    response = response.header(CONTENT_TYPE, reply.media_type);
    if let Some(etag) = reply.etag {
        response = response.header(ETAG, etag);
    }
    Ok(response.body(reply.text).unwrap())
}
