//! `check` and `config`: what a configuration says, and whether it holds.

use crate::arguments::{
    AdminArguments, ConfigArguments, ConfigCommand, ReadArguments, RunArguments, TextForm,
};
use crate::load::{effective, load};
use crate::output::{self, Tone, print};
use crate::remote;
use crate::trouble::Trouble;
use evenkeel_config::{Detected, Diagnostic, Dialect, Format, Overrides, Source};
use evenkeel_core::plan::Plan;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Validates the configuration.
pub(crate) fn check(arguments: &ReadArguments) -> Result<ExitCode, Trouble> {
    match (load(&arguments.into()), arguments.json) {
        (Ok(loaded), true) => print_json(&json!({
            "valid": true,
            "dialect": loaded.detected.dialect.name(),
            "errors": [],
            "warnings": finding_list(&loaded.warnings),
        })),
        (Ok(loaded), false) => {
            loaded.warnings.iter().for_each(|finding| output::say(Tone::Warning, finding));
            let file = loaded.file.as_deref().unwrap_or("the configuration");
            let dialect = told(&loaded.detected);
            print(format_args!("{file}: valid ({}){dialect}\n", summary(&loaded.plan)))?;
            Ok(ExitCode::SUCCESS)
        }
        (Err(trouble), true) => print_trouble(trouble),
        (Err(trouble), false) => Err(trouble),
    }
}

/// Prints the effective configuration, whether or not this version can serve it, or that of a
/// running evenkeel.
pub(crate) fn config(arguments: &ConfigArguments) -> Result<ExitCode, Trouble> {
    match &arguments.command {
        Some(ConfigCommand::Export { admin, to }) => export(admin, *to),
        None => read_config(&arguments.read),
    }
}

/// What is in force, edits included, as a file that says the same.
fn export(admin: &AdminArguments, to: TextForm) -> Result<ExitCode, Trouble> {
    let client = remote::client(admin)?;
    let (document, _) = remote::ask(client.config())?;
    // JSON is YAML too.
    let (text, format) = (Value::Object(document.0).to_string(), Format::Yaml);
    let source = Source { name: "the configuration in force".to_owned(), text, format };
    let read = evenkeel_config::read(Some(&source), &Overrides::default());
    let configuration = read.map_err(Trouble::Invalid)?;
    print(match to {
        TextForm::Yaml => configuration.to_yaml(),
        TextForm::Toml => configuration.to_toml(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read_config(arguments: &ReadArguments) -> Result<ExitCode, Trouble> {
    match (effective(&arguments.into()), arguments.json) {
        (Ok(configuration), true) => print_json(&configuration.to_json()),
        (Ok(configuration), false) => {
            print(configuration.to_yaml())?;
            Ok(ExitCode::SUCCESS)
        }
        (Err(trouble), true) => print_trouble(trouble),
        (Err(trouble), false) => Err(trouble),
    }
}

/// Whose form a file has, if it is not ours.
fn told(Detected { dialect, reason }: &Detected) -> String {
    match dialect {
        Dialect::Native => String::new(),
        Dialect::Gobalance | Dialect::GoLoadbalancer | Dialect::LoadBalancer | Dialect::Apps => {
            format!("; read as {dialect}, by {reason}")
        }
    }
}

impl From<&ReadArguments> for RunArguments {
    fn from(arguments: &ReadArguments) -> RunArguments {
        let ReadArguments { config, dialect, .. } = arguments;
        RunArguments { config: config.clone(), dialect: *dialect, ..RunArguments::default() }
    }
}

fn print_json(answer: &Value) -> Result<ExitCode, Trouble> {
    print(format_args!("{answer:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Answers with what is wrong as JSON, and keeps the exit code that it would have had.
fn print_trouble(trouble: Trouble) -> Result<ExitCode, Trouble> {
    let errors = match &trouble {
        Trouble::Invalid(findings) => finding_list(&findings.0),
        Trouble::Mistake(message) => json!([{ "message": message }]),
        Trouble::CannotStart(_) | Trouble::Unwritable(_) => return Err(trouble),
    };
    print_json(&json!({ "valid": false, "errors": errors, "warnings": [] }))?;
    Ok(trouble.exit_code())
}

fn finding_list<'a>(findings: impl IntoIterator<Item = &'a Diagnostic>) -> Value {
    findings.into_iter().map(finding_json).collect()
}

fn finding_json(finding: &Diagnostic) -> Value {
    json!({
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "path": finding.path,
        "message": finding.message,
        "hint": finding.hint,
    })
}

/// `1 listener, 2 routes, 1 pool, 3 backends`.
pub(crate) fn summary(plan: &Plan) -> String {
    let backends = plan.pools.iter().map(|pool| pool.backends.len()).sum();
    let counts = [
        ("listener", plan.listeners.len()),
        ("route", plan.routes.len()),
        ("pool", plan.pools.len()),
        ("backend", backends),
    ];
    let counts = counts.map(|(noun, n)| format!("{n} {noun}{}", if n == 1 { "" } else { "s" }));
    counts.join(", ")
}
