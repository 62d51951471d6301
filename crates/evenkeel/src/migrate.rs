//! `migrate`: the staged move of a route's traffic, from plan to report.

mod arguments;

pub(crate) use arguments::MigrateArguments;

use crate::output::print;
use crate::remote;
use crate::system::runtime;
use crate::trouble::Trouble;
use arguments::{MigrateCommand, Named, PlanArguments, ReportFormat};
use evenkeel_api::{
    Client, ClientError, ConfigSyntax, Migration, MigrationOutline, MigrationState, Verdict,
};
use evenkeel_config::{Format, Source, read_migration};
use evenkeel_control::{migration_markdown, outline_of};
use evenkeel_core::migration::MigrationPlan;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often `wait` asks.
const POLL: Duration = Duration::from_millis(500);
/// How long `wait` puts up with an evenkeel that cannot be reached: one that is started again.
const RECONNECT: Duration = Duration::from_secs(30);
/// A plan that is larger is none.
const MAX_PLAN_BYTES: u64 = 1 << 20;
/// What is said where one is asked for and there is none.
const NONE: &str = "there is no migration; start one with `evenkeel migrate start FILE`";
/// What a comparison that did not hold exits with.
const DID_NOT_HOLD: u8 = 3;

/// Does what was asked.
pub(crate) fn run(arguments: MigrateArguments) -> Result<ExitCode, Trouble> {
    match arguments.command {
        MigrateCommand::Plan(arguments) => plan(&arguments)?,
        MigrateCommand::Start { file, admin } => {
            let (text, syntax, _) = checked(&file)?;
            let client = remote::client(&admin)?;
            let started = remote::ask(client.start_migration(text, syntax))?;
            print(format_args!("{}\n", started.id))?;
        }
        MigrateCommand::Status(named) => status(&named)?,
        MigrateCommand::Pause(named) => steer(&named, Step::Pause)?,
        MigrateCommand::Resume(named) => steer(&named, Step::Resume)?,
        MigrateCommand::Abort(named) => steer(&named, Step::Abort)?,
        MigrateCommand::Approve { by, named } => steer(&named, Step::Approve(by))?,
        MigrateCommand::Report { format, named } => {
            let (_, migration) = find(&named)?;
            match format {
                ReportFormat::Json => json(&migration)?,
                ReportFormat::Markdown => print(migration_markdown(&migration))?,
            }
        }
        MigrateCommand::Wait { timeout, named } => return wait(&named, timeout),
        MigrateCommand::Schema => {
            print(format_args!("{:#}\n", evenkeel_config::migration_schema()))?
        }
    }
    Ok(ExitCode::SUCCESS)
}

enum Step {
    Pause,
    Resume,
    Abort,
    Approve(Option<String>),
}

