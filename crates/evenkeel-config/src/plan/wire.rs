//! What lies below HTTP, checked, as domain types: TLS, tunnels, flows, PROXY headers; redirects.

use super::bound;
use crate::scalar::{Name, Text};
use crate::sections::{
    self, AcceptProxy, Certificate, ClientAuth, Listener, ListenerProtocol, Pool, RedirectScheme,
    Root, SendProxy,
};
use evenkeel_core::plan::{
    self, CertificatePlan, ClientAuthPlan, ListenerTlsPlan, PoolTlsPlan, RedirectPlan,
    SniRoutePlan, TcpPlan, UdpPlan,
};
use std::collections::HashMap;
use std::path::PathBuf;

/// Every pool's place by name; the check has found every name in it.
type Places<'a> = HashMap<&'a str, usize>;

fn file(text: &Text) -> Option<PathBuf> {
    (!text.0.is_empty()).then(|| PathBuf::from(&text.0))
}

pub(super) fn protocol(listener: &Listener, places: &Places<'_>) -> plan::ListenerProtocol {
    let place = |name: &Name| places.get(name.0.as_str()).copied();
    let pool = listener.pool.as_ref().and_then(place);
    match (listener.protocol, pool) {
        (ListenerProtocol::Http, _) => plan::ListenerProtocol::Http,
        (ListenerProtocol::Tcp, pool) => {
            let route = |route: &sections::SniRoute| {
                let hosts = route.hosts.iter().map(|host| host.0.clone()).collect();
                Some(SniRoutePlan { hosts, pool: place(&route.pool)? })
            };
            let sni_routes = listener.sni_routes.iter().filter_map(route).collect();
            plan::ListenerProtocol::Tcp(TcpPlan { pool, sni_routes })
        }
        // The check has demanded its pool.
        (ListenerProtocol::Udp, pool) => plan::ListenerProtocol::Udp(UdpPlan {
            pool: pool.unwrap_or_default(),
            idle_timeout: bound(listener.udp.idle_timeout.0),
            max_flows: listener.udp.max_flows.as_count(),
        }),
    }
}

/// The protocol of the tcp or udp listener that uses a pool, if one does.
pub(super) fn user(root: &Root, pool: &Pool) -> Option<ListenerProtocol> {
    let names = |listener: &&Listener| {
        let by_name = || listener.sni_routes.iter().any(|route| route.pool == pool.name);
        listener.protocol != ListenerProtocol::Http
            && (listener.pool.as_ref() == Some(&pool.name) || by_name())
    };
    root.listeners.iter().find(names).map(|listener| listener.protocol)
}

pub(super) fn tls(listener: &Listener) -> Option<ListenerTlsPlan> {
    let tls = listener.tls.as_ref()?;
    let protocol = |one: &sections::Alpn| match one {
        sections::Alpn::H2 => plan::Alpn::H2,
        sections::Alpn::Http11 => plan::Alpn::Http11,
    };
    let certificate = |one: &Certificate| CertificatePlan {
        cert: PathBuf::from(&one.cert.0),
        key: PathBuf::from(&one.key.0),
        ocsp: file(&one.ocsp),
    };
    Some(ListenerTlsPlan {
        certificates: tls.certificates.iter().map(certificate).collect(),
        client_auth: file(&tls.client_ca)
            .map(|ca| ClientAuthPlan { ca, required: tls.client_auth == ClientAuth::Required }),
        min_version: match tls.min_version {
            sections::TlsVersion::V12 => plan::TlsVersion::V12,
            sections::TlsVersion::V13 => plan::TlsVersion::V13,
        },
        alpn: tls.alpn.iter().flatten().map(protocol).collect(),
        handshake_timeout: bound(tls.handshake_timeout.0),
    })
}

pub(super) fn accept_proxy(listener: &Listener) -> plan::AcceptProxy {
    match listener.proxy_protocol {
        AcceptProxy::Off => plan::AcceptProxy::Off,
        AcceptProxy::Optional => plan::AcceptProxy::Optional,
        AcceptProxy::Required => plan::AcceptProxy::Required,
    }
}

pub(super) fn redirect(listener: &Listener) -> Option<RedirectPlan> {
    let redirect = listener.redirect.as_ref()?;
    Some(RedirectPlan {
        secure: redirect.scheme == RedirectScheme::Https,
        // Filled in, and the checked ranges leave no other values.
        port: redirect.port.and_then(|port| u16::try_from(port.0).ok()).unwrap_or(443),
        status: u16::try_from(redirect.status.0).unwrap_or(308),
    })
}

pub(super) fn pool_tls(pool: &Pool) -> PoolTlsPlan {
    let tls = &pool.tls;
    let name = &tls.server_name.0;
    PoolTlsPlan {
        ca_file: file(&tls.ca_file),
        server_name: (!name.is_empty()).then(|| name.as_str().into()),
        client: file(&tls.client_cert).zip(file(&tls.client_key)),
        insecure_skip_verify: tls.insecure_skip_verify,
    }
}

pub(super) fn send_proxy(pool: &Pool) -> plan::SendProxy {
    match pool.proxy_protocol {
        SendProxy::Off => plan::SendProxy::Off,
        SendProxy::V1 => plan::SendProxy::V1,
        SendProxy::V2 => plan::SendProxy::V2,
    }
}
