//! What two effective configurations differ in, a line for each key.

use serde_json::{Map, Value as Json};
use std::collections::HashMap;

/// One key that differs; its path names items of lists by their names, as in
/// `pools[web].backends[b1].weight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// What it was, as JSON on one line; `None` = it is new.
    pub before: Option<String>,
    /// What it is; `None` = it has gone.
    pub after: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { path, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "{path}: {before} -> {after}"),
            (None, Some(after)) => write!(f, "+ {path}: {after}"),
            (Some(before), None) => write!(f, "- {path}: {before}"),
            (None, None) => f.write_str(path),
        }
    }
}

/// What differs, in the order of the newer one; what has gone comes after its neighbours.
pub fn differences(before: &Json, after: &Json) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(path: &str, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => compare_maps(path, before, after, found),
        (Json::Array(before), Json::Array(after)) => match (by_name(before), by_name(after)) {
            (Some(before), Some(after)) => compare_named(path, &before, &after, found),
            (_, _) => found.push(changed(path, Some(before.as_slice()), Some(after))),
        },
        (_, _) => found.push(Difference {
            path: path.to_owned(),
            before: Some(before.to_string()),
            after: Some(after.to_string()),
        }),
    }
}

fn changed(path: &str, before: Option<&[Json]>, after: Option<&Vec<Json>>) -> Difference {
    let line = |items: &[Json]| Json::Array(items.to_vec()).to_string();
    let (before, after) = (before.map(line), after.map(|items| line(items)));
    Difference { path: path.to_owned(), before, after }
}

fn compare_maps(
    path: &str,
    before: &Map<String, Json>,
    after: &Map<String, Json>,
    found: &mut Vec<Difference>,
) {
    let dot = if path.is_empty() { "" } else { "." };
    let at = |key: &str| format!("{path}{dot}{key}");
    for (key, value) in after {
        match before.get(key) {
            Some(was) => compare(&at(key), was, value, found),
            None => found.push(added(at(key), value)),
        }
    }
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
    found.extend(gone.map(|(key, value)| removed(at(key), value)));
}

type Named<'a> = Vec<(&'a str, &'a Json)>;

/// The items of a list by their names; `None` if one has none, or not one of its own.
fn by_name(items: &[Json]) -> Option<Named<'_>> {
    let named: Named<'_> =
        items.iter().map(|item| Some((item["name"].as_str()?, item))).collect::<Option<_>>()?;
    let distinct: HashMap<&str, &Json> = named.iter().copied().collect();
    (distinct.len() == named.len()).then_some(named)
}

fn compare_named(path: &str, before: &Named<'_>, after: &Named<'_>, found: &mut Vec<Difference>) {
    let (was, is): (HashMap<&str, &Json>, HashMap<&str, &Json>) =
        (before.iter().copied().collect(), after.iter().copied().collect());
    for (name, value) in after {
        match was.get(name) {
            Some(was) => compare(&format!("{path}[{name}]"), was, value, found),
            None => found.push(added(format!("{path}[{name}]"), value)),
        }
    }
    let gone = before.iter().filter(|(name, _)| !is.contains_key(name));
    found.extend(gone.map(|(name, value)| removed(format!("{path}[{name}]"), value)));
    let kept = |list: &Named<'_>, other: &HashMap<&str, &Json>| -> Vec<String> {
        let names = list.iter().map(|(name, _)| *name).filter(|name| other.contains_key(name));
        names.map(str::to_owned).collect()
    };
    let (before, after) = (kept(before, &is), kept(after, &was));
    if before != after {
        let (before, after) = (Some(before.join(", ")), Some(after.join(", ")));
        found.push(Difference { path: format!("{path} (order)"), before, after });
    }
}

fn added(path: String, value: &Json) -> Difference {
    Difference { path, before: None, after: Some(value.to_string()) }
}

fn removed(path: String, value: &Json) -> Difference {
    Difference { path, before: Some(value.to_string()), after: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_key_has_its_line() {
        let before = json!({
            "workers": 1,
            "pools": [
                { "name": "a", "backends": [{ "name": "b1", "weight": 1 }, { "name": "b2" }] },
                { "name": "z", "on": ["502"] },
            ],
        });
        let after = json!({
            "workers": 1,
            "pools": [
                { "name": "z", "on": ["503"] },
                { "name": "a", "backends": [{ "name": "b3" }, { "name": "b1", "weight": 3 }] },
            ],
            "state_dir": "/x",
        });
        let lines: Vec<String> =
            differences(&before, &after).iter().map(ToString::to_string).collect();
        let wanted = [
            r#"pools[z].on: ["502"] -> ["503"]"#,
            r#"+ pools[a].backends[b3]: {"name":"b3"}"#,
            "pools[a].backends[b1].weight: 1 -> 3",
            r#"- pools[a].backends[b2]: {"name":"b2"}"#,
            "pools (order): a, z -> z, a",
            r#"+ state_dir: "/x""#,
        ];
        let (mut lines, mut wanted) = (lines, wanted.map(str::to_owned));
        lines.sort();
        wanted.sort();
        assert_eq!(lines, wanted);
        assert!(differences(&before, &before).is_empty());
    }
}
