//! Commands that look at a running evenkeel and steer it: `status`, `backend`, `pool`, `reload`,
//! `revisions`, `rollback`. Each is a call or two of the admin API.

mod reload;
mod table;

pub(crate) use reload::{reload, revisions, rollback};

use crate::arguments::{AdminArguments, BackendCommand, LookArguments, PoolCommand};
use crate::output::{Tone, print};
use crate::remote;
use crate::top;
use crate::trouble::Trouble;
use evenkeel_api::{
    AdminState, Backend, BackendPatch, Client, ClientError, HealthState, Listener, NewBackend,
    Pool, PoolMode, PoolPatch, State, Status,
};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::{Cell, Table};
use tokio::time::sleep;

/// How often a drain is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A check did not hold.
const NOT_HELD: u8 = 3;

/// Answers as JSON.
fn print_json(document: &impl Serialize) -> Result<(), Trouble> {
    let json = serde_json::to_value(document).unwrap_or_default();
    print(format_args!("{json:#}\n"))
}

/// Says once how everything is.
pub(crate) fn status(arguments: &LookArguments) -> Result<(), Trouble> {
    let client = remote::client(&arguments.admin)?;
    if arguments.json {
        return print_json(&remote::ask(client.status())?);
    }
    let both = async { Ok((client.status().await?, client.pools().await?)) };
    let (status, pools) = remote::ask(both)?;
    let mut text = summary(&status);
    if let Some(rejected) = &status.rejected {
        text.push_str(&format!("rejected: {rejected}\n"));
        text.push_str("the configuration before that serves\n");
    }
    if status.edits > 0 {
        let edits = status.edits;
        text.push_str(&format!("edits: {edits} over the file, see `evenkeel revisions`\n"));
    }
    for conflict in &status.conflicts {
        text.push_str(&format!("conflict: {conflict}\n"));
    }
    text.push('\n');
    text.push_str(&listeners(&status.listeners).render());
    for pool in &pools.pools {
        text.push_str(&format!("\n{}\n", heading(pool)));
        text.push_str(&backends(&[pool]).render());
    }
    print(text)
}

fn summary(status: &Status) -> String {
    let state = match status.state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining",
    };
    let up = top::span(status.uptime_seconds);
    let Status { version, generation, workers, client_connections, .. } = status;
    format!(
        "evenkeel {version}: {state}, up {up}, generation {generation}, {workers} workers, \
         {client_connections} client connections\n"
    )
}

fn listeners(listeners: &[Listener]) -> Table {
    let mut table = Table::new(&["LISTENER", "BIND", "PROTOCOL", "CONNECTIONS", "MOST"]);
    for it in listeners {
        let most = it.max_connections.map_or_else(|| "-".to_owned(), |most| most.to_string());
        table.row([
            Cell::of(&it.name),
            Cell::of(&it.bind),
            Cell::of(&it.protocol),
            Cell::of(it.client_connections),
            Cell::of(most),
        ]);
    }
    table
}

fn heading(pool: &Pool) -> String {
    let mode = mode(pool.mode);
    let Pool { name, strategy, waiting, .. } = pool;
    let waiting = if *waiting > 0 { format!(", {waiting} waiting") } else { String::new() };
    let found = pool.discovery.as_ref().map(|it| match &it.trouble {
        None => format!(", {} found by {}", it.backends, it.r#type),
        Some(why) => {
            format!(", {} found by {}, which is in trouble: {why}", it.backends, it.r#type)
        }
    });
    format!("pool {name}: {mode}, {strategy}{waiting}{}", found.unwrap_or_default())
}

fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Normal => "normal",
        PoolMode::Doubtful => "in doubt",
        PoolMode::FailingOpen => "failing open",
        PoolMode::Down => "down",
    }
}

fn backends(pools: &[&Pool]) -> Table {
    let mut table = Table::new(&[
        "BACKEND",
        "ADDRESS",
        "WEIGHT",
        "ADMIN",
        "HEALTH",
        "TAKES TRAFFIC",
        "IN FLIGHT",
        "P99 MS",
    ]);
    for (pool, it) in pools.iter().flat_map(|pool| pool.backends.iter().map(move |it| (pool, it))) {
        let p99 = it.p99_ms.map_or_else(|| "-".to_owned(), |p99| format!("{p99:.1}"));
        let traffic = match &it.reason {
            None => Cell::of("yes").toned(Tone::Ready),
            Some(reason) => Cell::of(format!("no: {reason}")).toned(Tone::Error),
        };
        table.row([
            Cell::of(format!("{}/{}", pool.name, it.name)),
            Cell::of(&it.address),
            Cell::of(it.weight),
            Cell::of(admin(it.admin)),
            health(it.health),
            traffic,
            Cell::of(it.in_flight),
            Cell::of(p99),
        ]);
    }
    table
}

