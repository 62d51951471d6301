//! TLS on real sockets, towards clients and towards backends, played by rustls with certificates
//! made for each test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod backends;
mod clients;
mod multiplexed;
mod stage;
mod swaps;
