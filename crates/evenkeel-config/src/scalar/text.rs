//! Plain text, names, and words with an inner structure.

use crate::bound::MAX_NAME_BYTES;
use crate::diagnostic::Fault;
use crate::key::{Atom, REDACTED, Scalar};
use crate::scalar::HeaderName;
use serde_json::{Value as Json, json};

/// Any text on one line; empty means "not set" where a key says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) String);

/// The name of a pool, route, listener or backend; empty until a default is given to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

/// Text that is never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

/// A URL that is called. Its query, where tokens are, is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url(pub(crate) String);

/// What a rate limit counts by: `client_ip`, `header:NAME` or `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateKey {
    ClientIp,
    Header(HeaderName),
    Route,
}

/// What the hash strategies hash: `client_ip`, `header:NAME`, `cookie:NAME`, `path`, `query` or
/// `query:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    ClientIp,
    Header(HeaderName),
    Cookie(CookieName),
    Path,
    Query(Option<String>),
}

/// The name of a cookie, a token as field names are (RFC 6265 section 4.1.1), in its own case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CookieName(pub(crate) String);

/// Why a try is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryOn {
    ConnectFailure,
    Reset,
    PerTryTimeout,
    GrpcUnavailable,
    Status(u16),
}

fn one_line(text: &str) -> Result<&str, Fault> {
    if text.contains(char::is_control) {
        return Err(Fault::new("line breaks and control characters are not allowed here"));
    }
    Ok(text)
}

impl Scalar for Text {
    const WORD: &'static str = "text";

