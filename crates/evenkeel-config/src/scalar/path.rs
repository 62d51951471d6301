//! Paths of requests, compared with the decoded path view.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use serde_json::{Value as Json, json};

/// One path, query ignored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExactPath(pub(crate) String);

/// Whole segments at the start of a path; without a trailing slash, except `/` itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathPrefix(pub(crate) String);

/// Refuses what no request can ever match: requests are compared after dot segments are resolved
/// and escapes decoded.
fn checked(text: &str) -> Result<&str, Fault> {
    let quoted = format!("{text:?}");
    if !text.starts_with('/') {
        return Err(Fault::new(format!("{quoted} does not start with /")).hint("such as /v1"));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new(format!("{quoted} has more than a path")).hint("leave ? and # out"));
    }
    if text.contains(|c: char| c.is_control() || c == ' ' || c == '%') {
        let fault = Fault::new(format!("{quoted} has an escape, a space or a control character"));
        return Err(fault.hint("escapes are decoded before paths are compared"));
    }
    let inner = text[1..].strip_suffix('/').unwrap_or(&text[1..]);
    if inner.split('/').any(|segment| matches!(segment, "." | "..")) {
        let fault = Fault::new(format!("{quoted} has a dot segment"));
        return Err(fault.hint("dot segments are resolved before paths are compared"));
    }
    if text.contains("//") {
        let fault = Fault::new(format!("{quoted} has an empty segment"));
        return Err(fault.hint("// is compared as /"));
    }
    Ok(text)
}

impl Scalar for ExactPath {
    const WORD: &'static str = "a path";

    fn parse(atom: Atom<'_>) -> Result<ExactPath, Fault> {
        checked(atom.text()).map(|path| ExactPath(path.to_owned()))
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
        let path = checked(atom.text())?;
        let trimmed = path.strip_suffix('/').filter(|rest| !rest.is_empty());
        Ok(PathPrefix(trimmed.unwrap_or(path).to_owned()))
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
    fn paths() {
        shown::<PathPrefix>(&[("/v1/", "/v1"), ("/", "/"), ("/a/b", "/a/b")]);
        shown::<ExactPath>(&[("/v1/", "/v1/"), ("/", "/")]);
        refused::<PathPrefix>(&[
            ("v1", "start with /"),
            ("", "start with /"),
            ("/a?b", "more than a path"),
            ("/a/../b", "dot segment"),
            ("/a//b", "empty segment"),
            ("/%41", "escape"),
        ]);
    }
}
