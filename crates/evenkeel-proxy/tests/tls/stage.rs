//! Certificates, clients and backends.

use evenkeel_core::plan::{Alpn, CertificatePlan, ClientAuthPlan, ListenerTlsPlan, TlsVersion};
use evenkeel_testkit::frames::Frames;
use evenkeel_testkit::message::{self, Kind, Message, Reading};
use evenkeel_testkit::wire::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// An authority, and a folder for what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) folder: TempDir,
    pub(crate) file: PathBuf,
}

/// Files of a certificate and its key.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn plan(&self) -> CertificatePlan {
        CertificatePlan { cert: self.cert.clone(), key: self.key.clone(), ocsp: None }
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let text = std::fs::read(&self.cert).expect("written");
        CertificateDer::pem_slice_iter(&text).map(|one| one.expect("ours")).collect()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).expect("ours")
    }
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let folder = TempDir::new().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("signed");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, own.pem()).expect("written");
        Authority { issuer: Issuer::new(params, key), folder, file }
    }

    /// A certificate for these names; the first gives the files their name.
    pub(crate) fn sign(&self, names: &[&str]) -> Files {
        self.sign_until(names, 2100)
    }

    pub(crate) fn sign_until(&self, names: &[&str], year: i32) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = names.first().map_or("none", String::as_str).replace('*', "star");
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let (cert, key_file) =
            (self.path(&format!("{stem}.pem")), self.path(&format!("{stem}.key")));
        std::fs::write(&cert, signed.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        Files { cert, key: key_file }
    }

    /// A certificate that a server has made for itself, as `openssl req -x509` does.
    pub(crate) fn unsigned(&self, name: &str) -> Files {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("signed");
        let files = Files { cert: self.path("own.pem"), key: self.path("own.key") };
        std::fs::write(&files.cert, own.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// TLS of a listener with these certificates.
pub(crate) fn tls(certificates: &[&Files]) -> ListenerTlsPlan {
    ListenerTlsPlan {
        certificates: certificates.iter().map(|files| files.plan()).collect(),
        client_auth: None,
        min_version: TlsVersion::V12,
        alpn: vec![Alpn::H2, Alpn::Http11],
        handshake_timeout: Duration::from_secs(5),
    }
}

pub(crate) fn demands(ca: &Path, required: bool) -> Option<ClientAuthPlan> {
    Some(ClientAuthPlan { ca: ca.to_owned(), required })
}

/// What a client saw of the server.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) certificates: Mutex<Vec<CertificateDer<'static>>>,
    pub(crate) ocsp: Mutex<Vec<u8>>,
}

/// Trusts everybody and remembers whom.
#[derive(Debug, Default)]
pub(crate) struct Witness(pub(crate) Arc<Seen>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.certificates.lock().unwrap().push(end.clone().into_owned());
        *self.0.ocsp.lock().unwrap() = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

/// How a client behaves in the handshake.
pub(crate) struct Manner {
    pub(crate) config: ClientConfig,
    pub(crate) seen: Arc<Seen>,
}

impl Manner {
    /// Offers http/1.1, trusts everybody.
    pub(crate) fn plain() -> Manner {
        Manner::with(None, rustls::ALL_VERSIONS)
    }

    pub(crate) fn with_certificate(files: &Files) -> Manner {
        Manner::with(Some(files), rustls::ALL_VERSIONS)
    }

    pub(crate) fn with(
        identity: Option<&Files>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Manner {
        let witness = Arc::new(Witness::default());
        let seen = Arc::clone(&witness.0);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .dangerous()
            .with_custom_certificate_verifier(witness);
        let mut config = match identity {
            Some(files) => builder.with_client_auth_cert(files.chain(), files.key()).expect("ours"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Manner { config, seen }
    }

    pub(crate) fn offering(mut self, alpn: &[&str]) -> Manner {
        self.config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) fn without_name(mut self) -> Manner {
        self.config.enable_sni = false;
        self
    }
}

/// A client that speaks TLS.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl Client {
    /// Connects and shakes hands.
    pub(crate) fn connect(
        address: &str,
        name: &str,
        config: &Arc<ClientConfig>,
    ) -> io::Result<Client> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Client { stream, unread: Vec::new() })
    }

    pub(crate) fn session(&self) -> &ClientConnection {
        &self.stream.conn
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Client {
        self.stream.write_all(bytes).expect("taken");
        self.stream.flush().expect("taken");
        self
    }

    /// The next response.
    pub(crate) fn response(&mut self) -> io::Result<Message> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let reading = message::read(&self.unread, Kind::Response).expect("legal");
            if let Reading::Whole(message, used) = reading {
                self.unread.drain(..used);
                return Ok(message);
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.unread.extend_from_slice(&piece[..length]),
            }
        }
    }

    /// To speak HTTP/2 over it.
    pub(crate) fn into_frames(self) -> Frames {
        Frames::over(self.stream)
    }

    pub(crate) fn ask(&mut self, request: &str) -> Message {
        self.send(request.as_bytes()).response().expect("a response")
    }

    /// True if the connection ends, and that is announced.
    pub(crate) fn ends_in_order(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}
