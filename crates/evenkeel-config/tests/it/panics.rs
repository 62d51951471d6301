//! No text panics, and whatever is valid reads back.

use super::shown::{TWIN_TOML, TWIN_YAML};
use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        for text in [text, bytes] {
            for format in [Format::Yaml, Format::Toml] {
                let source = source(&text, format);
                if let Ok(configuration) = read(Some(&source), &Overrides::default()) {
                    let _ = configuration.plan();
                }
            }
        }
    }

    /// Pieces of valid texts in any order reach further than arbitrary bytes.
    #[test]
    fn no_mixture_panics(
        pieces in proptest::collection::vec((0..TWIN_YAML.len(), 0..60_usize), 0..12),
        variable in "[A-Z0-9_]{0,20}",
        value in ".{0,20}",
    ) {
        let piece = |text: &str, (from, length): (usize, usize)| {
            text.chars().skip(from).take(length).collect::<String>()
        };
        let overrides = environment_of(&[(&format!("EVENKEEL__{variable}"), &value)]);
        for (text, format) in [(TWIN_YAML, Format::Yaml), (TWIN_TOML, Format::Toml)] {
            let mixed: String = pieces.iter().map(|at| piece(text, *at)).collect();
            for text in [mixed.as_str(), text] {
                if let Ok(configuration) = read(Some(&source(text, format)), &overrides) {
                    let shown = configuration.to_yaml();
                    let again = yaml(&shown).map(|again| again.to_yaml());
                    prop_assert_eq!(again.map_err(|e| e.to_string()), Ok(shown));
                }
            }
        }
    }
}
