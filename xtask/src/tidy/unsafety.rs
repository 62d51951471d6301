//! Rules on what may be turned off: unsafe code only in its rooms, tests only with a reason.

use super::source::Source;
use super::{Finding, Rule};
use syn::visit::{self, Visit};

/// The crates with unsafe code, and their rooms that hold it.
const UNSAFE_CRATES: &[&str] = &["crates/evenkeel-heap", "crates/evenkeel-proxy"];
const UNSAFE_ROOMS: &[&str] = &[
    "crates/evenkeel-heap/src/allocator.rs",
    "crates/evenkeel-proxy/src/socket",
    "crates/evenkeel-proxy/src/worker",
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    if !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
        for token in source.tokens.iter().filter(|token| token.text == "unsafe") {
            let message = "unsafe code belongs to `socket` and `worker` of evenkeel-proxy, and \
                to `allocator` of evenkeel-heap";
            findings.push(source.finding(token.line, Rule::Unsafe, message.to_owned()));
        }
    }
    let Some(tree) = &source.tree else { return };
    if is_crate_root(source) && !tree.attrs.iter().any(forbids_unsafe_code) {
        let message = "a crate without unsafe code says #![forbid(unsafe_code)]";
        findings.push(source.finding(1, Rule::Unsafe, message.to_owned()));
    }
    Ignores { source, findings }.visit_file(tree);
}

/// `src/lib.rs` and `src/main.rs` of every crate but those with unsafe code.
fn is_crate_root(source: &Source) -> bool {
    let Some(folder) = source.crate_folder() else {
        return false;
    };
    let inside = &source.path[folder.len()..];
    !UNSAFE_CRATES.contains(&folder) && matches!(inside, "/src/lib.rs" | "/src/main.rs")
}

fn forbids_unsafe_code(attribute: &syn::Attribute) -> bool {
    let lint = attribute.parse_args::<syn::Ident>();
    attribute.path().is_ident("forbid") && lint.is_ok_and(|lint| lint == "unsafe_code")
}

struct Ignores<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Ignores<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::Path(path) = &attribute.meta
            && path.is_ident("ignore")
        {
            let line = attribute.pound_token.span.start().line;
            let message = "say why: #[ignore = \"needs ...\"]".to_owned();
            self.findings.push(self.source.finding(line, Rule::Ignore, message));
        }
        visit::visit_attribute(self, attribute);
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::rules;

    #[test]
    fn unsafe_code_stays_in_its_rooms() {
        let text = "fn a() { unsafe { b() } }";
        let cases = [
            ("crates/evenkeel-proxy/src/socket.rs", vec![]),
            ("crates/evenkeel-proxy/src/socket/splice.rs", vec![]),
            ("crates/evenkeel-proxy/src/worker.rs", vec![]),
            ("crates/evenkeel-proxy/src/http1.rs", vec!["unsafe"]),
            ("crates/evenkeel-heap/src/allocator.rs", vec![]),
            ("crates/evenkeel-heap/src/sampler.rs", vec!["unsafe"]),
            ("crates/evenkeel-core/src/path.rs", vec!["unsafe"]),
        ];
        for (path, expected) in cases {
            assert_eq!(rules(path, text), expected, "{path}");
        }
        let in_macro = "fn a() { select! { _ = b => unsafe { c() } } }";
        assert_eq!(rules("crates/evenkeel-core/src/path.rs", in_macro), ["unsafe"]);
    }

    #[test]
    fn crate_roots_forbid_unsafe_code() {
        let forbids = "//! A.\n#![forbid(unsafe_code)]\n";
        let cases = [
            ("crates/evenkeel-core/src/lib.rs", forbids, vec![]),
            ("crates/evenkeel-core/src/lib.rs", "//! A.", vec!["unsafe"]),
            ("crates/evenkeel-core/src/lib.rs", "#![deny(unsafe_code)]", vec!["unsafe"]),
            ("crates/evenkeel/src/main.rs", "fn main() {}", vec!["unsafe"]),
            ("crates/evenkeel/src/run.rs", "fn run() {}", vec![]),
            ("crates/evenkeel-proxy/src/lib.rs", "//! A.", vec![]),
            ("crates/evenkeel-heap/src/lib.rs", "//! A.", vec![]),
            ("xtask/src/lib.rs", "//! A.", vec!["unsafe"]),
        ];
        for (path, text, expected) in cases {
            assert_eq!(rules(path, text), expected, "{path}");
        }
    }

    #[test]
    fn skipped_tests_have_a_reason() {
        let bare = "#[test]\n#[ignore]\nfn a() {}";
        assert_eq!(rules("xtask/src/a.rs", bare), ["ignore"]);
        assert_eq!(rules("xtask/src/a.rs", &format!("mod tests {{ {bare} }}")), ["ignore"]);
        let reasoned = "#[test]\n#[ignore = \"needs haproxy\"]\nfn a() {}";
        assert!(rules("xtask/src/a.rs", reasoned).is_empty());
    }
}
