//! Puts the version text together: package version, commit if the source is a git checkout, and the
//! Cargo features that are compiled in.

use std::process::Command;

fn main() {
    let version = env("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = commit().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=EVENKEEL_VERSION={version} (commit {commit}, {})", features());
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The commit that is checked out; `None` outside git, which is no error.
fn commit() -> Option<String> {
    println!("cargo:rerun-if-changed=build.rs");
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && std::path::Path::new(&path).exists()
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// `features: a b`, from what Cargo tells build scripts.
fn features() -> String {
    let mut names: Vec<String> = std::env::vars()
        .filter_map(|(key, _)| Some(key.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .filter(|name| name != "default")
        .collect();
    names.sort();
    if names.is_empty() {
        "no features".to_owned()
    } else {
        format!("features: {}", names.join(" "))
    }
}
