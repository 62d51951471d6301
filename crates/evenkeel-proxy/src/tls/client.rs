//! TLS towards the backends of a pool. Certificates are verified unless the configuration says that
//! they are not.

use super::files::{Findings, is_of_version_3};
use super::{TlsStream, provider};
use crate::net::Stream;
use aws_lc_rs::digest;
use evenkeel_core::address::Endpoint;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::{Alpn, PoolPlan, PoolProtocol};
use rustls::client::WantsClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, Connection, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::sync::Arc;

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// What one pool needs to make TLS connections.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    fingerprint: Vec<u8>,
}

impl Connector {
    /// Reads the files of a pool; `None` with at least one finding if that cannot be done. The one
    /// before is kept, with its sessions, if nothing has changed.
    pub(super) fn read(
        (path, pool): (&str, &PoolPlan),
        before: Option<&Arc<Connector>>,
        findings: &mut Findings,
    ) -> Option<Arc<Connector>> {
        let (plan, protocol) = (&pool.tls, pool.protocol);
        let mut all = digest::Context::new(&digest::SHA256);
        all.update(format!("{plan:?} {protocol:?}").as_bytes());
        let errors_before = findings.0.len();
        let verifier = match &plan.ca_file {
            Some(file) => named_in(&format!("{path}.ca_file"), file, &mut all, findings)?,
            None => believed_by_the_system(path, findings)?,
        };
        let server_name = match &plan.server_name {
            Some(name) => match ServerName::try_from(name.to_string()) {
                Ok(name) => Some(name),
                Err(_) => {
                    let message = format!("{name:?} is neither a host name nor an address");
                    findings.error(&format!("{path}.server_name"), message, "");
                    None
                }
            },
            None => None,
        };
        if plan.insecure_skip_verify {
            let message = "any certificate is accepted: whoever is in between can read all of it";
            let hint = "set tls.ca_file to the authority that signed it";
            findings.warn(&format!("{path}.insecure_skip_verify"), message, hint);
        }
        let verifier = if plan.insecure_skip_verify { evenkeel_trust::anyone() } else { verifier };
        let builder = verifying(verifier)
            .map_err(|error| findings.error(path, error.to_string(), ""))
            .ok()?;
        let mut config = match &plan.client {
            Some((cert, key)) => with_identity(builder, path, (cert, key), (&mut all, findings))?,
            None => builder.with_no_client_auth(),
        };
        if findings.0[errors_before..].iter().any(|f| f.gravity == super::Gravity::Error) {
            return None;
        }
        let spoken: &[Alpn] = match protocol {
            PoolProtocol::Http1 => &[Alpn::Http11],
            PoolProtocol::Http2 => &[Alpn::H2],
            PoolProtocol::Auto => &[Alpn::H2, Alpn::Http11],
        };
        config.alpn_protocols = spoken.iter().map(|one| one.as_bytes().to_vec()).collect();
        let fingerprint = all.finish().as_ref().to_vec();
        match before.filter(|before| before.fingerprint == fingerprint) {
            Some(same) => Some(Arc::clone(same)),
            None => {
                let config = Arc::new(config);
                Some(Arc::new(Connector { config, server_name, fingerprint }))
            }
        }
    }

    /// A session with a backend; the handshake has not begun.
    ///
    /// # Errors
    /// The backend has no name that a certificate could be for.
    pub(crate) fn connect<S: Stream>(
        &self,
        stream: S,
        backend: &Backend,
    ) -> Result<TlsStream<S>, Error> {
        let own = match &backend.plan.address.endpoint {
            Endpoint::Ip(address) => Some(ServerName::from(address.ip())),
            Endpoint::Name(name, _) => ServerName::try_from(name.to_string()).ok(),
            Endpoint::Unix(_) => None,
        };
        let name = self.server_name.clone().or(own);
        let name = name.ok_or_else(|| Error::General("no server name".to_owned()))?;
        let session = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(TlsStream::new(stream, Connection::Client(session), Vec::new()))
    }
}

/// For connections of ours that carry no traffic: verified by the authorities in this file, or by
/// those that the system trusts. HTTP/1.1 is what is spoken.
///
/// # Errors
/// In words, why the file cannot be used.
pub fn trusting(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut findings = Findings::default();
    let verifier = match ca_file {
        Some(file) => {
            let mut all = digest::Context::new(&digest::SHA256);
            named_in("", file, &mut all, &mut findings)
        }
        None => believed_by_the_system("", &mut findings),
    };
    let first = || findings.0.first().map_or_else(String::new, |it| it.message.clone());
    let builder = verifying(verifier.ok_or_else(first)?).map_err(|error| error.to_string())?;
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![Alpn::Http11.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

fn named_in(
    path: &str,
    file: &Path,
    all: &mut digest::Context,
    findings: &mut Findings,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let text = findings.read(path, file)?;
    all.update(&text);
    let certificates = findings.certificates(path, (file, &text))?;
    let unusable = |error| format!("{} cannot be used: {error}", file.display());
    evenkeel_trust::named(certificates)
        .map_err(|error| findings.error(path, unusable(error), ""))
        .ok()
}

fn believed_by_the_system(
    path: &str,
    findings: &mut Findings,
) -> Option<Arc<dyn ServerCertVerifier>> {
    evenkeel_trust::authorities(system_roots())
        .map_err(|error| findings.error(path, error.to_string(), ""))
        .ok()
}

/// Those that the system trusts; without a bundle, Mozilla's, as they were when this was built.
fn system_roots() -> RootCertStore {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let files = named.into_iter().chain(SYSTEM_BUNDLES.iter().map(std::path::PathBuf::from));
    for file in files {
        let Some(authorities) = Findings::default().quietly(&file) else { continue };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(authorities);
        if added > 0 {
            return roots;
        }
    }
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots
}

impl Findings {
    /// The certificates of a file that nobody named: if it cannot be used, there are others.
    fn quietly(mut self, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let text = self.read("", file)?;
        self.certificates("", (file, &text))
    }
}

fn verifying(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// With our own certificate.
fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    path: &str,
    (cert, key): (&Path, &Path),
    (all, findings): (&mut digest::Context, &mut Findings),
) -> Option<ClientConfig> {
    let (cert_path, key_path) = (format!("{path}.client_cert"), format!("{path}.client_key"));
    let cert_text = findings.read(&cert_path, cert);
    let key_text = findings.read(&key_path, key);
    let (cert_text, key_text) = (cert_text?, key_text?);
    all.update(&cert_text);
    all.update(&key_text);
    let chain = findings.certificates(&cert_path, (cert, &cert_text))?;
    let der = findings.key(&key_path, (key, &key_text))?;
    if !chain.first().is_some_and(is_of_version_3) {
        let message = format!("{} is not of X.509 version 3, as TLS needs it", cert.display());
        findings.error(&cert_path, message, "with `openssl x509 -req`, give it an `-extfile`");
        return None;
    }
    let made = builder.with_client_auth_cert(chain, der);
    #[expect(clippy::wildcard_enum_match_arm, reason = "one of many has its own words")]
    let unusable = |error: Error| match &error {
        Error::InconsistentKeys(_) => {
            format!("{} is not the key of {}", key.display(), cert.display())
        }
        _ => format!("{} cannot be used: {error}", key.display()),
    };
    made.map_err(|error| findings.error(&key_path, unusable(error), "")).ok()
}
