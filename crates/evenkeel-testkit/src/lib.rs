//! What tests are made of: plans with sane defaults, the real proxy on a free port, scripted
//! backends and clients that speak any bytes, and a strict second reading of what comes out.
//!
//! *Architecture invariant:* only tests depend on this crate, every wait in it is bounded, and no
//! port is fixed. What goes wrong here panics: that is how a test fails.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

pub mod backend;
pub mod client;
pub mod frames;
pub mod fuzz;
pub mod memory;
pub mod message;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod simulation;
pub mod wire;
