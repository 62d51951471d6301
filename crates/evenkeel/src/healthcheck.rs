//! `healthcheck`: is the evenkeel on this machine ready? For images that have no shell and no curl.

use crate::arguments::HealthcheckArguments;
use crate::output::print;
use crate::remote::{ask, client};
use crate::trouble::Trouble;
use std::process::ExitCode;

/// The check did not hold.
const DOES_NOT_HOLD: u8 = 3;

/// Asks `/readyz`, or `/livez`; exits 0 if all is well, else 3.
pub(crate) fn run(arguments: &HealthcheckArguments) -> Result<ExitCode, Trouble> {
    let client = client(&arguments.admin)?.timeout(arguments.timeout);
    let answer =
        if arguments.live { ask(client.livez()).map(|()| None) } else { ask(client.readyz()) };
    let (word, code) = match answer {
        Ok(None) => ("ok".to_owned(), ExitCode::SUCCESS),
        Ok(Some(reason)) => (format!("not ready: {reason}"), ExitCode::from(DOES_NOT_HOLD)),
        Err(Trouble::Mistake(why)) => (why, ExitCode::from(DOES_NOT_HOLD)),
        Err(other) => return Err(other),
    };
    print(format_args!("{word}\n"))?;
    Ok(code)
}
