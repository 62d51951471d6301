//! Rows on mirrors, migrations and autoscalers.

use super::{Answer, CHANGE, Content, Endpoint, Method, Parameter, READ, TOML, Values};
use super::{answer, body, json};
use crate::autoscaler::{Autoscaler, AutoscalerList};
use crate::difference::DifferenceList;
use crate::migration::{Approval, Migration, MigrationList, MigrationOutline};

const MIGRATION_NOW: &[Answer] = &[answer(200, "As of now.", &[json::<Migration>()])];
const AUTOSCALER_NOW: &[Answer] = &[answer(200, "As of now.", &[json::<Autoscaler>()])];
/// A change of what runs, not of what is configured.
const STEER: Endpoint = Endpoint { method: Method::Post, conditional: false, ..CHANGE };

pub(crate) const DIFFERENCES: Endpoint = Endpoint {
    path: "/api/v1/routes/{name}/differences",
    operation: "differences",
    summary: "What the copies of a route's requests have shown.",
    answers: &[answer(200, "The newest difference first.", &[json::<DifferenceList>()])],
    ..READ
};
pub(crate) const MIGRATIONS: Endpoint = Endpoint {
    path: "/api/v1/migrations",
    operation: "migrations",
    summary: "Traffic on its way from one pool to another.",
    answers: &[answer(200, "The newest last.", &[json::<MigrationList>()])],
    ..READ
};
pub(crate) const START_MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations",
    operation: "start_migration",
    summary: "Starts a migration, or says what it would take.",
    query: &[DRY_RUN],
    body: &[
        Content::As("application/yaml", body::migration_plan),
        TOML,
        Content::Json(body::migration_plan),
    ],
    answers: &[
        answer(201, "It has started.", &[json::<Migration>()]),
        answer(200, "What it would take.", &[json::<MigrationOutline>()]),
    ],
    problems: &[404, 422],
    ..STEER
};
pub(crate) const MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations/{id}",
    operation: "migration",
    summary: "One migration with all of its checks.",
    answers: MIGRATION_NOW,
    ..READ
};
pub(crate) const PAUSE_MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations/{id}/pause",
    operation: "pause_migration",
    summary: "Lets a migration stand still where it is.",
    answers: MIGRATION_NOW,
    ..STEER
};
pub(crate) const RESUME_MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations/{id}/resume",
    operation: "resume_migration",
    summary: "Lets a migration go on.",
    answers: MIGRATION_NOW,
    ..STEER
};
pub(crate) const APPROVE_MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations/{id}/approve",
    operation: "approve_migration",
    summary: "Agrees to the end of a stage that waits for it.",
    body: &[json::<Approval>()],
    answers: MIGRATION_NOW,
    ..STEER
};
pub(crate) const ABORT_MIGRATION: Endpoint = Endpoint {
    path: "/api/v1/migrations/{id}/abort",
    operation: "abort_migration",
    summary: "Ends a migration: the old pool gets everything again.",
    answers: MIGRATION_NOW,
    ..STEER
};
pub(crate) const AUTOSCALERS: Endpoint = Endpoint {
    path: "/api/v1/autoscalers",
    operation: "autoscalers",
    summary: "What decides how many backends pools have.",
    answers: &[answer(200, "As of now.", &[json::<AutoscalerList>()])],
    ..READ
};
pub(crate) const PAUSE_AUTOSCALER: Endpoint = Endpoint {
    path: "/api/v1/autoscalers/{pool}/pause",
    operation: "pause_autoscaler",
    summary: "Leaves the number of backends as it is.",
    answers: AUTOSCALER_NOW,
    ..STEER
};
pub(crate) const RESUME_AUTOSCALER: Endpoint = Endpoint {
    path: "/api/v1/autoscalers/{pool}/resume",
    operation: "resume_autoscaler",
    summary: "Decides again how many backends there should be.",
    answers: AUTOSCALER_NOW,
    ..STEER
};

const DRY_RUN: Parameter = Parameter {
    name: "dry_run",
    meaning: "`true`: nothing starts; the answer says what it would take.",
    values: Values::OneOf(&["true", "false"]),
};
