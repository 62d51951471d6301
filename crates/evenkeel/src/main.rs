//! THE PROGRAM: arguments, signals, output. What it does with them is in the other crates.
//!
//! Reading order: `arguments` (what can be typed), `load` (which configuration), `run` and
//! `balancer` (serving, from start to drain), `demo`, `check`, `reference`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arguments;
mod autoscale;
mod balancer;
mod bench;
mod check;
mod convert;
mod demo;
mod explain;
mod failures;
mod greeting;
#[cfg_attr(windows, path = "windows/handover.rs")]
mod handover;
mod healthcheck;
#[cfg_attr(windows, path = "windows/installed.rs")]
mod installed;
mod load;
mod lookup;
mod migrate;
mod mocks;
mod output;
mod pid_file;
#[cfg(unix)]
mod port_owner;
mod reference;
mod remote;
mod requests;
mod run;
#[cfg(windows)]
#[path = "windows/scm.rs"]
mod scm;
#[cfg_attr(windows, path = "windows/signals.rs")]
mod signals;
mod steer;
#[cfg_attr(windows, path = "windows/system.rs")]
mod system;
mod testserver;
mod token;
mod top;
mod trouble;
#[cfg_attr(windows, path = "windows/upgrade.rs")]
mod upgrade;
mod wiring;

use arguments::{Arguments, Command, Topic};
use clap::Parser;
use output::print;
#[cfg(unix)]
use run::run as balance;
#[cfg(windows)]
use scm::run as balance;
use std::process::ExitCode;
use trouble::Trouble;

/// The system's, which notes who allocates while profiles are served.
#[global_allocator]
static ALLOCATOR: evenkeel_heap::SamplingAllocator = evenkeel_heap::SamplingAllocator;

fn main() -> ExitCode {
    let words = bench::full_names(std::env::args_os());
    let words = arguments::with_two_dashes(words.into_iter());
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are answers too; a reader that left needs none.
            let answer = arguments::with_tip(answer, &words);
            let _ = answer.print();
            return ExitCode::from(u8::from(answer.use_stderr()));
        }
    };
    answer(arguments).unwrap_or_else(|trouble| {
        trouble.say();
        trouble.exit_code()
    })
}

fn answer(arguments: Arguments) -> Result<ExitCode, Trouble> {
    match arguments.command.unwrap_or(Command::Run(arguments.run)) {
        Command::Run(arguments) => balance(&arguments)?,
        Command::Demo(arguments) => demo::run(&arguments)?,
        Command::Check(arguments) => return check::check(&arguments),
        Command::Config(arguments) => return check::config(&arguments),
        Command::Convert(arguments) => convert::run(&arguments)?,
        Command::Explain(arguments) => explain::explain(&arguments)?,
        Command::Requests(arguments) => requests::requests(&arguments)?,
        Command::ExplainFailure(arguments) => failures::explain(&arguments)?,
        Command::Status(arguments) => steer::status(&arguments)?,
        Command::Backend(command) => return steer::backend(&command),
        Command::Pool(command) => steer::pool(&command)?,
        Command::Reload(arguments) => steer::reload(&arguments)?,
        Command::Upgrade(arguments) => return upgrade::run(&arguments),
        Command::Revisions(arguments) => steer::revisions(&arguments)?,
        Command::Rollback(arguments) => steer::rollback(&arguments)?,
        Command::Token(command) => token::run(&command)?,
        Command::Openapi => {
            print(format_args!("{:#}\n", evenkeel_api::openapi(env!("CARGO_PKG_VERSION"))))?;
        }
        Command::Top(arguments) => top::run(&arguments)?,
        Command::Schema => print(format_args!("{:#}\n", evenkeel_config::schema()))?,
        Command::Env(arguments) if arguments.json => print(reference::environment_json())?,
        Command::Env(_) => print(reference::environment_text())?,
        Command::Completions { shell } => print(reference::completions(shell))?,
        Command::Man => print(reference::manual())?,
        Command::Testserver(arguments) => testserver::run(&arguments)?,
        Command::Healthcheck(arguments) => return healthcheck::run(&arguments),
        Command::Installed(command) => installed::installed(command)?,
        Command::Bench(arguments) => return bench::run(*arguments),
        Command::Migrate(arguments) => return migrate::run(arguments),
        Command::Autoscale(arguments) => autoscale::run(&arguments)?,
        Command::TiedProcess { words } => {
            let why = |error| Trouble::CannotStart(format!("{}: {error}", words.join(" ")));
            evenkeel_control::guard(&words).map_err(why)?;
        }
        #[cfg(unix)]
        Command::NewProgram { words } => handover::start(&words)?,
        Command::Docs { topic: Topic::Config } => print(evenkeel_config::reference_markdown())?,
        Command::Docs { topic: Topic::Cli } => print(reference::cli_markdown())?,
        Command::Docs { topic: Topic::Failures } => print(failures::markdown())?,
        Command::Docs { topic: Topic::AdminApi } => print(evenkeel_api::reference_markdown())?,
        Command::Docs { topic: Topic::Metrics } => print(evenkeel_control::metrics_markdown())?,
        Command::Docs { topic: Topic::Environment } => print(reference::environment_markdown())?,
    }
    Ok(ExitCode::SUCCESS)
}
