//! One question to a program that the control plane depends on (an engine of containers, an API
//! server, a catalogue), over TCP, TLS or a unix socket. Bytes and time of its answer are bounded.

use super::{AGENT, shown};
use bytes::{Buf, Bytes, BytesMut};
#[cfg(windows)]
use evenkeel_proxy::socket::UnixStream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Without TLS.
    Tcp { host: String, port: u16 },
    /// With TLS; the certificate must be for the host.
    Tls { host: String, port: u16, trust: Arc<ClientConfig> },
    /// On this machine.
    Unix(PathBuf),
}

impl Place {
    /// Of a URL without path, such as `https://10.0.0.1:6443`.
    ///
    /// # Errors
    /// In words: it is none, or its authorities cannot be read.
    pub(crate) fn of_url(url: &str, ca_file: Option<&std::path::Path>) -> Result<Place, String> {
        let place = shown(url);
        let uri: Uri = url.parse().map_err(|error| format!("{place} is not a URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("{place} names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        match uri.scheme_str() {
            Some("http") => Ok(Place::Tcp { host, port: authority.port_u16().unwrap_or(80) }),
            Some("https") => {
                let trust = evenkeel_proxy::tls::trusting(ca_file)?;
                Ok(Place::Tls { host, port: authority.port_u16().unwrap_or(443), trust })
            }
            Some(_) | None => Err(format!("{place} begins neither with http:// nor with https://")),
        }
    }

    fn authority(&self) -> String {
        match self {
            Place::Tcp { host, port } | Place::Tls { host, port, .. } => host_and_port(host, *port),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    /// Besides those that every question has.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    /// Its media type and its bytes.
    pub(crate) body: Option<(&'static str, Bytes)>,
}

impl Question {
    pub(crate) fn get(path: &str) -> Question {
        let path = path.to_owned();
        Question { method: Method::GET, path, fields: Vec::new(), body: None }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

/// Asks, and reads an answer of at most `max_bytes`.
///
/// # Errors
/// In words: nobody answers, not in time, or too much.
pub(crate) async fn ask(
    place: &Place,
    question: Question,
    max_bytes: usize,
    patience: Duration,
) -> Result<Answer, String> {
    let exchange = async {
        let opened = open(place, question).await?;
        opened.whole(max_bytes).await
    };
    let late = || Err(format!("no answer within {patience:?}"));
    timeout(patience, exchange).await.unwrap_or_else(|_| late())
}

/// Ends a task when it goes.
#[derive(Debug)]
struct Moving(JoinHandle<()>);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    body: Incoming,
    _moving: Moving,
}

/// Asks, and reads the head of the answer.
///
/// # Errors
/// In words: nobody answers.
pub(crate) async fn open(place: &Place, question: Question) -> Result<Opened, String> {
    let authority = place.authority();
    match place {
        Place::Tcp { host, port } => {
            let stream = dial(host, *port).await?;
            begin(stream, &authority, question).await
        }
        Place::Tls { host, port, trust } => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| format!("{host:?} is neither a host name nor an address"))?;
            let stream = dial(host, *port).await?;
            let secured = TlsConnector::from(Arc::clone(trust)).connect(name, stream).await;
            let stream = secured.map_err(|error| format!("{authority}: TLS: {error}"))?;
            begin(stream, &authority, question).await
        }
        Place::Unix(path) => {
            let connected = UnixStream::connect(path).await;
            let stream = connected.map_err(|error| format!("{}: {error}", path.display()))?;
            begin(stream, &authority, question).await
        }
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((host, port)).await;
    connected.map_err(|error| format!("{}: {error}", host_and_port(host, port)))
}

async fn begin<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    authority: &str,
    question: Question,
) -> Result<Opened, String> {
    let failed = |error: hyper::Error| format!("{authority}: {}", words(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let moving = Moving(tokio::spawn(async move {
        // What goes wrong with it, whoever waits for the answer is told.
        let _ = connection.await;
    }));
    let mut request = Request::builder().method(question.method).uri(question.path);
    request = request.header(HOST, authority).header(USER_AGENT, AGENT);
    for (name, value) in question.fields {
        request = request.header(name, value);
    }
    let body = question.body.map(|(media_type, body)| {
        request = std::mem::take(&mut request).header(CONTENT_TYPE, media_type);
        body
    });
    let request = request.body(Full::new(body.unwrap_or_default()));
    let request = request.map_err(|error| format!("{authority}: {error}"))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    Ok(Opened { status: head.status.as_u16(), fields: head.headers, body, _moving: moving })
}

/// An error with what caused it.
fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl Opened {
    /// The rest of the answer.
    ///
    /// # Errors
    /// In words: it breaks off, or is too long.
    pub(crate) async fn whole(self, max_bytes: usize) -> Result<Answer, String> {
        let Opened { status, fields, body, _moving: moving } = self;
        let collected = Limited::new(body, max_bytes).collect().await;
        let body = collected.map_err(|error| match error.downcast_ref::<hyper::Error>() {
            Some(error) => format!("the answer breaks off: {}", words(error)),
            None => format!("the answer is longer than {max_bytes} bytes"),
        });
        drop(moving);
        Ok(Answer { status, fields, body: body?.to_bytes() })
    }

    /// The rest of the answer, a line at a time.
    pub(crate) fn lines(self, max_bytes: usize) -> Lines {
        Lines { opened: self, read: BytesMut::new(), looked_at: 0, max_bytes }
    }
}

/// An answer that comes line by line, for as long as it pleases.
#[derive(Debug)]
pub(crate) struct Lines {
    opened: Opened,
    read: BytesMut,
    /// Bytes of `read` that hold no line end.
    looked_at: usize,
    /// Of one line.
    max_bytes: usize,
}

impl Lines {
    /// The next line that is not empty; `None` at the end. May be dropped and called again.
    ///
    /// # Errors
    /// In words: it breaks off, or a line is too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.read.len() > self.max_bytes {
                return Err(format!("a line is longer than {} bytes", self.max_bytes));
            }
            match self.opened.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.read.extend_from_slice(&piece);
                    }
                }
                Some(Err(error)) => return Err(format!("breaks off: {}", words(&error))),
                None if self.read.is_empty() => return Ok(None),
                None => return Err("breaks off within a line".to_owned()),
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        loop {
            let found = self.read[self.looked_at..].iter().position(|byte| *byte == b'\n');
            let Some(at) = found else {
                self.looked_at = self.read.len();
                return None;
            };
            let line = self.read.split_to(self.looked_at + at).freeze();
            self.read.advance(1);
            self.looked_at = 0;
            let line = line.strip_suffix(b"\r").map_or(line.clone(), |it| line.slice_ref(it));
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}
