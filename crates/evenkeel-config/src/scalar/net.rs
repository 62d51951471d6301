//! Addresses and networks.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use evenkeel_core::address::{BackendAddress, BindAddress, Endpoint, Scheme};
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value as Json, json};
use std::net::{IpAddr, Ipv4Addr};

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bind(pub(crate) BindAddress);

impl Bind {
    /// Stands for a bind address that is missing or wrong; it never leaves the reader.
    pub(crate) fn stand_in() -> Bind {
        Bind(BindAddress::AnyIp(0))
    }
}

impl Scalar for Bind {
    const WORD: &'static str = "an address to bind";

    fn parse(atom: Atom<'_>) -> Result<Bind, Fault> {
        BindAddress::parse(atom.text().trim()).map(Bind).map_err(|message| {
            Fault::new(message).hint(r#"such as ":8080", "127.0.0.1:8080" or "unix:/run/x.sock""#)
        })
    }

    fn json(&self) -> Json {
        Json::String(self.0.to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": [":8080", "127.0.0.1:8080", "unix:/run/x.sock"] })
    }
}

/// Where an optional listener binds; `""` turns it off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BindOrOff(pub(crate) Option<BindAddress>);

impl Scalar for BindOrOff {
    const WORD: &'static str = "an address to bind, or \"\"";

    fn parse(atom: Atom<'_>) -> Result<BindOrOff, Fault> {
        match atom {
            Atom::Bool(false) | Atom::Str("" | "off") => Ok(BindOrOff(None)),
            Atom::Bool(true) | Atom::Number(_) | Atom::Str(_) => {
                Bind::parse(atom).map(|bind| BindOrOff(Some(bind.0)))
            }
        }
    }

    fn json(&self) -> Json {
        Json::String(self.0.as_ref().map(BindAddress::to_string).unwrap_or_default())
    }

    fn schema() -> Json {
        Bind::schema()
    }
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address(pub(crate) BackendAddress);

impl Address {
    /// Stands for an address that is missing or wrong; it never leaves the reader.
    pub(crate) fn stand_in() -> Address {
        let endpoint = Endpoint::Ip((Ipv4Addr::UNSPECIFIED, 0).into());
        let (scheme, prefix) = (Scheme::Http, "".into());
        Address(BackendAddress { scheme, endpoint, prefix, text: "".into() })
    }
}

impl Scalar for Address {
    const WORD: &'static str = "an address";

    fn parse(atom: Atom<'_>) -> Result<Address, Fault> {
        BackendAddress::parse(atom.text().trim()).map(Address).map_err(|message| {
            Fault::new(message).hint("such as 127.0.0.1:8081, http://host:80 or unix:/run/x.sock")
        })
    }

    fn json(&self) -> Json {
        Json::String(self.0.text.to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:8081", "http://app.internal:8080"] })
    }
}

/// A network; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr(pub(crate) IpNet);

impl Scalar for Cidr {
    const WORD: &'static str = "a network";

    fn parse(atom: Atom<'_>) -> Result<Cidr, Fault> {
        let text = atom.text().trim();
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => text.parse::<IpNet>().ok(),
        };
        network.map(|network| Cidr(canonical(network.trunc()))).ok_or_else(|| {
            Fault::new(format!("{text:?} is not a network"))
                .hint("such as 10.0.0.0/8, fd00::/8 or 192.0.2.7")
        })
    }

    fn json(&self) -> Json {
        Json::String(self.0.to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["10.0.0.0/8", "fd00::/8"] })
    }
}

/// Where the address of IPv4 begins in one that is mapped into IPv6 (RFC 4291 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// A network of mapped addresses (`::ffff:10.0.0.0/104`) is one of IPv4: clients are known by the
/// latter, however they came, so that it would never hold anybody.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.network().to_ipv4_mapped();
    let bits = v6.prefix_len().checked_sub(MAPPED_PREFIX_BITS);
    let mapped = v4.zip(bits).and_then(|(v4, bits)| Ipv4Net::new(v4, bits).ok());
    mapped.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn networks() {
        shown::<Cidr>(&[
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ]);
        refused::<Cidr>(&[("10.0.0.0/99", "not a network"), ("x", "such as"), ("", "network")]);
    }

    #[test]
    fn addresses() {
        shown::<Address>(&[("http://a:80", "http://a:80"), ("127.0.0.1:1", "127.0.0.1:1")]);
        refused::<Address>(&[("ftp://x:80", "scheme"), ("127.0.0.1:99999", "port")]);
        shown::<Bind>(&[(":80", ":80"), ("[::1]:80", "[::1]:80")]);
        refused::<Bind>(&[("80", "port"), ("name:80", "IP address")]);
        shown::<BindOrOff>(&[("", ""), ("off", ""), ("127.0.0.1:9900", "127.0.0.1:9900")]);
    }
}
