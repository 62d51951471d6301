//! Certificates that somebody named: as authorities, and each as itself. Or anybody's.
//!
//! A certificate that a server has made for itself mostly says that it is an authority (so does
//! `openssl req -x509`), which by the rules of chains cannot be a server's. Whoever names exactly
//! this certificate wants to reach exactly this server, so chains do not matter: it must be valid
//! now, and be for the name. OpenSSL, and with it curl, sees it the same way.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who is believed, if the key of the certificate that is shown is held.
#[derive(Debug)]
pub(crate) enum Whom {
    Anyone,
    Named {
        certificates: Vec<CertificateDer<'static>>,
        /// The same as authorities.
        chains: Arc<dyn ServerCertVerifier>,
    },
}

/// Signatures are verified whoever is believed, so that a handshake costs what it costs.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) whom: Whom,
}

/// A certificate that is believed for itself.
fn holds(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let time = |seconds: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or_default()))
    };
    let not_before = time(read.validity().not_before.timestamp());
    let not_after = time(read.validity().not_after.timestamp());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.whom {
            Whom::Anyone => Ok(ServerCertVerified::assertion()),
            Whom::Named { certificates, .. } if certificates.contains(certificate) => {
                holds(certificate, name, now).map(|()| ServerCertVerified::assertion())
            }
            Whom::Named { chains, .. } => {
                chains.verify_server_cert(certificate, intermediates, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::Error;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::time::Duration;

    /// From 2020 to 2030.
    fn of_its_own(is_ca: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verified(
        named: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        (name, year): (&str, u64),
    ) -> Result<(), Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let since = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
        let now = UnixTime::since_unix_epoch(since);
        let verifier = crate::named(vec![named.clone()]).unwrap();
        verifier.verify_server_cert(shown, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn a_named_certificate_is_believed_for_its_name_and_its_time() {
        for is_ca in [false, true] {
            let own = of_its_own(is_ca);
            assert_eq!(verified(&own, &own, ("a.test", 2026)), Ok(()), "{is_ca}");
            for (place, why) in
                [(("b.test", 2026), "not valid for name"), (("a.test", 2019), "not valid yet")]
            {
                let error = verified(&own, &own, place).unwrap_err().to_string();
                assert!(error.contains(why), "{is_ca}: {error}");
            }
            let error = verified(&own, &own, ("a.test", 2031)).unwrap_err().to_string();
            assert!(error.contains("expired"), "{is_ca}: {error}");
        }
    }

    #[test]
    fn another_with_the_same_name_is_not() {
        for is_ca in [false, true] {
            assert!(verified(&of_its_own(is_ca), &of_its_own(is_ca), ("a.test", 2026)).is_err());
        }
    }
}
