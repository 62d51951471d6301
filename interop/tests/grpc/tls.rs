//! The same calls under TLS on both sides.

use crate::calls::speak;
use crate::echo::{Backend, Caller};
use crate::runtime;
use evenkeel_core::plan::{
    Alpn, CertificatePlan, ListenerTlsPlan, PoolProtocol, PoolTlsPlan, TlsVersion,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

/// What both the proxy's and the servers' certificates are for.
const NAME: &str = "calls.test";

#[test]
fn all_four_kinds_pass_under_tls_on_both_sides() {
    let files = TempDir::new().expect("a folder");
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let own = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("signed");
    let (pem, secret) = (own.cert.pem(), own.signing_key.serialize_pem());
    std::fs::write(&cert, &pem).expect("written");
    std::fs::write(&key, &secret).expect("written");
    let identity = ServerTlsConfig::new().identity(Identity::from_pem(&pem, &secret));
    let backend = Backend::start("a", Some(identity));

    for protocol in [PoolProtocol::Http2, PoolProtocol::Auto] {
        let tls = ListenerTlsPlan {
            certificates: vec![CertificatePlan {
                cert: cert.clone(),
                key: key.clone(),
                ocsp: None,
            }],
            client_auth: None,
            min_version: TlsVersion::V12,
            alpn: vec![Alpn::H2, Alpn::Http11],
            handshake_timeout: Duration::from_secs(5),
        };
        let plan = PlanBuilder::to(&[&format!("https://{}", backend.address)])
            .listener(|listener| listener.tls = Some(tls))
            .pool(|pool| {
                pool.protocol = protocol;
                pool.tls = PoolTlsPlan {
                    ca_file: Some(cert.clone()),
                    server_name: Some(NAME.into()),
                    client: None,
                    insecure_skip_verify: false,
                };
            });
        let proxy = Proxy::start(&plan.build());
        let trusted =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem)).domain_name(NAME);
        runtime().block_on(async {
            let endpoint = Endpoint::from_shared(format!("https://{}", proxy.address()));
            // A host that the certificate is not for would be misdirected.
            let origin = format!("https://{NAME}").parse().expect("a URI");
            let endpoint = endpoint.expect("an address").origin(origin);
            let endpoint = endpoint.tls_config(trusted).expect("usable");
            let mut caller = Caller::over(endpoint.connect().await.expect("connected"));
            speak(&mut caller).await;
        });
    }
    assert_eq!(backend.calls(), 8, "four kinds, twice");
}
