//! `requests`: what the flight recorder of a running evenkeel holds.

use crate::arguments::RequestsArguments;
use crate::output::print;
use crate::remote;
use crate::trouble::Trouble;
use evenkeel_api::{Kept, RecordedRequest, Try};

/// Prints recent exchanges that failed or were slow, the newest first.
pub(crate) fn requests(arguments: &RequestsArguments) -> Result<(), Trouble> {
    let client = remote::client(&arguments.admin)?;
    if arguments.har {
        let archive = remote::ask(client.requests_har())?;
        return print(format_args!("{archive:#}\n"));
    }
    let mut list = remote::ask(client.requests())?;
    list.requests.retain(|one| arguments.wants(one));
    if arguments.json {
        let json = serde_json::to_value(&list).unwrap_or_default();
        return print(format_args!("{json:#}\n"));
    }
    if list.requests.is_empty() {
        return print("nothing failed and nothing was slow, as far as the recorder remembers\n");
    }
    print(list.requests.iter().map(in_words).collect::<String>())
}

impl RequestsArguments {
    fn wants(&self, one: &RecordedRequest) -> bool {
        match one.kept {
            Kept::Failed => self.failed || !self.slow,
            Kept::Slow => self.slow || !self.failed,
            Kept::Drawn => !self.slow && !self.failed,
        }
    }
}

fn in_words(one: &RecordedRequest) -> String {
    let outcome = one.failure.as_deref().unwrap_or(match one.kept {
        Kept::Failed => "failed",
        Kept::Slow => "slow",
        Kept::Drawn => "drawn",
    });
    let RecordedRequest { time, status, method, host, path, total_ms, .. } = one;
    let mut text = format!("{time} {status} {outcome} {method} {host}{path} {total_ms} ms\n");
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let (route, pool) = (or_dash(&one.route), or_dash(&one.pool));
    let (id, client) = (&one.id, &one.client_ip);
    text.push_str(&format!("  id {id}, client {client}, route {route}, pool {pool}\n"));
    let phases = [
        ("accept", one.timings.accept_ms),
        ("tls", one.timings.tls_ms),
        ("queue", one.timings.queue_ms),
        ("body", one.timings.body_ms),
    ];
    let phases: Vec<String> =
        phases.into_iter().filter_map(|(name, ms)| Some(format!("{name} {} ms", ms?))).collect();
    if !phases.is_empty() {
        text.push_str(&format!("  {}\n", phases.join(", ")));
    }
    one.tries.iter().for_each(|tried| text.push_str(&try_in_words(tried)));
    if let Some(hint) = &one.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

fn try_in_words(tried: &Try) -> String {
    let mut text = format!("  at {} ms: {} {}", tried.start_ms, tried.backend, tried.outcome);
    let steps = [("connect", tried.connect_ms), ("first byte", tried.first_byte_ms)];
    for (name, ms) in steps.into_iter().filter_map(|(name, ms)| Some((name, ms?))) {
        text.push_str(&format!(", {name} {ms} ms"));
    }
    text.push('\n');
    text
}
