//! TLS towards clients and towards backends. `stream` is the record layer over any stream;
//! `material` is everything that the files of one configuration say, read when it is put in force;
//! `server` and `client` are the two sides' configurations, `names` which certificate is whose.

mod client;
mod files;
mod material;
mod names;
mod server;
mod stream;

pub(crate) use client::Connector;
pub use client::trusting;
pub use files::{Gravity, TlsFault, TlsFaults};
pub use material::{CertificateFacts, Material, certificates, examine};
pub(crate) use server::{Acceptor, Identity};
pub use stream::TlsStream;

use evenkeel_trust::provider;
