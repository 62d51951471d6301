//! `demo`: three backends and a balancer in one process, to look at without setting anything up.

use crate::arguments::DemoArguments;
use crate::balancer::Balancer;
use crate::handover::Inheritance;
use crate::load;
use crate::mocks;
use crate::output::{self, Tone, print};
use crate::signals::Signals;
use crate::system::runtime;
use crate::trouble::Trouble;
use evenkeel_config::{Format, Overrides, Source};
use evenkeel_load::TestServerOptions;
use serde_json::json;
use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_ADMIN: &str = "127.0.0.1:9900";
/// Streams live as long as somebody watches; Ctrl-C must not wait for them.
const DRAIN_TIMEOUT: &str = "500ms";

struct DemoBackend {
    name: &'static str,
    delay_ms: u64,
    weight: u32,
}

const BACKENDS: [DemoBackend; 3] = [
    DemoBackend { name: "fast", delay_ms: 0, weight: 3 },
    DemoBackend { name: "steady", delay_ms: 5, weight: 2 },
    DemoBackend { name: "slow", delay_ms: 20, weight: 1 },
];

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Trouble> {
    let backends = start_backends()?;
    let overrides = Overrides {
        environment: load::environment()?,
        listen: arguments.listen.clone(),
        ..Overrides::default()
    };
    let draft = load::draft_of(configuration(arguments, &backends), overrides, None)?;
    runtime()?.block_on(async {
        let mut signals = Signals::install()?;
        let balancer = Balancer::start(draft, &mut Inheritance::default())?;
        print(things_to_try(&balancer, &backends))?;
        balancer.serve(&mut signals).await;
        Ok(())
    })
}

/// Starts each backend; they end with the process.
fn start_backends() -> Result<Vec<SocketAddr>, Trouble> {
    let cannot = |error: io::Error| {
        Trouble::CannotStart(format!("cannot start the backends of the demo: {error}"))
    };
    let started = BACKENDS.iter().map(|backend| {
        let options = TestServerOptions {
            name: backend.name.to_owned(),
            delay: Duration::from_millis(backend.delay_ms),
            fail_rate: 0.0,
            status: 200,
            body_size: 0,
        };
        mocks::start((Ipv4Addr::LOCALHOST, 0).into(), options).map_err(cannot)
    });
    started.collect()
}

/// The demo as a configuration like any other.
fn configuration(arguments: &DemoArguments, backends: &[SocketAddr]) -> Source {
    let backends: Vec<_> = BACKENDS
        .iter()
        .zip(backends)
        .map(|(b, at)| json!({ "name": b.name, "address": at.to_string(), "weight": b.weight }))
        .collect();
    let listen = match arguments.listen {
        Some(_) => DEFAULT_LISTEN.to_owned(),
        None => free_address(DEFAULT_LISTEN),
    };
    let admin = match env::var_os("EVENKEEL__ADMIN__BIND") {
        Some(_) => DEFAULT_ADMIN.to_owned(),
        None => free_address(DEFAULT_ADMIN),
    };
    let configuration = json!({
        "version": 1,
        "listeners": [{ "name": "demo", "bind": listen }],
        "routes": [{ "pool": "demo" }],
        "pools": [{ "name": "demo", "strategy": "round_robin", "backends": backends }],
        "admin": { "bind": admin },
        "logging": {
            "level": if arguments.verbose { "info" } else { "warn" },
            "format": "text",
            "access": { "enabled": arguments.verbose },
        },
        "shutdown": { "drain_timeout": DRAIN_TIMEOUT },
    });
    // JSON is YAML, and needs no care about quotes.
    Source { name: "demo".to_owned(), text: configuration.to_string(), format: Format::Yaml }
}

/// The address, or a free port if somebody has it.
fn free_address(address: &str) -> String {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            output::say(Tone::Warning, format_args!("{address} is in use; taking a free port"));
            "127.0.0.1:0".to_owned()
        }
        Ok(_) | Err(_) => address.to_owned(),
    }
}

fn things_to_try(balancer: &Balancer, backends: &[SocketAddr]) -> String {
    let addresses = balancer.addresses();
    let at = addresses.first().map(|(_, address)| address.as_str()).unwrap_or_default();
    let admin = balancer.admin_address();
    let rows: Vec<String> = BACKENDS
        .iter()
        .zip(backends)
        .map(|(b, at)| {
            let (name, delay) = (b.name, format!("{} ms", b.delay_ms));
            format!("    {name:<8}http://{at}/   answers after {delay:>5}   weight {}", b.weight)
        })
        .collect();
    let dashboard = admin.as_ref().map(|at| format!("  dashboard http://{at}/\n"));
    let steering = admin.map(|admin| steering(at, &admin));
    format!(
        "\
evenkeel demo: a balancer and three backends in this one process

  balancer  http://{at}/
{}  backends, each in turn (round_robin; it ignores weights, weighted_round_robin does not):
{}

Try in another terminal:
  curl -i http://{at}/
      one request; X-Backend says who answered
  for i in 1 2 3 4 5 6; do curl -s http://{at}/; done
      six requests: two for each backend
  curl -s -d hello http://{at}/echo
      what a backend gets to see of a request
  curl -N http://{at}/events
      a stream of server-sent events
  websocat ws://{at}/ws
      a WebSocket that repeats what you type
{}
Stop with Ctrl-C.
",
        dashboard.unwrap_or_default(),
        rows.join("\n"),
        steering.unwrap_or_default(),
    )
}

/// What to try with the admin listener.
fn steering(at: &str, admin: &str) -> String {
    let asked = format!("--admin http://{admin}");
    // In full, for the other terminal may have another PATH.
    let program = env::current_exe().unwrap_or_else(|_| "evenkeel".into());
    let program = program.display();
    format!(
        "  {program} top {asked}
      the dashboard on a terminal
  {program} explain http://{at}/ {asked}
      who would get a request, and why
  {program} backend drain slow {asked}
      takes one out gently; `enable` brings it back
  curl -i http://{admin}/readyz
      may it get traffic?
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_default_is_stepped_around() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        assert_eq!(free_address(&address), "127.0.0.1:0");
        drop(listener);
        assert_eq!(free_address(&address), address);
    }
}
