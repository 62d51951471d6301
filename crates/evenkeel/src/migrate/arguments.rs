//! What can be typed after `migrate`.

use crate::arguments::AdminArguments;
use clap::{Args, Subcommand, ValueEnum};
use evenkeel_config::parse_duration;
use std::path::PathBuf;
use std::time::Duration;

/// Moves a route's traffic from one pool to another, in stages.
#[derive(Args, Debug)]
pub(crate) struct MigrateArguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: MigrateCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Check a plan and say what it will take: stages, least time, requests, ETA.
    Plan(PlanArguments),
    /// Start a migration; prints its id.
    Start {
        /// The plan: YAML, TOML or JSON.
        file: PathBuf,
        /// Which running evenkeel.
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Say where a migration is, and its last checks.
    Status(Named),
    /// Let a migration stand still where it is.
    Pause(Named),
    /// Let a migration go on.
    Resume(Named),
    /// Agree to the end of a stage that waits for it.
    Approve {
        /// Who agrees; otherwise the name of the token.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// Which.
        #[command(flatten)]
        named: Named,
    },
    /// End a migration: the old pool gets everything again.
    Abort(Named),
    /// Print every decision with what it was based on.
    Report {
        /// In which form.
        #[arg(long, value_enum, default_value = "markdown")]
        format: ReportFormat,
        /// Which.
        #[command(flatten)]
        named: Named,
    },
    /// Wait for the end: exit code 0 = done, 3 = aborted, or not in time.
    Wait {
        /// For how long, e.g. `10m`; left out, for ever.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
        /// Which.
        #[command(flatten)]
        named: Named,
    },
    /// Print the JSON Schema of a plan.
    Schema,
}

/// Which plan.
#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    /// The plan: YAML, TOML or JSON.
    pub(crate) file: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// A running evenkeel, for its routes and its rate of now.
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
}

/// Which migration.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// Its id; left out, the one that runs, or the latest.
    pub(crate) id: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Which running evenkeel.
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    /// JSON.
    Json,
    /// Markdown.
    Markdown,
}
