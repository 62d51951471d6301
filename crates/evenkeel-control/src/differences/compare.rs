//! Two answers side by side. Pure: what differs, and where.

use evenkeel_api::{BodyDifference, HeaderDifference};
use evenkeel_core::mirror::{BodySeen, DiffPlan, DifferenceKind, Heard, JsonPath, JsonStep};
use serde_json::{Number, Value};

/// Characters shown of one side of a difference.
const MAX_SHOWN: usize = 200;
/// A field whose values are secrets.
const SECRET_FIELD: &str = "set-cookie";
const HIDDEN: &str = "[redacted]";

/// What differs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) status: bool,
    pub(super) headers: Vec<HeaderDifference>,
    pub(super) body: Option<BodyDifference>,
}

impl Found {
    pub(super) fn has(&self, kind: DifferenceKind) -> bool {
        match kind {
            DifferenceKind::Status => self.status,
            DifferenceKind::Header => !self.headers.is_empty(),
            DifferenceKind::Body => self.body.is_some(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !DifferenceKind::ALL.into_iter().any(|kind| self.has(kind))
    }
}

/// Compares what the plan asks about.
pub(super) fn compare(plan: &DiffPlan, real: &Heard, mirror: &Heard) -> Found {
    let sides = real.head.headers.iter().zip(&mirror.head.headers);
    let headers = plan.headers.iter().zip(sides).filter(|(_, (real, mirror))| real != mirror);
    let header = |(name, (real, mirror)): (&String, (&Option<String>, &Option<String>))| {
        let text = |value: &str| if name == SECRET_FIELD { HIDDEN.into() } else { shown(value) };
        HeaderDifference {
            name: name.clone(),
            real: real.as_deref().map(text),
            mirror: mirror.as_deref().map(text),
        }
    };
    Found {
        status: plan.status && real.head.status != mirror.head.status,
        headers: headers.map(header).collect(),
        body: bodies(plan, &real.body, &mirror.body),
    }
}

fn bodies(plan: &DiffPlan, real: &BodySeen, mirror: &BodySeen) -> Option<BodyDifference> {
    match (real, mirror) {
        _ if real == mirror => None,
        (BodySeen::Hashed(..), BodySeen::Hashed(..)) => {
            let hash = |body: &BodySeen| match body {
                BodySeen::Hashed(length, hash) => format!("{length} bytes, hash {hash:032x}"),
                BodySeen::Unknown | BodySeen::Kept(_) => String::new(),
            };
            Some(BodyDifference { path: None, real: hash(real), mirror: hash(mirror) })
        }
        (BodySeen::Kept(real), BodySeen::Kept(mirror)) => texts(plan, real, mirror),
        // One of them is too long to be compared.
        (BodySeen::Unknown | BodySeen::Hashed(..) | BodySeen::Kept(_), _) => None,
    }
}

fn texts(plan: &DiffPlan, real: &[u8], mirror: &[u8]) -> Option<BodyDifference> {
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let (Some(mut left), Some(mut right)) = (parsed(real), parsed(mirror)) else {
        let text = |bytes: &[u8]| shown(&String::from_utf8_lossy(bytes));
        return Some(BodyDifference { path: None, real: text(real), mirror: text(mirror) });
    };
    for JsonPath(steps) in &plan.ignore {
        forget(&mut left, steps);
        forget(&mut right, steps);
    }
    let mut path = "$".to_owned();
    first_difference(&left, &right, &mut path)
}

/// Puts `null` where the steps lead; a member that is not there comes to be the same.
fn forget(value: &mut Value, steps: &[JsonStep]) {
    let Some((step, rest)) = steps.split_first() else {
        *value = Value::Null;
        return;
    };
    match (step, value) {
        (JsonStep::Member(name), Value::Object(members)) if rest.is_empty() => {
            members.remove(name);
        }
        (JsonStep::Member(name), Value::Object(members)) => {
            members.get_mut(name).into_iter().for_each(|inner| forget(inner, rest));
        }
        (JsonStep::Index(index), Value::Array(elements)) => {
            elements.get_mut(*index).into_iter().for_each(|inner| forget(inner, rest));
        }
        (JsonStep::Every, Value::Object(members)) if rest.is_empty() => members.clear(),
        (JsonStep::Every, Value::Array(elements)) if rest.is_empty() => elements.clear(),
        (JsonStep::Every, Value::Object(members)) => {
            members.values_mut().for_each(|inner| forget(inner, rest));
        }
        (JsonStep::Every, Value::Array(elements)) => {
            elements.iter_mut().for_each(|inner| forget(inner, rest));
        }
        (JsonStep::Member(_) | JsonStep::Index(_) | JsonStep::Every, _) => {}
    }
}

/// The first place, in the order of the real answer, at which two documents differ. Their depth is
/// bounded by the parser.
fn first_difference(left: &Value, right: &Value, path: &mut String) -> Option<BodyDifference> {
    let length = path.len();
    let mut at = |step: String, left: Option<&Value>, right: Option<&Value>| {
        path.push_str(&step);
        let found = match (left, right) {
            (Some(left), Some(right)) => first_difference(left, right, path),
            (left, right) => Some(differs(path, left, right)),
        };
        path.truncate(length);
        found
    };
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            let missing = other.keys().filter(|name| !one.contains_key(*name));
            one.keys()
                .chain(missing)
                .find_map(|name| at(member(name), one.get(name), other.get(name)))
        }
        (Value::Array(one), Value::Array(other)) => (0..one.len().max(other.len()))
            .find_map(|index| at(format!("[{index}]"), one.get(index), other.get(index))),
        (Value::Number(one), Value::Number(other)) if is_same(one, other) => None,
        (one, other) if one == other => None,
        (one, other) => Some(differs(path, Some(one), Some(other))),
    }
}

