//! Whole texts through the public interface: what is wrong with them, what they mean, how they are
//! shown again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod convert;
mod dialects;
mod edits;
mod imported;
mod imported_proxies;
mod imported_sites;
mod imports;
mod layers;
mod mistakes;
mod negatives;
mod panics;
mod served;
mod shown;
mod wire;

use evenkeel_config::{Configuration, Diagnostics, Format, Overrides, Source, read};

/// A valid text in the full form, one key a line.
pub(crate) const GOOD: &str = r#"version: 1
listeners:
  - name: web
    bind: "127.0.0.1:8080"
routes:
  - pool: web
pools:
  - name: web
    strategy: round_robin
    backends: ["127.0.0.1:8081"]
"#;

pub(crate) fn source(text: &str, format: Format) -> Source {
    let name = match format {
        Format::Yaml => "a.yaml",
        Format::Toml => "a.toml",
    };
    Source { name: name.to_owned(), text: text.to_owned(), format }
}

pub(crate) fn yaml(text: &str) -> Result<Configuration, Diagnostics> {
    read(Some(&source(text, Format::Yaml)), &Overrides::default())
}

pub(crate) fn toml(text: &str) -> Result<Configuration, Diagnostics> {
    read(Some(&source(text, Format::Toml)), &Overrides::default())
}

pub(crate) fn environment_of(pairs: &[(&str, &str)]) -> Overrides {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Overrides { environment: pairs.iter().map(pair).collect(), ..Overrides::default() }
}

#[test]
fn file_names_tell_the_form() {
    for (name, format) in [
        ("a.yaml", Some(Format::Yaml)),
        ("x/a.YML", Some(Format::Yaml)),
        ("a.toml", Some(Format::Toml)),
        ("a.conf", None),
        ("a", None),
    ] {
        assert_eq!(Format::of_file_name(name), format, "{name}");
    }
}
