//! A configuration with the files that it names: what is wrong with a certificate is told where the
//! configuration names it.

use evenkeel_config::{Configuration, Diagnostic, Diagnostics};
use evenkeel_core::plan::Plan;
use evenkeel_proxy::tls::{self, Gravity, TlsFault};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is to be served, and warnings. Certificates, keys and authorities are read, and forgotten.
///
/// # Errors
/// Files that cannot be used.
pub fn vet(configuration: &Configuration) -> Result<(Plan, Vec<Diagnostic>), Diagnostics> {
    let (plan, mut warnings) = configuration.plan();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let is_error = |fault: &TlsFault| fault.gravity == Gravity::Error;
    let (errors, doubts): (Vec<_>, Vec<_>) =
        tls::examine(&plan, now).into_iter().partition(is_error);
    let findings = |faults: Vec<TlsFault>| {
        let parts = faults.into_iter().map(|fault| (fault.path, fault.message, fault.hint));
        configuration.findings(parts.collect())
    };
    if !errors.is_empty() {
        return Err(Diagnostics(findings(errors)));
    }
    warnings.extend(findings(doubts));
    Ok((plan, warnings))
}
