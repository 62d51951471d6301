//! Whose requests are believed. A page on the web can make a browser send requests to any address,
//! also under a name of the page's own (DNS rebinding); the `Host` it then sends gives it away.

use evenkeel_core::address::BindAddress;
use std::net::IpAddr;

/// The hosts that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServedHosts {
    /// A unix socket: no browser reaches it, every host will do.
    All,
    /// Loopback, or this address; an unspecified one stands for every address, never for a name.
    Address(IpAddr),
}

impl ServedHosts {
    /// The hosts that fit where a listener is bound.
    pub(crate) fn of(bind: &BindAddress) -> ServedHosts {
        match bind {
            BindAddress::Ip(address) => ServedHosts::Address(address.ip()),
            BindAddress::AnyIp(_) => ServedHosts::Address(std::net::Ipv6Addr::UNSPECIFIED.into()),
            BindAddress::Unix(_) => ServedHosts::All,
        }
    }

    /// True if a `Host` field's value (`name`, `name:port`, `[v6]:port`) is one of ours.
    pub(crate) fn include(self, host: &str) -> bool {
        let bound = match self {
            ServedHosts::All => return true,
            ServedHosts::Address(bound) => bound,
        };
        let Some(name) = without_port(host) else { return false };
        match name.parse::<IpAddr>() {
            Ok(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback() || bound.is_unspecified() || ip == bound.to_canonical()
            }
            Err(_) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

/// The host without its port and brackets; `None` if it is neither a name nor an address.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(bind: &str) -> ServedHosts {
        ServedHosts::of(&BindAddress::parse(bind).expect(bind))
    }

    #[test]
    fn only_our_own_hosts_are_served() {
        let always = ["localhost", "LOCALHOST:9900", "app.localhost.", "127.0.0.1:1", "127.9.9.9"];
        let always = always.into_iter().chain(["[::1]", "[::1]:9900", "[::ffff:127.0.0.1]:80"]);
        let never = ["evil.example", "evil.example:9900", "localhost.evil.example", "", ":80"];
        let never = never.into_iter().chain(["localhost:x", "::1", "[::1", "a@localhost"]);
        for bind in ["127.0.0.1:9900", "10.0.0.1:9900", ":9900", "[::1]:9900"] {
            for host in always.clone() {
                assert!(served(bind).include(host), "{bind}: {host}");
            }
            for host in never.clone() {
                assert!(!served(bind).include(host), "{bind}: {host}");
            }
        }
    }

    #[test]
    fn the_bind_address_decides_about_other_addresses() {
        let cases = [
            ("127.0.0.1:9900", "10.0.0.1:9900", false),
            ("10.0.0.1:9900", "10.0.0.1:9900", true),
            ("10.0.0.1:9900", "10.0.0.2:9900", false),
            ("0.0.0.0:9900", "10.0.0.2:9900", true),
            (":9900", "[fd00::1]:9900", true),
            ("unix:/run/x.sock", "whatever.example", true),
        ];
        for (bind, host, wanted) in cases {
            assert_eq!(served(bind).include(host), wanted, "{bind}: {host}");
        }
    }
}
