//! `reload`, `revisions`, `rollback`: how the configuration changes, and went.

use super::print_json;
use super::table::{Cell, Table};
use crate::arguments::{LookArguments, ReloadArguments, RollbackArguments};
use crate::output::print;
use crate::remote;
use crate::trouble::Trouble;
use evenkeel_api::{ConfigSyntax, ReloadPlan, ReloadReport, ReloadResult, Revision};
use std::path::Path;

/// Reloads now, or says what that would do.
pub(crate) fn reload(arguments: &ReloadArguments) -> Result<(), Trouble> {
    let client = remote::client(&arguments.look.admin)?;
    if arguments.plan {
        let candidate = arguments.config.as_deref().map(candidate).transpose()?;
        let plan = remote::ask(client.preview_reload(candidate))?;
        return if arguments.look.json { print_json(&plan) } else { print(foreseen(&plan)) };
    }
    let report = remote::ask(client.reload(None))?;
    if arguments.look.json { print_json(&report) } else { print(done(&report)) }
}

fn candidate(file: &Path) -> Result<(String, ConfigSyntax), Trouble> {
    let unreadable =
        |error| Trouble::Mistake(format!("cannot read the candidate {}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let is_toml = file.extension().is_some_and(|it| it.eq_ignore_ascii_case("toml"));
    Ok((text, if is_toml { ConfigSyntax::Toml } else { ConfigSyntax::Yaml }))
}

/// Lines under a heading; nothing for none.
fn listed(text: &mut String, heading: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("{heading}:\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
}

fn done(report: &ReloadReport) -> String {
    let result = match report.result {
        ReloadResult::Applied => "applied",
        ReloadResult::Unchanged => "unchanged",
    };
    let mut text = format!("{result}; generation {}\n", report.generation);
    listed(&mut text, "changed", &report.changes);
    listed(&mut text, "does not take effect by a reload", &report.notes);
    listed(&mut text, "does not fit the file any more", &report.conflicts);
    text
}

fn foreseen(plan: &ReloadPlan) -> String {
    let mut text = String::new();
    if plan.changes.is_empty() {
        text.push_str("nothing would change\n");
    }
    listed(&mut text, "would change", &plan.changes);
    listed(&mut text, "listeners that would go", &plan.listeners);
    listed(&mut text, "backends that would go", &plan.backends);
    let ReloadPlan { connections, requests, tunnels, sessions, .. } = plan;
    text.push_str(&format!(
        "touches {connections} connections, {requests} requests, {tunnels} tunnels, \
         {sessions} sessions\n"
    ));
    listed(&mut text, "would not take effect by a reload", &plan.notes);
    listed(&mut text, "would not fit any more", &plan.conflicts);
    let warning = |it: &evenkeel_api::ConfigError| {
        format!("{}:{}:{}: {}: {}", it.file, it.line, it.column, it.path, it.message)
    };
    let warnings: Vec<String> = plan.warnings.iter().map(warning).collect();
    listed(&mut text, "should be looked at", &warnings);
    text
}

/// Lists how the configuration came to be.
pub(crate) fn revisions(look: &LookArguments) -> Result<(), Trouble> {
    let list = remote::ask(remote::client(&look.admin)?.revisions())?;
    if look.json {
        return print_json(&list);
    }
    let mut table = Table::new(&["REVISION", "TIME", "AUTHOR", "REASON", "CHANGED"]);
    for it in &list.revisions {
        let mut lines = it.diff.lines();
        let first = lines.next().unwrap_or_default();
        let more = lines.count();
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        table.row([
            Cell::of(it.id),
            Cell::of(&it.time),
            Cell::of(&it.author),
            Cell::of(&it.reason),
            Cell::of(format!("{first}{more}")),
        ]);
    }
    print(table.render())
}

/// Restores the state as of a revision.
pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<(), Trouble> {
    let client = remote::client(&arguments.look.admin)?;
    let revision = remote::ask(client.rollback(arguments.revision, None))?;
    if arguments.look.json {
        return print_json(&revision);
    }
    let Revision { id, reason, diff, .. } = &revision;
    print(format_args!("revision {id}: {reason}\n{diff}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_say_what_they_touch() {
        let plan = ReloadPlan {
            changes: vec!["pools[0].strategy: \"rr\" -> \"random\"".to_owned()],
            backends: vec!["web/b1".to_owned()],
            requests: 7,
            ..ReloadPlan::default()
        };
        let text = foreseen(&plan);
        assert!(text.contains("would change:\n  pools[0].strategy"), "{text}");
        assert!(text.contains("touches 0 connections, 7 requests"), "{text}");
        assert!(foreseen(&ReloadPlan::default()).starts_with("nothing would change\n"));
    }
}
