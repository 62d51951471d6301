//! What HTTP has: field names and values, methods, hosts, status codes.

use crate::diagnostic::Fault;
use crate::key::{Atom, REDACTED, Scalar};
use evenkeel_core::secret::is_secret_field;
use serde_json::{Value as Json, json};
use std::ops::RangeInclusive;

/// A field name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HeaderName(pub(crate) String);

/// A field name a rule may change: not framing, not hop-by-hop, and `host` only if `HOST`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChangeableName<const HOST: bool>(pub(crate) String);

/// A field name a rule may add or remove.
pub(crate) type RuleHeaderName = ChangeableName<false>;

/// A field name a rule may set.
pub(crate) type SetHeaderName = ChangeableName<true>;

/// A field value on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderValue(pub(crate) String);

/// A method in upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method(pub(crate) String);

/// A host name in lower case without port or trailing dot, or `*.suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) String);

/// Status codes: `200-399`, `200,204`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusSet(pub(crate) Vec<RangeInclusive<u16>>);

/// Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1, RFC 9112).
const FIXED_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The value of a field as it may be shown.
pub fn shown_value<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret_field(name) { REDACTED } else { value }
}

/// True of a field name that a rule may set.
pub(crate) fn is_changeable(name: &str) -> bool {
    is_token(name) && !FIXED_FIELDS.contains(&name.to_ascii_lowercase().as_str())
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let symbol = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || symbol(b))
}

impl Scalar for HeaderName {
    const WORD: &'static str = "a header name";

    fn parse(atom: Atom<'_>) -> Result<HeaderName, Fault> {
        let text = atom.text();
        if is_token(text) {
            return Ok(HeaderName(text.to_ascii_lowercase()));
        }
        let fault = Fault::new(format!("{text:?} is not a header name"));
        Err(fault.hint("letters, digits and -, without spaces or a colon"))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }

    fn is_secret(&self) -> bool {
        is_secret_field(&self.0)
    }
}

impl<const HOST: bool> Scalar for ChangeableName<HOST> {
    const WORD: &'static str = HeaderName::WORD;

    fn parse(atom: Atom<'_>) -> Result<ChangeableName<HOST>, Fault> {
        let HeaderName(name) = HeaderName::parse(atom)?;
        if FIXED_FIELDS.contains(&name.as_str()) {
            let fault = Fault::new(format!("{name} cannot be changed by a rule"));
            return Err(fault.hint("the proxy writes framing and connection fields itself"));
        }
        if name == "host" && !HOST {
            let fault = Fault::new("host can be set, but not added or removed");
            return Err(fault.hint("a request has exactly one"));
        }
        Ok(ChangeableName(name))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        HeaderName::schema()
    }

    fn is_secret(&self) -> bool {
        is_secret_field(&self.0)
    }
}

impl Scalar for HeaderValue {
    const WORD: &'static str = "a header value";

    fn parse(atom: Atom<'_>) -> Result<HeaderValue, Fault> {
        let text = atom.text().trim_matches([' ', '\t']);
        if text.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(Fault::new("a header value cannot hold line breaks or control characters"));
        }
        if text == REDACTED {
            let fault = Fault::new(format!("{REDACTED} stands for a secret that is not shown"));
            return Err(fault.hint("write the value itself, as the file has it that was shown"));
        }
        Ok(HeaderValue(text.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Scalar for Method {
    const WORD: &'static str = "a method";

    fn parse(atom: Atom<'_>) -> Result<Method, Fault> {
        let text = atom.text();
        let name = text.to_ascii_uppercase();
        if !is_token(text) {
            return Err(Fault::new(format!("{text:?} is not a method")).hint("such as GET"));
        }
        if matches!(name.as_str(), "CONNECT" | "TRACE") {
            return Err(Fault::new(format!("{name} is always refused, no route can serve it")));
        }
        Ok(Method(name))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["GET", "POST"] })
    }
}

impl Scalar for Host {
    const WORD: &'static str = "a host name";

