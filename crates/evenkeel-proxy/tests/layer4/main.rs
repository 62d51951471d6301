//! What lies below HTTP, on real sockets: tunnels of tcp listeners, flows of
//! udp listeners, PROXY headers in and out, and
//! listeners that only send clients elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod flows;
mod headers;
mod redirects;
mod tunnels;
