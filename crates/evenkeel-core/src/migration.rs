//! Staged migration of a route's traffic from one pool to another, as a machine without I/O: it is
//! told what both pools answered, once a second, and says what shall be done.
//!
//! ```text
//! Preflight ─▶ Running(stage) ─▶ … ─▶ Watching ─▶ Done
//!                │  ▲   │ ▲
//!                │  │   ▼ │ a webhook, a person      Paused, Frozen: the stage stands still
//!                │  │  Waiting
//!                ▼
//!             Aborted       a gate is broken, the fast rule, a person, a webhook, max_duration
//! ```
//!
//! Reading order: `plan`, `machine`, `gates`, `evidence`, `cohort`.

mod cohort;
mod evidence;
mod gates;
mod machine;
mod plan;
mod state;
mod trend;
mod unanswered;

pub use cohort::{ArmRule, Named, Traffic};
pub use evidence::Share;
pub use gates::{Arm, ArmFigures, GateResult, Standing, samples_needed};
pub use machine::Migration;
pub use plan::*;
pub use state::{Capacity, Check, Command, Leg, Observation, Resumed, State, Verdict, Wish};
pub use unanswered::{Awaiting, Pending, Unanswered};
