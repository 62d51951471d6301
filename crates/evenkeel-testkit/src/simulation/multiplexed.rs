//! A scripted client that speaks HTTP/2: its requests are streams of one connection, up to so many
//! at a time, and every response is judged as if it had come over HTTP/1.1.

use super::client::{self, DIAL_PATIENCE, PATIENCE};
use super::inbox::{self, Head};
use super::jar::Jar;
use super::journal::{Outcome, Stage};
use super::world::{Body, Client, Method, Request, listener_address};
use crate::memory::MemoryStream;
use bytes::Bytes;
use evenkeel_proxy::net::Stream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Connections that are made for one request, should they end before it is sent.
const MAX_DIALS: usize = 3;

/// A connection as the HTTP/2 library wants it.
struct Wire(MemoryStream);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = ready!(self.0.poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

/// What all streams of a client share.
struct Caller {
    stage: Rc<Stage>,
    jar: Jar,
    plan: Client,
    own: SocketAddr,
}

/// Plays one client to its end.
pub(super) async fn play(stage: Rc<Stage>, plan: Client, number: usize) {
    sleep(Duration::from_millis(plan.start_ms)).await;
    let (own, jar) = (client::address_of(number), Jar::of(&plan));
    let caller = Rc::new(Caller { stage, jar, plan, own });
    let mut link: Option<SendRequest<Bytes>> = None;
    let mut running: VecDeque<JoinHandle<()>> = VecDeque::new();
    for request in &caller.plan.requests {
        while running.len() >= caller.plan.window.max(1) {
            if let Some(first) = running.pop_front() {
                let _ = first.await;
            }
        }
        sleep(Duration::from_millis(request.think_ms)).await;
        if caller.plan.fresh {
            link = None;
        }
        match caller.begin(request, &mut link).await {
            Some(begun) => {
                let (caller, request) = (Rc::clone(&caller), request.clone());
                running.push_back(tokio::task::spawn_local(async move {
                    caller.follow(&request, begun).await;
                }));
            }
            None => {
                let unsent = Outcome::Unsent("no connection takes it".to_owned());
                caller.stage.settle(&request.id, unsent);
            }
        }
    }
    for one in running {
        let _ = one.await;
    }
}

type Begun = (ResponseFuture, SendStream<Bytes>, Option<SocketAddr>);

impl Caller {
    /// Connects, and lets the library do the rest in a task of its own.
    async fn connect(&self) -> Option<SendRequest<Bytes>> {
        let to = listener_address(self.plan.listener);
        let dialled = timeout(DIAL_PATIENCE, self.stage.net.dial(self.own, to)).await;
        let mut stream = dialled.ok()?.ok()?;
        if let Some(header) = client::opening(&self.plan, to) {
            let mut left = &header[..];
            while !left.is_empty() {
                let write = |cx: &mut Context<'_>| stream.poll_write(cx, &[IoSlice::new(left)]);
                left = &left[std::future::poll_fn(write).await.ok()?..];
            }
        }
        let shaken = timeout(PATIENCE, Builder::new().handshake(Wire(stream))).await;
        let Ok(shaken) = shaken else {
            self.stage.breach("I1: the beginning of a connection hangs");
            return None;
        };
        let (sender, connection) = shaken.ok()?;
        tokio::task::spawn_local(connection);
        Some(sender)
    }

    /// Opens the stream of a request, on a new connection if the last one has ended.
    async fn begin(
        &self,
        request: &Request,
        link: &mut Option<SendRequest<Bytes>>,
    ) -> Option<Begun> {
        for _ in 0..MAX_DIALS {
            let open = match link.take() {
                Some(open) => open,
                None => self.connect().await?,
            };
            let Ok(mut open) = timeout(PATIENCE, open.ready()).await else {
                self.stage.breach(&format!("I1: {} cannot begin", request.id));
                return None;
            };
            let Ok(open) = &mut open else { continue };
            let tie = self.jar.tie(request);
            let head = head_of(request, &self.jar.line(request));
            let whole = request.body == Body::Nothing && request.leaves.is_none();
            let Ok((response, body)) = open.send_request(head, whole) else { continue };
            *link = Some(open.clone());
            if let Some(tie) = tie {
                self.stage.journal.borrow_mut().ties.insert(request.id.clone(), tie);
            }
            let (id, method) = (&request.id, request.method.name());
            self.stage.note(&format!("client: {id} {method} {:?} on a stream", request.body));
            return Some((response, body, tie));
        }
        None
    }

    /// Sends the body while the response is awaited, and settles the request.
    async fn follow(&self, request: &Request, (response, body, tie): Begun) {
        let exchange = async {
            let (left, answer) = tokio::join!(self.send(request, body), response);
            if left { Err(Outcome::Left) } else { self.read(request, answer, tie).await }
        };
        let outcome = match timeout(PATIENCE, exchange).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => {
                self.stage.breach(&format!("I1: {} hangs", request.id));
                Outcome::Broken("hangs".to_owned())
            }
        };
        self.stage.settle(&request.id, outcome);
    }

    /// True if the client leaves by its own plan.
    async fn send(&self, request: &Request, mut stream: SendStream<Bytes>) -> bool {
        let length = match request.body {
            Body::Nothing => 0,
            Body::Length(length) | Body::Chunked(length, _) => length,
        };
        let body = inbox::body_of(&request.id, length);
        let share = request.leaves.map_or(100, |(_, percent)| usize::from(percent));
        let mut left = &body[..length * share / 100];
        while !left.is_empty() {
            stream.reserve_capacity(left.len().min(request.piece.max(1)));
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else { return false };
            let (piece, rest) = left.split_at(room.min(left.len()));
            if stream.send_data(Bytes::copy_from_slice(piece), false).is_err() {
                return false;
            }
            left = rest;
            if request.pause_ms > 0 {
                sleep(Duration::from_millis(request.pause_ms)).await;
            }
        }
        if request.leaves.is_some() {
            self.stage.note(&format!("client: {} resets its stream at {share} %", request.id));
            stream.send_reset(Reason::CANCEL);
            return true;
        }
        if request.body != Body::Nothing {
            // Fails for a stream that is over; then the response tells.
            let _ = stream.send_data(Bytes::new(), true);
        }
        false
    }

    async fn read(
        &self,
        request: &Request,
        answer: Result<http::Response<h2::RecvStream>, h2::Error>,
        tie: Option<SocketAddr>,
    ) -> Result<Outcome, Outcome> {
        let broken = |error: h2::Error| Outcome::Broken(error.to_string());
        let (parts, mut frames) = answer.map_err(broken)?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = frames.data().await {
            let data = data.map_err(broken)?;
            body.extend_from_slice(&data);
            frames.flow_control().release_capacity(data.len()).map_err(broken)?;
        }
        frames.trailers().await.map_err(broken)?;
        let status = parts.status.as_u16();
        let fields = parts.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let head = Head::of(fields.collect());
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
            if head.value(name).is_some() {
                self.stage.breach(&format!("{}: {name} over HTTP/2", request.id));
            }
        }
        let at = self.stage.net.elapsed();
        let local = client::check_origin(&self.stage, request, &head, (status, &body));
        client::note_session((&self.stage, &self.jar), request, tie, &head);
        client::check_refusal(&self.stage, request, &head, (status, local));
        Ok(Outcome::Answered { status, local, at })
    }
}

/// A request without its body.
fn head_of(request: &Request, cookies: &str) -> http::Request<()> {
    let (pool, id) = (request.pool, &request.id);
    let mut length = None;
    let body = match request.body {
        Body::Nothing => 0,
        Body::Length(body) => *length.insert(body),
        Body::Chunked(body, _) => body,
    };
    let hash = inbox::hash(&inbox::body_of(id, body));
    let method = match request.method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
    };
    let mut head = http::Request::builder()
        .method(method)
        .uri(format!("http://sim.test/p{pool}/{id}"))
        .header("x-sim-id", id)
        .header("x-sim-hash", hash.to_string());
    // A request that is left promises nothing of its length.
    if let Some(length) = length.filter(|_| request.leaves.is_none()) {
        head = head.header("content-length", length);
    }
    if let Some(cookie) = cookies.strip_prefix("Cookie: ") {
        head = head.header("cookie", cookie.trim_end());
    }
    head.body(()).expect("a request of known form")
}
