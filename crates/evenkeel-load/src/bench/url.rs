//! Where a bench sends its requests.

use std::fmt;

/// How the target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// WebSocket in the clear.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Bytes over TCP.
    Tcp,
}

impl Scheme {
    /// True if bytes go through TLS.
    pub fn is_secure(self) -> bool {
        match self {
            Scheme::Https | Scheme::Wss => true,
            Scheme::Http | Scheme::Ws | Scheme::Tcp => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Tcp => "tcp",
        }
    }

    fn port(self) -> Option<u16> {
        match self {
            Scheme::Http | Scheme::Ws => Some(80),
            Scheme::Https | Scheme::Wss => Some(443),
            Scheme::Tcp => None,
        }
    }
}

/// A target, as its URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl BenchUrl {
    /// Reads `scheme://host[:port][/path][?query]`; without a scheme it is `http`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<BenchUrl, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (parse_scheme(scheme)?, rest),
            None => (Scheme::Http, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a URL with a user is not taken; use -H 'Authorization: …'".to_owned());
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("no host in {text:?}; a URL is SCHEME://HOST[:PORT][/PATH]"));
        }
        let Some(port) = port.or(scheme.port()) else {
            return Err("tcp needs a port: tcp://HOST:PORT".to_owned());
        };
        let path = path.split('#').next().unwrap_or_default();
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("the path has a space or a control character; encode it as %20".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(BenchUrl { scheme, host: host.to_owned(), port, path })
    }

    /// Host and port as a Host field names them.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.scheme.port() == Some(self.port) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for BenchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())?;
        if self.scheme == Scheme::Tcp { Ok(()) } else { f.write_str(&self.path) }
    }
}

fn parse_scheme(text: &str) -> Result<Scheme, String> {
    let all = [Scheme::Http, Scheme::Https, Scheme::Ws, Scheme::Wss, Scheme::Tcp];
    let found = all.into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.name()));
    found.ok_or_else(|| format!("unknown scheme {text:?}; known are http, https, ws, wss, tcp"))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let wrong = |port| format!("{port:?} is no port; ports are 1 to 65535");
    let port = port.map(|port| match port.parse() {
        Ok(0) | Err(_) => Err(wrong(port)),
        Ok(number) => Ok(number),
    });
    Ok((host, port.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let cases = [
            ("http://a", Scheme::Http, "a", 80, "/", "http://a/"),
            ("a:8080", Scheme::Http, "a", 8080, "/", "http://a:8080/"),
            ("HTTPS://a/b?c#d", Scheme::Https, "a", 443, "/b?c", "https://a/b?c"),
            ("http://a?x=/", Scheme::Http, "a", 80, "/?x=/", "http://a/?x=/"),
            ("ws://[::1]:90/ws", Scheme::Ws, "::1", 90, "/ws", "ws://[::1]:90/ws"),
            ("wss://a:443", Scheme::Wss, "a", 443, "/", "wss://a/"),
            ("tcp://a:1", Scheme::Tcp, "a", 1, "/", "tcp://a:1"),
        ];
        for (text, scheme, host, port, path, told) in cases {
            let url = BenchUrl::parse(text).expect(text);
            assert_eq!((url.scheme, url.host.as_str(), url.port), (scheme, host, port), "{text}");
            assert_eq!((url.path.as_str(), url.to_string().as_str()), (path, told), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let wrong = [
            "",
            "http://",
            "ftp://x",
            "http://:80",
            "http://a:0",
            "http://a:b",
            "http://a:70000",
            "tcp://a",
            "http://[::1",
            "http://u:p@a/",
            "http://a b/",
            "http://a/b c",
        ];
        for text in wrong {
            assert!(BenchUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
