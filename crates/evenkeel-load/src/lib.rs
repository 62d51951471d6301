//! PLAYS the other side: a test backend whose behaviour is chosen by flags and paths, a load
//! generator, and a checker of what it wrote.
//!
//! Reading order: `server` (accepts), `connection` (one exchange after another), `request` (what
//! was asked), `body` (read to the end), `answer` (what is said), `websocket` and `events` (the
//! two endless answers); `bench` (offers load), `latency` (counts it).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answer;
pub mod bench;
mod body;
mod connection;
mod events;
mod latency;
mod limits;
mod load_error;
mod refusal;
mod request;
mod server;
mod target;
mod websocket;
mod wire;

pub use answer::MOCK_PREFIX;
pub use latency::LatencyHistogram;
pub use load_error::LoadError;
pub use server::{TestServer, TestServerOptions};
