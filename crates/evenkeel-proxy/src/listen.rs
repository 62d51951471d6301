//! Accepting clients: a loop that survives every error, holds back when there is no room, and lets
//! in what was waiting in the kernel before it stops.

use crate::http1::{self, Peer};
use crate::net::{Accept, Net};
use crate::shared::Connections;
use crate::socket::codes;
use crate::welcome::{self, Guest};
use crate::wire::Wire;
use crate::worker::{Pressure, Worker};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// First pause after an accept that failed for want of descriptors or memory; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// Clients let in at one go, before others get their turn.
const ACCEPTS_PER_TURN: u32 = 64;

/// Accepts for the listener of this number until it goes, or the server drains or stops. The server
/// counts as accepting from the call on, not only from the first poll.
pub fn accept_loop<N, A>(
    worker: Rc<Worker<N>>,
    socket: A,
    listener: usize,
) -> impl Future<Output = ()> + 'static
where
    N: Net,
    A: Accept<Stream = N::Stream>,
{
    let accepting = worker.shared.accepting();
    async move {
        run(worker, socket, listener).await;
        drop(accepting);
    }
}

async fn run<N, A>(worker: Rc<Worker<N>>, mut socket: A, listener: usize)
where
    N: Net,
    A: Accept<Stream = N::Stream>,
{
    let mut pause = FIRST_PAUSE;
    let mut turn = 0;
    loop {
        match next(&worker, &mut socket, listener).await {
            Next::Stop => return,
            Next::Client(stream, address) => {
                pause = FIRST_PAUSE;
                admit(&worker, stream, address, listener).await;
                turn += 1;
                if turn % ACCEPTS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Next::Failed(error) if is_about_one_client(&error) => {
                turn += 1;
                if turn % ACCEPTS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Next::Failed(_) if worker.is_leaving(listener) => return,
            Next::Failed(error) => {
                if pause == FIRST_PAUSE {
                    tell(&worker, listener, &error);
                }
                worker.press(Pressure::Process);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// Lets a client in as soon as there is room; others wait in the kernel meanwhile.
async fn admit<N: Net>(
    worker: &Rc<Worker<N>>,
    stream: N::Stream,
    address: Option<SocketAddr>,
    listener: usize,
) {
    let snapshot = worker.snapshot();
    let Some(index) = snapshot.listener_index(listener) else { return };
    let (plan, door) = (&snapshot.plan.listeners[index], &snapshot.doors[index]);
    let connections = &worker.shared.connections;
    while !worker.shared.is_draining() {
        match connections.pressure(door, plan.limits.max_connections) {
            Pressure::None => break,
            pressure @ (Pressure::Listener(_) | Pressure::Process) => worker.press(pressure),
        }
        tokio::time::sleep(FIRST_PAUSE).await;
    }
    let peer = Peer::new(address, &plan.trusted_proxies);
    let mut place = Connections::admit(&worker.shared, door);
    if place.count(&peer, plan.limits.max_connections_per_ip) {
        let counted = worker.counts.connection(&plan.name);
        let entry = (listener, (place, counted));
        if welcome::is_plain(plan) {
            let guest = Guest { stream: Wire::Plain(stream), peer, carry: Vec::new() };
            tokio::task::spawn_local(http1::serve(Rc::clone(worker), guest, entry));
        } else {
            tokio::task::spawn_local(welcome::serve(Rc::clone(worker), stream, peer, entry));
        }
    }
}

enum Next<S> {
    Client(S, Option<SocketAddr>),
    Failed(io::Error),
    Stop,
}

/// The next client. A drain wakes this through the worker's clockwork; what the kernel has queued
/// is still let in.
async fn next<N, A>(worker: &Worker<N>, socket: &mut A, listener: usize) -> Next<N::Stream>
where
    N: Net,
    A: Accept<Stream = N::Stream>,
{
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _woken_by_drain = worker.deadlines.register(waker, listener);
    poll_fn(|cx| match socket.poll_accept(cx) {
        Poll::Ready(Ok((stream, address))) => Poll::Ready(Next::Client(stream, address)),
        Poll::Ready(Err(error)) => Poll::Ready(Next::Failed(error)),
        Poll::Pending if worker.is_leaving(listener) => Poll::Ready(Next::Stop),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The client left before we let it in, or the network refused it: the next one may be fine.
fn is_about_one_client(error: &io::Error) -> bool {
    const PER_CLIENT: [i32; 9] = [
        codes::ECONNABORTED,
        codes::EPERM,
        codes::EPROTO,
        codes::ENOPROTOOPT,
        codes::EHOSTDOWN,
        codes::EHOSTUNREACH,
        codes::ENETDOWN,
        codes::ENETUNREACH,
        codes::ECONNRESET,
    ];
    error.raw_os_error().is_some_and(|code| PER_CLIENT.contains(&code))
        || error.kind() == io::ErrorKind::Interrupted
}

pub(crate) fn tell<N: Net>(worker: &Worker<N>, listener: usize, error: &io::Error) {
    let text = error.to_string();
    let snapshot = worker.snapshot();
    let name = snapshot.listener(listener).map_or("", |plan| &plan.name);
    worker.shared.events.emit(&Event {
        unix_nanos: worker.net.unix_nanos(),
        level: LogLevel::Warn,
        name: "accept_failed",
        message: "new clients wait: no descriptors or memory to let them in",
        fields: &[("listener", EventValue::Text(name)), ("error", EventValue::Text(&text))],
    });
}
