//! The proxy between clients and servers of other makers. Nothing but tests:
//! `cargo test --manifest-path interop/Cargo.toml`.
