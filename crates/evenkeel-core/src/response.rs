//! The head of a backend's response: parsed as strictly as a request's, because a hostile or broken
//! backend must not be able to confuse a client (RFC 9112 sections 4 and 6.3).

use crate::failure::Failure;
use crate::field::{Field, Known, Span, is, list, list_has};
use crate::framing::{BodyLength, FramingFields, Version};
use crate::grammar;
use crate::request::{MAX_FIELDS, Parsed, Upgrade, Verb};

/// Bytes of status line and fields that a backend may send.
pub const MAX_RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// Interim (1xx) responses forwarded before the final one.
pub const MAX_INTERIM_RESPONSES: u32 = 10;

/// One response head, reused like a request head.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// In the order received.
    pub fields: Vec<Field>,
    /// Bytes of the head; the body begins here.
    pub bytes: usize,
    /// The one body length.
    pub body: BodyLength,
    /// `Content-Length` of an answer that has no body (HEAD, 304).
    pub announced: Option<u64>,
    /// The connection may carry another request after this response.
    pub reusable: bool,
    /// `Connection` names fields to be removed.
    pub names_fields: bool,
}

impl ResponseHead {
    /// Parses the head at the start of `buf`, the answer to a request of this verb. 101 is legal
    /// only if it asked to upgrade.
    pub fn parse(&mut self, buf: &[u8], verb: Verb, upgrade: Upgrade) -> Result<Parsed, Failure> {
        let window = &buf[..buf.len().min(MAX_RESPONSE_HEAD_BYTES)];
        let read = grammar::status_line(window).and_then(|line| {
            let Some(line) = line else { return Ok(None) };
            let end = grammar::fields(window, line.end, MAX_FIELDS, &mut self.fields)?;
            Ok(end.map(|end| (line, end)))
        });
        let (line, bytes) = match read {
            Ok(Some(whole)) => whole,
            Ok(None) if window.len() < MAX_RESPONSE_HEAD_BYTES => return Ok(Parsed::Partial),
            Ok(None) | Err(_) => return Err(Failure::BadResponse),
        };
        self.bytes = bytes;
        (self.status, self.reason) = (line.status, line.reason);
        if !(100..=599).contains(&self.status) {
            return Err(Failure::BadResponse);
        }
        if self.status == 101 && !self.switches_as_asked(buf, upgrade) {
            return Err(Failure::BadResponse);
        }
        self.interpret(buf, verb, line.version)?;
        Ok(Parsed::Complete)
    }

    /// True if the protocol that a 101 names, if it does, is one that the client asked for
    /// (RFC 9110 7.8).
    fn switches_as_asked(&self, buf: &[u8], upgrade: Upgrade) -> bool {
        let mut named = self.fields.iter().filter(|field| field.known == Known::Upgrade);
        let is_websocket =
            |field: &Field| field.value.of_buf(buf).eq_ignore_ascii_case(b"websocket");
        match upgrade {
            Upgrade::NotAsked => false,
            Upgrade::WebSocket => named.all(is_websocket),
            Upgrade::Other => !named.any(is_websocket),
        }
    }

    /// True if this is not the final response.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// True if `Connection` names this field, so that it ends here.
    pub fn is_named_by_connection(&self, buf: &[u8], name: &[u8]) -> bool {
        let mut connections = self.fields.iter().filter(|f| f.known == Known::Connection);
        self.names_fields && connections.any(|f| list_has(f.value.of_buf(buf), name))
    }

    fn interpret(&mut self, buf: &[u8], verb: Verb, version: Version) -> Result<(), Failure> {
        let mut framing = FramingFields::default();
        let (mut close, mut keep) = (false, false);
        self.names_fields = false;
        for field in &self.fields {
            if matches!(field.known, Known::ContentLength | Known::TransferEncoding) {
                framing.observe(field, buf);
            } else if field.known == Known::Connection {
                let value = field.value.of_buf(buf);
                if is(value, b"keep-alive") {
                    // Nearly all say just that.
                    keep = true;
                    continue;
                }
                for option in list(value) {
                    if option.eq_ignore_ascii_case(b"keep-alive") {
                        keep = true;
                    } else if option.eq_ignore_ascii_case(b"close") {
                        close = true;
                    } else {
                        self.names_fields = true;
                    }
                }
            }
        }
        let persistent = !close && (version == Version::Http11 || keep);
        let (body, unambiguous) = framing.of_response(version)?;
        let empty = matches!(self.status, 100..=199 | 204);
        let bodiless = verb == Verb::Head || empty || self.status == 304;
        // An interim answer and 204 have no length, not even one to tell (RFC 9110 8.6).
        let announces = bodiless && !empty;
        self.announced = if announces { framing.announced() } else { None };
        self.body = if bodiless { BodyLength::None } else { body };
        self.reusable = persistent && (unambiguous || bodiless);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, verb: Verb) -> Result<(Parsed, ResponseHead), Failure> {
        let mut head = ResponseHead::default();
        let parsed = head.parse(text.as_bytes(), verb, Upgrade::NotAsked)?;
        Ok((parsed, head))
    }

    #[test]
    fn lengths() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", BodyLength::Fixed(2), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BodyLength::Chunked, true),
            ("HTTP/1.1 200 OK\r\n\r\n", BodyLength::UntilClose, false),
            ("HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", BodyLength::None, true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", BodyLength::Fixed(2), false),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                BodyLength::Chunked,
                false,
            ),
        ];
        for (text, body, reusable) in cases {
            let (parsed, head) = parse(text, Verb::Safe).expect(text);
            assert_eq!((parsed, head.body, head.reusable), (Parsed::Complete, body, reusable));
        }
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        let (_, head) = parse(text, Verb::Head).expect("head");
        assert_eq!((head.body, head.announced, head.reusable), (BodyLength::None, Some(7), true));
        for status in ["103 E", "204 N"] {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\n");
            let (_, head) = parse(&text, Verb::Head).expect("head");
            assert_eq!((head.body, head.announced), (BodyLength::None, None), "{status}");
        }
    }

    #[test]
    fn a_connection_becomes_what_was_asked_for() {
        let (none, socket, other) = (Upgrade::NotAsked, Upgrade::WebSocket, Upgrade::Other);
        let cases = [
            ("", [(none, false), (socket, true), (other, true)]),
            ("Upgrade: WebSocket\r\n", [(none, false), (socket, true), (other, false)]),
            ("Upgrade: foo\r\n", [(none, false), (socket, false), (other, true)]),
            ("Upgrade: h2c, websocket\r\n", [(none, false), (socket, false), (other, true)]),
        ];
        for (fields, expected) in cases {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
            for (asked, legal) in expected {
                let parsed = ResponseHead::default().parse(text.as_bytes(), Verb::Once, asked);
                assert_eq!(parsed.is_ok(), legal, "{asked:?} {fields}");
            }
        }
    }

    #[test]
    fn refusals() {
        let cases = [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 2000 x\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 600 x\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
            "HTTP/1.1 200 OK\na: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ];
        for text in cases {
            assert_eq!(parse(text, Verb::Safe).err(), Some(Failure::BadResponse), "{text:?}");
        }
    }
}
