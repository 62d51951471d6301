//! What can be typed: the tree of commands, and the one liberty taken with it, long flags with one
//! dash.

mod dashes;
mod number;
mod steer;
mod tips;

pub(crate) use dashes::with_two_dashes;
pub(crate) use number::whole;
pub(crate) use steer::*;
pub(crate) use tips::with_tip;

use crate::autoscale::AutoscaleArguments;
use crate::bench::BenchArguments;
use crate::installed::InstalledCommand;
use crate::migrate::MigrateArguments;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use evenkeel_config::{Dialect, Product};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
Without -c the configuration is looked for: $EVENKEEL_CONFIG, then config.yaml|yml|toml and \
evenkeel.yaml|yml|toml in the working directory, in config/, configs/ and /etc/evenkeel/, then \
beside the executable. Long flags also take one dash (-listen).

Exit codes: 0 done, 1 the configuration or the arguments are wrong, 2 could not start, 3 a check \
or comparison did not hold.

Signals: SIGTERM and SIGINT drain and exit 0 (a second one stops at once), SIGUSR1 reopens the \
log file, SIGHUP reads the configuration again, SIGUSR2 hands over to the program as it is on \
disk now.";

/// Where the test backend listens unless told otherwise: where the examples look for it.
const DEFAULT_TESTSERVER: &str = "127.0.0.1:8081";

/// A load balancer for HTTP, gRPC, TCP and UDP.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version = env!("EVENKEEL_VERSION"),
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// What to do; nothing = `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The flags of `run` when no command is named.
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the balancer (also: `evenkeel` alone).
    Run(RunArguments),
    /// Run three demo backends and a balancer in one process, and print what to try.
    Demo(DemoArguments),
    /// Validate a configuration: every error as FILE:LINE:COL: key.path: message.
    Check(ReadArguments),
    /// Print the effective configuration, defaults included; `config export` that of a running
    /// evenkeel.
    Config(ConfigArguments),
    /// Print a configuration file of any accepted form in the native form.
    Convert(ConvertArguments),
    /// Say which route, pool and backend a request would get, and why; by a file, or with --admin
    /// by a running evenkeel.
    Explain(ExplainArguments),
    /// Print recent requests that failed or were slow, with where their time went.
    Requests(RequestsArguments),
    /// Say what the code of a failure means, whose side it is, and what probably helps.
    ExplainFailure(FailureArguments),
    /// Say once how a running evenkeel is.
    Status(LookArguments),
    /// List, add, remove, enable, disable, drain or weigh backends of a running evenkeel.
    #[command(subcommand)]
    Backend(BackendCommand),
    /// List pools of a running evenkeel, or change their strategy.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Have a running evenkeel read its configuration again, or say what that would do.
    Reload(ReloadArguments),
    /// Have a running evenkeel hand over to the program as it is on disk now; exit 3 if that one
    /// fails, and the old one serves on.
    Upgrade(UpgradeArguments),
    /// List how the configuration of a running evenkeel came to be.
    Revisions(LookArguments),
    /// Go back to an earlier revision.
    Rollback(RollbackArguments),
    /// Make tokens for the admin listener.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the OpenAPI document of the admin API.
    Openapi,
    /// Show a running evenkeel on this terminal, live; `?` lists the keys.
    Top(TopArguments),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// List the environment variables that are read.
    Env(EnvArguments),
    /// Print a completion script for a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff).
    Man,
    /// Run a backend to play with: `/`, `/echo`, `/events`, `/ws`.
    Testserver(TestserverArguments),
    /// Send load to a target, check what came of it, or compare with and without circuit breaker.
    Bench(Box<BenchArguments>),
    /// Ask a running evenkeel whether it is ready; exit 0 if so, else 3 (for images).
    Healthcheck(HealthcheckArguments),
    /// Have the system start evenkeel: a unit of systemd.
    #[command(subcommand, name = "service")]
    Installed(InstalledCommand),
    /// Move a route's traffic from one pool to another, in stages with verdicts.
    Migrate(MigrateArguments),
    /// Say and steer how many backends pools have.
    Autoscale(AutoscaleArguments),
    /// Run another program that ends with the process that started this one.
    #[command(hide = true)]
    TiedProcess {
        /// Program and arguments.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Start another program, and end once it is ready.
    #[cfg(unix)]
    #[command(hide = true)]
    NewProgram {
        /// Program and arguments.
        #[arg(last = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Print a part of the reference as Markdown.
    #[command(hide = true)]
    Docs {
        /// Which part.
        topic: Topic,
    },
}

/// Which configuration, and what goes over it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArguments {
    /// The configuration file; `-` reads YAML from stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, e.g. `:8080`; replaces the first listener of a file.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The port of the first listener, on the address that it has.
    #[arg(long, value_name = "PORT", conflicts_with = "listen",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// A backend, e.g. `127.0.0.1:8081` (repeat it for more); without -c no file is read.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Vec<String>,
    /// How the next backend is chosen, e.g. `round_robin`.
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Option<String>,
    /// Whose form the file has, if its keys do not tell: native, gobalance, go-loadbalancer,
    /// load-balancer or apps.
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    pub(crate) dialect: Option<Dialect>,
    /// Do not watch the file; SIGHUP and `evenkeel reload` still read it again.
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Where to write the process id once it is ready; removed at the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

/// Where the demo listens.
#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// Where the balancer listens; default 127.0.0.1:8080, or a free port if that is taken.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Print an access record for every request.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Which configuration to read, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct ReadArguments {
    /// The configuration file; `-` reads YAML from stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Whose form the file has, if its keys do not tell.
    #[arg(long, value_name = "DIALECT", value_parser = dialect)]
    pub(crate) dialect: Option<Dialect>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which configuration to print.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) command: Option<ConfigCommand>,
    #[command(flatten)]
    pub(crate) read: ReadArguments,
}

