//! The proxy on real sockets: what a client sends, what a backend then sees, what comes back. Each
//! case names the section of the RFC that decides it.
//!
//! Modules by what they are about: `framing`, `chunks`, `heads` and `pipelining` for requests;
//! `responses`, `upgrade`, `bodies` and `connections` for what follows; `trust` and `routing` for
//! what is decided, `mounts` for what we answer ourselves; `retries`, `exhaustion` and `draining`
//! for when things go wrong; `choosing`, `health`, `breaker`, `sessions`, `queueing` and `limits`
//! for who among several gets a request; `http2` for the other wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod arena;
mod bodies;
mod breaker;
mod choosing;
mod chunks;
mod connections;
mod details;
mod draining;
mod exhaustion;
mod framing;
mod heads;
mod health;
mod hostile_http2;
mod hostile_log;
mod http2;
mod http2_backends;
mod limits;
mod long_bodies;
mod mirroring;
mod mounts;
mod pipelining;
mod provoked;
mod queueing;
mod responses;
mod retries;
mod routing;
mod sessions;
mod stage;
mod starting;
mod tracing;
mod trust;
mod upgrade;

use evenkeel_testkit::frames;
