//! Where the admin listener is, and the connection to it.

use super::ClientError;
use hyper::http::uri::Authority;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The port of `http://` without one.
const HTTP_PORT: u16 = 80;

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As given, for messages.
    text: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(Authority),
    Unix(PathBuf),
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Address {
    pub(super) fn parse(base: &str) -> Result<Address, ClientError> {
        let refuse = |reason| ClientError::BadAddress { base: base.to_owned(), reason };
        let text = base.trim_end_matches('/').to_owned();
        if let Some(path) = text.strip_prefix("unix:") {
            let place = Place::Unix(PathBuf::from(path));
            return if path.is_empty() {
                Err(refuse("a path must follow `unix:`"))
            } else {
                Ok(Address { text, place })
            };
        }
        let authority = text.strip_prefix("http://").unwrap_or(&text);
        if authority.contains("://") {
            return Err(refuse("it begins with http:// or unix:"));
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err(refuse("only host and port are expected"));
        }
        let authority: Authority =
            authority.parse().map_err(|_| refuse("host and port are expected"))?;
        let after_host = &authority.as_str()[authority.host().len()..];
        if authority.host().is_empty() || (authority.port_u16().is_none() && !after_host.is_empty())
        {
            return Err(refuse("host and port are expected"));
        }
        Ok(Address { place: Place::Tcp(authority), text })
    }

    /// For `Host`.
    pub(super) fn host(&self) -> &str {
        match &self.place {
            Place::Tcp(authority) => authority.as_str(),
            Place::Unix(_) => "localhost",
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let connected = match &self.place {
            Place::Tcp(authority) => {
                let host = authority.host().trim_start_matches('[').trim_end_matches(']');
                let port = authority.port_u16().unwrap_or(HTTP_PORT);
                TcpStream::connect((host, port)).await.map(boxed)
            }
            Place::Unix(path) => connect_unix(path).await,
        };
        connected.map_err(|error| self.unreachable(&error))
    }

    /// Bounds a step of a call.
    pub(super) async fn within<T>(
        &self,
        bound: Duration,
        step: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let late = |_| ClientError::Timeout { address: self.to_string(), after: bound };
        tokio::time::timeout(bound, step).await.map_err(late)?
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        // As a part of a sentence, without the number of the error.
        let text = error.to_string().to_lowercase();
        let reason = text.split(" (os error").next().unwrap_or_default().to_owned();
        ClientError::Unreachable { address: self.to_string(), reason }
    }

    pub(super) fn bad_answer(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::BadAnswer { address: self.to_string(), reason: reason.to_string() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn boxed<S: Stream + 'static>(stream: S) -> Box<dyn Stream> {
    Box::new(stream)
}

#[cfg(unix)]
async fn connect_unix(path: &std::path::Path) -> io::Result<Box<dyn Stream>> {
    tokio::net::UnixStream::connect(path).await.map(boxed)
}

#[cfg(not(unix))]
async fn connect_unix(_: &std::path::Path) -> io::Result<Box<dyn Stream>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_or_a_socket() {
        let cases = [
            ("http://127.0.0.1:9900", Some("127.0.0.1:9900")),
            ("http://127.0.0.1:9900/", Some("127.0.0.1:9900")),
            ("127.0.0.1:9900", Some("127.0.0.1:9900")),
            ("localhost:1", Some("localhost:1")),
            ("http://[::1]:9900", Some("[::1]:9900")),
            ("http://balancer", Some("balancer")),
            ("unix:/run/evenkeel.sock", Some("localhost")),
            ("unix:", None),
            ("", None),
            ("http://", None),
            (":9900", None),
            ("https://127.0.0.1:9900", None),
            ("http://127.0.0.1:9900/api", None),
            ("http://127.0.0.1:9900?x", None),
            ("http://me@127.0.0.1:9900", None),
            ("http://127.0.0.1:99999", None),
            ("http://a b:1", None),
        ];
        for (base, host) in cases {
            let address = Address::parse(base).ok();
            assert_eq!(address.as_ref().map(Address::host), host, "{base}");
        }
    }
}
