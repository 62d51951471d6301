//! What may have been meant by words that do not parse.

use clap::error::{ContextKind, ContextValue, Error};
use std::ffi::OsString;

/// Commands that read a configuration.
const READERS: &[&str] = &["run", "check", "config", "explain"];
/// What names of configurations end with.
const ENDINGS: &[&str] = &[".yaml", ".yml", ".toml"];

/// Adds how a file is named to the refusal of one that was typed without its flag.
pub(crate) fn with_tip(mut refusal: Error, words: &[OsString]) -> Error {
    let kinds = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let refused = kinds.into_iter().find_map(|kind| match refusal.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        Some(_) | None => None,
    });
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let Some(word) = refused else { return refusal };
    let reads = READERS.contains(&command) || command == word;
    if reads && ENDINGS.iter().any(|ending| word.ends_with(ending)) {
        let tip = ContextValue::StyledStrs(vec![format!("a file is named by '-c {word}'").into()]);
        refusal.insert(ContextKind::Suggested, tip);
    }
    refusal
}
