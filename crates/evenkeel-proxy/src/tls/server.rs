//! TLS towards clients: one configuration per listener, so that a session can be resumed only where
//! it began, under the same client authentication.

use super::files::{CertificateRead, Findings};
use super::names::Names;
use super::{TlsStream, provider};
use crate::net::Stream;
use aws_lc_rs::digest;
use evenkeel_core::plan::{Alpn, ClientAuthPlan, ListenerTlsPlan, TlsVersion};
use rustls::crypto::aws_lc_rs::{Ticketer, sign};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Connection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection};
use std::cell::RefCell;
use std::sync::Arc;

/// Seconds before the end of a certificate from which on it is warned about.
const WARN_BEFORE_SECONDS: i64 = 14 * 24 * 3600;

/// Protocols that this version speaks to clients over TLS.
const SPOKEN: &[Alpn] = &[Alpn::H2, Alpn::Http11];

/// What one listener needs to take TLS clients.
#[derive(Debug)]
pub(crate) struct Acceptor {
    config: Arc<ServerConfig>,
    pub(crate) names: Names,
    /// Of everything it was made from.
    fingerprint: Vec<u8>,
    /// Of what a session must not cross.
    scope: Vec<u8>,
    /// Of each certificate.
    pub(super) certificates: Vec<CertificateRead>,
}

/// A certificate with its key and what is known of it.
struct Loaded {
    key: Arc<CertifiedKey>,
    read: CertificateRead,
}

impl Acceptor {
    /// Reads the files of a listener; `None` with at least one finding if that cannot be done. The
    /// one before is kept if nothing has changed; its ticket keys, if its sessions are ours too.
    pub(super) fn read(
        (path, plan): (&str, &ListenerTlsPlan),
        before: Option<&Arc<Acceptor>>,
        now: i64,
        findings: &mut Findings,
    ) -> Option<Arc<Acceptor>> {
        let mut all = digest::Context::new(&digest::SHA256);
        let mut scope = digest::Context::new(&digest::SHA256);
        let mut loaded = Vec::new();
        for (index, certificate) in plan.certificates.iter().enumerate() {
            let path = format!("{path}.certificates[{index}]");
            loaded.extend(load(&path, certificate, &mut all, findings));
        }
        let verifier = plan.client_auth.as_ref().map(|auth| {
            scope.update(if auth.required { b"required" } else { b"optional" });
            verifier(&format!("{path}.client_ca"), auth, (&mut all, &mut scope), findings)
        });
        if findings.has_errors() {
            return None;
        }
        for (index, one) in loaded.iter().enumerate() {
            warn_of_age(&format!("{path}.certificates[{index}].cert"), &one.read, now, findings);
            one.read.names.iter().for_each(|name| scope.update(name.as_bytes()));
        }
        all.update(format!("{:?} {:?}", plan.min_version, plan.alpn).as_bytes());
        let fingerprint = all.finish().as_ref().to_vec();
        if let Some(same) = before.filter(|before| before.fingerprint == fingerprint) {
            return Some(Arc::clone(same));
        }
        let scope = scope.finish().as_ref().to_vec();
        let ticketer = match before.filter(|before| before.scope == scope) {
            Some(before) => Arc::clone(&before.config.ticketer),
            None => {
                let made = Ticketer::new();
                made.map_err(|error| findings.error(path, error.to_string(), "")).ok()?
            }
        };
        let names = Names::new(loaded.iter().map(|one| one.read.names.as_slice()));
        let (keys, certificates) = loaded.into_iter().map(|one| (one.key, one.read)).unzip();
        let config = config(plan, (keys, &certificates), verifier.flatten(), ticketer)
            .map_err(|error| findings.error(path, error.to_string(), ""))
            .ok()?;
        let config = Arc::new(config);
        Some(Arc::new(Acceptor { config, names, fingerprint, scope, certificates }))
    }

