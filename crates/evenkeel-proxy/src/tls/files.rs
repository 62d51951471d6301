//! Reading PEM and DER files, and what is wrong with them: by key of the configuration, so that
//! whoever reads the configuration can say on which line that stands.

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

/// A longer file is no certificate.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// The status of an OCSP response that says something about a certificate (RFC 6960 4.2.1).
const OCSP_SUCCESSFUL: u8 = 0;

/// Whether something can be served in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// No.
    Error,
    /// Yes, but it is hardly meant.
    Warning,
}

/// Something wrong with a file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The key, such as `listeners[0].tls.certificates[0].key`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How it is put right; empty = that is obvious.
    pub hint: &'static str,
    /// Whether it stops us.
    pub gravity: Gravity,
}

/// Everything that is wrong, at least one error among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFaults(pub Vec<TlsFault>);

impl fmt::Display for TlsFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.iter().filter(|fault| fault.gravity == Gravity::Error);
        for (index, fault) in errors.enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}: {}", fault.path, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsFaults {}

/// Collects what is wrong while files are read.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<TlsFault>);

impl Findings {
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, hint: &'static str) {
        let fault = (path.to_owned(), message.into());
        self.0.push(TlsFault { path: fault.0, message: fault.1, hint, gravity: Gravity::Error });
    }

    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>, hint: &'static str) {
        let fault = (path.to_owned(), message.into());
        self.0.push(TlsFault { path: fault.0, message: fault.1, hint, gravity: Gravity::Warning });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0.iter().any(|fault| fault.gravity == Gravity::Error)
    }

    /// The bytes of a file.
    pub(super) fn read(&mut self, path: &str, file: &Path) -> Option<Vec<u8>> {
        let shown = file.display();
        let long = || std::io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes"));
        let read = std::fs::metadata(file)
            .and_then(|found| if found.len() > MAX_FILE_BYTES { Err(long()) } else { Ok(()) })
            .and_then(|()| std::fs::read(file));
        read.map_err(|error| self.error(path, format!("cannot read {shown}: {error}"), "")).ok()
    }

    /// The certificates of a PEM text, at least one.
    pub(super) fn certificates(
        &mut self,
        path: &str,
        (file, text): (&Path, &[u8]),
    ) -> Option<Vec<CertificateDer<'static>>> {
        const HINT: &str = "a PEM file: -----BEGIN CERTIFICATE----- ...";
        let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
        let message = match read {
            Ok(all) if !all.is_empty() => return Some(all),
            Ok(_) => "holds no certificate".to_owned(),
            Err(error) => format!("is no certificate file: {}", told(&error)),
        };
        self.error(path, format!("{} {message}", file.display()), HINT);
        None
    }

    /// The first private key of a PEM text.
    pub(super) fn key(
        &mut self,
        path: &str,
        (file, text): (&Path, &[u8]),
    ) -> Option<PrivateKeyDer<'static>> {
        const HINT: &str = "a PEM file with an unencrypted key: -----BEGIN PRIVATE KEY----- ...";
        let message = match PrivateKeyDer::from_pem_slice(text) {
            Ok(key) => return Some(key),
            Err(pem::Error::NoItemsFound) => "holds no private key".to_owned(),
            Err(error) => format!("is no key file: {}", told(&error)),
        };
        self.error(path, format!("{} {message}", file.display()), HINT);
        None
    }

    /// A response to be stapled, as the authority made it.
    pub(super) fn ocsp(&mut self, path: &str, file: &Path) -> Option<Vec<u8>> {
        const HINT: &str = "DER, as `openssl ocsp -respout FILE` writes it";
        let bytes = self.read(path, file)?;
        let message = match ocsp_status(&bytes) {
            Some(OCSP_SUCCESSFUL) => return Some(bytes),
            Some(status) => format!("tells of a failure, status {status}"),
            None => "is no OCSP response".to_owned(),
        };
        self.error(path, format!("{} {message}", file.display()), HINT);
        None
    }
}

/// The status of an OCSP response (RFC 6960 4.2.1): the first thing in a sequence as long as the
/// file. `None` if it is none.
fn ocsp_status(der: &[u8]) -> Option<u8> {
    const SEQUENCE: u8 = 0x30;
    const ENUMERATED: u8 = 0x0a;
    let (length, rest) = match der {
        [SEQUENCE, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [SEQUENCE, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [SEQUENCE, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    match rest {
        [ENUMERATED, 1, status, ..] if rest.len() == length => Some(*status),
        _ => None,
    }
}

/// What is wrong with a PEM text, without any of its bytes.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these would show bytes")]
fn told(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section begins illegally".to_owned(),
        pem::Error::Base64Decode(_) => "a section is no base64".to_owned(),
        _ => error.to_string(),
    }
}

/// What we need to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateRead {
    /// Names that it is for, in lower case: DNS names, wildcards as they are, addresses.
    pub(super) names: Vec<String>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl CertificateRead {
    /// Reads one; the error says what is wrong.
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<CertificateRead, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "is no X.509 certificate".to_owned())?;
        let alternative = certificate.subject_alternative_name();
        let alternative = alternative.map_err(|_| "has illegal alternative names".to_owned())?;
        let names = match alternative {
            Some(names) => names.value.general_names.iter().filter_map(name).collect(),
            None => {
                let subject = certificate.subject().iter_common_name();
                let text = subject.filter_map(|name| name.as_str().ok());
                text.map(str::to_ascii_lowercase).collect()
            }
        };
        let validity = certificate.validity();
        Ok(CertificateRead {
            names,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}

/// True for what can be verified: older versions have no extensions.
pub(super) fn is_of_version_3(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, found)| found.version() == X509Version::V3)
}

/// A name that can be asked for; one with a NUL or other control character is none.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other kind can be asked for")]
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) if name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some(name.trim_end_matches('.').to_ascii_lowercase())
        }
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            four.or_else(|_| sixteen()).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_be_stapled() {
        let long = [&[0x30, 0x82, 1, 3, 0x0a, 1, 0][..], &[0; 256]].concat();
        let cases: [(&[u8], Option<u8>); 9] = [
            (&[0x30, 3, 0x0a, 1, 0], Some(0)),
            (&[0x30, 0x81, 3, 0x0a, 1, 6], Some(6)),
            (&long, Some(0)),
            (&[0x30, 4, 0x0a, 1, 0], None),
            (&[0x30, 3, 0x0a, 1, 0, 0], None),
            (&[0x30, 3, 2, 1, 0], None),
            (&[0x30, 0x80, 0x0a, 1, 0, 0, 0], None),
            (b"-----BEGIN CERTIFICATE-----", None),
            (b"", None),
        ];
        for (der, status) in cases {
            assert_eq!(ocsp_status(der), status, "{der:?}");
        }
    }
}