/// Of whom.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print what a running evenkeel serves, edits through the API included, as a native file;
    /// secrets are hidden.
    Export {
        #[command(flatten)]
        admin: AdminArguments,
        /// What to write.
        #[arg(long, value_enum, default_value_t)]
        to: TextForm,
    },
}

/// Which file, from which form, to which text.
#[derive(Args, Debug)]
pub(crate) struct ConvertArguments {
    /// The file; `-` reads stdin.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose form it has: native, gobalance, go-loadbalancer, load-balancer, apps, nginx or
    /// haproxy. Left out, its keys tell, except of the last two, which come with a report.
    #[arg(long, value_name = "FORM", value_parser = form)]
    pub(crate) from: Option<Form>,
    /// What to write.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) to: TextForm,
    /// Write values of environment variables, such as `STRATEGY_TYPE`, into the result; otherwise
    /// they go over it when it is run, as over the file.
    #[arg(long)]
    pub(crate) with_env: bool,
}

/// Whose form a file has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// One that is served as it is.
    Dialect(Dialect),
    /// One that is only converted.
    Product(Product),
}

/// A text that configurations are written in.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum TextForm {
    /// YAML.
    #[default]
    Yaml,
    /// TOML.
    Toml,
}

/// Which running evenkeel.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdminArguments {
    /// Its admin listener; else `$EVENKEEL_ADMIN`, else http://127.0.0.1:9900.
    #[arg(long = "admin", value_name = "URL")]
    flag: Option<String>,
    /// File with the token to show.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl AdminArguments {
    /// The admin listener that the flag or the environment names. The variable is not the parser's:
    /// it would count as typed, and every usage line would then demand the flag.
    pub(crate) fn url(&self) -> Option<String> {
        let variable = || std::env::var("EVENKEEL_ADMIN").ok();
        self.flag.clone().or_else(variable).filter(|url| !url.is_empty())
    }
}

/// Which running evenkeel, and how often to ask it.
#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// How often the numbers are read; events are shown at once.
    #[arg(long, default_value = "1s", value_parser = top_interval)]
    pub(crate) interval: Duration,
}

/// What to ask.
#[derive(Args, Debug)]
pub(crate) struct HealthcheckArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// Ask whether the process lives, not whether it may get traffic.
    #[arg(long)]
    pub(crate) live: bool,
    /// How long to wait for the answer.
    #[arg(long, default_value = "3s", value_parser = evenkeel_config::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Which request, and whom to ask.
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// What would be asked for, e.g. `http://api.example.com/v1/users`.
    pub(crate) url: String,
    /// The configuration file; without it and --admin it is looked for as by `run`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// A header, e.g. `x-beta: 1`; repeat it for more.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The method; GET unless told otherwise.
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The client's address; 127.0.0.1 unless told otherwise.
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which requests, and whom to ask.
#[derive(Args, Debug)]
pub(crate) struct RequestsArguments {
    #[command(flatten)]
    pub(crate) admin: AdminArguments,
    /// Only those that failed.
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only those that were slow.
    #[arg(long)]
    pub(crate) slow: bool,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Answer as an HTTP Archive (HAR 1.2).
    #[arg(long)]
    pub(crate) har: bool,
}

