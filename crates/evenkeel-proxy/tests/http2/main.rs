//! How HTTP/2 is spoken towards clients, rule by rule: RFC 9113 sections 3 to 8 and RFC 7541, in
//! the order of the RFCs, as the public conformance suites ask. Every case is played over plain
//! connections with prior knowledge and over TLS with ALPN, frame by frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod calls;
mod connections;
mod fields;
mod floods;
mod frame_types;
mod messages;
mod stage;
mod streams;
mod windows;