    fn parse(atom: Atom<'_>) -> Result<Text, Fault> {
        one_line(atom.text()).map(|text| Text(text.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Scalar for Name {
    const WORD: &'static str = "a name";

    fn parse(atom: Atom<'_>) -> Result<Name, Fault> {
        let text = one_line(atom.text())?.trim();
        match text.len() {
            0 => Err(Fault::new("a name cannot be empty")),
            1..=MAX_NAME_BYTES => Ok(Name(text.to_owned())),
            _ => Err(Fault::new(format!("a name has at most {MAX_NAME_BYTES} bytes"))),
        }
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES })
    }
}

impl Scalar for Secret {
    const WORD: &'static str = "text";

    fn parse(atom: Atom<'_>) -> Result<Secret, Fault> {
        one_line(atom.text()).map(|text| Secret(text.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(if self.0.is_empty() { "" } else { REDACTED }.to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Scalar for Url {
    const WORD: &'static str = "text";

    fn parse(atom: Atom<'_>) -> Result<Url, Fault> {
        one_line(atom.text()).map(|text| Url(text.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(match self.0.split_once('?') {
            Some((place, _)) => format!("{place}?{REDACTED}"),
            None => self.0.clone(),
        })
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// Why a URL cannot be called by us; a login in it would not be sent.
pub(crate) fn uncallable(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Some("only http:// and https:// can be called");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.contains('@').then_some("a login in the URL would not be sent")
}

impl Scalar for RateKey {
    const WORD: &'static str = "a rate limit key";

    fn parse(atom: Atom<'_>) -> Result<RateKey, Fault> {
        match atom.text() {
            "client_ip" | "ip" => Ok(RateKey::ClientIp),
            "route" => Ok(RateKey::Route),
            text => match text.strip_prefix("header:") {
                Some(name) => HeaderName::parse(Atom::Str(name)).map(RateKey::Header),
                None => Err(Fault::new(format!("{text:?} is not known here"))
                    .hint("one of: client_ip, header:NAME, route")),
            },
        }
    }

    fn json(&self) -> Json {
        Json::String(match self {
            RateKey::ClientIp => "client_ip".to_owned(),
            RateKey::Header(name) => format!("header:{}", name.0),
            RateKey::Route => "route".to_owned(),
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(client_ip|ip|route|header:.+)$" })
    }
}

impl Scalar for CookieName {
    const WORD: &'static str = "a cookie name";

    fn parse(atom: Atom<'_>) -> Result<CookieName, Fault> {
        let text = atom.text();
        match HeaderName::parse(Atom::Str(text)) {
            Ok(_) => Ok(CookieName(text.to_owned())),
            Err(_) => Err(Fault::new(format!("{text:?} is not a cookie name"))
                .hint("letters, digits, - and _, without spaces or separators")),
        }
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        HeaderName::schema()
    }
}

impl Scalar for HashKey {
    const WORD: &'static str = "a hash key";

    fn parse(atom: Atom<'_>) -> Result<HashKey, Fault> {
        let text = atom.text();
        match text.split_once(':') {
            None => match text {
                "client_ip" | "ip" => return Ok(HashKey::ClientIp),
                "path" => return Ok(HashKey::Path),
                "query" => return Ok(HashKey::Query(None)),
                _ => {}
            },
            Some(("header", name)) => {
                return HeaderName::parse(Atom::Str(name)).map(HashKey::Header);
            }
            Some(("cookie", name)) => {
                return CookieName::parse(Atom::Str(name)).map(HashKey::Cookie);
            }
            Some(("query", name)) if !name.is_empty() => {
                return Ok(HashKey::Query(Some(one_line(name)?.to_owned())));
            }
            Some(_) => {}
        }
        Err(Fault::new(format!("{text:?} is not known here"))
            .hint("one of: client_ip, header:NAME, cookie:NAME, path, query, query:NAME"))
    }

    fn json(&self) -> Json {
        Json::String(match self {
            HashKey::ClientIp => "client_ip".to_owned(),
            HashKey::Header(name) => format!("header:{}", name.0),
            HashKey::Cookie(name) => format!("cookie:{}", name.0),
            HashKey::Path => "path".to_owned(),
            HashKey::Query(None) => "query".to_owned(),
            HashKey::Query(Some(name)) => format!("query:{name}"),
        })
    }

    fn schema() -> Json {
        let pattern = "^(client_ip|ip|path|(header|cookie):.+|query(:.+)?)$";
        json!({ "type": "string", "pattern": pattern })
    }
}

/// The words of `retry.on` besides status codes.
const RETRY_WORDS: &[(RetryOn, &str)] = &[
    (RetryOn::ConnectFailure, "connect_failure"),
    (RetryOn::Reset, "reset"),
    (RetryOn::PerTryTimeout, "per_try_timeout"),
    (RetryOn::GrpcUnavailable, "grpc_unavailable"),
];

impl Scalar for RetryOn {
    const WORD: &'static str = "a reason to retry";

    fn parse(atom: Atom<'_>) -> Result<RetryOn, Fault> {
        match atom.text().parse() {
            Ok(status @ 400..=599) => Ok(RetryOn::Status(status)),
            Ok(status) => Err(Fault::new(format!("{status} is no status of a failure"))
                .hint("a status from 400 to 599, such as \"503\"")),
            Err(_) => crate::section::choose(atom, RETRY_WORDS).map_err(|fault| {
                let hint = fault.hint.unwrap_or_default();
                Fault::new(fault.message).hint(format!("{hint}, or a status such as \"503\""))
            }),
        }
    }

    fn json(&self) -> Json {
        Json::String(match self {
            RetryOn::ConnectFailure => "connect_failure".to_owned(),
            RetryOn::Reset => "reset".to_owned(),
            RetryOn::PerTryTimeout => "per_try_timeout".to_owned(),
            RetryOn::GrpcUnavailable => "grpc_unavailable".to_owned(),
            RetryOn::Status(status) => status.to_string(),
        })
    }

    fn schema() -> Json {
        let words: Vec<&str> = RETRY_WORDS.iter().map(|(_, word)| *word).collect();
        json!({ "anyOf": [
            { "enum": words },
            { "type": ["string", "integer"], "pattern": "^[45][0-9][0-9]$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn words() {
        shown::<RateKey>(&[
            ("ip", "client_ip"),
            ("header:X-Key", "header:x-key"),
            ("route", "route"),
        ]);
        refused::<RateKey>(&[("header:", "header name"), ("cookie", "client_ip")]);
        shown::<RetryOn>(&[("reset", "reset"), ("503", "503")]);
        refused::<RetryOn>(&[("200", "failure"), ("rest", "did you mean `reset`?")]);
    }

    #[test]
    fn hash_keys() {
        shown::<HashKey>(&[
            ("ip", "client_ip"),
            ("header:X-User", "header:x-user"),
            ("cookie:Sid", "cookie:Sid"),
            ("path", "path"),
            ("query", "query"),
            ("query:user", "query:user"),
        ]);
        refused::<HashKey>(&[
            ("header:", "header name"),
            ("cookie:a b", "cookie name"),
            ("uri", "client_ip"),
            ("query:", "client_ip"),
        ]);
    }

    #[test]
    fn secrets_are_not_shown() {
        shown::<Secret>(&[("hunter2", "<redacted>"), ("", "")]);
        shown::<Url>(&[
            ("http://x/a?k=hunter2", "http://x/a?<redacted>"),
            ("http://x", "http://x"),
        ]);
    }

    #[test]
    fn names() {
        shown::<Name>(&[(" web ", "web")]);
        refused::<Name>(&[("", "empty"), ("a\nb", "line breaks")]);
    }
}