/// However they are spelt. Whole numbers of 64 bits are compared as such: as doubles, neighbours
/// among large ones, such as ids, would be the same.
fn is_same(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => one.as_f64() == other.as_f64(),
    }
}

fn member(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(plain) {
        true => format!(".{name}"),
        false => format!("[{}]", Value::from(name)),
    }
}

fn differs(path: &str, real: Option<&Value>, mirror: Option<&Value>) -> BodyDifference {
    let text = |value: Option<&Value>| {
        value.map_or_else(|| "(absent)".to_owned(), |value| shown(&value.to_string()))
    };
    BodyDifference { path: Some(shown(path)), real: text(real), mirror: text(mirror) }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::mirror::{BodyDiff, HeardHead};
    use std::time::Duration;

    fn plan(ignore: Vec<JsonPath>) -> DiffPlan {
        let headers = vec!["content-type".to_owned()];
        DiffPlan { status: true, headers, body: BodyDiff::Json, ignore, samples: 1 }
    }

    fn heard(status: u16, kind: Option<&str>, body: BodySeen) -> Heard {
        let head = HeardHead { status, headers: vec![kind.map(str::to_owned)] };
        Heard { head, body, took: Duration::from_millis(1) }
    }

    fn text(body: &str) -> BodySeen {
        BodySeen::Kept(body.into())
    }

    #[test]
    fn each_kind_is_found_by_itself() {
        use DifferenceKind::{Body, Header, Status};
        let real = heard(200, Some("a/b"), text("{}"));
        let cases: &[(Heard, &[DifferenceKind])] = &[
            (heard(200, Some("a/b"), text("{}")), &[]),
            (heard(500, Some("a/b"), text("{}")), &[Status]),
            (heard(200, Some("a/c"), text("{}")), &[Header]),
            (heard(200, None, text("{}")), &[Header]),
            (heard(200, Some("a/b"), text("[]")), &[Body]),
            (heard(200, Some("a/b"), BodySeen::Unknown), &[]),
            (heard(404, None, text("no")), &[Status, Header, Body]),
        ];
        for (mirror, kinds) in cases {
            let found = compare(&plan(Vec::new()), &real, mirror);
            let seen: Vec<_> =
                DifferenceKind::ALL.into_iter().filter(|kind| found.has(*kind)).collect();
            assert_eq!((&seen[..], found.is_empty()), (*kinds, kinds.is_empty()), "{mirror:?}");
        }
        let cookies = DiffPlan { headers: vec![SECRET_FIELD.to_owned()], ..plan(Vec::new()) };
        let found = compare(&cookies, &real, &heard(200, Some("secret"), text("{}")));
        assert_eq!(found.headers[0].mirror.as_deref(), Some(HIDDEN));
        let silent = DiffPlan { status: false, headers: Vec::new(), ..plan(Vec::new()) };
        let mirror = heard(500, None, text("{}"));
        assert!(compare(&silent, &real, &mirror).is_empty());
    }

    #[test]
    fn json_is_compared_by_meaning_and_says_where() {
        let member = |name: &str| JsonStep::Member(name.to_owned());
        let time = || JsonPath(vec![member("time")]);
        let ids = || JsonPath(vec![member("items"), JsonStep::Every, member("id")]);
        let second = || JsonPath(vec![member("list"), JsonStep::Index(1)]);
        let cases: &[(&str, &str, Vec<JsonPath>, Option<&str>)] = &[
            (r#"{"a":1,"b":2}"#, r#"{"b":2, "a":1.0}"#, vec![], None),
            (r#"{"a":[1,{"b":2}]}"#, r#"{"a":[1,{"b":3}]}"#, vec![], Some("$.a[1].b")),
            (r#"{"a":1}"#, r#"{"a":1,"x y":2}"#, vec![], Some(r#"$["x y"]"#)),
            (r#"{"a":1,"b":1}"#, r#"{"b":1}"#, vec![], Some("$.a")),
            ("[1,2]", "[1]", vec![], Some("$[1]")),
            ("1", "\"1\"", vec![], Some("$")),
            ("[9007199254740993]", "[9007199254740992]", vec![], Some("$[0]")),
            ("18446744073709551615", "18446744073709551614", vec![], Some("$")),
            ("[-1, 1e2, 0]", "[-1.0, 100, -0.0]", vec![], None),
            (r#"{"time":1}"#, r#"{"time":2}"#, vec![time()], None),
            (r#"{"time":1}"#, "{}", vec![time()], None),
            (r#"{"time":1,"a":1}"#, r#"{"time":2,"a":2}"#, vec![time()], Some("$.a")),
            (
                r#"{"items":[{"id":1,"n":1},{"id":2,"n":2}]}"#,
                r#"{"items":[{"id":8,"n":1},{"id":9,"n":2}]}"#,
                vec![ids()],
                None,
            ),
            (r#"{"list":[1,2,3]}"#, r#"{"list":[1,9,3]}"#, vec![second()], None),
            (r#"{"list":[1,2,3]}"#, r#"{"list":[1,2,9]}"#, vec![second()], Some("$.list[2]")),
        ];
        for (real, mirror, ignore, path) in cases {
            let found = compare(
                &plan(ignore.clone()),
                &heard(200, None, text(real)),
                &heard(200, None, text(mirror)),
            );
            let at = found.body.map(|it| it.path.expect("a place"));
            assert_eq!(at.as_deref(), *path, "{real} {mirror}");
        }
    }

    #[test]
    fn what_is_no_json_is_compared_byte_for_byte() {
        let found = |real: &str, mirror: &str| {
            let real = heard(200, None, text(real));
            compare(&plan(Vec::new()), &real, &heard(200, None, text(mirror))).body
        };
        assert_eq!(found("plain", "plain"), None);
        let body = found("plain", "{}").expect("a difference");
        assert_eq!((body.path, body.real, body.mirror), (None, "plain".into(), "{}".into()));
        let long = "ä".repeat(1_000);
        assert!(found(&long, "x").expect("a difference").real.chars().count() <= MAX_SHOWN + 1);
    }
}
