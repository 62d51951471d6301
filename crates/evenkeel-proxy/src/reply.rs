//! Answers that we make ourselves, from a `Failure`: one stable code, a sentence, the request's id.

use crate::buffer::Outbox;
use evenkeel_core::accept::{Liking, likings};
use evenkeel_core::failure::Failure;
use evenkeel_core::framing::Version;
use evenkeel_core::grpc;
use evenkeel_core::headers::{Persistence, write_connection};
use std::cmp::Reverse;
use std::io::Write;
use std::time::Duration;

/// The answer to bytes that are no request, and the bytes of its body; nothing follows it. The
/// start of `asked` decides whether there is a body.
pub(crate) fn closing(
    (asked, form): (&[u8], ReplyForm),
    failure: Failure,
    id: &[u8],
    date: &str,
) -> (Outbox, u64) {
    let to = ReplyTo {
        form,
        version: Version::Http11,
        persistence: Persistence::Close,
        date,
        request_id: id,
        host: b"",
        omit_body: asked.starts_with(b"HEAD "),
        own_lines: b"",
        retry_after: None,
    };
    let mut reply = Outbox::default();
    let body_bytes = write(failure, &to, &mut reply.bytes);
    (reply, body_bytes)
}

/// The value of the first header line of a name in bytes that are no request, if there is one.
pub(crate) fn line_value<'a>(bytes: &'a [u8], lower_name: &[u8]) -> Option<&'a [u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_at_checked(lower_name.len())?;
        let value = name.eq_ignore_ascii_case(lower_name).then_some(value)?;
        Some(value.strip_prefix(b":")?.trim_ascii())
    })
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
    /// The form that header lines ask for, in bytes that are no request.
    pub(crate) fn of_lines(asked: &[u8]) -> ReplyForm {
        if line_value(asked, b"content-type").is_some_and(grpc::is_call) {
            return ReplyForm::Grpc;
        }
        line_value(asked, b"accept").map_or(ReplyForm::Json, ReplyForm::from_accept)
    }

    /// The form that an `Accept` value likes best; of those that it likes alike, the one that it
    /// names, or names first.
    pub(crate) fn from_accept(accept: &[u8]) -> ReplyForm {
        // Nothing beats what is named first, without a weight: what browsers do.
        match accept.split(|byte| *byte == b',').next() {
            Some(b"text/html") => return ReplyForm::Html,
            Some(b"application/json") => return ReplyForm::Json,
            Some(_) | None => {}
        }
        let forms = [ReplyForm::Json, ReplyForm::Plain, ReplyForm::Html];
        let types = [("application", "json"), ("text", "plain"), ("text", "html")];
        let likings = likings(accept, &types).into_iter().zip(forms);
        let liked = likings.filter_map(|(liking, form)| {
            let Liking { quality, precision, range } = liking?;
            (quality > 0).then_some(((quality, precision, Reverse(range)), form))
        });
        // Of equals `max_by_key` takes the last one: in reverse, the first of the list.
        liked.rev().max_by_key(|(rating, _)| *rating).map_or(ReplyForm::Json, |(_, form)| form)
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
        let cases = [
            ("*/*", ReplyForm::Json),
            ("", ReplyForm::Json),
            ("text/plain", ReplyForm::Plain),
            ("text/html,application/xhtml+xml,*/*;q=0.8", ReplyForm::Html),
            ("application/json, text/plain, */*", ReplyForm::Json),
            ("text/plain, application/json", ReplyForm::Plain),
            ("text/html, text/plain, text/sgml, */*;q=0.01", ReplyForm::Html),
            ("image/png", ReplyForm::Json),
            ("TEXT/HTML", ReplyForm::Html),
            ("text/*", ReplyForm::Plain),
            ("text/html;q=0, text/plain", ReplyForm::Plain),
            ("text/plain;q=0.1, application/json", ReplyForm::Json),
            ("text/plain;q=0.5, text/html;q=0.9", ReplyForm::Html),
            ("text/plain;q=0.9, */*", ReplyForm::Json),
            ("text/plain, */*", ReplyForm::Plain),
            ("*/*;q=0", ReplyForm::Json),
        ];
        for (accept, form) in cases {
            assert_eq!(ReplyForm::from_accept(accept.as_bytes()), form, "{accept:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_answered_in_its_form() {
        let cases = [
            ("HEAD / HTTP/1.1\r\nHost: x\r\nExpect: y\r\n\r\n", "json", false),
            ("TRACE / HTTP/1.1\r\nACCEPT:text/plain\r\n\r\n", "plain", true),
            ("GET / HTTP/2.0\nX: y\nAccept: text/html\n\n", "html", true),
            ("POST / HTTP/1.1\r\n\r\nAccept: text/html\r\n", "json", true),
            ("Accept: text/html\r\n", "json", true),
            ("POST / HTTP/1.1\r\nContent-Type: application/grpc+proto\r\n\r\n", "grpc", false),
            ("", "json", true),
        ];
        for (asked, form, has_body) in cases {
            let bytes = asked.as_bytes();
            let asked_in = (bytes, ReplyForm::of_lines(bytes));
            let (reply, bytes) = closing(asked_in, Failure::BadRequest, b"1", DATE);
            let text = String::from_utf8(reply.bytes).expect("text");
            assert!(text.contains(&format!("/{form}")), "{asked:?}: {text}");
            assert_eq!((bytes > 0, !text.ends_with("\r\n\r\n")), (has_body, has_body), "{text}");
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
