//! Strategies by any of their names.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use crate::suggest::closest;
use evenkeel_core::strategy::{STRATEGY_NAMES, StrategyName};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// A strategy and how the user spelt it, which outputs echo.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Strategy {
    pub(crate) name: StrategyName,
    pub(crate) text: Arc<str>,
}

impl Default for Strategy {
    fn default() -> Self {
        let name = StrategyName::RoundRobin;
        Strategy { name, text: name.as_str().into() }
    }
}

fn spellings() -> impl Iterator<Item = &'static str> {
    STRATEGY_NAMES.iter().flat_map(|(_, names)| names.iter().copied())
}

impl Scalar for Strategy {
    const WORD: &'static str = "a strategy";

    fn parse(atom: Atom<'_>) -> Result<Strategy, Fault> {
        let text = atom.text().trim();
        if let Some(name) = StrategyName::parse(text) {
            return Ok(Strategy { name, text: text.into() });
        }
        let meant = closest(&text.replace('-', "_"), spellings());
        let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let names: Vec<&str> = STRATEGY_NAMES.iter().map(|(name, _)| name.as_str()).collect();
        let fault = Fault::new(format!("unknown strategy {text:?}{meant}"));
        Err(fault.hint(format!("one of: {}", names.join(", "))))
    }

    fn json(&self) -> Json {
        Json::String(self.text.to_string())
    }

    fn schema() -> Json {
        let mut names: Vec<String> = spellings().map(str::to_owned).collect();
        let dashed = names.iter().filter(|name| name.contains('_'));
        let dashed: Vec<String> = dashed.map(|name| name.replace('_', "-")).collect();
        names.extend(dashed);
        json!({ "enum": names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn strategies() {
        shown::<Strategy>(&[("rr", "rr"), ("Round-Robin", "Round-Robin"), ("p2c", "p2c")]);
        refused::<Strategy>(&[
            ("round_robbin", "did you mean `round_robin`?"),
            ("least-con", "did you mean `least_conn`?"),
            ("zzzzzzzzz", "one of: round_robin, weighted_round_robin"),
        ]);
    }
}
