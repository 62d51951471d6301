//! The house's own tools: `tidy` checks the house rules, `ci` runs every check a commit must pass,
//! `docs` writes the generated part of the documentation, `failover` (in the program alone) breaks
//! backends under load.
//!
//! *Architecture invariant:* of our crates, `failover` alone uses one, `evenkeel-load`, to offer
//! load. What judges the others uses none of them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ci;
pub mod docs;
pub mod tidy;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}
