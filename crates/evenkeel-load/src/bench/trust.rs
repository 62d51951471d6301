//! Whom a bench believes when it speaks TLS.

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose certificates are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that browsers know.
    #[default]
    Public,
    /// Those in a PEM file, and those that they have signed.
    File(PathBuf),
    /// Any.
    Anyone,
}

impl Trust {
    /// The settings of a client that offers these protocols.
    pub(crate) fn client(&self, alpn: &[u8]) -> Result<Arc<ClientConfig>, String> {
        let verifier = match self {
            Trust::Public => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
                evenkeel_trust::authorities(roots).map_err(|error| error.to_string())?
            }
            Trust::File(file) => named_in(file)?,
            Trust::Anyone => evenkeel_trust::anyone(),
        };
        let mut config = ClientConfig::builder_with_provider(evenkeel_trust::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }
}

fn named_in(file: &Path) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let wrong = |why: String| format!("-ca {}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = read.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in it; it must be PEM".to_owned()));
    }
    evenkeel_trust::named(certificates).map_err(|error| wrong(error.to_string()))
}
