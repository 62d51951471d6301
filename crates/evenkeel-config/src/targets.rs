//! A file that names backends: the lists of targets that Prometheus reads (`file_sd`), in YAML or
//! JSON, or a list of backends as a pool has it.

use crate::diagnostic::{Diagnostics, Fault, Problem, SourceLines};
use crate::key::{Atom, Key, Scalar, Table};
use crate::reader::Reader;
use crate::scalar::{Text, Whole};
use crate::section::section;
use crate::sections::{Admission, BackendEntry};
use crate::tree::{Node, Value};
use crate::tree_yaml;
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::AdminState;

/// Labels that mean something for us; Prometheus has many others, which are its own matter.
const WEIGHT: &str = "weight";
const SCHEME: &str = "__scheme__";

section! {
    /// Targets that have their labels in common.
    Group {
        /// Addresses.
        targets: Vec<Text> = Vec::new(), required;
        /// `weight` is the share of new traffic, `__scheme__` what is spoken; others mean nothing.
        labels: Table<Text, Text> = Table::default();
    }
}

/// Reads a file of targets. `scheme`: of those that have none.
///
/// # Errors
/// Everything that is wrong, sorted by position.
pub fn read_targets(name: &str, text: &str, scheme: Scheme) -> Result<Vec<Found>, Diagnostics> {
    let lines = SourceLines::new(name, text.to_owned());
    let tree = match tree_yaml::parse(text) {
        Ok(tree) => tree,
        Err(problem) => return Err(lines.diagnostics(vec![problem])),
    };
    let mut reader = Reader::default();
    let found = list(&tree, scheme, &mut reader);
    if !reader.problems.is_empty() {
        return Err(lines.diagnostics(reader.problems));
    }
    Ok(found)
}

fn list(tree: &Node, scheme: Scheme, reader: &mut Reader) -> Vec<Found> {
    let whole = tree.entry("backends").map_or(tree, |entry| &entry.value);
    let Value::Seq(items) = &whole.value else {
        let message = match whole.value {
            Value::Null => "is empty: write [] if there are no backends".to_owned(),
            Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Seq(_) | Value::Map(_) => {
                format!("expected a list of targets or backends, found {}", whole.kind())
            }
        };
        let example = r#"such as [{ targets: ["10.0.0.1:80"] }] or ["10.0.0.1:80"]"#;
        let path = "targets".to_owned();
        let fault = Fault::new(message).hint(example);
        reader.problems.push(Problem { place: whole.place.clone(), path, fault });
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        reader.under_index(index, |reader| {
            if item.entry("targets").is_some() {
                group(item, scheme, reader, &mut found);
            } else if let Some(BackendEntry(backend)) = BackendEntry::read(item, reader) {
                let Ok(one) = Found::at(&backend.address.0.text, scheme) else { return };
                found.push(Found {
                    admin: match backend.admin {
                        Admission::Enabled => AdminState::Enabled,
                        Admission::Draining => AdminState::Draining,
                        Admission::Disabled => AdminState::Disabled,
                    },
                    ..one.named(&backend.name.0).weighing(backend.weight.as_u32())
                });
            }
        });
    }
    found
}

fn group(node: &Node, scheme: Scheme, reader: &mut Reader, found: &mut Vec<Found>) {
    let Some(group) = Group::read(node, reader) else { return };
    let label = |name: &str| {
        let label = group.labels.0.iter().find(|(own, _)| own.0 == name);
        label.map(|(_, value)| value.0.as_str())
    };
    let weight = label(WEIGHT).map(|text| Whole::<0, 65_535>::parse(Atom::Str(text)));
    let weight = weight.transpose().unwrap_or_else(|fault| {
        let place = node.place_at("labels.weight");
        reader.under_key("labels.weight", |reader| reader.refuse(place, fault));
        None
    });
    let scheme = match label(SCHEME) {
        Some("https") => Scheme::Https,
        Some("h2c") => Scheme::H2c,
        Some("http") => Scheme::Http,
        Some(_) | None => scheme,
    };
    for (index, target) in group.targets.iter().enumerate() {
        match Found::at(target.0.trim(), scheme) {
            Ok(one) => found.push(one.weighing(weight.map_or(1, |weight| weight.as_u32()))),
            Err(message) => {
                let place = node.place_at(&format!("targets[{index}]"));
                let fault = Fault::new(message).hint("such as 10.0.0.1:8080");
                let path = format!("targets[{index}]");
                reader.under_key(&path, |reader| reader.refuse(place, fault));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let found = read_targets("t.json", text, Scheme::Http);
        let found = found.unwrap_or_else(|problems| panic!("{problems}"));
        let show =
            |it: &Found| format!("{}={} {} {:?}", it.name, it.address.text, it.weight, it.admin);
        found.iter().map(show).collect()
    }

    #[test]
    fn lists_of_targets_and_of_backends_are_read() {
        let prometheus = r#"[
            {"targets": ["10.0.0.1:80", "[::1]:81"], "labels": {"weight": "3", "job": "x"}},
            {"targets": ["a.test:443"], "labels": {"__scheme__": "https"}},
            {"targets": []}
        ]"#;
        let wanted = [
            "10.0.0.1:80=10.0.0.1:80 3 Enabled",
            "[::1]:81=[::1]:81 3 Enabled",
            "a.test:443=https://a.test:443 1 Enabled",
        ];
        assert_eq!(shown(prometheus), wanted);
        let own =
            "- 10.0.0.1:80\n- { name: b, address: \"h2c://b:1\", weight: 0, admin: disabled }\n";
        let wanted = ["10.0.0.1:80=10.0.0.1:80 1 Enabled", "b=h2c://b:1 0 Disabled"];
        assert_eq!(shown(own), wanted);
        assert_eq!(shown(&format!("backends:\n{own}")), wanted);
        assert_eq!(shown("[]"), [""; 0]);
    }

    #[test]
    fn a_scheme_is_given_to_those_that_have_none() {
        let found = read_targets("t", "[\"a:1\", \"http://b:1\"]", Scheme::Https).unwrap();
        let texts: Vec<_> = found.iter().map(|it| &*it.address.text).collect();
        assert_eq!(texts, ["https://a:1", "http://b:1"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, place, message) in [
            ("", "t:1:1", "is empty"),
            ("# nothing", "t:1:1", "is empty"),
            ("a: 1", "t:1:1", "expected a list"),
            ("[1", "t:1:", ""),
            ("- targets: [a]", "t:1:13", "has no port"),
            ("- targets: [a:1]\n  labels: { weight: x }", "t:2:21", "whole number"),
            ("- { targets: [a:1], label: {} }", "t:1:21", "did you mean `labels`"),
            ("- a:1\n- { name: x }", "t:2:3", "`address` is missing"),
            ("- { targets: 7 }", "t:1:14", "expected a list"),
        ] {
            let problems = read_targets("t", text, Scheme::Http).expect_err(text).to_string();
            assert!(problems.contains(place) && problems.contains(message), "{text}: {problems}");
        }
    }
}