    /// A session with a client from whom `arrived` was read already.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn accept<S: Stream>(
        &self,
        stream: S,
        arrived: Vec<u8>,
    ) -> Result<TlsStream<S>, rustls::Error> {
        let session = ServerConnection::new(Arc::clone(&self.config))?;
        Ok(TlsStream::new(stream, Connection::Server(session), arrived))
    }
}

fn config(
    plan: &ListenerTlsPlan,
    (keys, certificates): (Vec<Arc<CertifiedKey>>, &Vec<CertificateRead>),
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match plan.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let names = Names::new(certificates.iter().map(|one| one.names.as_slice()));
    let mut config = builder.with_cert_resolver(Arc::new(Resolver { keys, names }));
    let spoken = plan.alpn.iter().filter(|one| SPOKEN.contains(one));
    config.alpn_protocols = spoken.map(|one| one.as_bytes().to_vec()).collect();
    config.ignore_client_order = true;
    // Sessions live in tickets alone: any worker, and the next configuration, can read them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer;
    Ok(config)
}

fn load(
    path: &str,
    plan: &evenkeel_core::plan::CertificatePlan,
    all: &mut digest::Context,
    findings: &mut Findings,
) -> Option<Loaded> {
    let (cert_path, key_path) = (format!("{path}.cert"), format!("{path}.key"));
    let cert_text = findings.read(&cert_path, &plan.cert);
    let key_text = findings.read(&key_path, &plan.key);
    let ocsp = plan.ocsp.as_ref().map(|file| findings.ocsp(&format!("{path}.ocsp"), file));
    let chain =
        cert_text.as_deref().and_then(|text| findings.certificates(&cert_path, (&plan.cert, text)));
    let key = key_text.as_deref().and_then(|text| findings.key(&key_path, (&plan.key, text)));
    let (chain, key) = (chain?, key?);
    for part in [cert_text.as_ref(), key_text.as_ref(), ocsp.as_ref().and_then(Option::as_ref)] {
        all.update(&part.map_or(0, Vec::len).to_le_bytes());
        all.update(part.map_or(&[], Vec::as_slice));
    }
    let shown = plan.cert.display();
    let read = match chain.first().map(CertificateRead::of) {
        Some(Ok(read)) => read,
        Some(Err(message)) => {
            findings.error(&cert_path, format!("{shown} {message}"), "");
            return None;
        }
        None => return None,
    };
    let key = sign::any_supported_type(&key)
        .map_err(|error| {
            let message = format!("{} cannot be used: {error}", plan.key.display());
            findings.error(&key_path, message, "RSA, ECDSA P-256/384/521 or Ed25519");
        })
        .ok()?;
    let mut certified = CertifiedKey::new(chain, key);
    if certified.keys_match()
        == Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
    {
        let message = format!("{} is not the key of {shown}", plan.key.display());
        findings.error(&key_path, message, "the key that the certificate was made for");
        return None;
    }
    certified.ocsp = ocsp.flatten();
    Some(Loaded { key: Arc::new(certified), read })
}

