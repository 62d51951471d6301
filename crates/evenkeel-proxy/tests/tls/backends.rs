//! TLS towards backends.

use crate::stage::{Authority, Files};
use evenkeel_core::plan::{HealthCheck, HttpCheck, Plan, PoolTlsPlan};
use evenkeel_proxy::sounding::Sounding;
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A backend that speaks TLS and answers every request with [`OK`].
struct TlsBackend {
    address: String,
    connections: Arc<AtomicUsize>,
    /// Who showed a certificate.
    shown: Arc<Mutex<Vec<bool>>>,
}

impl TlsBackend {
    fn start(files: &Files, client_ca: Option<&Authority>) -> TlsBackend {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let text = std::fs::read(&authority.file).expect("written");
                let der = rustls_pki_types::pem::PemObject::from_pem_slice(&text);
                roots.add(der.expect("ours")).expect("ours");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("usable"))
            }
        };
        let config = builder.with_single_cert(files.chain(), files.key()).expect("ours");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let backend = TlsBackend {
            address: listener.local_addr().expect("bound").to_string(),
            connections: Arc::default(),
            shown: Arc::default(),
        };
        let (config, connections) = (Arc::new(config), Arc::clone(&backend.connections));
        let shown = Arc::clone(&backend.shown);
        // Ends with the process: it waits for connections only.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (config, shown) = (Arc::clone(&config), Arc::clone(&shown));
                std::thread::spawn(move || serve(stream, config, &shown));
            }
        });
        backend
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, shown: &Mutex<Vec<bool>>) {
    let session = ServerConnection::new(config).expect("usable");
    let mut stream = StreamOwned::new(session, stream);
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length) = stream.read(&mut piece)
        && length > 0
    {
        bytes.extend_from_slice(&piece[..length]);
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            shown.lock().unwrap().push(stream.conn.peer_certificates().is_some());
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    }
}

fn plan(address: &str, tls: PoolTlsPlan) -> Plan {
    PlanBuilder::to(&[address]).pool(|pool| pool.tls = tls).build()
}

