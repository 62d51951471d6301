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

/// What a rate limit counts by: `client_ip`, `header:NAME` or `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateKey {
    ClientIp,
    Header(HeaderName),
    Route,
}

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
    fn secrets_are_not_shown() {
        shown::<Secret>(&[("hunter2", "<redacted>"), ("", "")]);
    }

    #[test]
    fn names() {
        shown::<Name>(&[(" web ", "web")]);
        refused::<Name>(&[("", "empty"), ("a\nb", "line breaks")]);
    }
}
