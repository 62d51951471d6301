//! Takes a backend out without failing a request: drains it, waits until nothing runs there, and
//! says so. `cargo run -p evenkeel-api --example drain -- http://127.0.0.1:9900 web b1`

use evenkeel_api::{AdminState, BackendPatch, Client, ClientError};
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{interval, timeout};

/// Longest wait for what runs.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often we look.
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "drain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [admin, pool, name] = arguments.as_slice() else {
        return Err("usage: drain ADMIN-URL POOL BACKEND".into());
    };
    let mut client = Client::new(admin)?;
    if let Ok(token) = std::env::var("EVENKEEL_TOKEN") {
        client = client.token(token)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = runtime.block_on(async { timeout(DRAIN_TIMEOUT, drain(&client, pool, name)).await });
    match end {
        Ok(drained) => drained?,
        Err(_) => return Err(format!("{name} still has requests after {DRAIN_TIMEOUT:?}").into()),
    }
    writeln!(stdout(), "{pool}/{name} is drained")?;
    Ok(())
}

async fn drain(client: &Client, pool: &str, name: &str) -> Result<(), ClientError> {
    // Refused if somebody else has changed the pool since we looked at it.
    let (_, etag) = client.pool(pool).await?;
    let draining = BackendPatch { admin: Some(AdminState::Draining), ..BackendPatch::default() };
    client.patch_backend(pool, name, &draining, Some(&etag)).await?;
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let list = client.backends(pool).await?;
        let busy = list.backends.iter().any(|it| it.name == *name && it.in_flight > 0);
        if !busy {
            return Ok(());
        }
    }
}
