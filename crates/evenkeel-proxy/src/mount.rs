//! Read-only endpoints of ours on a traffic listener. The page is made elsewhere, by whoever took
//! the other end with `Shared::open_mounts`; a worker only asks, and waits for a bounded time.
//!
//! *Architecture invariant:* traffic needs nobody at the other end. If nobody is there, or nobody
//! answers in time, the client of the mount gets a 503, and nobody else notices.

use crate::admit::{Asked, accept_of};
use crate::exchange::{Exchange, Next};
use crate::http1::Client;
use crate::net::Net;
use crate::refuse::{deliver, settle};
use crate::worker::Worker;
use bytes::Bytes;
use evenkeel_core::headers::write_connection;
use evenkeel_core::plan::MountPlan;
use evenkeel_core::request::Verb;
use std::borrow::Cow;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Questions that wait for whoever makes the pages.
pub(crate) const MAX_ERRANDS: usize = 64;
/// How long a client of a mount waits at most.
const PATIENCE: Duration = Duration::from_secs(3);
const UNAVAILABLE: &[u8] =
    b"{\"error\": \"unavailable\", \"message\": \"nobody makes this page now\"}\n";

/// What a client asks a mount for.
#[derive(Debug)]
pub struct Errand {
    /// Which mount.
    pub mount: MountPlan,
    /// The matching side of the path view.
    pub path: String,
    /// Without its `?`.
    pub query: String,
    /// The first value of `Accept`.
    pub accept: Option<String>,
    /// The first value of `If-None-Match`.
    pub if_none_match: Option<String>,
    /// Where the page goes.
    pub reply: oneshot::Sender<Page>,
}

/// An answer of a mount, without what the connection adds.
#[derive(Clone, Debug)]
pub struct Page {
    /// Of the answer, 200 to 599.
    pub status: u16,
    /// Names and values without line breaks; none about length or connection.
    pub fields: Vec<(Cow<'static, str>, String)>,
    /// All of it.
    pub body: Bytes,
}

impl Page {
    fn unavailable() -> Page {
        let fields = [("Content-Type", "application/json"), ("Retry-After", "1")];
        let fields = fields.map(|(name, value)| (name.into(), value.to_owned()));
        Page { status: 503, fields: fields.into(), body: Bytes::from_static(UNAVAILABLE) }
    }

    /// `lines` are ours, each with its CRLF.
    fn write(&self, lines: &[u8], with_body: bool, out: &mut Vec<u8>) {
        let reason = reason(self.status);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.fields {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if self.status != 304 {
            let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        }
        out.extend_from_slice(lines);
        out.extend_from_slice(b"\r\n");
        if with_body && self.status != 304 {
            out.extend_from_slice(&self.body);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        304 => "Not Modified",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// An answer that needs no backend.
#[derive(Debug)]
pub(crate) enum Own {
    /// It is made elsewhere.
    Mount(Wish),
    /// It is made already.
    Page(Page),
}

/// What a mount was asked for, before there is somebody to tell it to.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) mount: usize,
    path: String,
    query: String,
    accept: Option<String>,
    if_none_match: Option<String>,
}

/// The mount that takes a request, if one does: the first. `host` is lower case.
pub(crate) fn find(asked: Asked<'_>, host: &[u8], path: &[u8]) -> Option<Wish> {
    let Asked { head, bytes, listener, .. } = asked;
    let method = head.method.of_buf(bytes);
    if method != b"GET" && method != b"HEAD" {
        return None;
    }
    let accept = accept_of(head, bytes);
    let wants_html = accept.is_some_and(|it| memchr::memmem::find(it, b"text/html").is_some());
    let mount = listener.mounts.iter().position(|it| it.takes(path, host, wants_html))?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let query = head.query.of_buf(bytes);
    Some(Wish {
        mount,
        path: text(path),
        query: text(query.strip_prefix(b"?").unwrap_or(query)),
        accept: accept.map(text),
        if_none_match: asked.first_value("if-none-match").map(text),
    })
}

/// Answers a client without a backend.
pub(crate) async fn answer<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    own: Own,
) -> Next {
    let page = match own {
        Own::Page(page) => page,
        Own::Mount(wish) => {
            let made = ask(worker, exchange, client.listener, wish).await;
            worker.now();
            made.unwrap_or_else(Page::unavailable)
        }
    };
    let unread = settle(exchange, false);
    exchange.record.status = page.status;
    let with_body = exchange.verb != Verb::Head;
    exchange.record.bytes_out = if with_body { page.body.len() as u64 } else { 0 };
    let mut lines = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write!(lines, "Date: {}\r\n", worker.date.borrow());
    write_connection(exchange.version, exchange.persistence, &mut lines);
    let mut reply = std::mem::take(&mut exchange.ahead);
    page.write(&lines, with_body, &mut reply.bytes);
    deliver(worker, client, exchange, (reply, unread)).await
}

async fn ask<N: Net>(
    worker: &Rc<Worker<N>>,
    exchange: &Exchange<N>,
    listener: usize,
    wish: Wish,
) -> Option<Page> {
    let listener = exchange.record.snapshot().listener(listener)?;
    let mount = listener.mounts.get(wish.mount)?.clone();
    let Wish { path, query, accept, if_none_match, .. } = wish;
    let (reply, page) = oneshot::channel();
    let errand = Errand { mount, path, query, accept, if_none_match, reply };
    worker.shared.ask_mount(errand)?;
    tokio::time::timeout(PATIENCE, page).await.ok()?.ok()
}
