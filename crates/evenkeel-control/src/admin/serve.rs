//! Connections of the admin listener.

use super::gate::Peer;
use super::seats::{Seat, Seats, Watched};
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
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Answers requests on every socket of `bound`, from the opening on until another process does.
/// Connections that are open then end with the answer that they are at.
pub(crate) async fn serve(bound: Bound, router: Router, course: Course) -> io::Result<()> {
    reaches(Stage::Open, course.clone()).await;
    let seats = Seats::new(MAX_CONNECTIONS);
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
async fn accept_all(listener: Listener, seats: Arc<Seats>, visit: (Router, Course)) {
    // There is always another seat: the loop goes on until its task is dropped.
    while let Some(free) = seats.free().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(seat_guest(stream, peer, visit.clone(), seats.take(free)));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves a client until it leaves, or is dismissed.
async fn seat_guest(stream: impl Stream, peer: Peer, visit: (Router, Course), seat: Seat) {
    let guest = seat.guest();
    let stream = Watched { stream, guest: Arc::clone(&guest) };
    tokio::select! {
        // First: what has come is looked at before the guest is sent away.
        biased;
        () = serve_connection(stream, peer, visit) => {}
        () = guest.dismissed() => {}
    }
    drop(seat);
}

async fn serve_connection<S: Stream>(
    stream: Watched<S>,
    peer: Peer,
    (router, course): (Router, Course),
) {
    let guest = Arc::clone(&stream.guest);
    let router = TowerToHyperService::new(router);
    let (asked, stage) = (Arc::new(AtomicBool::new(false)), course.clone());
    let has_asked = Arc::clone(&asked);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        let (answering, stage) = (guest.answer(), stage.clone());
        let answer = router.call(request);
        async move {
            let mut answer = answer.await?.map(|body| answering.until_end_of(body));
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::watch;
    use tokio::time::{Instant, timeout};

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    /// Well below what ends a silent client by itself.
    const SOON: Duration = Duration::from_secs(1);

    /// A listener with two places, which answers more than a client's buffer takes.
    struct Room {
        seats: Arc<Seats>,
        course: watch::Sender<Stage>,
    }

    impl Room {
        fn open() -> Room {
            Room { seats: Seats::new(2), course: watch::channel(Stage::Open).0 }
        }

        /// Lets a client in; `None` if there is no place for it.
        async fn visit(&self) -> Option<DuplexStream> {
            let free = timeout(SOON, self.seats.free()).await.ok()??;
            let (own, other) = duplex(1024);
            let router = Router::new()
                .route("/", get(|| async { "x".repeat(100_000) }))
                .route("/slow", get(std::future::pending::<()>));
            let visit = (router, self.course.subscribe());
            tokio::spawn(seat_guest(other, Peer(None), visit, self.seats.take(free)));
            Some(own)
        }
    }

    async fn is_closed(client: &mut DuplexStream) -> bool {
        timeout(SOON, client.read(&mut [0; 64])).await.is_ok_and(|read| matches!(read, Ok(0)))
    }

    async fn read_answer(client: &mut DuplexStream) -> usize {
        let mut length = 0;
        let mut piece = vec![0; 4096];
        while let Ok(Ok(read @ 1..)) = timeout(SOON, client.read(&mut piece)).await {
            length += read;
        }
        length
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_leave_for_others() {
        let room = Room::open();
        let mut first = room.visit().await.unwrap();
        let mut kept_alive = room.visit().await.unwrap();
        kept_alive.write_all(ASK).await.unwrap();
        assert!(read_answer(&mut kept_alive).await > 100_000);
        let begun = Instant::now();
        let mut third = room.visit().await.unwrap();
        third.write_all(ASK).await.unwrap();
        assert!(begun.elapsed() < SOON);
        assert!(is_closed(&mut first).await, "the one that waited longest");
        assert!(read_answer(&mut third).await > 100_000);
        let _fourth = room.visit().await.unwrap();
        assert!(is_closed(&mut kept_alive).await, "silent since its answer");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_do_not_read_leave_for_others() {
        let room = Room::open();
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = room.visit().await.expect("a place");
            client.write_all(ASK).await.unwrap();
            // It stalls.
            sleep(SOON).await;
            clients.push(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_answer_stays() {
        let room = Room::open();
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = room.visit().await.expect("a place");
            client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        assert!(room.visit().await.is_none(), "both are at work");
        assert!(!is_closed(&mut clients[0]).await);
        // One of them goes.
        clients.pop();
        assert!(room.visit().await.is_some());
    }
}
