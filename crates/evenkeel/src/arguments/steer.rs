//! What can be typed to look at a running evenkeel, and to steer it.

use super::AdminArguments;
use super::number::whole;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Which running evenkeel, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct LookArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The largest weight.
const MAX_WEIGHT: u64 = 65_535;

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub(crate) enum BackendCommand {
    /// List them, of one pool or of all.
    List {
        /// Of this pool only.
        pool: Option<String>,
        #[command(flatten)]
        look: LookArguments,
    },
    /// Add one: it takes traffic at once, and joins by its probes.
    Add {
        /// Its name, with its pool if there are several.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        /// Where it is, e.g. `127.0.0.1:8083`.
        address: String,
        /// Its share of new traffic.
        #[arg(long, default_value = "1")]
        #[arg(value_parser = whole::<u32>(0..=MAX_WEIGHT), allow_negative_numbers = true)]
        weight: u32,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Remove one, at once or after it has drained.
    Remove {
        /// Which.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        /// How long it may finish what runs.
        #[arg(long, default_value = "0s", value_parser = evenkeel_config::parse_duration)]
        drain: Duration,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Let it take traffic.
    Enable {
        /// Which.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Take it out at once.
    Disable {
        /// Which.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Let it finish what runs, and take nothing new.
    Drain {
        /// Which.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        /// Wait so long until nothing runs there; exit 3 if something still does.
        #[arg(long, value_name = "TIME", value_parser = evenkeel_config::parse_duration)]
        wait: Option<Duration>,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Set its share of new traffic; 0 = none.
    Weight {
        /// Which.
        #[arg(value_name = "[POOL/]NAME")]
        backend: String,
        /// The share.
        #[arg(value_parser = whole::<u32>(0..=MAX_WEIGHT), allow_negative_numbers = true)]
        weight: u32,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

/// What to do with pools.
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List them.
    List {
        #[command(flatten)]
        look: LookArguments,
    },
    /// Choose backends in another way.
    Strategy {
        /// Of this pool.
        pool: String,
        /// How, e.g. `least_connections`.
        strategy: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

/// Which running evenkeel is to hand over.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArguments {
    #[command(flatten)]
    pub(crate) look: LookArguments,
    /// Find the process by the file that `run --pid-file` writes, not by its admin listener.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// How long to wait; the old program gives a new one a minute.
    #[arg(long, value_name = "TIME", default_value = "75s")]
    #[arg(value_parser = evenkeel_config::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Whether to reload, or only to say what that would do.
#[derive(Args, Debug)]
pub(crate) struct ReloadArguments {
    /// Only print what would change, and how many connections it would touch.
    #[arg(long)]
    pub(crate) plan: bool,
    /// A file to look at in place of the one that is served; only with --plan.
    #[arg(short, long, value_name = "CANDIDATE", requires = "plan")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) look: LookArguments,
}

/// Which revision to go back to.
#[derive(Args, Debug)]
pub(crate) struct RollbackArguments {
    /// Its number, as `evenkeel revisions` lists it.
    #[arg(value_parser = whole::<u64>(1..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) look: LookArguments,
}

/// What to do with tokens of the admin listener.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one: it is printed once, with its line for the tokens file.
    New {
        /// Whose it is; the author of what is done with it.
        #[arg(long)]
        name: String,
        /// What it allows.
        #[arg(long, value_enum)]
        role: TokenRole,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What a token allows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TokenRole {
    /// To read.
    Viewer,
    /// To steer backends and pools as well.
    Operator,
    /// Everything.
    Admin,
}
