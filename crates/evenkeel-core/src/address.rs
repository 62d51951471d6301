//! Where a listener binds and where a backend is reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a listener accepts: an IP socket, both IP families of one port, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Ip(SocketAddr),
    /// `:8080`: every IPv4 and IPv6 address of the machine.
    AnyIp(u16),
    /// `unix:/run/x.sock`.
    Unix(PathBuf),
}

impl BindAddress {
    /// Parses `host:port`, `:port`, `[v6]:port` or `unix:/path`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<BindAddress, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: needs a path, e.g. unix:/run/evenkeel.sock".to_owned());
            }
            return Ok(BindAddress::Unix(PathBuf::from(path)));
        }
        if text.contains("://") {
            return Err(format!("{text:?} has a scheme; a listener binds to host:port alone"));
        }
        if text.parse::<u16>().is_ok() {
            return Err(format!("{text} is a port without an address; write \":{text}\" for all"));
        }
        let (host, port) = split_host_port(text)?;
        let port = port.ok_or_else(|| format!("{text:?} has no port, e.g. 127.0.0.1:8080"))?;
        match host {
            "" | "*" => Ok(BindAddress::AnyIp(port)),
            "localhost" => Ok(BindAddress::Ip((Ipv4Addr::LOCALHOST, port).into())),
            host => match host.parse::<IpAddr>() {
                Ok(ip) => Ok(BindAddress::Ip((ip, port).into())),
                Err(_) => Err(format!("{host:?} is not an IP address; a listener binds to one")),
            },
        }
    }

    /// True if only programs on this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            BindAddress::Ip(addr) => addr.ip().is_loopback(),
            BindAddress::AnyIp(_) => false,
            BindAddress::Unix(_) => true,
        }
    }

    /// The socket addresses to bind, IPv6 last; empty for a unix socket.
    pub fn socket_addrs(&self) -> Vec<SocketAddr> {
        match self {
            BindAddress::Ip(addr) => vec![*addr],
            BindAddress::AnyIp(port) => {
                vec![(Ipv4Addr::UNSPECIFIED, *port).into(), (Ipv6Addr::UNSPECIFIED, *port).into()]
            }
            BindAddress::Unix(_) => Vec::new(),
        }
    }

    /// True if only one socket can have both of them: they are the same, or have the port in common
    /// and one stands for every address of the other's family.
    pub fn overlaps(&self, other: &BindAddress) -> bool {
        let others = other.socket_addrs();
        let meets = |own: &SocketAddr, other: &SocketAddr| {
            let everywhere = own.ip().is_unspecified() || other.ip().is_unspecified();
            let alike = own.is_ipv4() == other.is_ipv4() && own.port() == other.port();
            alike && (everywhere || own.ip() == other.ip())
        };
        let any = |own: &SocketAddr| others.iter().any(|other| meets(own, other));
        self == other || self.socket_addrs().iter().any(any)
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Ip(addr) => write!(f, "{addr}"),
            BindAddress::AnyIp(port) => write!(f, ":{port}"),
            BindAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken to a backend below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP, HTTP/1.1 inside.
    Http,
    /// TLS.
    Https,
    /// Plain TCP, HTTP/2 by prior knowledge.
    H2c,
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A fixed address.
    Ip(SocketAddr),
    /// A name that is resolved, and re-resolved on its TTL.
    Name(Arc<str>, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// A backend's address as configured: `host:port`, `http://`, `https://`, `h2c://` or `unix:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendAddress {
    /// What is spoken below HTTP.
    pub scheme: Scheme,
    /// Where.
    pub endpoint: Endpoint,
    /// What every path begins with that it is asked for: `/base`; empty as a rule.
    pub prefix: Arc<str>,
    /// As the user spelt it.
    pub text: Arc<str>,
}

impl BackendAddress {
    /// Parses one address; the error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<BackendAddress, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: needs a path, e.g. unix:/run/app.sock".to_owned());
            }
            let endpoint = Endpoint::Unix(PathBuf::from(path));
            let (scheme, prefix) = (Scheme::Http, "".into());
            return Ok(BackendAddress { scheme, endpoint, prefix, text: text.into() });
        }
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Http, text),
            // Schemes have no case (RFC 3986 3.1).
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" => (Scheme::Http, rest),
                "https" => (Scheme::Https, rest),
                "h2c" => (Scheme::H2c, rest),
                _ => {
                    return Err(format!(
                        "invalid scheme {scheme:?}: expected http, https, h2c or host:port"
                    ));
                }
            },
        };
        if rest.contains(',') {
            return Err(format!("{text:?} is more than one address; give each by itself"));
        }
        if rest.contains(['?', '#', '@']) {
            return Err(format!("{text:?} has more than scheme, host, port and path"));
        }
        let (rest, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if !prefix.is_empty() && !text.contains("://") {
            return Err(format!("{text:?} has a path and no scheme; write http://{text}"));
        }
        if !is_prefix(prefix) {
            return Err(format!("{prefix:?} is no path as others begin with: /NAME, /NAME/NAME"));
        }
        let (host, port) = split_host_port(rest)?;
        if host.is_empty() {
            return Err(format!("{text:?} has no host, e.g. 127.0.0.1:8081"));
        }
        let port = match (port, scheme) {
            (Some(0), _) => return Err(format!("{text:?}: port 0 cannot be connected to")),
            (Some(port), _) => port,
            (None, Scheme::Https) => 443,
            (None, _) if text.contains("://") => 80,
            (None, _) => return Err(format!("{text:?} has no port, e.g. {rest}:8081")),
        };
        let endpoint = match host.parse::<IpAddr>() {
            Ok(ip) => Endpoint::Ip((ip, port).into()),
            Err(_) if is_name(host) => Endpoint::Name(host.into(), port),
            Err(_) => return Err(format!("{host:?} is neither an IP address nor a host name")),
        };
        Ok(BackendAddress { scheme, endpoint, prefix: prefix.into(), text: text.into() })
    }

    /// What it is called unless somebody names it: where it is, and what its paths begin with.
    pub fn default_name(&self) -> String {
        format!("{}{}", self.place(), self.prefix)
    }

    /// `host:port`, or the path of a unix socket.
    pub fn place(&self) -> String {
        match &self.endpoint {
            Endpoint::Ip(addr) => addr.to_string(),
            Endpoint::Name(host, port) => format!("{host}:{port}"),
            Endpoint::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// Whether every path may begin with it: names that need no escapes, and none that would be
/// resolved away.
fn is_prefix(path: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:".contains(&b);
    path.split('/')
        .skip(1)
        .all(|name| !matches!(name, "" | "." | "..") && name.bytes().all(is_plain))
}

fn is_name(host: &str) -> bool {
    host.len() <= 253
        && host.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Splits `host:port`, `host`, `:port` or `[v6]:port`; brackets are removed.
fn split_host_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) =
            rest.split_once(']').ok_or_else(|| format!("{text:?}: no closing ]"))?;
        if !after.is_empty() && !after.starts_with(':') {
            return Err(format!("{text:?}: expected :PORT after ]"));
        }
        (host, after.strip_prefix(':'))
    } else if let Some((host, port)) = text.rsplit_once(':') {
        if host.contains(':') {
            return Err(format!("{text:?}: an IPv6 address needs brackets, e.g. [::1]:8080"));
        }
        (host, Some(port))
    } else {
        (text, None)
    };
    let port = match port {
        None => None,
        Some(digits) => Some(
            digits
                .parse::<u16>()
                .map_err(|_| format!("port {digits:?} is not a number between 0 and 65535"))?,
        ),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_addresses() {
        let ok = [
            ("127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://example.com", "example.com:443"),
            ("http://localhost:8081/", "localhost:8081"),
            ("h2c://[::1]:9000", "[::1]:9000"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("no_such.invalid:80", "no_such.invalid:80"),
            ("HTTP://example.com", "example.com:80"),
            ("http://example.com/base", "example.com:80/base"),
            ("https://[::1]/a/b.c/", "[::1]:443/a/b.c"),
        ];
        for (text, name) in ok {
            let address = BackendAddress::parse(text).expect(text);
            assert_eq!(address.default_name(), name);
            assert_eq!(&*address.text, text);
        }
        for text in ["ftp://x:80", "127.0.0.1:99999", "x", "", ":80", "unix:", "::1:80", "a b:1"] {
            assert!(BackendAddress::parse(text).is_err(), "{text}");
        }
        for path in ["/a?b", "/a#b", "/a/../b", "//a", "/a//b", "/a b", "/%61", "/a\r\n", "/./"] {
            assert!(BackendAddress::parse(&format!("http://x{path}")).is_err(), "{path:?}");
        }
        assert!(BackendAddress::parse("x:80/base").unwrap_err().ends_with("http://x:80/base"));
    }

    #[test]
    fn bind_addresses() {
        assert_eq!(BindAddress::parse(":80"), Ok(BindAddress::AnyIp(80)));
        assert!(BindAddress::parse("[::1]:80").expect("v6").is_loopback());
        assert!(BindAddress::parse("example.com:80").is_err());
        assert!(BindAddress::parse("127.0.0.1").is_err());
        for (text, words) in [
            ("8080", "8080 is a port without an address; write \":8080\""),
            ("http://0.0.0.0:80", "has a scheme"),
            ("99999", "has no port"),
        ] {
            let told = BindAddress::parse(text).expect_err(text);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn one_for_all_addresses_overlaps_each_of_its_family() {
        let parsed = |text| BindAddress::parse(text).expect(text);
        for (one, other, overlap) in [
            (":80", ":80", true),
            (":80", "127.0.0.1:80", true),
            (":80", "[::1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            (":80", "127.0.0.1:81", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", ":80", false),
        ] {
            assert_eq!(parsed(one).overlaps(&parsed(other)), overlap, "{one} {other}");
            assert_eq!(parsed(other).overlaps(&parsed(one)), overlap, "{other} {one}");
        }
    }
}