/// Which failure.
#[derive(Args, Debug)]
pub(crate) struct FailureArguments {
    /// As in body, log and metric, e.g. `no_backend`.
    pub(crate) code: String,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to answer.
#[derive(Args, Debug)]
pub(crate) struct EnvArguments {
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the test backend behaves.
#[derive(Args, Debug)]
pub(crate) struct TestserverArguments {
    /// Where to listen; port 0 = a free one.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_TESTSERVER)]
    #[arg(value_parser = socket_address)]
    pub(crate) listen: SocketAddr,
    /// The name it answers with, in `X-Backend`; default `testserver-PORT`.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Wait before every answer, e.g. `200ms`.
    #[arg(long, default_value = "0s", value_parser = evenkeel_config::parse_duration)]
    pub(crate) delay: Duration,
    /// Share of requests answered with an error: `0.5` or `50%`.
    #[arg(long, value_name = "P", default_value = "0", value_parser = evenkeel_config::parse_ratio)]
    pub(crate) fail_rate: f64,
    /// The status of every answer that does not fail.
    #[arg(long, default_value_t = 200, value_parser = whole::<u16>(200..=599))]
    pub(crate) status: u16,
    /// Bytes of the body; 0 = a short text with the name.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    #[arg(value_parser = whole::<usize>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) body_size: usize,
}

/// A part of the reference.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Topic {
    /// Every configuration key.
    Config,
    /// Every command and flag.
    Cli,
    /// Every environment variable.
    Environment,
    /// Every failure.
    Failures,
    /// Every endpoint of the admin API.
    AdminApi,
    /// Every family of metrics.
    Metrics,
}

/// The tree of commands, complete with help and version.
pub(crate) fn command_tree() -> clap::Command {
    let mut tree = Arguments::command();
    tree.build();
    tree
}

fn dialect(text: &str) -> Result<Dialect, String> {
    let known = || Dialect::names().collect::<Vec<_>>().join(", ");
    Dialect::parse(text).ok_or_else(|| format!("one of: {}", known()))
}

/// Often enough to be live, seldom enough to cost nothing.
fn top_interval(text: &str) -> Result<Duration, String> {
    let interval = evenkeel_config::parse_duration(text)?;
    let allowed = Duration::from_millis(200)..=Duration::from_secs(3600);
    let refused = || "an interval is between 200ms and 1h".to_owned();
    allowed.contains(&interval).then_some(interval).ok_or_else(refused)
}

fn form(text: &str) -> Result<Form, String> {
    match Product::parse(text) {
        Some(product) => Ok(Form::Product(product)),
        None => match dialect(text) {
            Ok(dialect) => Ok(Form::Dialect(dialect)),
            Err(known) => Err(format!("{known}, nginx, haproxy")),
        },
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let bind = evenkeel_core::address::BindAddress::parse(text)?;
    bind.socket_addrs().first().copied().ok_or_else(|| "expected HOST:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        let bare = Arguments::try_parse_from(["evenkeel", "--listen", ":80", "--to", "a:1"]);
        let bare = bare.expect("flags of run without its name");
        assert!(bare.command.is_none());
        assert_eq!(bare.run.listen.as_deref(), Some(":80"));
        assert_eq!(bare.run.to, ["a:1"]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let cases: &[&[&str]] = &[
            &["frobnicate"],
            &["run", "--nonsense"],
            &["run", "--to"],
            &["testserver", "--delay", "3"],
            &["testserver", "--fail-rate", "2"],
            &["testserver", "--status", "99"],
            &["testserver", "--listen", "nowhere"],
            &["completions", "tcsh"],
        ];
        for words in cases {
            let words = ["evenkeel"].iter().chain(*words);
            assert!(Arguments::try_parse_from(words.clone()).is_err(), "{words:?}");
        }
    }
}
