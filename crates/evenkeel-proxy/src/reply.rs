//! Answers that we make ourselves, from a `Failure`: one stable code, a sentence, the request's id.

use crate::buffer::Outbox;
use evenkeel_core::failure::Failure;
use evenkeel_core::framing::Version;
use evenkeel_core::grpc;
use evenkeel_core::headers::{Persistence, write_connection};
use std::io::Write;
use std::time::Duration;

/// The answer to bytes that are no request, and the bytes of its body; nothing follows it.
pub(crate) fn closing(
    failure: Failure,
    form: ReplyForm,
    (id, date): (&[u8], &str),
) -> (Outbox, u64) {
    let to = ReplyTo {
        form,
        version: Version::Http11,
        persistence: Persistence::Close,
        date,
        request_id: id,
        host: b"",
        omit_body: false,
        own_lines: b"",
        retry_after: None,
    };
    let mut reply = Outbox::default();
    let body_bytes = write(failure, &to, &mut reply.bytes);
    (reply, body_bytes)
}

/// The shape of a local reply's body, by the request's `Accept`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplyForm {
    /// `{"error": …}`; also for `*/*` and no preference.
    #[default]
    Json,
    /// For terminals that ask for it.
    Plain,
    /// For browsers.
    Html,
    /// For gRPC calls: a status and no body.
    Grpc,
}

impl ReplyForm {
    /// The form that an `Accept` value asks for: the first of ours that it names.
    pub(crate) fn from_accept(accept: &[u8]) -> ReplyForm {
        let named = |form: &[u8]| memchr::memmem::find(accept, form).unwrap_or(usize::MAX);
        let (html, plain) = (named(b"text/html"), named(b"text/plain"));
        let json = named(b"application/json");
        match html.min(plain).min(json) {
            usize::MAX => ReplyForm::Json,
            first if first == json => ReplyForm::Json,
            first if first == html => ReplyForm::Html,
            _ => ReplyForm::Plain,
        }
    }

    /// The form for a head that is refused as a whole, which an HTTP/2 stream has: its lines are
    /// as we wrote them.
    pub(crate) fn of_refused(head: &[u8]) -> ReplyForm {
        const KIND: &[u8] = b"\r\ncontent-type: ";
        let end = memchr::memmem::find(head, b"\r\n\r\n").unwrap_or(head.len());
        let kind = memchr::memmem::find(&head[..end], KIND).map(|at| &head[at + KIND.len()..end]);
        if kind.is_some_and(grpc::is_call) { ReplyForm::Grpc } else { ReplyForm::Json }
    }

    fn content_type(self) -> &'static str {
        match self {
            ReplyForm::Json => "application/json",
            ReplyForm::Plain => "text/plain; charset=utf-8",
            ReplyForm::Html => "text/html; charset=utf-8",
            ReplyForm::Grpc => "application/grpc",
        }
    }
}

/// What a local reply needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo<'a> {
    pub(crate) form: ReplyForm,
    pub(crate) version: Version,
    pub(crate) persistence: Persistence,
    /// Now, as IMF-fixdate.
    pub(crate) date: &'a str,
    pub(crate) request_id: &'a [u8],
    /// The host asked for, as the client spelt it.
    pub(crate) host: &'a [u8],
    /// The answer to HEAD has no body.
    pub(crate) omit_body: bool,
    /// Whole lines, each with its CRLF.
    pub(crate) own_lines: &'a [u8],
    /// When to come again, if it is known better than the failure's own hint.
    pub(crate) retry_after: Option<Duration>,
}

/// Writes the whole reply, head and body, to `out`; returns the bytes of the body.
pub(crate) fn write(failure: Failure, to: &ReplyTo<'_>, out: &mut Vec<u8>) -> u64 {
    if to.form == ReplyForm::Grpc {
        write_call(failure, to, out);
        return 0;
    }
    let body = body(failure, to);
    let text = |out: &mut Vec<u8>, parts: &[&str]| {
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {} {}\r\n", failure.status(), failure.reason());
    text(out, &["Date: ", to.date, "\r\nContent-Type: ", to.form.content_type(), "\r\n"]);
    let _ = write!(out, "Content-Length: {}\r\n", body.len());
    if let Some(hint) = failure.retry_after_seconds() {
        let exact = to.retry_after.map(|wait| wait.as_nanos().div_ceil(1_000_000_000).max(1));
        let _ = write!(out, "Retry-After: {}\r\n", exact.unwrap_or(hint.into()));
    }
    out.extend_from_slice(to.own_lines);
    if failure == Failure::MethodRefused {
        text(out, &["Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"]);
    }
    text(out, &["Cache-Control: no-store\r\n"]);
    write_connection(to.version, to.persistence, out);
    out.extend_from_slice(b"\r\n");
    if to.omit_body {
        return 0;
    }
    out.extend_from_slice(&body);
    body.len() as u64
}

/// The whole reply to a gRPC call is a head; HTTP/2 calls that trailers only.
fn write_call(failure: Failure, to: &ReplyTo<'_>, out: &mut Vec<u8>) {
    let (status, code) = (grpc::status_of(failure), failure.code());
    // Messages have no sign that gRPC writes in percent. Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: 0\r\n\
         grpc-status: {status}\r\ngrpc-message: {code}: {}\r\n",
        to.date,
        to.form.content_type(),
        failure.message(),
    );
    out.extend_from_slice(to.own_lines);
    write_connection(to.version, to.persistence, out);
    out.extend_from_slice(b"\r\n");
}

