//! CHANGES THE PLAN while it serves: the operator's listener and the resolution of backend names,
//! both on one thread of their own.
//!
//! Reading order: `control` (the thread), `admin` (what the operator can ask), `dashboard` (the
//! page for browsers), `origin` and `tokens` (whose requests are believed), `portrait` and `pages`
//! (what they get to see), `explain` (why a request goes where it goes), `journal` (what happened),
//! `ledger` (what was counted outlives the process), `bind`, then `resolve`
//! (the I/O) over `schedule` (its decisions).
//!
//! *Architecture invariant:* nothing here runs on a serving thread, and serving goes on if this
//! thread dies.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod admin;
mod autoscalers;
mod bind;
mod control;
mod dashboard;
mod departed;
mod differences;
mod discoverers;
mod documents;
mod engine;
mod explain;
mod history;
mod journal;
pub mod kubernetes;
mod ledger;
mod limits;
mod lookup;
mod metrics;
mod migrations;
mod mounts;
mod numbers;
mod origin;
mod outgoing;
mod pages;
mod portrait;
mod profile;
mod resolve;
mod schedule;
mod scribe;
#[cfg(test)]
mod scripted;
mod spans;
mod state_file;
pub mod steering;
mod tokens;
mod vet;

pub use admin::{Desk, Readiness};
pub use autoscalers::{Autoscalers, Ground, Grows, Heritage, Standing, Ties, guard, standing};
pub use control::{AdminSockets, Control, ControlError, NextPlace, Resolver, Seat};
pub use dashboard::{Access, Asset, asset, page};
pub use differences::{Counted, Differences, RouteAndPool};
pub use discoverers::{Discoverers, Search, Settled, Settles};
pub use documents::{HealthStatus, health_html, health_json, metrics_json, report_json};
pub use explain::explain;
pub use journal::Journal;
pub use ledger::Ledger;
pub use metrics::{
    Format, ProcessFigures, Reloads, View, metrics_markdown, negotiate, openmetrics, prometheus,
};
pub use migrations::{
    Divides, Division, MigrationError, Migrations, migration_markdown, outline_of,
};
pub use numbers::Numbers;
pub use resolve::ResolveTarget;
pub use tokens::{FreshToken, Tokens, TokensError};
pub use vet::vet;

/// As in the program, so that tests see what it notes.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: evenkeel_heap::SamplingAllocator = evenkeel_heap::SamplingAllocator;
