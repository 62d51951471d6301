//! Rules on who may know whom: the edges between crates, and what those that decide must not touch.

use super::source::{Source, Token};
use super::{Finding, Rule};

/// Which of our crates each may use (ARCHITECTURE.md, code map).
const EDGES: &[(&str, &[&str])] = &[
    ("evenkeel-core", &[]),
    ("evenkeel-config", &["evenkeel-core"]),
    ("evenkeel-proxy", &["evenkeel-core", "evenkeel-trust"]),
    ("evenkeel-api", &[]),
    (
        "evenkeel-control",
        &["evenkeel-core", "evenkeel-config", "evenkeel-proxy", "evenkeel-api", "evenkeel-heap"],
    ),
    ("evenkeel-heap", &[]),
    ("evenkeel-trust", &[]),
    ("evenkeel-load", &["evenkeel-trust"]),
    (
        "evenkeel",
        &[
            "evenkeel-core",
            "evenkeel-config",
            "evenkeel-proxy",
            "evenkeel-api",
            "evenkeel-control",
            "evenkeel-heap",
            "evenkeel-load",
        ],
    ),
    ("evenkeel-testkit", &["evenkeel-core", "evenkeel-proxy"]),
    ("xtask", &["evenkeel-load"]),
];
/// What any crate's tests may use besides.
const TEST_CRATE: &str = "evenkeel-testkit";

/// Names that mean a runtime or a socket, by the crate whose code must not have them.
const IMPURE: &[(&str, &[&str])] = &[
    (
        "crates/evenkeel-core",
        &["tokio", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener"],
    ),
    ("crates/evenkeel-config", &["tokio"]),
];
/// Clocks, as `Type::now`; the crate that decides is told the time.
const CLOCKS: &[&str] = &["Instant", "SystemTime"];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let Some(folder) = source.crate_folder() else {
        return;
    };
    let name = folder.trim_start_matches("crates/");
    if source.path == format!("{folder}/Cargo.toml") {
        dependencies(source, name, findings);
    }
    if source.is_product_code() {
        impure(source, folder, findings);
    }
}

fn dependencies(source: &Source, name: &str, findings: &mut Vec<Finding>) {
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
        let message = format!("{name:?} is not in the code map of ARCHITECTURE.md");
        findings.push(source.finding(1, Rule::CrateEdge, message));
        return;
    };
    let mut in_tests = false;
    for (index, line) in source.lines.iter().enumerate() {
        if line.starts_with('[') {
            in_tests = line.starts_with("[dev-dependencies");
        }
        let letters = |letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_';
        let key = line.split(letters).next().unwrap_or_default();
        let ours = EDGES.iter().any(|(crate_name, _)| *crate_name == key);
        let for_tests = in_tests && key == TEST_CRATE;
        if ours && !allowed.contains(&key) && !for_tests {
            let message = format!("{name} must not know {key} (ARCHITECTURE.md, code map)");
            findings.push(source.finding(index + 1, Rule::CrateEdge, message));
        }
    }
}

fn impure(source: &Source, folder: &str, findings: &mut Vec<Finding>) {
    let Some((_, names)) = IMPURE.iter().find(|(crate_folder, _)| *crate_folder == folder) else {
        return;
    };
    for token in &source.tokens {
        if names.contains(&token.text.as_str()) {
            let message = format!("`{}` touches the world; {folder} decides", token.text);
            findings.push(source.finding(token.line, Rule::Pure, message));
        }
    }
    for path in source.tokens.windows(4).filter(|path| folder.ends_with("core") && is_clock(path)) {
        let message = format!("`{}::now`: the time comes in as an argument", path[0].text);
        findings.push(source.finding(path[0].line, Rule::Pure, message));
    }
}

fn is_clock(path: &[Token]) -> bool {
    let mut text = path.iter().map(|token| token.text.as_str());
    text.next().is_some_and(|first| CLOCKS.contains(&first)) && text.eq([":", ":", "now"])
}

#[cfg(test)]
mod tests {
    use crate::tidy::rules;

    #[test]
    fn crates_know_only_those_below() {
        let cases = [
            ("evenkeel-core", "[dependencies]\nevenkeel-config.workspace = true", 1),
            ("evenkeel-core", "[dependencies]\nitoa.workspace = true", 0),
            ("evenkeel-core", "[dev-dependencies]\nevenkeel-testkit.workspace = true", 0),
            ("evenkeel-core", "[dependencies]\nevenkeel-testkit.workspace = true", 1),
            ("evenkeel-config", "[dependencies]\nevenkeel-core = { path = \"x\" }", 0),
            ("evenkeel-config", "[dependencies]\nevenkeel-proxy = { path = \"x\" }", 1),
            ("evenkeel-proxy", "[dependencies]\nevenkeel-config.workspace = true", 1),
            ("evenkeel-control", "[dependencies]\nevenkeel-proxy.workspace = true", 0),
            ("evenkeel-control", "[dependencies]\nevenkeel-load.workspace = true", 1),
            ("evenkeel", "[dependencies]\nevenkeel-control.workspace = true", 0),
            ("evenkeel-unheard-of", "[dependencies]", 1),
        ];
        for (name, text, count) in cases {
            let path = format!("crates/{name}/Cargo.toml");
            assert_eq!(rules(&path, text), vec!["crate_edge"; count], "{name}: {text}");
        }
        let xtask = |name: &str| {
            rules("xtask/Cargo.toml", &format!("[dependencies]\n{name}.workspace = true"))
        };
        assert_eq!(xtask("evenkeel"), ["crate_edge"]);
        assert!(xtask("evenkeel-load").is_empty());
    }

    #[test]
    fn deciding_crates_do_not_touch_the_world() {
        let core = "crates/evenkeel-core/src/route.rs";
        let cases = [
            (core, "use tokio::sync::Mutex;", 1),
            (core, "fn a(b: std::net::TcpStream) {}", 1),
            (core, "fn a() { std::time::Instant::now(); }", 1),
            (core, "fn a(now: Instant) {}", 0),
            (core, "use std::net::IpAddr;", 0),
            ("crates/evenkeel-core/benches/route.rs", "fn a() { Instant::now(); }", 0),
            ("crates/evenkeel-config/src/read.rs", "use tokio::fs;", 1),
            ("crates/evenkeel-config/src/read.rs", "use std::fs;", 0),
            ("crates/evenkeel-proxy/src/listen.rs", "use tokio::net::TcpListener;", 0),
        ];
        for (path, text, count) in cases {
            assert_eq!(rules(path, text), vec!["pure"; count], "{path}: {text}");
        }
    }
}
