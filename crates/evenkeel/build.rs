//! Puts the version text together: package version, commit if the source is a git checkout, and the
//! Cargo features that are compiled in.

use std::path::Path;
use std::process::Command;

fn main() {
    let version = env("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = commit().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=EVENKEEL_VERSION={version} (commit {commit}, {})", features());
    if folds() {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// True if this toolchain links with its own linker, which can keep one of several functions that
/// came out the same. Where it does not, or somebody chose another linker, the program is larger.
fn folds() -> bool {
    let is_default = env("TARGET").as_deref() == Some("x86_64-unknown-linux-gnu")
        && env("HOST") == env("TARGET")
        && env("PROFILE").as_deref() == Some("release");
    let flags = env("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_chosen = ["linker", "fuse-ld", "sanitizer"].iter().any(|word| flags.contains(word))
        || env("RUSTC_LINKER").is_some();
    let rustc = env("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let host = env("HOST").unwrap_or_default();
    is_default
        && !is_chosen
        && output(&rustc, &["--print", "sysroot"]).is_some_and(|root| {
            Path::new(&root).join(format!("lib/rustlib/{host}/bin/gcc-ld/ld.lld")).exists()
        })
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `EVENKEEL_COMMIT` of whoever builds from an exported tree, or the commit that is checked out;
/// `None` outside git, which is no error.
fn commit() -> Option<String> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=EVENKEEL_COMMIT");
    if let Some(named) = env("EVENKEEL_COMMIT").filter(|name| !name.is_empty()) {
        return Some(named);
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && Path::new(&path).exists()
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    output("git", arguments)
}

/// What a program prints, if it succeeds and prints something.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
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
