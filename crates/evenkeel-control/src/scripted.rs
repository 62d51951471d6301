//! A server that says, connection by connection, what a test has written down; over TCP, TLS or a
//! unix socket. It remembers what it was asked.

use rcgen::{CertificateParams, KeyPair};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What one connection hears.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// These pieces, one after the other, then the end.
    Say(Vec<String>),
    /// These pieces, then nothing more, without an end.
    SayAndHold(Vec<String>),
    /// These bytes over and over, for as long as somebody reads.
    Flood(String, String),
    /// The end at once.
    Hang,
}

impl Line {
    /// A whole answer.
    pub(crate) fn answer(status: &str, fields: &str, body: &str) -> Line {
        let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        Line::Say(vec![head, body.to_owned()])
    }

    pub(crate) fn json(body: &str) -> Line {
        Line::answer("200 OK", "Content-Type: application/json\r\n", body)
    }

    /// Chunks of a body, in an answer that ends with them.
    pub(crate) fn chunks(chunks: &[&str]) -> Line {
        let mut pieces = chunked(chunks);
        pieces.push("0\r\n\r\n".to_owned());
        Line::Say(pieces)
    }

    /// Chunks of a body, in an answer that goes on.
    pub(crate) fn chunks_and_hold(chunks: &[&str]) -> Line {
        Line::SayAndHold(chunked(chunks))
    }
}

fn chunked(chunks: &[&str]) -> Vec<String> {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let chunk = |chunk: &&str| format!("{:x}\r\n{chunk}\r\n", chunk.len());
    std::iter::once(head).chain(chunks.iter().map(chunk)).collect()
}

/// What is said, and what was asked.
#[derive(Debug, Default)]
struct Play {
    script: Mutex<VecDeque<Line>>,
    asked: Mutex<Vec<String>>,
}

/// The server; ends with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    play: Arc<Play>,
    pub(crate) url: String,
}

impl Scripted {
    /// Over plain TCP.
    pub(crate) async fn start(script: Vec<Line>) -> Scripted {
        let (listener, address) = listen().await;
        let play = Play::of(script);
        let own = Arc::clone(&play);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&own).serve(stream));
            }
        });
        Scripted { play, url: format!("http://{address}") }
    }

    /// Over TLS, with the PEM text of a certificate for 127.0.0.1 that signs itself.
    pub(crate) async fn start_tls(script: Vec<Line>) -> (Scripted, String) {
        let (listener, address) = listen().await;
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let own = params.self_signed(&key).expect("signed");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], der)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let play = Play::of(script);
        let told = Arc::clone(&play);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        told.serve(stream).await;
                    }
                });
            }
        });
        (Scripted { play, url: format!("https://{address}") }, own.pem())
    }

    /// On a unix socket.
    pub(crate) fn start_unix(path: PathBuf, script: Vec<Line>) -> Scripted {
        let listener = UnixListener::bind(&path).expect("a socket");
        let play = Play::of(script);
        let own = Arc::clone(&play);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&own).serve(stream));
            }
        });
        Scripted { play, url: path.display().to_string() }
    }

    /// The heads and bodies that it was sent so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.play.asked.lock().expect("a list").clone()
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

impl Play {
    fn of(script: Vec<Line>) -> Arc<Play> {
        Arc::new(Play { script: Mutex::new(script.into()), asked: Mutex::default() })
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, mut stream: S) {
        let Some(asked) = read_request(&mut stream).await else { return };
        let line = self.script.lock().expect("a script").pop_front();
        self.asked.lock().expect("a list").push(asked);
        match line {
            Some(Line::Say(pieces)) => {
                say(&mut stream, &pieces).await;
                let _ = stream.shutdown().await;
            }
            Some(Line::SayAndHold(pieces)) => {
                say(&mut stream, &pieces).await;
                let mut rest = [0; 64];
                while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
            }
            Some(Line::Flood(head, piece)) => {
                say(&mut stream, &[head]).await;
                while stream.write_all(piece.as_bytes()).await.is_ok() {}
            }
            Some(Line::Hang) | None => {}
        }
    }
}

/// Each piece is a packet of its own, as far as that can be had.
async fn say<S: AsyncWrite + Unpin>(stream: &mut S, pieces: &[String]) {
    for piece in pieces {
        if stream.write_all(piece.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Head and body of a request.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap_or("0");
            let length = length.lines().next().and_then(|it| it.trim().parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => all.extend_from_slice(&piece[..length]),
        }
    }
}