fn read(file: &Path) -> Result<(String, ConfigSyntax), Trouble> {
    let name = file.display();
    let failed = |error: &dyn std::fmt::Display| {
        Trouble::Mistake(format!("cannot read the plan {name}: {error}"))
    };
    let length = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if length > MAX_PLAN_BYTES {
        return Err(failed(&format!("longer than {MAX_PLAN_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    let syntax = match Format::of_file_name(&name.to_string()) {
        Some(Format::Toml) => ConfigSyntax::Toml,
        Some(Format::Yaml) | None => ConfigSyntax::Yaml,
    };
    Ok((text, syntax))
}

/// A plan that holds by itself. What is wrong with one is told here, where its lines can be shown.
fn checked(file: &Path) -> Result<(String, ConfigSyntax, MigrationPlan), Trouble> {
    let (text, syntax) = read(file)?;
    let format = match syntax {
        ConfigSyntax::Yaml => Format::Yaml,
        ConfigSyntax::Toml => Format::Toml,
    };
    let source = Source { name: file.display().to_string(), text: text.clone(), format };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let plan = read_migration(&source, since_1970.as_secs()).map_err(Trouble::Invalid)?;
    Ok((text, syntax, plan))
}

/// Checks the plan by itself; where an evenkeel runs, its routes and its rate of now are asked too.
fn plan(arguments: &PlanArguments) -> Result<(), Trouble> {
    let (text, syntax, plan) = checked(&arguments.file)?;
    let asks = arguments.admin.url().is_some();
    let outline = if asks {
        let client = remote::client(&arguments.admin)?;
        remote::ask(client.outline_migration(text, syntax))?
    } else {
        outline_of(&plan)
    };
    if arguments.json { json(&outline) } else { print(outlined(&outline)) }
}

fn outlined(it: &MigrationOutline) -> String {
    let mut text = format!("{}: route {} from {} to {}\n\n", it.id, it.route, it.from, it.to);
    for (index, stage) in it.stages.iter().enumerate() {
        let eta =
            stage.eta_s.map_or_else(String::new, |eta| format!(", at this rate {}", span(eta)));
        text.push_str(&format!(
            "  stage {}  {}\n           at least {}, {} requests{eta}\n",
            index + 1,
            stage.traffic,
            span(stage.min_duration_s),
            stage.samples_needed,
        ));
    }
    let last = it.stages.last().map_or(0.0, |stage| stage.weight);
    let all = if last < 100.0 { ", with all of it" } else { "" };
    text.push_str(&format!("  watch    {}{all}\n\n", span(it.watch_s)));
    text.push_str(&format!("minimum time  {}\n", span(it.least_s)));
    match (it.rate_rps, it.eta_s) {
        (Some(rate), Some(eta)) => {
            text.push_str(&format!("ETA           {} at {rate} requests per second\n", span(eta)));
        }
        (Some(rate), None) => {
            text.push_str(&format!("ETA           unknown at {rate} requests per second\n"));
        }
        (None, _) => text.push_str("ETA           unknown: --admin URL asks a running evenkeel\n"),
    }
    text
}

fn span(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// The migration that is named; of several, the one that runs, or the latest.
fn find(named: &Named) -> Result<(Client, Migration), Trouble> {
    let client = remote::client(&named.admin)?;
    let found = match &named.id {
        Some(id) => Some(remote::ask(client.migration(id))?),
        None => latest(remote::ask(client.migrations())?.migrations),
    };
    let found = found.ok_or_else(|| Trouble::Mistake(NONE.to_owned()))?;
    Ok((client, found))
}

/// The one that runs, or the latest.
fn latest(mut all: Vec<Migration>) -> Option<Migration> {
    let active = all.iter().rposition(|it| !is_over(it));
    let at = active.or_else(|| all.len().checked_sub(1))?;
    Some(all.swap_remove(at))
}

fn is_over(migration: &Migration) -> bool {
    matches!(migration.state, MigrationState::Done | MigrationState::Aborted)
}

fn status(named: &Named) -> Result<(), Trouble> {
    if named.id.is_none() {
        let client = remote::client(&named.admin)?;
        let all = remote::ask(client.migrations())?;
        if named.json {
            return json(&all);
        }
        // Nothing that could be asked for is missing: it is an answer, as the empty list is.
        return print(latest(all.migrations).map_or_else(|| format!("{NONE}\n"), |it| told(&it)));
    }
    let (_, migration) = find(named)?;
    if named.json { json(&migration) } else { print(told(&migration)) }
}

fn steer(named: &Named, step: Step) -> Result<(), Trouble> {
    let (client, migration) = find(named)?;
    let id = migration.id;
    let now = match step {
        Step::Pause => remote::ask(client.pause_migration(&id))?,
        Step::Resume => remote::ask(client.resume_migration(&id))?,
        Step::Abort => remote::ask(client.abort_migration(&id))?,
        Step::Approve(by) => remote::ask(client.approve_migration(&id, by))?,
    };
    if named.json { json(&now) } else { print(told(&now)) }
}

/// Waits for the end. 0: it went through; 3: it did not, or not in time.
fn wait(named: &Named, patience: Option<Duration>) -> Result<ExitCode, Trouble> {
    let (client, mut migration) = find(named)?;
    let until = patience.map(|patience| Instant::now() + patience);
    let runtime = runtime()?;
    let mut lost = None;
    while !is_over(&migration) {
        if until.is_some_and(|until| Instant::now() >= until) {
            print(format_args!("{}time is over\n", told(&migration)))?;
            return Ok(ExitCode::from(DID_NOT_HOLD));
        }
        let id = migration.id.clone();
        let next = runtime.block_on(async {
            tokio::time::sleep(POLL).await;
            client.migration(&id).await
        });
        match next {
            Ok(now) => (migration, lost) = (now, None),
            Err(error) if matches!(error, ClientError::Refused(_)) => {
                return Err(remote::refused(error));
            }
            Err(error) => {
                let since = *lost.get_or_insert_with(Instant::now);
                if since.elapsed() >= RECONNECT {
                    return Err(remote::refused(error));
                }
            }
        }
    }
    if named.json {
        json(&migration)?
    } else {
        print(told(&migration))?
    }
    let done = migration.state == MigrationState::Done;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(DID_NOT_HOLD) })
}

fn told(it: &Migration) -> String {
    let verdict = match it.verdict {
        None => "no verdict yet",
        Some(Verdict::Go) => "GO",
        Some(Verdict::NoGo) => "NO-GO",
        Some(Verdict::NotEnoughData) => "NOT-ENOUGH-DATA",
    };
    let state = word(&it.state);
    let mut text = format!(
        "{}  {state}  stage {} of {}  weight {}%  {verdict}\n  {}\n",
        it.id,
        it.stage + 1,
        it.stages,
        it.weight,
        it.reason
    );
    for check in it.checks.iter().rev().take(5).rev() {
        let arm = |arm: &evenkeel_api::ArmReport| {
            let p99 = arm.p99_ms.map_or_else(String::new, |ms| format!(", p99 {ms:.1} ms"));
            format!("{} requests, {} errors{p99}", arm.requests, arm.errors)
        };
        text.push_str(&format!(
            "  {}  stage {}  {}  {}: {}  {}: {}\n",
            check.time,
            check.stage + 1,
            word(&check.verdict),
            it.from,
            arm(&check.from),
            it.to,
            arm(&check.to)
        ));
    }
    text
}

/// As the API spells it.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

fn json(value: &impl Serialize) -> Result<(), Trouble> {
    let value = serde_json::to_value(value).unwrap_or_default();
    print(format_args!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_say_them() {
        for (seconds, expected) in [(5.4, "5s"), (600.0, "10m0s"), (64_800.0, "18h0m0s")] {
            assert_eq!(span(seconds), expected);
        }
    }
}
