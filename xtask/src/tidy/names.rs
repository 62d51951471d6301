//! Rules on names: the glossary's banned nouns in files, modules, types and functions.

use super::source::Source;
use super::{Finding, Rule};
use syn::visit::{self, Visit};

/// GLOSSARY.md, last paragraph.
const BANNED: &[&str] = &[
    "manager",
    "handler",
    "helper",
    "util",
    "common",
    "data",
    "info",
    "context",
    "upstream",
    "downstream",
    "service",
    "cluster",
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for part in source.path.split('/') {
        let stem = part.split('.').find(|piece| !piece.is_empty()).unwrap_or(part);
        if let Some(noun) = banned_noun(stem) {
            findings.push(source.finding(1, Rule::BannedNoun, message("file", part, noun)));
        }
    }
    let mut visitor = Names { source, findings };
    if let Some(tree) = &source.tree {
        visitor.visit_file(tree);
    }
}

fn message(kind: &str, name: &str, noun: &str) -> String {
    format!("{kind} {name:?} says {noun:?}; GLOSSARY.md has a word for it, or name what it is")
}

/// The banned noun among the words of a name in snake or camel case, plural or not. A handler of
/// OS signals is one: that is their word.
fn banned_noun(name: &str) -> Option<&'static str> {
    let words = words(name);
    let of_signals = words.iter().any(|word| word.starts_with("signal"));
    let mut nouns = words.iter().filter_map(|word| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        BANNED.iter().find(|noun| **noun == word || **noun == singular).copied()
    });
    nouns.find(|noun| !(of_signals && *noun == "handler"))
}

fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, letter) in letters.iter().enumerate() {
        let after_lower = index > 0 && letters[index - 1].is_lowercase();
        let before_lower = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        let starts = letter.is_uppercase() && (after_lower || before_lower);
        if starts || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

struct Names<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl Names<'_> {
    fn judge(&mut self, kind: &str, ident: &syn::Ident) {
        let name = ident.to_string();
        if let Some(noun) = banned_noun(&name) {
            let line = ident.span().start().line;
            let finding = self.source.finding(line, Rule::BannedNoun, message(kind, &name, noun));
            self.findings.push(finding);
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "syn adds kinds of items at any time")]
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Enum(item) => self.judge("type", &item.ident),
            syn::Item::Fn(item) => self.judge("function", &item.sig.ident),
            syn::Item::Mod(item) => self.judge("module", &item.ident),
            syn::Item::Struct(item) => self.judge("type", &item.ident),
            syn::Item::Trait(item) => self.judge("trait", &item.ident),
            syn::Item::Type(item) => self.judge("type", &item.ident),
            syn::Item::Union(item) => self.judge("type", &item.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.judge("function", &item.sig.ident);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        // The names inside an implementation of a trait are the trait's.
        for inner in &item.items {
            if let (None, syn::ImplItem::Fn(function)) = (&item.trait_, inner) {
                self.judge("function", &function.sig.ident);
            }
        }
        visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::rules;

    #[test]
    fn words_of_names() {
        let cases = [
            ("retry_budget", vec!["retry", "budget"]),
            ("RetryBudget", vec!["retry", "budget"]),
            ("HTTPInfo", vec!["http", "info"]),
            ("MAX_DATA", vec!["max", "data"]),
            ("http1", vec!["http1"]),
            ("check-demo", vec!["check", "demo"]),
        ];
        for (name, expected) in cases {
            assert_eq!(words(name), expected, "{name}");
        }
    }

    #[test]
    fn banned_nouns_are_whole_words() {
        let cases = [
            ("struct PoolManager;", 1),
            ("enum Info {}", 1),
            ("enum Level { Info }", 0),
            ("fn parse_headers_helper() {}", 1),
            ("mod utils {}", 1),
            ("trait Service {}", 1),
            ("type Data = u8;", 1),
            ("struct A; impl A { fn context(&self) {} }", 1),
            ("trait A { fn upstream(&self); }", 1),
            ("fn a() { fn handler() {} }", 1),
            ("fn install_signal_handler() {}", 0),
            ("struct Metadata; fn uncommon() {}", 0),
            ("struct A; impl Visit for A { fn visit_data(&self) {} }", 0),
        ];
        for (text, count) in cases {
            let expected = vec!["banned_noun"; count];
            assert_eq!(rules("xtask/src/a.rs", text), expected, "{text}");
        }
    }

    #[test]
    fn files_and_folders_have_names_too() {
        assert_eq!(rules("crates/evenkeel-core/src/util.rs", ""), ["banned_noun"]);
        assert_eq!(rules("crates/evenkeel-core/tests/common/mod.rs", ""), ["banned_noun"]);
        assert_eq!(rules("docs/cluster.md", ""), ["banned_noun"]);
        assert!(rules("docs/guide-http.md", "").is_empty());
    }
}