fn admin(state: AdminState) -> &'static str {
    match state {
        AdminState::Enabled => "enabled",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}

fn health(state: HealthState) -> Cell {
    match state {
        HealthState::Unknown => Cell::of("unknown").toned(Tone::Warning),
        HealthState::Healthy => Cell::of("healthy").toned(Tone::Ready),
        HealthState::Unhealthy => Cell::of("unhealthy").toned(Tone::Error),
        HealthState::Unchecked => Cell::of("unchecked"),
    }
}

/// Does what is to be done with pools.
pub(crate) fn pool(command: &PoolCommand) -> Result<(), Trouble> {
    match command {
        PoolCommand::List { look } => {
            let list = remote::ask(remote::client(&look.admin)?.pools())?;
            if look.json {
                return print_json(&list);
            }
            let mut table = Table::new(&["POOL", "MODE", "STRATEGY", "ELIGIBLE", "WAITING"]);
            for pool in &list.pools {
                let all = pool.backends.len();
                let eligible = pool.backends.iter().filter(|it| it.eligible).count();
                table.row([
                    Cell::of(&pool.name),
                    Cell::of(mode(pool.mode)),
                    Cell::of(&pool.strategy),
                    Cell::of(format!("{eligible} of {all}")),
                    Cell::of(pool.waiting),
                ]);
            }
            print(table.render())
        }
        PoolCommand::Strategy { pool, strategy, admin } => {
            let patch = PoolPatch { strategy: strategy.clone() };
            let client = remote::client(admin)?;
            let (pool, _) = remote::ask(client.patch_pool(pool, &patch, None))?;
            print(format_args!("{}\n", heading(&pool)))
        }
    }
}