/// Who may sign client certificates. What cannot be read lets nobody in: the demand stands.
fn verifier(
    path: &str,
    plan: &ClientAuthPlan,
    (all, scope): (&mut digest::Context, &mut digest::Context),
    findings: &mut Findings,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let text = findings.read(path, &plan.ca)?;
    let authorities = findings.certificates(path, (&plan.ca, &text))?;
    for digest in [all, scope] {
        digest.update(&text);
        digest.update(&[u8::from(plan.required)]);
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        if let Err(error) = roots.add(authority) {
            let message = format!("{} cannot be used: {error}", plan.ca.display());
            findings.error(path, message, "");
            return None;
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if plan.required { builder } else { builder.allow_unauthenticated() };
    let built = builder.build();
    built.map_err(|error| findings.error(path, error.to_string(), "")).ok()
}

fn warn_of_age(path: &str, read: &CertificateRead, now: i64, findings: &mut Findings) {
    let names = read.names.join(", ");
    if now >= read.not_after {
        let message = format!("the certificate for {names} has expired");
        findings.warn(path, message, "clients will refuse it; renew it");
    } else if now < read.not_before {
        let message = format!("the certificate for {names} is not valid yet");
        findings.warn(path, message, "look at the clock of this machine");
    } else if read.not_after - now < WARN_BEFORE_SECONDS {
        let days = (read.not_after - now) / (24 * 3600);
        let message = format!("the certificate for {names} expires in {days} days");
        findings.warn(path, message, "renew it");
    }
}

/// Picks the certificate that a client's server name asks for, with a key that it can verify.
#[derive(Debug)]
struct Resolver {
    keys: Vec<Arc<CertifiedKey>>,
    names: Names,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let places = self.names.find(&asked);
        let fits = |index: &&usize| {
            let key = self.keys.get(**index).map(|certified| &certified.key);
            key.is_some_and(|key| key.choose_scheme(hello.signature_schemes()).is_some())
        };
        let chosen = places.iter().find(fits).or(places.first())?;
        self.keys.get(*chosen).cloned()
    }
}

/// What the handshake with a client came to.
#[derive(Debug)]
pub(crate) struct Identity {
    acceptor: Arc<Acceptor>,
    /// The name that it asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// The protocol that was agreed on.
    pub(crate) alpn: Option<Box<[u8]>>,
    /// The value of `Client-Cert` (RFC 9440 2.2); empty if it showed none.
    pub(crate) client_cert: Box<[u8]>,
    /// The version that was agreed on.
    pub(crate) version: TlsVersion,
    /// Another host than it named, which was found to be served last.
    served: RefCell<Option<Box<str>>>,
}

impl Identity {
    pub(crate) fn of<S: Stream>(stream: &TlsStream<S>, acceptor: Arc<Acceptor>) -> Identity {
        let session = stream.session();
        let server_name = match session {
            Connection::Server(server) => server.server_name().map(str::to_ascii_lowercase),
            Connection::Client(_) => None,
        };
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let client_cert = shown.map(|certificate| byte_sequence(certificate)).unwrap_or_default();
        Identity {
            acceptor,
            server_name: server_name.map(String::into_boxed_str),
            alpn: session.alpn_protocol().map(Into::into),
            client_cert: client_cert.into(),
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
                Some(_) | None => TlsVersion::V13,
            },
            served: RefCell::default(),
        }
    }

    /// True if the certificate that the client was shown is the one for this host, in lower case.
    pub(crate) fn serves(&self, host: &[u8]) -> bool {
        // An address may stand in brackets; what is no text is nobody's name.
        let host = std::str::from_utf8(host).unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let asked = self.server_name.as_deref();
        // The next request is for the same host, as a rule.
        if asked == Some(bare) || self.served.borrow().as_deref() == Some(bare) {
            return true;
        }
        let serves = self.acceptor.names.share(asked, bare);
        if serves {
            *self.served.borrow_mut() = Some(bare.into());
        }
        serves
    }
}

/// A byte sequence of a structured field (RFC 8941 3.3.5).
fn byte_sequence(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4 + 2);
    out.push(b':');
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let filled = digit <= three.len();
            let value = (bits >> (18 - 6 * digit) & 0x3f) as usize;
            out.push(if filled { DIGITS[value] } else { b'=' });
        }
    }
    out.push(b':');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sequences() {
        // RFC 4648 10, between colons.
        for (bytes, text) in [
            ("", "::"),
            ("f", ":Zg==:"),
            ("fo", ":Zm8=:"),
            ("foo", ":Zm9v:"),
            ("foob", ":Zm9vYg==:"),
        ] {
            assert_eq!(byte_sequence(bytes.as_bytes()), text.as_bytes());
        }
    }
}
