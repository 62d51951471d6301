//! KNOWS WHOM TO BELIEVE: how a client of TLS verifies the certificate of a server, whether it
//! carries traffic or offers load.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod verifier;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{Error, RootCertStore};
use std::sync::{Arc, OnceLock};
use verifier::{Verifier, Whom};

/// The one provider of cryptography: aws-lc.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::clone(PROVIDER.get_or_init(made))
}

/// Believes what these authorities have signed.
///
/// # Errors
/// There is none.
pub fn authorities(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(verifier.map_err(|error| Error::General(error.to_string()))?)
}

/// Believes what one of these certificates has signed, and those certificates themselves.
///
/// # Errors
/// There is none, or one cannot be used.
pub fn named(
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone())?;
    }
    let whom = Whom::Named { certificates, chains: authorities(roots)? };
    Ok(Arc::new(Verifier { provider: provider(), whom }))
}

/// Believes whoever has the key of the certificate that is shown.
pub fn anyone() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier { provider: provider(), whom: Whom::Anyone })
}