/// Does what is to be done with backends.
pub(crate) fn backend(command: &BackendCommand) -> Result<ExitCode, Trouble> {
    let set = |backend: &str, admin: &AdminArguments, patch: BackendPatch| {
        change(admin, backend, &patch).map(|()| ExitCode::SUCCESS)
    };
    let wish = |admin| BackendPatch { admin: Some(admin), weight: None };
    match command {
        BackendCommand::List { pool, look } => list(pool.as_deref(), look)?,
        BackendCommand::Add { backend, address, weight, admin } => {
            add(admin, backend, (address, *weight))?;
        }
        BackendCommand::Remove { backend, drain, admin } => remove(admin, backend, *drain)?,
        BackendCommand::Enable { backend, admin } => {
            return set(backend, admin, wish(AdminState::Enabled));
        }
        BackendCommand::Disable { backend, admin } => {
            return set(backend, admin, wish(AdminState::Disabled));
        }
        BackendCommand::Weight { backend, weight, admin } => {
            return set(backend, admin, BackendPatch { weight: Some(*weight), admin: None });
        }
        BackendCommand::Drain { backend, wait: None, admin } => {
            return set(backend, admin, wish(AdminState::Draining));
        }
        BackendCommand::Drain { backend, wait: Some(wait), admin } => {
            return drain(admin, backend, *wait);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(pool: Option<&str>, look: &LookArguments) -> Result<(), Trouble> {
    let list = remote::ask(remote::client(&look.admin)?.pools())?;
    let wanted = |it: &&Pool| pool.is_none_or(|pool| it.name == pool);
    let pools: Vec<&Pool> = list.pools.iter().filter(wanted).collect();
    if let (Some(pool), []) = (pool, pools.as_slice()) {
        let all: Vec<&str> = list.pools.iter().map(|it| it.name.as_str()).collect();
        let text = format!("there is no pool named {pool:?}; there are {}", all.join(", "));
        return Err(Trouble::Mistake(text));
    }
    if look.json {
        let all: Vec<&Backend> = pools.iter().flat_map(|pool| &pool.backends).collect();
        return print_json(&serde_json::json!({ "backends": all }));
    }
    print(backends(&pools).render())
}

/// Pool and name of a backend that is there.
async fn find(
    client: &Client,
    text: &str,
) -> Result<Result<(String, String), String>, ClientError> {
    let pools = client.pools().await?.pools;
    let has = |pool: &&Pool, name: &str| pool.backends.iter().any(|it| it.name == name);
    let by_name: Vec<&Pool> = pools.iter().filter(|pool| has(pool, text)).collect();
    let by_both = text
        .split_once('/')
        .filter(|(pool, name)| pools.iter().any(|it| it.name == *pool && has(&it, name)));
    Ok(match (by_name.as_slice(), by_both) {
        ([pool], None) => Ok((pool.name.clone(), text.to_owned())),
        (_, Some((pool, name))) => Ok((pool.to_owned(), name.to_owned())),
        ([], None) => {
            let all = pools.iter().flat_map(|pool| {
                pool.backends.iter().map(|it| format!("{}/{}", pool.name, it.name))
            });
            let all: Vec<String> = all.take(20).collect();
            Err(format!("there is no backend named {text:?}; there are {}", all.join(", ")))
        }
        (several, None) => {
            let names: Vec<String> =
                several.iter().map(|pool| format!("{}/{text}", pool.name)).collect();
            Err(format!("several pools have it; say which: {}", names.join(" or ")))
        }
    })
}

fn found(client: &Client, text: &str) -> Result<(String, String), Trouble> {
    remote::ask(find(client, text))?.map_err(Trouble::Mistake)
}

fn change(admin: &AdminArguments, text: &str, patch: &BackendPatch) -> Result<(), Trouble> {
    let client = remote::client(admin)?;
    let (pool, name) = found(&client, text)?;
    let (backend, _) = remote::ask(client.patch_backend(&pool, &name, patch, None))?;
    print(format_args!("{}\n", line(&pool, &backend)))
}

fn line(pool: &str, backend: &Backend) -> String {
    let Backend { name, weight, in_flight, .. } = backend;
    let traffic = backend.reason.as_deref().map_or_else(
        || "takes traffic".to_owned(),
        |reason| format!("takes no new traffic: {reason}"),
    );
    let admin = admin(backend.admin);
    format!("{pool}/{name}: {admin}, weight {weight}, {in_flight} in flight, {traffic}")
}

fn add(admin: &AdminArguments, text: &str, (address, weight): (&str, u32)) -> Result<(), Trouble> {
    let client = remote::client(admin)?;
    let pools = remote::ask(client.pools())?.pools;
    let has = |name: &str| pools.iter().any(|it| it.name == name);
    let names = || pools.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
    let (pool, name) = match (text.split_once('/'), pools.as_slice()) {
        (Some((pool, name)), _) if has(pool) => (pool, name),
        (Some((pool, _)), _) => {
            let text = format!("there is no pool named {pool:?}; there are {}", names());
            return Err(Trouble::Mistake(text));
        }
        (None, [only]) => (only.name.as_str(), text),
        (None, _) => {
            let text = format!("to which pool? POOL/NAME, with one of {}", names());
            return Err(Trouble::Mistake(text));
        }
    };
    let (name, address) = (Some(name.to_owned()), address.to_owned());
    let new = NewBackend { name, address, weight: Some(weight), admin: None };
    let (backend, _) = remote::ask(client.add_backend(pool, &new, None))?;
    print(format_args!("{}\n", line(pool, &backend)))
}

fn remove(admin: &AdminArguments, text: &str, drain: Duration) -> Result<(), Trouble> {
    let client = remote::client(admin)?;
    let (pool, name) = found(&client, text)?;
    let time = (!drain.is_zero()).then_some(drain);
    remote::ask(client.remove_backend(&pool, &name, time, None))?;
    let done = if drain.is_zero() { "removed" } else { "drains, and is then removed" };
    print(format_args!("{pool}/{name}: {done}\n"))
}

/// Drains, and waits until nothing runs there.
fn drain(admin: &AdminArguments, text: &str, wait: Duration) -> Result<ExitCode, Trouble> {
    let client = remote::client(admin)?;
    let (pool, name) = found(&client, text)?;
    let patch = BackendPatch { admin: Some(AdminState::Draining), weight: None };
    let until = Instant::now() + wait;
    let left = remote::ask(async {
        client.patch_backend(&pool, &name, &patch, None).await?;
        loop {
            let list = client.backends(&pool).await?.backends;
            let left = list.iter().find(|it| it.name == name).map_or(0, |it| it.in_flight);
            if left == 0 || Instant::now() >= until {
                return Ok(left);
            }
            sleep(LOOK_EVERY).await;
        }
    })?;
    if left == 0 {
        print(format_args!("{pool}/{name}: drained\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(format_args!("{pool}/{name}: {left} still in flight after {wait:?}\n"))?;
    Ok(ExitCode::from(NOT_HELD))
}
