//! A checked discovery as a domain type.

use super::scale::DOCKER_SOCKET;
use crate::scalar::Text;
use crate::sections::{self, Discovery, DiscoveryType, FoundScheme};
use evenkeel_core::address::Scheme;
use evenkeel_core::plan::{
    ConsulPlan, ContainersPlan, DiscoveryPlan, DiscoverySource, DnsRecord, KubernetesPlan,
};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where name servers listen.
const DNS_PORT: u16 = 53;

/// Where an agent of Consul listens.
const AGENT: &str = "http://127.0.0.1:8500";

/// The check has found what each kind needs.
pub(super) fn discovery(keys: &Discovery) -> DiscoveryPlan {
    let text = |text: &Option<Text>| text.as_ref().map(|it| it.0.clone()).unwrap_or_default();
    let file = |text: &Option<Text>| text.as_ref().map(|it| PathBuf::from(&it.0));
    let number = || port(&text(&keys.port)).unwrap_or_default();
    let source = match keys.r#type {
        DiscoveryType::Dns => DiscoverySource::Dns {
            name: text(&keys.name),
            record: match keys.record {
                sections::DnsRecord::A => DnsRecord::Address(number()),
                sections::DnsRecord::Srv => DnsRecord::Srv,
            },
            resolver: keys.resolver.as_ref().and_then(|it| resolver(&it.0)),
        },
        DiscoveryType::File => DiscoverySource::File { path: text(&keys.path).into() },
        DiscoveryType::Kubernetes => DiscoverySource::Kubernetes(KubernetesPlan {
            namespace: match text(&keys.namespace).as_str() {
                "" => "default".to_owned(),
                namespace => namespace.to_owned(),
            },
            service: text(&keys.service),
            port: text(&keys.port),
            server: keys.address.as_ref().map(|it| it.0.clone()),
            token_file: file(&keys.token_file),
            ca_file: file(&keys.ca_file),
        }),
        DiscoveryType::Docker => DiscoverySource::Docker(ContainersPlan {
            label: text(&keys.label),
            port: keys.port.as_ref().and_then(|it| port(&it.0)),
            network: text(&keys.network),
            socket: file(&keys.socket).unwrap_or_else(|| DOCKER_SOCKET.into()),
        }),
        DiscoveryType::Consul => DiscoverySource::Consul(ConsulPlan {
            server: keys.address.as_ref().map_or_else(|| AGENT.to_owned(), |it| it.0.clone()),
            service: text(&keys.service),
            tag: text(&keys.tag),
            datacenter: text(&keys.datacenter),
            token_file: file(&keys.token_file),
            ca_file: file(&keys.ca_file),
            passing: keys.passing,
        }),
    };
    DiscoveryPlan {
        source,
        interval: keys.interval.0,
        allow_empty: keys.allow_empty,
        max: keys.max.as_count(),
        scheme: match keys.scheme {
            FoundScheme::Http => Scheme::Http,
            FoundScheme::Https => Scheme::Https,
            FoundScheme::H2c => Scheme::H2c,
        },
        drain_timeout: keys.drain_timeout.0,
    }
}

/// A port that something can listen on.
pub(crate) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// An address of a name server, with or without its port.
pub(crate) fn resolver(text: &str) -> Option<SocketAddr> {
    let bare = |text: &str| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS_PORT));
    text.parse().ok().or_else(|| bare(text)).filter(|address: &SocketAddr| address.port() > 0)
}
