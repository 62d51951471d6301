//! `cargo xtask tidy|ci|docs|failover|loss`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod failover;
mod flags;
mod loss;
mod peer;

use anyhow::{Result, bail};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use xtask::docs::Mode;
use xtask::{ci, docs, root, tidy};

const USAGE: &str = "\
cargo xtask tidy                          check the house rules of STYLE.md
cargo xtask ci                            every check a commit must pass
cargo xtask docs [--check] [--bin PATH]   write docs/reference/ from the program, or compare
cargo xtask failover [--help] [FLAGS]     break backends under load, beside HAProxy and nginx
cargo xtask loss [--help] [FLAGS]         change balancers under load, count what clients lose";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((command, [])) if command == "tidy" => report_findings()?,
        Some((command, [])) if command == "ci" => ci::run(&root())?,
        Some((command, rest)) if command == "docs" => run_docs(rest)?,
        Some((command, rest)) if command == "failover" => return failover::run(rest),
        Some((command, rest)) if command == "loss" => return loss::run(rest),
        Some(_) | None => bail!("expected one of\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn report_findings() -> Result<()> {
    let findings = tidy::check_tree(&root())?;
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    if !findings.is_empty() {
        bail!("{} findings; STYLE.md says how an exception is written", findings.len());
    }
    Ok(())
}

fn run_docs(arguments: &[String]) -> Result<()> {
    let (mut mode, mut binary) = (Mode::Write, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), rest.as_slice().first()) {
            ("--check", _) => mode = Mode::Check,
            ("--bin", Some(path)) => {
                binary = Some(PathBuf::from(path));
                rest.next();
            }
            (_, _) => bail!("docs: unexpected {argument:?}; expected\n{USAGE}"),
        }
    }
    docs::run(&root(), mode, binary.as_deref())
}
