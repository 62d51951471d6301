//! A configuration with the files that it names: what is wrong with a certificate is told where the
//! configuration names it.

use evenkeel_config::{Configuration, Diagnostic, Diagnostics};
use evenkeel_core::plan::Plan;
use evenkeel_proxy::tls::{self, Gravity, TlsFault};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where spans were to go.
const ENDPOINT: &str = "tracing.otlp.endpoint";
/// Why they cannot.
pub(crate) const WITHOUT_OTLP: &str = "this program was built without the feature `otlp`";

/// What is to be served, and warnings. Certificates, keys and authorities are read, and forgotten.
///
/// # Errors
/// Files that cannot be used, or spans that cannot be sent.
pub fn vet(configuration: &Configuration) -> Result<(Plan, Vec<Diagnostic>), Diagnostics> {
    let (plan, mut warnings) = configuration.plan();
    if plan.tracing.is_some() && !cfg!(feature = "otlp") {
        let hint = "leave the endpoint out, or run a program built with `--features otlp`";
        let fault = (ENDPOINT.to_owned(), WITHOUT_OTLP.to_owned(), hint);
        return Err(Diagnostics(configuration.findings(vec![fault])));
    }
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

#[cfg(all(test, not(feature = "otlp")))]
mod tests {
    use super::vet;
    use evenkeel_config::{Format, Overrides, Source};

    #[test]
    fn a_collector_is_refused_by_a_program_that_could_not_reach_it() {
        let text = "listen: \":80\"\nbackends: [\"127.0.0.1:1\"]\n\
                    tracing: { otlp: { endpoint: \"http://127.0.0.1:4318\" } }\n";
        let (name, text) = ("own.yaml".to_owned(), text.to_owned());
        let source = Source { name, text, format: Format::Yaml };
        let read = evenkeel_config::read(Some(&source), &Overrides::default()).unwrap();
        let refused = vet(&read).unwrap_err().to_string();
        let expected = "own.yaml:3:30: tracing.otlp.endpoint: this program was built without";
        assert!(refused.starts_with(expected), "{refused}");
    }
}