#[test]
fn a_verified_backend_is_used_again_and_again() {
    let authority = Authority::new();
    let backend = TlsBackend::start(&authority.sign(&["127.0.0.1"]), None);
    let tls = PoolTlsPlan { ca_file: Some(authority.file.clone()), ..PoolTlsPlan::default() };
    let proxy = Proxy::start(&plan(&backend.url(), tls));
    let mut client = proxy.connect();
    for _ in 0..5 {
        assert_eq!(client.ask(GET).status(), 200);
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn questions_of_our_own_are_encrypted_too() {
    let authority = Authority::new();
    let backend = TlsBackend::start(&authority.sign(&["127.0.0.1"]), Some(&authority));
    let client = authority.sign(&["evenkeel"]);
    let tls = PoolTlsPlan {
        ca_file: Some(authority.file.clone()),
        client: Some((client.cert.clone(), client.key.clone())),
        ..PoolTlsPlan::default()
    };
    let proxy = Proxy::start(&plan(&backend.url(), tls));
    let sounding = Sounding {
        snapshot: proxy.server().state().snapshot(),
        pool: proxy.pool().plan.name.clone(),
        check: HealthCheck::Http(HttpCheck {
            path: "/".to_owned(),
            method: "GET".to_owned(),
            host: String::new(),
            expect_status: vec![200..=200],
            expect_body: String::new(),
            by_default: false,
        }),
        timeout: Duration::from_secs(5),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.expect("a runtime").block_on(sounding.ask_in_turn(2));
    assert_eq!(asked, Ok(()));
    assert_eq!(*backend.shown.lock().unwrap(), [true, true], "with our certificate");
}

#[test]
fn a_certificate_that_does_not_hold_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let right = authority.sign(&["backend.test"]);
    let ca = |authority: &Authority| Some(authority.file.clone());
    let name = |name: &str| Some(name.into());
    let none = PoolTlsPlan::default;
    let expired = authority.sign_until(&["old.test"], 2021);
    let own = authority.unsigned("own.test");
    for (why, files, tls, status) in [
        (
            "right",
            &right,
            PoolTlsPlan { ca_file: ca(&authority), server_name: name("backend.test"), ..none() },
            200,
        ),
        (
            "name",
            &right,
            PoolTlsPlan { ca_file: ca(&authority), server_name: name("other.test"), ..none() },
            502,
        ),
        ("address", &right, PoolTlsPlan { ca_file: ca(&authority), ..none() }, 502),
        (
            "authority",
            &right,
            PoolTlsPlan { ca_file: ca(&other), server_name: name("backend.test"), ..none() },
            502,
        ),
        ("system", &right, PoolTlsPlan { server_name: name("backend.test"), ..none() }, 502),
        (
            "expired",
            &expired,
            PoolTlsPlan { ca_file: ca(&authority), server_name: name("old.test"), ..none() },
            502,
        ),
        (
            "itself",
            &own,
            PoolTlsPlan {
                ca_file: Some(own.cert.clone()),
                server_name: name("own.test"),
                ..none()
            },
            200,
        ),
        (
            "itself under another name",
            &own,
            PoolTlsPlan { ca_file: Some(own.cert.clone()), ..none() },
            502,
        ),
        ("unverified", &right, PoolTlsPlan { insecure_skip_verify: true, ..none() }, 200),
    ] {
        let backend = TlsBackend::start(files, None);
        let proxy = Proxy::start(&plan(&backend.url(), tls));
        let response = proxy.connect().ask(GET);
        assert_eq!(response.status(), status, "{why}");
        if status == 502 {
            assert!(response.text().contains("connect_failure"), "{why}");
        }
    }
}

#[test]
fn our_own_certificate_is_shown() {
    let authority = Authority::new();
    let backend = TlsBackend::start(&authority.sign(&["127.0.0.1"]), Some(&authority));
    let own = authority.sign(&["proxy"]);
    let tls = |client| PoolTlsPlan {
        ca_file: Some(authority.file.clone()),
        client,
        ..PoolTlsPlan::default()
    };
    let proxy = Proxy::start(&plan(&backend.url(), tls(Some((own.cert, own.key)))));
    assert_eq!(proxy.connect().ask(GET).status(), 200);
    assert_eq!(*backend.shown.lock().unwrap(), [true]);
    let proxy = Proxy::start(&plan(&backend.url(), tls(None)));
    assert_eq!(proxy.connect().ask(GET).status(), 502);
}

#[test]
fn plaintext_from_a_tls_backend_is_not_delivered() {
    // CVE-2026-1642: an answer before the handshake.
    let backend = Backend::start(|conversation| {
        conversation.send(OK);
        conversation.read_to_end();
    });
    let tls = PoolTlsPlan { insecure_skip_verify: true, ..PoolTlsPlan::default() };
    let proxy = Proxy::start(&plan(&format!("https://{}", backend.address()), tls));
    let response = proxy.connect().ask(GET);
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("connect_failure"));
}

#[test]
fn probes_speak_tls_too() {
    let authority = Authority::new();
    let backend = TlsBackend::start(&authority.sign(&["127.0.0.1"]), None);
    let tls = PoolTlsPlan { ca_file: Some(authority.file.clone()), ..PoolTlsPlan::default() };
    let mut plan = plan(&backend.url(), tls);
    let page = HealthCheck::Http(HttpCheck {
        path: "/health".to_owned(),
        method: "GET".to_owned(),
        host: String::new(),
        expect_status: vec![200..=299],
        expect_body: String::new(),
        by_default: false,
    });
    for check in [HealthCheck::Tcp, page] {
        plan.pools[0].health.check = check;
        let proxy = Proxy::start(&plan);
        assert!(proxy.server().await_first_probes(Duration::from_secs(5)));
        let counts = proxy.server().state().probe_counts();
        assert_eq!(counts, [("success", 1), ("failure", 0)]);
    }
}
