//! The environment variables that are keys.

use crate::key::{Key, KeyShape, Shape};
use crate::overrides::PREFIX;
use crate::sections::Root;

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentKey {
    /// Its name; `0` stands for any place in a list.
    pub name: String,
    /// The value if nothing sets the key; empty if it is left out then.
    pub default: String,
    /// What the key means.
    pub doc: String,
}

/// Every variable that sets a key; at the end those that only files of other products read. Values
/// are written as in YAML: a scalar, `[a, b]`, `{a: b}`.
pub fn environment() -> Vec<EnvironmentKey> {
    let mut keys = Vec::new();
    if let Shape::Section(root) = Root::shape() {
        collect(root.keys, PREFIX, &mut keys);
    }
    let foreign = crate::dialect::described().map(|(name, doc)| EnvironmentKey {
        name: name.to_owned(),
        default: String::new(),
        doc: doc.to_owned(),
    });
    keys.extend(foreign);
    keys
}

fn collect(keys: Vec<KeyShape>, prefix: &str, found: &mut Vec<EnvironmentKey>) {
    for KeyShape { name, doc, default, required, shape } in keys {
        let name = format!("{prefix}{}", name.to_ascii_uppercase());
        let inner = match shape {
            Shape::Section(section) => Some((section, format!("{name}__"))),
            Shape::List(item) => match *item {
                Shape::Section(section) => Some((section, format!("{name}__0__"))),
                Shape::Scalar(..) | Shape::List(_) | Shape::Table | Shape::Free => None,
            },
            Shape::Scalar(..) | Shape::Table | Shape::Free => None,
        };
        match inner {
            Some((section, prefix)) => collect(section.keys, &prefix, found),
            None => {
                let default = default.filter(|_| !required);
                let default = default.map_or_else(String::new, |default| {
                    default.as_str().map_or_else(|| default.to_string(), str::to_owned)
                });
                found.push(EnvironmentKey { name, default, doc });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keys_with_their_defaults() {
        let keys = environment();
        for (name, default) in [
            ("EVENKEEL__POOLS__0__STRATEGY", "round_robin"),
            ("EVENKEEL__POOLS__0__HEALTH__INTERVAL", "5s"),
            ("EVENKEEL__POOLS__0__BACKENDS__0__ADDRESS", ""),
            ("EVENKEEL__ADMIN__BIND", "127.0.0.1:9900"),
            ("EVENKEEL__LISTENERS__0__TRUSTED_PROXIES", "[]"),
            ("EVENKEEL__LISTEN", ""),
        ] {
            let key = keys.iter().find(|key| key.name == name).expect(name);
            assert_eq!(key.default, default, "{name}");
            assert!(!key.doc.is_empty());
        }
    }
}
