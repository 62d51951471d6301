//! The part of a plan that concerns TLS, towards clients and towards backends. It names files; what
//! is in them is read when a snapshot is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTlsPlan {
    /// At least one; picked by server name: exact, then wildcard, else the first.
    pub certificates: Vec<CertificatePlan>,
    /// Whose client certificates are demanded; `None` = none is asked for.
    pub client_auth: Option<ClientAuthPlan>,
    /// Oldest version accepted.
    pub min_version: TlsVersion,
    /// Protocols offered, best first; empty = the client's offer is ignored.
    pub alpn: Vec<Alpn>,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// PEM file of the chain.
    pub cert: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
    /// DER file of a stapled OCSP response.
    pub ocsp: Option<PathBuf>,
}

/// Which client certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthPlan {
    /// PEM file of those who may sign them.
    pub ca: PathBuf,
    /// True if a handshake without one fails.
    pub required: bool,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// A protocol that ALPN can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http11,
}

impl Alpn {
    /// As in the handshake (RFC 7301 6).
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Alpn::H2 => b"h2",
            Alpn::Http11 => b"http/1.1",
        }
    }
}

/// TLS to the `https://` backends of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTlsPlan {
    /// PEM file of those who may sign their certificates; `None` = those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Name demanded of the certificate; `None` = that of the address.
    pub server_name: Option<Arc<str>>,
    /// PEM files of our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
}