    fn parse(atom: Atom<'_>) -> Result<Host, Fault> {
        let text = atom.text().trim();
        let wrong = |why: &str, hint: &str| Err(Fault::new(format!("{text:?} {why}")).hint(hint));
        let lower = text.to_ascii_lowercase();
        let without_port = match lower.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => &lower,
        };
        let host = without_port.strip_suffix('.').unwrap_or(without_port);
        if host.is_empty() || host == "*" {
            let hint =
                "leave `hosts` out for that; without `sni_routes` a tcp listener asks nobody";
            return wrong("matches every host", hint);
        }
        if !host.is_ascii() {
            return wrong("is not ASCII", "write it in punycode: xn--...");
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let labels =
            |name: &str| name.split('.').all(|part| !part.is_empty() && part.bytes().all(label));
        let v6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_v6 = v6.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_v6 && !labels(name) {
            return wrong("is not a host name", "such as api.example.com or *.example.com");
        }
        Ok(Host(host.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["api.example.com", "*.example.org"] })
    }
}

impl Scalar for StatusSet {
    const WORD: &'static str = "status codes";

    fn parse(atom: Atom<'_>) -> Result<StatusSet, Fault> {
        let code = |text: &str| text.trim().parse().ok().filter(|c| (100..=599_u16).contains(c));
        let range = |part: &str| match part.split_once('-') {
            Some((from, to)) => Some(code(from)?..=code(to)?).filter(|range| !range.is_empty()),
            None => code(part).map(|code| code..=code),
        };
        let ranges: Option<Vec<_>> = atom.text().split(',').map(range).collect();
        ranges.map(StatusSet).ok_or_else(|| {
            Fault::new(format!("{:?} is not a set of status codes", atom.text()))
                .hint("such as 200-399 or 200,204")
        })
    }

    fn json(&self) -> Json {
        let part = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        Json::String(self.0.iter().map(part).collect::<Vec<_>>().join(","))
    }

    fn schema() -> Json {
        json!({ "type": ["string", "integer"], "examples": ["200-399", "200,204"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn hosts() {
        shown::<Host>(&[
            ("API.example.com", "api.example.com"),
            ("a.test:8080", "a.test"),
            ("a.test.", "a.test"),
            ("*.Example.org", "*.example.org"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ]);
        refused::<Host>(&[
            ("*", "every host"),
            ("", "every host"),
            ("a b", "not a host name"),
            ("a.*.b", "not a host name"),
            ("http://a", "not a host name"),
            ("ä.de", "punycode"),
        ]);
    }

    #[test]
    fn headers() {
        shown::<RuleHeaderName>(&[("X-Beta", "x-beta")]);
        refused::<RuleHeaderName>(&[
            ("Connection", "cannot be changed"),
            ("content-length", "cannot be changed"),
            ("host", "can be set"),
            ("x beta", "not a header name"),
            ("x:", "not a header name"),
            ("", "not a header name"),
        ]);
        shown::<SetHeaderName>(&[("Host", "host")]);
        refused::<SetHeaderName>(&[("Te", "cannot be changed"), ("x:", "not a header name")]);
        shown::<HeaderValue>(&[(" a\tb ", "a\tb"), ("", "")]);
        refused::<HeaderValue>(&[
            ("a\r\nb: c", "line breaks"),
            ("\0", "control"),
            (REDACTED, "stands for a secret"),
        ]);
    }

    #[test]
    fn methods_and_status_sets() {
        shown::<Method>(&[("get", "GET"), ("M-SEARCH", "M-SEARCH")]);
        refused::<Method>(&[("TRACE", "refused"), ("a b", "not a method"), ("", "not a method")]);
        shown::<StatusSet>(&[("200-399", "200-399"), ("200, 204", "200,204"), ("204", "204")]);
        refused::<StatusSet>(&[("399-200", "200-399"), ("99", "status"), ("", "status")]);
    }
}