/// Ids are ours or visible ASCII of a trusted peer, and hosts are those of a strict reading; quotes
/// and markup are dropped all the same.
fn plain(text: &[u8]) -> String {
    let is_plain =
        |b: &&u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'<' | b'>' | b'&');
    text.iter().filter(is_plain).map(|b| char::from(*b)).collect()
}

fn body(failure: Failure, to: &ReplyTo<'_>) -> Vec<u8> {
    let (id, host) = (plain(to.request_id), plain(to.host));
    let code = failure.code();
    let message = if failure == Failure::NoRoute && !host.is_empty() {
        // Which host it was for, and nothing of others.
        format!("No route for host {host} and this path.")
    } else {
        failure.message().to_owned()
    };
    let (status, reason) = (failure.status(), failure.reason());
    let text = match to.form {
        ReplyForm::Grpc => String::new(),
        ReplyForm::Json => format!(
            "{{\"error\": \"{code}\", \"message\": \"{message}\", \"request_id\": \"{id}\"}}\n"
        ),
        ReplyForm::Plain => format!("{status} {code}: {message}\nrequest id: {id}\n"),
        ReplyForm::Html => format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>{status} {reason}</title></head>\n<body><h1>{status} {reason}</h1>\
             <p>{message}</p><p><code>{code}</code> · <code>{id}</code></p></body></html>\n"
        ),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn form_follows_accept() {
        let cases: [(&[u8], ReplyForm); 6] = [
            (b"*/*", ReplyForm::Json),
            (b"", ReplyForm::Json),
            (b"text/plain", ReplyForm::Plain),
            (b"text/html,application/xhtml+xml,*/*;q=0.8", ReplyForm::Html),
            (b"application/json, text/plain, */*", ReplyForm::Json),
            (b"image/png", ReplyForm::Json),
        ];
        for (accept, form) in cases {
            assert_eq!(ReplyForm::from_accept(accept), form);
        }
    }

    #[test]
    fn a_refused_head_of_a_call_is_one_of_a_call() {
        let cases: [(&[u8], ReplyForm); 4] = [
            (b"POST / HTTP/1.1\r\ncontent-type: application/grpc+proto\r\na: b", ReplyForm::Grpc),
            (b"POST / HTTP/1.1\r\ncontent-type: text/plain\r\n\r\n", ReplyForm::Json),
            (b"POST / HTTP/1.1\r\na: b\r\n\r\n\r\ncontent-type: application/grpc", ReplyForm::Json),
            (b"", ReplyForm::Json),
        ];
        for (head, form) in cases {
            assert_eq!(ReplyForm::of_refused(head), form, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_call_gets_a_status() {
        let to = ReplyTo {
            form: ReplyForm::Grpc,
            version: Version::Http11,
            persistence: Persistence::Keep,
            date: DATE,
            request_id: b"",
            host: b"",
            omit_body: false,
            own_lines: b"",
            retry_after: None,
        };
        for failure in Failure::ALL {
            let mut out = Vec::new();
            assert_eq!(write(*failure, &to, &mut out), 0);
            let text = String::from_utf8(out).expect("text");
            let status = format!("grpc-status: {}\r\n", grpc::status_of(*failure));
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(&status), "{text}");
            assert!(text.is_ascii() && !text.contains('%'), "{text}");
        }
    }

    #[test]
    fn no_id_can_break_the_body() {
        let to = ReplyTo {
            form: ReplyForm::Json,
            version: Version::Http11,
            persistence: Persistence::Close,
            date: DATE,
            request_id: b"a\"b\\c",
            host: b"x'<b>\".test",
            omit_body: false,
            own_lines: b"",
            retry_after: None,
        };
        let said = |failure| {
            let mut out = Vec::new();
            write(failure, &to, &mut out);
            String::from_utf8(out).expect("text")
        };
        let text = said(Failure::NoBackend);
        assert!(text.contains("\"request_id\": \"abc\""), "{text}");
        assert!(text.contains(&format!("\r\nDate: {DATE}\r\n")), "RFC 9110 6.6.1: {text}");
        assert!(text.contains("Retry-After: 1\r\n") && text.contains("Connection: close\r\n"));
        assert!(!text.contains(".test"), "{text}");
        let text = said(Failure::NoRoute);
        let message = "\"message\": \"No route for host xb.test and this path.\"";
        assert!(text.contains(message), "{text}");
    }
}
