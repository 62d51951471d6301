//! Accepting clients: a loop that survives every error, holds back when there is no room, and lets
//! in what was waiting in the kernel before it stops.

use crate::http1::{self, Peer};
use crate::net::{Accept, Net};
use crate::shared::Connections;
use crate::worker::Worker;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// First pause after an accept that failed for want of descriptors or memory; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// Clients let in at one go, before others get their turn.
const ACCEPTS_PER_TURN: u32 = 64;

/// Accepts for one listener until the server drains or stops.
pub async fn accept_loop<N, A>(worker: Rc<Worker<N>>, mut socket: A, listener: usize)
where
    N: Net,
    A: Accept<Stream = N::Stream>,
{
    let mut pause = FIRST_PAUSE;
    let mut turn = 0;
    loop {
        let snapshot = worker.snapshot();
        let Some(plan) = snapshot.plan.listeners.get(listener) else { return };
        let full = worker.shared.connections.is_full(listener, plan.limits.max_connections);
        if full && !worker.shared.is_draining() {
            worker.pressed.set(true);
            tokio::time::sleep(FIRST_PAUSE).await;
            continue;
        }
        match next(&worker, &mut socket).await {
            Next::Stop => return,
            Next::Client(stream, address) => {
                pause = FIRST_PAUSE;
                let peer = Peer::new(address, &plan.trusted_proxies);
                let max_per_ip = plan.limits.max_connections_per_ip;
                let admitted = Connections::admit(&worker.shared, listener, peer.ip, max_per_ip);
                match admitted {
                    Some(place) => {
                        let client =
                            http1::serve(Rc::clone(&worker), stream, peer, (listener, place));
                        tokio::task::spawn_local(client);
                    }
                    None => drop(stream),
                }
                turn += 1;
                if turn % ACCEPTS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Next::Failed(error) if is_about_one_client(&error) => {}
            Next::Failed(error) => {
                if pause == FIRST_PAUSE {
                    tell(&worker, &plan.name, &error);
                }
                worker.pressed.set(true);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

enum Next<S> {
    Client(S, Option<std::net::SocketAddr>),
    Failed(io::Error),
    Stop,
}

/// The next client. A drain wakes this through the worker's clockwork; what the kernel has queued
/// is still let in.
async fn next<N, A>(worker: &Worker<N>, socket: &mut A) -> Next<N::Stream>
where
    N: Net,
    A: Accept<Stream = N::Stream>,
{
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _woken_by_drain = worker.deadlines.register(waker);
    poll_fn(|cx| match socket.poll_accept(cx) {
        Poll::Ready(Ok((stream, address))) => Poll::Ready(Next::Client(stream, address)),
        Poll::Ready(Err(error)) => Poll::Ready(Next::Failed(error)),
        Poll::Pending if worker.is_draining() => Poll::Ready(Next::Stop),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The client left before we let it in, or the network refused it: the next one may be fine.
fn is_about_one_client(error: &io::Error) -> bool {
    const PER_CLIENT: [i32; 9] = [
        libc::ECONNABORTED,
        libc::EPERM,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::ECONNRESET,
    ];
    error.raw_os_error().is_some_and(|code| PER_CLIENT.contains(&code))
        || error.kind() == io::ErrorKind::Interrupted
}

fn tell<N: Net>(worker: &Worker<N>, listener: &str, error: &io::Error) {
    let text = error.to_string();
    worker.shared.events.emit(&Event {
        unix_nanos: worker.net.unix_nanos(),
        level: LogLevel::Warn,
        name: "accept_failed",
        message: "new clients wait: no descriptors or memory to let them in",
        fields: &[("listener", EventValue::Text(listener)), ("error", EventValue::Text(&text))],
    });
}
