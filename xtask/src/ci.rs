//! Every check a commit must pass, in the order that fails soonest and compiles least.

use crate::docs::{self, Mode};
use crate::tidy;
use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One named check.
struct Step {
    name: &'static str,
    check: Check,
}

enum Check {
    /// A command line, split at blanks.
    Command(&'static str),
    /// `cargo xtask tidy`, in this process.
    Tidy,
    /// `cargo xtask docs --check` with the release binary, in this process.
    Docs,
}

const FORMAT: Step = Step { name: "format", check: Check::Command("cargo fmt --all --check") };
const TIDY: Step = Step { name: "house rules", check: Check::Tidy };
const LINT: Step = Step {
    name: "lint",
    check: Check::Command("cargo clippy --workspace --all-targets --locked -- -D warnings"),
};
const NEXTEST: Step = Step {
    name: "tests, a process each",
    check: Check::Command("cargo nextest run --workspace --locked"),
};
const TEST: Step =
    Step { name: "tests and doc tests", check: Check::Command("cargo test --workspace --locked") };
const WITHOUT_OTLP: Step = Step {
    name: "without the feature otlp",
    check: Check::Command(
        "cargo test --package evenkeel-control --no-default-features --locked --lib vet",
    ),
};
const REAL_PARTS: Step = Step {
    name: "tests that need real parts",
    check: Check::Command("cargo test --workspace --locked --tests -- --ignored"),
};
const RELEASE: Step =
    Step { name: "release", check: Check::Command("cargo build --release --locked") };
const DEMO: Step = Step { name: "demo", check: Check::Command("python3 .ci/check-demo.py") };
const DASHBOARD: Step =
    Step { name: "dashboard", check: Check::Command("python3 .ci/check-dashboard.py") };
const QUERIES: Step =
    Step { name: "dashboards of Grafana", check: Check::Command("python3 .ci/check-queries.py") };
const DOCS: Step = Step { name: "generated docs", check: Check::Docs };

/// Runs all steps in turn and stops at the first that fails.
///
/// # Errors
/// A step failed; the message names it.
pub fn run(root: &Path) -> Result<()> {
    let mut steps = vec![FORMAT, TIDY, LINT];
    if has_nextest() {
        steps.push(NEXTEST);
    }
    steps.extend([TEST, WITHOUT_OTLP, REAL_PARTS, RELEASE, DEMO, DASHBOARD, QUERIES, DOCS]);
    let mut spent = Vec::new();
    for step in &steps {
        say(&format!("== {}", step.name))?;
        let started = std::time::Instant::now();
        perform(root, &step.check).with_context(|| format!("step `{}` failed", step.name))?;
        spent.push((step.name, started.elapsed()));
    }
    summary(&spent)
}

fn perform(root: &Path, check: &Check) -> Result<()> {
    match check {
        Check::Command(line) => command(root, line),
        Check::Tidy => {
            let findings = tidy::check_tree(root)?;
            for finding in &findings {
                say(&finding.to_string())?;
            }
            if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
        }
        Check::Docs => docs::run(root, Mode::Check, Some(&release_binary(root))),
    }
}

fn command(root: &Path, line: &str) -> Result<()> {
    say(&format!("$ {line}"))?;
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let status = Command::new(program)
        .args(words)
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` ended with {status}") }
}

fn has_nextest() -> bool {
    let mut version = Command::new("cargo");
    version.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn release_binary(root: &Path) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root.join(target).join("release").join(format!("evenkeel{}", std::env::consts::EXE_SUFFIX))
}

fn summary(spent: &[(&str, Duration)]) -> Result<()> {
    say("== all checks passed")?;
    for (name, duration) in spent {
        say(&format!("{:>6.1} s  {name}", duration.as_secs_f64()))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
