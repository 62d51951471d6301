//! Places in a JSON document: `$.time`, `$.items[*].id`, `$["odd name"]`, `$.list[0]`.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use evenkeel_core::mirror::{JsonPath as Path, JsonStep};
use serde_json::{Value as Json, json};

/// Steps of one path.
const MAX_STEPS: usize = 32;
const HINT: &str = r#"such as $.time, $.items[*].id, $.list[0] or $["odd name"]"#;

/// A set of places, as it was spelt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath {
    text: String,
    pub(crate) path: Path,
}

impl Scalar for JsonPath {
    const WORD: &'static str = "a JSON path";

    fn parse(atom: Atom<'_>) -> Result<JsonPath, Fault> {
        let text = atom.text().trim();
        let bad = || Fault::new(format!("{text:?} is no JSON path")).hint(HINT);
        let steps = text.strip_prefix('$').and_then(steps).ok_or_else(bad)?;
        if steps.is_empty() {
            return Err(Fault::new("`$` alone is the whole document").hint(HINT));
        }
        Ok(JsonPath { text: text.to_owned(), path: Path(steps) })
    }

    fn json(&self) -> Json {
        Json::String(self.text.clone())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\$[.\\[]" })
    }
}

fn steps(mut rest: &str) -> Option<Vec<JsonStep>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, left) = if let Some(after) = rest.strip_prefix('[') {
            in_brackets(after)?
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, left) = after.split_at(end);
            match name {
                "" => return None,
                "*" => (JsonStep::Every, left),
                name => (JsonStep::Member(name.to_owned()), left),
            }
        };
        steps.push(step);
        rest = left;
        if steps.len() > MAX_STEPS {
            return None;
        }
    }
    Some(steps)
}

/// `*]`, `0]`, `"name"]`, `'name']`, and what follows.
fn in_brackets(text: &str) -> Option<(JsonStep, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (name, left) = text[1..].split_once(quote)?;
        return Some((JsonStep::Member(name.to_owned()), left.strip_prefix(']')?));
    }
    let (inner, left) = text.split_once(']')?;
    let step = match inner {
        "*" => JsonStep::Every,
        number => JsonStep::Index(number.parse().ok()?),
    };
    Some((step, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> JsonStep {
        JsonStep::Member(name.to_owned())
    }

    #[test]
    fn paths() {
        use JsonStep::{Every, Index};
        let cases = [
            ("$.time", vec![member("time")]),
            ("$.items[*].id", vec![member("items"), Every, member("id")]),
            ("$.a.*.b", vec![member("a"), Every, member("b")]),
            ("$[0][12]", vec![Index(0), Index(12)]),
            (r#"$["odd name"]['x.y']"#, vec![member("odd name"), member("x.y")]),
        ];
        for (text, expected) in cases {
            let rest = text.strip_prefix('$').expect("a root");
            assert_eq!(steps(rest), Some(expected), "{text}");
        }
        let long = ".a".repeat(MAX_STEPS + 1);
        for text in ["time", ".", "..a", ".a[", ".a[x]", "[\"a]", "[0", ".a[]", "[-1]", &long] {
            assert_eq!(steps(text), None, "{text}");
        }
    }
}
