//! Edits as they are kept on disk.

use super::{Edit, NewBackend, admin_word};
use evenkeel_core::plan::AdminState;
use serde_json::{Value as Json, json};
use std::time::Duration;

impl Edit {
    /// For a file that `from_json` reads.
    pub fn to_json(&self) -> Json {
        match self {
            Edit::Strategy { pool, strategy } => {
                json!({ "edit": "strategy", "pool": pool, "strategy": strategy })
            }
            Edit::Weight { pool, backend, weight } => {
                json!({ "edit": "weight", "pool": pool, "backend": backend, "weight": weight })
            }
            Edit::Admin { pool, backend, admin } => {
                let admin = admin_word(*admin);
                json!({ "edit": "admin", "pool": pool, "backend": backend, "admin": admin })
            }
            Edit::AddBackend { pool, backend } => json!({
                "edit": "add_backend",
                "pool": pool,
                "name": backend.name,
                "address": backend.address,
                "weight": backend.weight,
                "admin": backend.admin.map(admin_word),
            }),
            Edit::RemoveBackend { pool, backend, drain } => json!({
                "edit": "remove_backend",
                "pool": pool,
                "backend": backend,
                "drain_ms": u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            }),
            Edit::Split { route, arms } => {
                json!({ "edit": "split", "route": route, "arms": arms })
            }
            Edit::RoutePool { route, pool } => {
                json!({ "edit": "route_pool", "route": route, "pool": pool })
            }
        }
    }

    /// What `to_json` wrote; `None` if it is something else.
    pub fn from_json(json: &Json) -> Option<Edit> {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let small = |value: &Json| u32::try_from(value.as_u64()?).ok();
        Some(match json["edit"].as_str()? {
            "strategy" => Edit::Strategy { pool: text("pool")?, strategy: text("strategy")? },
            "weight" => Edit::Weight {
                pool: text("pool")?,
                backend: text("backend")?,
                weight: small(&json["weight"])?,
            },
            "admin" => Edit::Admin {
                pool: text("pool")?,
                backend: text("backend")?,
                admin: admin_of(json["admin"].as_str()?)?,
            },
            "add_backend" => Edit::AddBackend {
                pool: text("pool")?,
                backend: NewBackend {
                    name: text("name"),
                    address: text("address")?,
                    weight: small(&json["weight"]),
                    admin: json["admin"].as_str().and_then(admin_of),
                },
            },
            "remove_backend" => Edit::RemoveBackend {
                pool: text("pool")?,
                backend: text("backend")?,
                drain: Duration::from_millis(json["drain_ms"].as_u64()?),
            },
            "split" => {
                let arm = |arm: &Json| Some((arm[0].as_str()?.to_owned(), small(&arm[1])?));
                let arms = json["arms"].as_array()?.iter().map(arm);
                Edit::Split { route: text("route")?, arms: arms.collect::<Option<_>>()? }
            }
            "route_pool" => Edit::RoutePool { route: text("route")?, pool: text("pool")? },
            _ => return None,
        })
    }
}

fn admin_of(word: &str) -> Option<AdminState> {
    let all = [AdminState::Enabled, AdminState::Draining, AdminState::Disabled];
    all.into_iter().find(|admin| admin_word(*admin) == word)
}
