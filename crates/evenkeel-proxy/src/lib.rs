//! SERVES: the only crate with traffic sockets, tasks and time. Rooms in reading order: `server`,
//! `worker`, `listen`, `http1`, **`exchange`**, `connect`, `idle`, `forward`, `pump`, `tunnel`,
//! `reply`, `record`, `log`.
//!
//! *Architecture invariant:* serving threads never block and share nothing that is written per
//! request, beyond what a decision needs (a cursor, an in-flight count).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod admit;
pub mod aside;
mod attempt;
mod buffer;
mod call;
mod client_ip;
mod clock;
mod connect;
mod count;
mod deadline;
pub mod detail;
mod doors;
mod exchange;
pub mod explain;
mod final_head;
mod forward;
mod frame_position;
mod http1;
mod http2;
mod idle;
pub mod listen;
pub mod log;
mod mirror;
pub mod mount;
pub mod net;
mod own_lines;
mod probe;
pub mod prober;
mod pump;
mod rate;
mod record;
mod redirect;
mod refuse;
mod reply;
pub mod secrets;
pub mod server;
mod session;
pub mod shared;
mod siphon;
pub mod socket;
pub mod sounding;
mod tcp;
pub mod tls;
pub mod trace;
mod try_failure;
mod tunnel;
mod turns;
mod udp;
mod upload;
mod verdict;
mod wait;
mod welcome;
pub mod wire;
pub mod worker;
