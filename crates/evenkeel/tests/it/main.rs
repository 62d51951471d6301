//! The program as its users meet it: the binary is started, typed at and looked at from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activation;
mod bench;
mod calling;
mod cli;
mod configuration;
mod demo;
mod dialects;
mod discovering;
mod handover;
mod installed;
mod keeping;
mod lookup;
mod mounts;
mod moving;
mod profiling;
mod program;
mod recording;
mod reload;
mod scaling;
mod serving;
mod steering;
mod succession;
mod surviving;
mod testserver;
#[cfg(feature = "otlp")]
mod tracing;
mod traffic;
mod twins;
mod why;
mod world;
