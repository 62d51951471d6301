//! Paths: those that requests are compared with, and those that we ask for ourselves.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use evenkeel_core::path::canonical;
use serde_json::{Value as Json, json};

/// One path, query ignored, as requests are compared with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExactPath(pub(crate) String);

/// Whole segments at the start of a path, as requests are compared with them; without a trailing
/// slash, except `/` itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathPrefix(pub(crate) String);

/// A path, perhaps with a query, that is sent as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SentPath(pub(crate) String);

fn rooted(text: &str) -> Result<&str, Fault> {
    if text.starts_with('/') {
        return Ok(text);
    }
    Err(Fault::new(format!("{text:?} does not start with /")).hint("such as /v1"))
}

/// The form that requests are compared in: dot segments resolved, escapes decoded, `//` as `/`.
fn compared(text: &str) -> Result<String, Fault> {
    if rooted(text)?.contains(['?', '#']) {
        let fault = Fault::new(format!("{text:?} has more than a path"));
        return Err(fault.hint("leave ? and # out"));
    }
    canonical(text).ok_or_else(|| {
        Fault::new(format!("no request can have the path {text:?}")).hint(
            "an escape is % and two hex digits; control characters, \\ and dot segments that \
             appear only after decoding are refused in requests",
        )
    })
}

impl Scalar for ExactPath {
    const WORD: &'static str = "a path";

    fn parse(atom: Atom<'_>) -> Result<ExactPath, Fault> {
        compared(atom.text()).map(ExactPath)
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/" })
    }
}

impl Scalar for PathPrefix {
    const WORD: &'static str = "a path prefix";

    fn parse(atom: Atom<'_>) -> Result<PathPrefix, Fault> {
        let mut path = compared(atom.text())?;
        if path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
        Ok(PathPrefix(path))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        ExactPath::schema()
    }
}

impl Scalar for SentPath {
    const WORD: &'static str = "a path";

    fn parse(atom: Atom<'_>) -> Result<SentPath, Fault> {
        let text = rooted(atom.text())?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            let fault = Fault::new(format!("{text:?} cannot be sent as it is"));
            return Err(fault.hint("leave # out; write a space as %20, other bytes as escapes too"));
        }
        Ok(SentPath(text.to_owned()))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }

    fn schema() -> Json {
        ExactPath::schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn paths_are_kept_as_requests_are_compared() {
        shown::<PathPrefix>(&[
            ("/v1/", "/v1"),
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/v1%2F", "/v1"),
            ("/a/./b/", "/a/b"),
        ]);
        let exact = [
            ("/v1/", "/v1/"),
            ("/", "/"),
            ("/a//b", "/a/b"),
            ("/a/../b", "/b"),
            ("/%41%2fb", "/A/b"),
            ("/a b", "/a%20b"),
            ("/café", "/caf%C3%A9"),
        ];
        shown::<ExactPath>(&exact);
        shown::<ExactPath>(&exact.map(|(_, again)| (again, again)));
        let wrong = [
            ("v1", "start with /"),
            ("", "start with /"),
            ("*", "start with /"),
            ("/a?b", "more than a path"),
            ("/a#b", "more than a path"),
            ("/%zz", "two hex digits"),
            ("/a\\b", "no request"),
            ("/a\tb", "no request"),
            ("/%00", "no request"),
            ("/a/..%2fb", "dot segments"),
        ];
        refused::<PathPrefix>(&wrong);
        refused::<ExactPath>(&wrong);
    }

    #[test]
    fn sent_paths_are_kept_as_they_are() {
        shown::<SentPath>(&[("/a//b%2Fc?x=1", "/a//b%2Fc?x=1"), ("/", "/")]);
        refused::<SentPath>(&[("health", "start with /"), ("/a b", "%20"), ("/a#b", "leave #")]);
    }
}
