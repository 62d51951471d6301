//! The request that a bench sends, rendered once for each protocol.

use super::url::{BenchUrl, Scheme};
use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use http::{HeaderMap, Method, Request};

/// Fields that belong to a connection, which HTTP/2 does not have (RFC 9113, section 8.2.2).
const OF_CONNECTIONS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
/// How we name ourselves.
const NAME: &str = concat!("evenkeel-bench/", env!("CARGO_PKG_VERSION"));

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The method.
    pub(crate) method: Method,
    /// The body.
    pub(crate) body: Bytes,
    fields: HeaderMap,
    host: Option<HeaderValue>,
}

impl Outgoing {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn new(
        method: Option<&str>,
        fields: &[String],
        body: Vec<u8>,
    ) -> Result<Outgoing, String> {
        let by_body = if body.is_empty() { "GET" } else { "POST" };
        let name = method.unwrap_or(by_body);
        let method = Method::from_bytes(name.as_bytes());
        let method = method.map_err(|_| format!("{name:?} is no method"))?;
        if method == Method::CONNECT {
            return Err("CONNECT asks for a tunnel; a bench needs an answer".to_owned());
        }
        let mut map = HeaderMap::new();
        let mut host = None;
        for field in fields {
            let (name, value) = parse_field(field)?;
            if name == HOST {
                host = Some(value);
            } else if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
                return Err(format!("{name} is set from the body; leave it out"));
            } else {
                map.append(name, value);
            }
        }
        for (name, value) in [(USER_AGENT, NAME), (ACCEPT, "*/*")] {
            map.entry(name).or_insert(HeaderValue::from_static(value));
        }
        Ok(Outgoing { method, body: Bytes::from(body), fields: map, host })
    }

    /// The bytes of an HTTP/1.1 request.
    pub(crate) fn http1(&self, url: &BenchUrl, keep_alive: bool) -> Bytes {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, url.path).into_bytes();
        let host = self.host.as_ref().map(|value| value.as_bytes().to_vec());
        push_field(&mut bytes, "Host", &host.unwrap_or_else(|| url.authority().into_bytes()));
        for (name, value) in &self.fields {
            if name != CONNECTION || keep_alive {
                push_field(&mut bytes, name.as_str(), value.as_bytes());
            }
        }
        let means_body = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if means_body || !self.body.is_empty() {
            push_field(&mut bytes, "Content-Length", self.body.len().to_string().as_bytes());
        }
        if !keep_alive {
            push_field(&mut bytes, "Connection", b"close");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        Bytes::from(bytes)
    }

    /// The head of an HTTP/2 request.
    pub(crate) fn http2(&self, url: &BenchUrl) -> Result<Request<()>, String> {
        let scheme = if url.scheme.is_secure() { "https" } else { "http" };
        let authority = match &self.host {
            Some(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            None => url.authority(),
        };
        let uri = format!("{scheme}://{authority}{}", url.path);
        let request = Request::builder().method(self.method.clone()).uri(uri).body(());
        let mut request = request.map_err(|error| error.to_string())?;
        let fields = self.fields.iter().filter(|(name, _)| !is_of_connection(name));
        request.headers_mut().extend(fields.map(|(name, value)| (name.clone(), value.clone())));
        if !self.body.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        Ok(request)
    }

    /// The opening of a WebSocket, but for the fields that make it one.
    pub(crate) fn opening(&self, url: &BenchUrl) -> (String, HeaderMap) {
        let scheme = if url.scheme == Scheme::Wss { "wss" } else { "ws" };
        let uri = format!("{scheme}://{}{}", url.authority(), url.path);
        let fields = self.fields.iter().filter(|(name, _)| !is_of_connection(name));
        let mut map: HeaderMap = fields.map(|(n, v)| (n.clone(), v.clone())).collect();
        map.extend(self.host.clone().map(|host| (HOST, host)));
        (uri, map)
    }
}

fn parse_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is no header; write 'name: value'"))?;
    let parsed = HeaderName::from_bytes(name.trim_end().as_bytes());
    let name = parsed.map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes());
    let value = value.map_err(|_| format!("the value of {name} has a control character"))?;
    Ok((name, value))
}

fn push_field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

fn is_of_connection(name: &HeaderName) -> bool {
    OF_CONNECTIONS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: Option<&str>, fields: &[&str], body: &str) -> Result<Outgoing, String> {
        let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        Outgoing::new(method, &fields, body.as_bytes().to_vec())
    }

    fn url() -> BenchUrl {
        BenchUrl::parse("http://a:81/p?q").expect("a URL")
    }

    #[test]
    fn http1_has_what_was_asked_for() {
        let plain = outgoing(None, &[], "").expect("a request").http1(&url(), true);
        let wanted =
            format!("GET /p?q HTTP/1.1\r\nHost: a:81\r\nuser-agent: {NAME}\r\naccept: */*\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&plain), wanted);
        let full = outgoing(Some("PUT"), &["Host: b", "X-A:é", "Accept: text/x"], "hi");
        let full = full.expect("a request").http1(&url(), false);
        let wanted = format!(
            "PUT /p?q HTTP/1.1\r\nHost: b\r\nx-a: é\r\naccept: text/x\r\nuser-agent: {NAME}\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\nhi"
        );
        assert_eq!(String::from_utf8_lossy(&full), wanted);
    }

    #[test]
    fn http2_has_no_fields_of_connections() {
        let request = outgoing(None, &["Host: b", "Connection: x", "X-A: 1"], "hi");
        let request = request.expect("a request").http2(&url()).expect("a head");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://b/p?q");
        assert_eq!(request.headers()["x-a"], "1");
        assert_eq!(request.headers()[CONTENT_LENGTH], "2");
        assert!(!request.headers().contains_key(CONNECTION));
    }

    #[test]
    fn mistakes_are_told() {
        for fields in [["x"], ["a b: c"], ["x: \u{1}"], ["Content-Length: 3"], [": x"]] {
            assert!(outgoing(None, &fields, "").is_err(), "{fields:?}");
        }
        assert!(outgoing(Some("A B"), &[], "").is_err());
        assert!(outgoing(Some("CONNECT"), &[], "").is_err());
    }
}
