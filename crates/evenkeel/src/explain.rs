//! `explain`: which way a request would go, and why; by a file, or by a running evenkeel if none is
//! there.

use crate::arguments::{ExplainArguments, RunArguments};
use crate::load::{NO_FILE, load};
use crate::output::{print, report};
use crate::remote;
use crate::system::runtime;
use crate::trouble::Trouble;
use evenkeel_api::{ClientError, Deadlines, ExplainRequest, Explanation};
use evenkeel_core::time::Nanos;
use evenkeel_proxy::explain::Moment;
use evenkeel_proxy::secrets;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Thinks a request through.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<(), Trouble> {
    let request = ExplainRequest {
        url: arguments.url.clone(),
        method: arguments.method.clone(),
        headers: fields(&arguments.headers)?,
        client: arguments.client.clone(),
    };
    let explanation = match arguments.admin.url() {
        Some(_) if arguments.config.is_none() => {
            let client = remote::client(&arguments.admin)?;
            remote::ask(client.explain(&request))?
        }
        Some(_) | None => match by_file(arguments, &request) {
            Err(trouble) if is_without_file(&trouble) => by_who_runs(arguments, &request)?,
            explained => explained?,
        },
    };
    if arguments.json {
        let json = serde_json::to_value(&explanation).unwrap_or_default();
        return print(format_args!("{json:#}\n"));
    }
    print(in_words(&request, &explanation))
}

fn by_file(arguments: &ExplainArguments, request: &ExplainRequest) -> Result<Explanation, Trouble> {
    let run = RunArguments { config: arguments.config.clone(), ..RunArguments::default() };
    let plan = load(&run)?.plan;
    let snapshot = secrets::compile(plan).map_err(|error| Trouble::Mistake(error.to_string()))?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_nanos = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    // Nothing has happened yet: every start is time zero, every draw the first.
    let moment = Moment { now: Nanos::default(), unix_nanos, draw: 0 };
    let explained = evenkeel_control::explain(&snapshot, request, moment);
    explained.map_err(|(field, why)| Trouble::Mistake(format!("{field}: {why}")))
}

fn is_without_file(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Mistake(why) if why == NO_FILE)
}

/// Where there is no file, an evenkeel that runs where they do unless told otherwise knows.
fn by_who_runs(
    arguments: &ExplainArguments,
    request: &ExplainRequest,
) -> Result<Explanation, Trouble> {
    let client = remote::client(&arguments.admin)?;
    let answer = runtime()?.block_on(client.explain(request));
    match answer {
        Err(ClientError::Unreachable { .. }) => Err(Trouble::Mistake(format!(
            "{NO_FILE}\n  ask a running one:  evenkeel explain URL --admin {}",
            remote::DEFAULT_ADMIN
        ))),
        answer => {
            report("there is no configuration file here: a running evenkeel was asked");
            answer.map_err(remote::refused)
        }
    }
}

fn fields(lines: &[String]) -> Result<BTreeMap<String, String>, Trouble> {
    let field = |line: &String| match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => {
            Err(Trouble::Mistake(format!("-H: `{line}` is not of the form `name: value`")))
        }
    };
    lines.iter().map(field).collect()
}

fn in_words(request: &ExplainRequest, explanation: &Explanation) -> String {
    let method = request.method.as_deref().unwrap_or("GET");
    let client = request.client.as_deref().unwrap_or("127.0.0.1");
    let mut text = format!("{method} {} from {client}\n\n", request.url);
    if let Some(instead) = &explanation.instead {
        text.push_str(&format!("  listener {}: {instead}\n", explanation.listener));
    }
    for route in &explanation.routes {
        let sign = if route.matched { "*" } else { "-" };
        text.push_str(&format!("  {sign} route {}: {}\n", route.route, route.reason));
    }
    if let Some(pool) = &explanation.pool {
        let strategy = explanation.strategy.as_deref().unwrap_or("");
        text.push_str(&format!("\n  pool {pool} by {strategy}\n"));
    }
    if let Some(affinity) = &explanation.affinity {
        text.push_str(&format!("    {affinity}\n"));
    }
    for candidate in &explanation.candidates {
        let is_it = explanation.backend.as_ref() == Some(&candidate.name);
        let sign = if is_it { "*" } else { "-" };
        text.push_str(&format!("  {sign} {}: {}\n", candidate.name, candidate.reason));
    }
    for filter in &explanation.filters {
        text.push_str(&format!("  filter: {filter}\n"));
    }
    for (name, ms) in bounds(&explanation.deadlines) {
        text.push_str(&format!("  deadline: {name} {ms} ms\n"));
    }
    let outcome = match (&explanation.failure, &explanation.backend) {
        (Some(code), _) => format!("it gets the local reply `{code}`"),
        (None, Some(backend)) => format!("it goes to {backend}"),
        (None, None) if explanation.pool.is_none() => "evenkeel itself answers it".to_owned(),
        (None, None) => "it waits in the queue".to_owned(),
    };
    text.push_str(&format!("\n  => {outcome}\n"));
    text
}

fn bounds(deadlines: &Deadlines) -> impl Iterator<Item = (&'static str, u64)> {
    let all = [
        ("timeout", deadlines.timeout_ms),
        ("queue", deadlines.queue_timeout_ms),
        ("connect", deadlines.connect_timeout_ms),
        ("per try", deadlines.per_try_timeout_ms),
        ("response head", deadlines.response_head_timeout_ms),
        ("idle", deadlines.idle_timeout_ms),
    ];
    all.into_iter().filter_map(|(name, ms)| Some((name, ms?)))
}
