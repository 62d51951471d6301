//! Connections of the admin listener.

use super::gate::Peer;
use crate::bind::Bound;
use crate::control::{Course, Stage, reaches};
use crate::limits::{ACCEPT_PAUSE, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_READ_BYTES, MAX_READ_FIELDS};
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use evenkeel_proxy::socket::SocketFile;
#[cfg(windows)]
use evenkeel_proxy::socket::UnixListener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Answers requests on every socket of `bound`, from the opening on until another process does.
/// Connections that are open then end with the answer that they are at.
pub(crate) async fn serve(bound: Bound, router: Router, course: Course) -> io::Result<()> {
    reaches(Stage::Open, course.clone()).await;
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut listeners = JoinSet::new();
    // Held to the end: dropping it removes the socket's file, unless that was left.
    let mut file = None;
    match bound {
        Bound::Tcp(sockets) => {
            for socket in sockets {
                let listener = Listener::Tcp(TcpListener::from_std(socket)?);
                let visit = (router.clone(), course.clone());
                listeners.spawn(accept_all(listener, Arc::clone(&seats), visit));
            }
        }
        Bound::Unix(socket, mut socket_file) => {
            if *course.borrow() >= Stage::Open {
                socket_file.take();
            }
            file = Some(socket_file);
            let listener = Listener::Unix(UnixListener::from_std(socket)?);
            listeners.spawn(accept_all(listener, seats, (router, course.clone())));
        }
    }
    // Nobody accepts any more once the set is dropped.
    reaches(Stage::Released, course.clone()).await;
    if *course.borrow() == Stage::Released {
        // The very socket has been handed over.
        file.iter_mut().for_each(SocketFile::leave);
    }
    drop((listeners, file));
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Box::new(stream), Peer(Some(peer.ip()))))
            }
            Listener::Unix(listener) => Ok((Box::new(listener.accept().await?.0), Peer(None))),
        }
    }
}

/// Survives every error of the system; a connection holds its seat until it ends.
async fn accept_all(listener: Listener, seats: Arc<Semaphore>, visit: (Router, Course)) {
    // Nobody closes the semaphore: the loop goes on until its task is dropped.
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let visit = visit.clone();
                tokio::spawn(async move {
                    serve_connection(stream, peer, visit).await;
                    drop(seat);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: Box<dyn Stream>, peer: Peer, (router, course): (Router, Course)) {
    let router = TowerToHyperService::new(router);
    let (asked, stage) = (Arc::new(AtomicBool::new(false)), course.clone());
    let has_asked = Arc::clone(&asked);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        let (answer, stage) = (router.call(request), stage.clone());
        async move {
            let mut answer = answer.await?;
            if *stage.borrow() >= Stage::Released {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_READ_BYTES)
        .max_headers(MAX_READ_FIELDS)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    // Its errors are the client's: a broken request, a closed socket, a head that took too long.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = reaches(Stage::Released, course) => {}
    }
    // One that has not asked yet was let in here, so it is answered here.
    if has_asked.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
    }
    let _ = connection.await;
}
