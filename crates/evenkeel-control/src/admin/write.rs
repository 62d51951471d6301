//! Answers that change something: each by the one road, each as a revision with its author.

use super::asked::{Fields, Parameters};
use super::candidate::troubles;
use super::change::Change;
use super::refusal::{Answer, Refusal};
use crate::steering::{Edit, EditError, NewBackend};
use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use evenkeel_api as api;
use evenkeel_config::parse_duration;
use evenkeel_core::address::BackendAddress;
use evenkeel_core::plan::AdminState;
use std::time::Duration;

/// The largest weight.
const MAX_WEIGHT: u64 = 65_535;
/// Bytes of the name of a backend that is added here.
const MAX_NAME_BYTES: usize = 100;
const STATES: &str = "enabled, draining or disabled";

/// Share and wish of a backend, as two bodies have them.
fn weight_and_admin(fields: &mut Fields) -> (Option<u32>, Option<AdminState>) {
    let weight = fields.count("weight", MAX_WEIGHT);
    let admin = fields.take::<api::AdminState>("admin", STATES);
    let admin = admin.map(|state| match state {
        api::AdminState::Enabled => AdminState::Enabled,
        api::AdminState::Draining => AdminState::Draining,
        api::AdminState::Disabled => AdminState::Disabled,
    });
    (weight, admin)
}

pub(super) async fn patch_pool(change: Change, mut fields: Fields) -> Answer {
    let pool = change.pool()?.to_owned();
    let strategy = fields.need::<String>("strategy", "a strategy, such as round_robin");
    fields.end()?;
    change.make(&[Edit::Strategy { pool, strategy: strategy.unwrap_or_default() }])?;
    change.show_pool()
}

pub(super) async fn patch_backend(change: Change, mut fields: Fields) -> Answer {
    let (pool, name) = change.backend()?;
    let (weight, admin) = weight_and_admin(&mut fields);
    fields.end()?;
    let of = || (pool.to_owned(), name.to_owned());
    let weight = weight.map(|weight| {
        let (pool, backend) = of();
        Edit::Weight { pool, backend, weight }
    });
    let admin = admin.map(|admin| {
        let (pool, backend) = of();
        Edit::Admin { pool, backend, admin }
    });
    change.make(&weight.into_iter().chain(admin).collect::<Vec<_>>())?;
    change.show_backend(StatusCode::OK, name)
}

pub(super) async fn add_backend(change: Change, mut fields: Fields) -> Answer {
    let pool = change.pool()?.to_owned();
    let name = fields.take::<String>("name", "a name that is unique in the pool");
    let address = fields.need::<String>("address", "an address, such as 127.0.0.1:8081");
    let (weight, admin) = weight_and_admin(&mut fields);
    if name.as_deref().is_some_and(|name| !is_name(name)) {
        let wanted = "expected printable ASCII without a blank at either end";
        fields.refuse("name", format!("{wanted}, at most {MAX_NAME_BYTES} bytes"));
    }
    let parsed = address.as_deref().map(BackendAddress::parse).transpose();
    let parsed = parsed.unwrap_or_else(|why| {
        fields.refuse("address", why);
        None
    });
    fields.end()?;
    let own_name = parsed.map(|address| address.default_name()).unwrap_or_default();
    let shown = name.clone().unwrap_or(own_name);
    let backend = NewBackend { name, address: address.unwrap_or_default(), weight, admin };
    change.make(&[Edit::AddBackend { pool, backend }])?;
    change.show_backend(StatusCode::CREATED, &shown)
}

fn is_name(name: &str) -> bool {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    printable && (1..=MAX_NAME_BYTES).contains(&name.len()) && name.trim() == name
}

pub(super) async fn remove_backend(change: Change, query: Parameters) -> Answer {
    query.only(&["drain"])?;
    let (pool, backend) = change.backend()?;
    let time = |text: &str| parse_duration(text).ok();
    let drain = query.one_of("drain", time, "a duration, such as 30s")?.unwrap_or(Duration::ZERO);
    let edit = Edit::RemoveBackend { pool: pool.to_owned(), backend: backend.to_owned(), drain };
    match change.make(&[edit]) {
        Ok(()) if drain.is_zero() => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(()) => Ok(StatusCode::ACCEPTED.into_response()),
        // What does not hold without it is the rest: not the fault of a field.
        Err(EditError::Invalid(found)) => {
            let why = found.0.first().map_or_else(String::new, |it| it.message.clone());
            let detail = format!("Without it the configuration does not hold: {why}.");
            Err(Refusal::new(StatusCode::CONFLICT, detail))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn rollback(change: Change) -> Answer {
    let revision = change.revision()?;
    Ok(Json(change.go_back(revision)?).into_response())
}

pub(super) async fn reload(change: Change) -> Answer {
    let applied = change.reload()?;
    let result =
        if applied.changed { api::ReloadResult::Applied } else { api::ReloadResult::Unchanged };
    let (generation, changes) = (applied.generation, applied.changes);
    let conflicts = troubles(applied.conflicts);
    let report = api::ReloadReport { result, generation, changes, notes: applied.notes, conflicts };
    Ok(Json(report).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::strategy::STRATEGY_NAMES;

    #[test]
    fn the_api_knows_every_spelling_of_a_strategy() {
        let mut spellings: Vec<String> = Vec::new();
        for name in STRATEGY_NAMES.iter().flat_map(|(_, names)| *names) {
            spellings.push((*name).to_owned());
            if name.contains('_') {
                spellings.push(name.replace('_', "-"));
            }
        }
        assert_eq!(spellings, api::STRATEGIES);
    }

    #[test]
    fn names_are_printable() {
        for (name, wanted) in [
            ("b1", true),
            ("10.0.0.1:80", true),
            ("two words", true),
            ("", false),
            (" b1", false),
            ("b\n1", false),
            ("b\u{e9}", false),
        ] {
            assert_eq!(is_name(name), wanted, "{name:?}");
        }
        assert!(!is_name(&"x".repeat(MAX_NAME_BYTES + 1)));
    }
}
