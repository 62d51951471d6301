//! DECIDES. Everything that must be proved lives here: what a configuration means (`plan`), how it
//! is compiled for serving (`snapshot`), which bytes are a legal message (`framing`, `path`), where
//! a request goes (`route`, `strategy`), and what is said when it fails (`failure`).
//!
//! *Architecture invariant:* no socket, no clock, no runtime, no global random numbers. `now` and
//! randomness come in as arguments, so every decision can be replayed.
#![forbid(unsafe_code)]

pub mod accept;
pub mod address;
pub mod affinity;
pub mod autoscale;
pub mod backend;
pub mod breaker;
pub mod chunked;
pub mod client_hello;
pub mod discovery;
pub mod failure;
pub mod field;
pub mod flow;
pub mod framing;
mod grammar;
pub mod grpc;
pub mod headers;
pub mod health;
pub mod host;
pub mod limit;
pub mod migration;
pub mod mirror;
pub mod path;
pub mod plan;
pub mod pool;
pub mod proxy_protocol;
pub mod queue;
pub mod record;
pub mod request;
pub mod response;
pub mod retry;
pub mod route;
pub mod secret;
pub mod snapshot;
pub mod stats;
pub mod strategy;
pub mod suspicion;
pub mod time;
pub mod trace;
