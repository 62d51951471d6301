//! STEERS from outside: the types of the admin API, its OpenAPI document, and a typed client. What
//! other programs depend on to watch and change a running evenkeel; the command line is built on
//! it, and the admin listener answers with the same types.
//!
//! Times are RFC 3339 in UTC; durations are numbers whose name ends in their unit; shares run from
//! 0 to 1. Unknown keys are ignored on reading, so that a client outlives a newer server.
//!
//! ```no_run
//! use evenkeel_api::{AdminState, BackendPatch, Client};
//!
//! # async fn take_out() -> Result<(), evenkeel_api::ClientError> {
//! let client = Client::new("http://127.0.0.1:9900")?;
//! let (pool, etag) = client.pool("web").await?;
//! println!("{} has {} backends", pool.name, pool.backends.len());
//! let patch = BackendPatch { admin: Some(AdminState::Draining), ..BackendPatch::default() };
//! // Refused with 412 if somebody else has changed the pool since it was read.
//! client.patch_backend("web", "b1", &patch, Some(&etag)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: the types (`status`, `pool`, `route`, `request`, `explain`, `change`, `event`,
//! `problem`), `endpoint` (the one table of paths), `openapi` (the table as a document), `client`
//! (the table as methods).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod autoscaler;
mod change;
mod client;
mod difference;
mod endpoint;
mod event;
mod explain;
mod history;
mod migration;
mod openapi;
mod pool;
mod problem;
mod reference;
mod request;
mod route;
mod status;

pub use autoscaler::{Autoscaler, AutoscalerList, ScaleDecision, Telling};
pub use change::{
    CheckRequest, CheckResult, ConfigDocument, ConfigError, ReloadPlan, ReloadReport, ReloadResult,
    Revision, RevisionList,
};
pub use client::{Client, ClientError, ConfigSyntax, ETag, Events};
pub use difference::{
    BodyDifference, Difference, DifferenceList, DifferenceSides, HeaderDifference,
};
pub use endpoint::{ENDPOINTS, Endpoint, Method};
pub use event::{Event, Level};
pub use explain::{Candidate, Deadlines, ExplainRequest, Explanation, RouteVerdict};
pub use history::{History, HistoryOf, HistoryStep};
pub use migration::{
    Approval, ArmReport, GateReport, Migration, MigrationCheck, MigrationList, MigrationOutline,
    MigrationState, StageOutline, Verdict,
};
pub use openapi::{openapi, openapi_with_tokens};
pub use pool::{
    AdminState, Backend, BackendList, BackendPatch, BreakerState, HealthState, NewBackend, Pool,
    PoolDiscovery, PoolList, PoolMode, PoolPatch, ProbeResult, RetryBudget, STRATEGIES, Source,
};
pub use problem::{FieldError, Problem, Role};
pub use reference::reference_markdown;
pub use request::{Captured, CapturedHeader, Kept, RecordedRequest, RequestList, Timings, Try};
pub use route::{Listener, ListenerList, Mount, Route, RouteList, RouteMatch, Share};
pub use status::{
    Handover, HandoverState, HealthDocument, HealthOfBackend, Overall, PoolSummary, Report,
    ReportedApp, ReportedInstance, State, Status,
};
