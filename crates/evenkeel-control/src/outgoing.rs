//! Short HTTP requests of the control plane itself: webhooks, and the synthetic requests before a
//! migration. `reach` asks what has a longer answer, over TLS and unix sockets too.

pub(crate) mod reach;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// Sends one request to an `http://` URL and waits for the status of its answer; a body is JSON.
///
/// # Errors
/// In words: the URL is none, nobody answers, or not in time.
pub(crate) async fn call(
    method: Method,
    url: &str,
    body: Option<String>,
    patience: Duration,
) -> Result<u16, String> {
    let exchange = exchange(method, url, body);
    match timeout(patience, exchange).await {
        Ok(status) => status.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer within {patience:?}")),
    }
}

async fn exchange(method: Method, url: &str, body: Option<String>) -> Result<u16, String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// can be called".to_owned());
    }
    let authority = uri.authority().ok_or("the URL names no host")?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let moving = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(HOST, authority.as_str()).header(USER_AGENT, AGENT);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string());
    let status = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            // What is longer says nothing more.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok(status)
        }
        Err(error) => Err(error),
    };
    moving.abort();
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_request_has_host_path_and_body_and_gets_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{\"a\":1}") {
                let mut piece = [0; 512];
                let length = stream.read(&mut piece).await.unwrap();
                asked.extend_from_slice(&piece[..length]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let url = format!("http://{address}/hook?x=1");
        let body = Some("{\"a\":1}".to_owned());
        let status = call(Method::POST, &url, body, Duration::from_secs(5)).await;
        assert_eq!(status, Ok(204));
        let asked = server.await.unwrap();
        assert!(asked.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn what_cannot_be_called_is_said_in_words() {
        for (url, expected) in [
            ("https://a/", "only http:// can be called"),
            ("http://a b/", "not a url"),
            ("http://127.0.0.1:1/", "refused"),
        ] {
            let answer = call(Method::GET, url, None, Duration::from_secs(5)).await;
            let why = answer.expect_err(url);
            assert!(why.to_lowercase().contains(expected), "{why}");
        }
    }
}
