//! Short requests of the control plane itself to a URL: webhooks. `reach` does the asking, and is
//! used as it is by those who want more than a status.

pub(crate) mod reach;

use bytes::Bytes;
use hyper::{Method, Uri};
use reach::{Place, Question};
use std::time::Duration;

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// A URL for messages: tokens are sent in queries, which are nobody else's.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once('?') {
        Some((place, _)) => format!("{place}?…"),
        None => url.to_owned(),
    }
}

/// Sends one request to an `http://` or `https://` URL and waits for the status of its answer; a
/// body is JSON.
///
/// # Errors
/// In words: the URL is none, nobody answers, or not in time.
pub(crate) async fn call(
    method: Method,
    url: &str,
    body: Option<String>,
    patience: Duration,
) -> Result<u16, String> {
    let place = shown(url);
    let uri: Uri = url.parse().map_err(|error| format!("{place} is not a URL: {error}"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = body.map(|text| ("application/json", Bytes::from(text)));
    let question = Question { method, path, fields: Vec::new(), body };
    let exchange = async {
        let opened = reach::open(&Place::of_url(url, None)?, question).await?;
        let status = opened.status;
        // What is longer says nothing more.
        let _ = opened.whole(MAX_ANSWER_BYTES).await;
        Ok(status)
    };
    match tokio::time::timeout(patience, exchange).await {
        Ok(status) => status.map_err(|why: String| format!("{place}: {why}")),
        Err(_) => Err(format!("{place}: no answer in time")),
    }
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
            ("ftp://a/", "begins neither with http://"),
            ("http://a b/", "not a url"),
            ("http://127.0.0.1:1/", "refused"),
            ("http://127.0.0.1:1/a?token=hush", "http://127.0.0.1:1/a?…: "),
            ("http://a b/?token=hush", "http://a b/?… is not a url"),
        ] {
            let answer = call(Method::GET, url, None, Duration::from_secs(5)).await;
            let why = answer.expect_err(url);
            assert!(why.to_lowercase().contains(expected), "{why}");
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
