//! What a discovery needs, by its kind.

use super::Check;
use crate::diagnostic::Fault;
use crate::plan::discovery::{port, resolver};
use crate::scalar::Text;
use crate::sections::{Discovery, DiscoveryType, DnsRecord};

impl Check<'_> {
    pub(super) fn discovery(&mut self, keys: &Discovery, path: &str) {
        // Of a type that is none, nobody knows what it needs.
        if !self.says(&format!("{path}.type"), keys.r#type.as_str()) {
            return;
        }
        for (key, needed, example) in needs(keys) {
            if needed.as_ref().is_none_or(|text| text.0.is_empty()) {
                let kind = keys.r#type.as_str();
                let fault = Fault::new(format!("discovery of type `{kind}` needs `{key}`"));
                self.report(&format!("{path}.{key}"), fault.hint(example));
            }
        }
        for (key, given, kinds) in belongs(keys) {
            if given && !kinds.contains(&keys.r#type) {
                let of: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                let message = format!("`{key}` is for discovery of type {}", of.join(" or "));
                self.report(&format!("{path}.{key}"), message);
            }
        }
        let is_srv = keys.record == DnsRecord::Srv;
        if keys.r#type == DiscoveryType::Dns && is_srv && keys.port.is_some() {
            let fault = Fault::new("SRV records have ports of their own").hint("leave `port` out");
            self.report(&format!("{path}.port"), fault);
        } else if keys.r#type != DiscoveryType::Kubernetes
            && let Some(text) = &keys.port
            && port(&text.0).is_none()
        {
            let fault = Fault::new(format!("{:?} is not a port", text.0)).hint("such as 8080");
            self.report(&format!("{path}.port"), fault);
        }
        if let Some(text) = &keys.resolver
            && resolver(&text.0).is_none()
        {
            let fault = Fault::new(format!("{:?} is not an address with a port", text.0));
            self.report(&format!("{path}.resolver"), fault.hint("such as 10.0.0.2:53"));
        }
        if let Some(text) = &keys.address
            && !is_url(&text.0)
        {
            let fault = Fault::new(format!("{:?} is not of the form http://HOST:PORT", text.0));
            self.report(&format!("{path}.address"), fault.hint("such as https://10.0.0.1:6443"));
        }
        for (key, name) in [("namespace", &keys.namespace), ("service", &keys.service)] {
            if let Some(text) = name
                && keys.r#type == DiscoveryType::Kubernetes
                && !is_label(&text.0)
            {
                let fault = Fault::new(format!("{:?} is not a name in Kubernetes", text.0));
                let fault = fault.hint("lower-case letters, digits and -");
                self.report(&format!("{path}.{key}"), fault);
            }
        }
        if keys.address.is_none() && keys.r#type == DiscoveryType::Kubernetes {
            for (key, file) in [("token_file", &keys.token_file), ("ca_file", &keys.ca_file)] {
                if file.is_some() {
                    let fault = Fault::new("the account of the pod has its own");
                    self.report(&format!("{path}.{key}"), fault.hint("it goes with `address`"));
                }
            }
        }
        if keys.interval.0.is_zero() {
            let fault = Fault::new("0s would ask without end").hint("such as 5s");
            self.report(&format!("{path}.interval"), fault);
        }
    }
}

/// `http://` or `https://` with a host, and nothing behind its port.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)).is_some_and(|rest| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@".contains(&byte);
        !rest.is_empty() && !rest.starts_with(':') && rest.bytes().all(is_plain)
    })
}

/// A label of DNS (RFC 1123), which names in Kubernetes are.
fn is_label(text: &str) -> bool {
    let of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(of_names) && !text.starts_with('-')
}

/// Keys without which a kind makes no sense, with an example of each.
fn needs(keys: &Discovery) -> Vec<(&'static str, &Option<Text>, &'static str)> {
    match keys.r#type {
        DiscoveryType::Dns => {
            let mut needs = vec![("name", &keys.name, "name: app.internal")];
            if keys.record == DnsRecord::A {
                needs.push(("port", &keys.port, "port: 8080"));
            }
            needs
        }
        DiscoveryType::File => vec![("path", &keys.path, "path: targets.yaml")],
        DiscoveryType::Kubernetes => vec![("service", &keys.service, "service: app")],
        DiscoveryType::Docker => vec![("label", &keys.label, "label: evenkeel.pool=web")],
        DiscoveryType::Consul => vec![("service", &keys.service, "service: app")],
    }
}

/// Keys that mean nothing for other kinds than these, and whether they are given.
fn belongs(keys: &Discovery) -> Vec<(&'static str, bool, &'static [DiscoveryType])> {
    vec![
        ("name", keys.name.is_some(), &[DiscoveryType::Dns]),
        ("record", keys.record != DnsRecord::A, &[DiscoveryType::Dns]),
        ("resolver", keys.resolver.is_some(), &[DiscoveryType::Dns]),
        ("path", keys.path.is_some(), &[DiscoveryType::File]),
        ("namespace", keys.namespace.is_some(), &[DiscoveryType::Kubernetes]),
        ("service", keys.service.is_some(), &[DiscoveryType::Kubernetes, DiscoveryType::Consul]),
        ("address", keys.address.is_some(), &[DiscoveryType::Kubernetes, DiscoveryType::Consul]),
        (
            "token_file",
            keys.token_file.is_some(),
            &[DiscoveryType::Kubernetes, DiscoveryType::Consul],
        ),
        ("ca_file", keys.ca_file.is_some(), &[DiscoveryType::Kubernetes, DiscoveryType::Consul]),
        ("label", keys.label.is_some(), &[DiscoveryType::Docker]),
        ("network", keys.network.is_some(), &[DiscoveryType::Docker]),
        ("socket", keys.socket.is_some(), &[DiscoveryType::Docker]),
        ("tag", keys.tag.is_some(), &[DiscoveryType::Consul]),
        ("datacenter", keys.datacenter.is_some(), &[DiscoveryType::Consul]),
        ("passing", !keys.passing, &[DiscoveryType::Consul]),
        (
            "port",
            keys.port.is_some(),
            &[DiscoveryType::Dns, DiscoveryType::Docker, DiscoveryType::Kubernetes],
        ),
    ]
}
