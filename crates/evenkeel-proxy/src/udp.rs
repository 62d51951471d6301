//! Datagrams of a udp listener: between one listening socket and the backends of its flows. Which
//! flow a datagram belongs to `evenkeel_core::flow` decides; here it is received and sent.
//!
//! The kernel gives all datagrams of a client to the same socket, so that a flow stays with one
//! worker. Each flow has a socket of its own towards its backend: what comes there is for its
//! client. Nothing waits to be sent: what a socket does not take at once is lost, as datagrams are.

use crate::clock::Nanos;
use crate::connect;
use crate::count::OpenConnection;
use crate::deadline::Deadline;
use crate::listen;
use crate::net::Net;
use crate::shared::{Connections, FlowAdmission};
use crate::socket::codes;
use crate::socket::datagrams::{self, Served};
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::flow::{Ends, Flows, Step, Terms};
use evenkeel_core::plan::ListenerProtocol;
use evenkeel_core::pool::Outcome;
use evenkeel_core::suspicion::Doubt;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// No datagram is longer.
const MAX_DATAGRAM_BYTES: usize = 64 * 1024;
/// Datagrams of one socket at one go, before others get their turn.
const DATAGRAMS_PER_TURN: u32 = 64;
/// Backends that one datagram is offered to: one may just have been found gone.
const TRIES: u32 = 2;
/// While the listener goes, a flow without a datagram for so long is over.
const QUIET: Duration = Duration::from_secs(1);
/// Pause after a receive that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// What a pool is told when a backend has answered.
const ANSWERED: Outcome = Outcome::Answered(200);

/// The way to the backend of a flow, and the task that brings answers back; both end with it.
struct Link {
    socket: Rc<UdpSocket>,
    answers: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// What belongs to a flow besides its backend.
struct Kept {
    link: Option<Link>,
    _admission: FlowAdmission,
    _counted: OpenConnection,
}

/// One listening socket of one worker.
struct Station<N: Net> {
    worker: Rc<Worker<N>>,
    /// The listener's number.
    listener: usize,
    socket: Served,
    flows: RefCell<Flows<Kept>>,
    /// Valid within one poll only.
    bytes: RefCell<Box<[u8]>>,
}

enum Turn {
    /// There may be more.
    Again,
    Failed(io::Error),
    /// The listener goes, and its last flow has ended.
    Over,
}

/// Serves the flows of one socket until its listener goes, or the server drains or stops. The
/// server counts as accepting from the call on.
pub(crate) fn serve<N: Net>(
    worker: Rc<Worker<N>>,
    socket: UdpSocket,
    listener: usize,
) -> impl Future<Output = ()> + 'static {
    let accepting = worker.shared.accepting();
    async move {
        let bytes = RefCell::new(vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice());
        let flows = RefCell::default();
        let socket = Served::new(socket);
        let station = Rc::new(Station { worker, listener, socket, flows, bytes });
        station.run().await;
        drop(accepting);
    }
}

impl<N: Net> Station<N> {
    async fn run(self: &Rc<Self>) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let deadline = self.worker.deadlines.register(waker, self.listener);
        let mut is_told = false;
        loop {
            match poll_fn(|cx| self.poll_turn(cx, &deadline)).await {
                Turn::Over => return,
                Turn::Again => {
                    is_told = false;
                    tokio::task::yield_now().await;
                }
                Turn::Failed(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        listen::tell(&self.worker, self.listener, &error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn poll_turn(self: &Rc<Self>, cx: &mut Context<'_>, deadline: &Deadline) -> Poll<Turn> {
        let worker = &self.worker;
        let now = worker.now();
        let snapshot = worker.snapshot();
        let is_leaving = worker.is_leaving(self.listener);
        let idle = self.idle(&snapshot, is_leaving);
        {
            let mut flows = self.flows.borrow_mut();
            flows.end_idle(now, idle);
            deadline.set(flows.next_due(idle).unwrap_or(Nanos::NEVER));
            if is_leaving && flows.is_empty() {
                return Poll::Ready(Turn::Over);
            }
        }
        if is_leaving && worker.shared.is_patient() {
            // Another process reads from this very socket already.
            return Poll::Pending;
        }
        for _ in 0..DATAGRAMS_PER_TURN {
            match ready!(self.poll_datagram(cx, &snapshot, is_leaving)) {
                // Windows tells here of a client that had gone when it was answered.
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Turn::Failed(error));
                }
                Ok(()) | Err(_) => {}
            }
            let due = self.flows.borrow().next_due(idle);
            deadline.set(due.unwrap_or(Nanos::NEVER));
        }
        Poll::Ready(Turn::Again)
    }

    fn idle(&self, snapshot: &LocalSnapshot, is_leaving: bool) -> Duration {
        match snapshot.listener(self.listener).map(|plan| &plan.protocol) {
            Some(ListenerProtocol::Udp(plan)) if !is_leaving => plan.idle_timeout,
            Some(ListenerProtocol::Udp(plan)) => plan.idle_timeout.min(QUIET),
            Some(ListenerProtocol::Http | ListenerProtocol::Tcp(_)) | None => QUIET,
        }
    }

    /// Takes one datagram of a client.
    fn poll_datagram(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        snapshot: &LocalSnapshot,
        is_leaving: bool,
    ) -> Poll<io::Result<()>> {
        let mut bytes = self.bytes.borrow_mut();
        let mut datagram = ReadBuf::new(&mut bytes);
        let ends = ready!(self.socket.poll_receive(cx, &mut datagram))?;
        let (datagram, plan) = (datagram.filled(), snapshot.listener(self.listener));
        let is_sent = if is_leaving {
            self.go_on(ends, datagram)
        } else {
            self.pass_on(snapshot, ends, datagram).is_some()
        };
        if let (false, Some(plan)) = (is_sent, plan) {
            self.worker.counts.dropped_flow(&plan.name);
        }
        Poll::Ready(Ok(()))
    }

    /// Flows that there are go on. True if this is one of them.
    fn go_on(&self, ends: Ends, datagram: &[u8]) -> bool {
        if self.flows.borrow_mut().touch(ends, self.worker.recent()).is_none() {
            return false;
        }
        if let Err(error) = self.send(ends, datagram) {
            self.fail(ends, &error);
        }
        true
    }

    /// Sends a datagram to the backend of its flow; `None` if it has none.
    fn pass_on(
        self: &Rc<Self>,
        snapshot: &LocalSnapshot,
        ends: Ends,
        datagram: &[u8],
    ) -> Option<()> {
        let at = snapshot.listener_index(self.listener)?;
        let (listener, door) = (&snapshot.plan.listeners[at], &snapshot.doors[at]);
        let ListenerProtocol::Udp(plan) = &listener.protocol else { return None };
        let terms = Terms {
            pool: snapshot.pools.get(plan.pool)?,
            open: &door.open,
            max_flows: plan.max_flows,
            now: self.worker.recent(),
            draw: self.worker.net.random(),
        };
        for _ in 0..TRIES {
            let admit = || self.admit(&listener.name);
            let step = self.flows.borrow_mut().datagram(ends, &terms, admit).ok()?;
            let reached = match step {
                Step::Known => Ok(()),
                Step::Chosen => self.link(ends),
            };
            match reached.and_then(|()| self.send(ends, datagram)) {
                Ok(()) => {
                    if step == Step::Chosen {
                        terms.pool.begun.reached();
                    }
                    return Some(());
                }
                Err(error) => self.fail(ends, &error),
            }
        }
        terms.pool.begun.failed();
        None
    }

    fn admit(&self, listener: &Arc<str>) -> Option<Kept> {
        let admission = Connections::admit_flow(&self.worker.shared)?;
        let counted = self.worker.counts.connection(listener);
        Some(Kept { link: None, _admission: admission, _counted: counted })
    }

    /// Makes the way to the backend that was chosen for a flow.
    fn link(self: &Rc<Self>, ends: Ends) -> io::Result<()> {
        let mut flows = self.flows.borrow_mut();
        let Some(flow) = flows.touch(ends, self.worker.recent()) else { return Ok(()) };
        let address = flow.pick.addresses().into_iter().next();
        let address = address.ok_or_else(|| io::Error::other("the backend has no address yet"))?;
        let socket = Rc::new(UdpSocket::from_std(datagrams::connect(address)?)?);
        let answers = Rc::clone(self).bring_back(ends, Rc::clone(&socket));
        let answers = tokio::task::spawn_local(answers).abort_handle();
        flow.kept.link = Some(Link { socket, answers });
        Ok(())
    }

    /// Sends to the backend of a flow; what the socket does not take now is lost.
    fn send(&self, ends: Ends, datagram: &[u8]) -> io::Result<()> {
        let mut flows = self.flows.borrow_mut();
        let flow = flows.touch(ends, self.worker.recent());
        let Some(link) = flow.and_then(|flow| flow.kept.link.as_ref()) else { return Ok(()) };
        match datagrams::send(&link.socket, datagram) {
            Err(error) if is_about_one_datagram(&error) => Ok(()),
            sent => sent,
        }
    }

    /// Brings the answers of a flow's backend to its client, until the flow ends.
    async fn bring_back(self: Rc<Self>, ends: Ends, socket: Rc<UdpSocket>) {
        while poll_fn(|cx| self.poll_answers(cx, ends, &socket)).await {
            tokio::task::yield_now().await;
        }
    }

    /// True if there may be more.
    fn poll_answers(&self, cx: &mut Context<'_>, ends: Ends, socket: &UdpSocket) -> Poll<bool> {
        for _ in 0..DATAGRAMS_PER_TURN {
            let mut bytes = self.bytes.borrow_mut();
            let mut answer = ReadBuf::new(&mut bytes);
            if let Err(error) = ready!(socket.poll_recv(cx, &mut answer)) {
                self.fail(ends, &error);
                return Poll::Ready(false);
            }
            self.note_answer(ends);
            // A client that has gone, or takes no more now, loses it.
            let _ = self.socket.send(answer.filled(), ends);
        }
        Poll::Ready(true)
    }

    fn note_answer(&self, ends: Ends) {
        let mut flows = self.flows.borrow_mut();
        let Some(flow) = flows.touch(ends, self.worker.now()) else { return };
        if !std::mem::replace(&mut flow.is_answered, true) {
            self.worker.report(&flow.pool, &mut flow.pick, ANSWERED);
        }
    }

    /// The backend does not listen, or cannot be reached: its flow ends, and the pool learns of it.
    fn fail(&self, ends: Ends, error: &io::Error) {
        let Some(mut flow) = self.flows.borrow_mut().end(ends) else { return };
        self.worker.now();
        if !connect::is_ours(error) {
            self.worker.report(&flow.pool, &mut flow.pick, Outcome::Failed);
            self.worker.doubt(&flow.pool, flow.pick.index, Doubt::ConnectFailure);
        }
    }
}

/// The datagram is lost, and nothing else is wrong.
fn is_about_one_datagram(error: &io::Error) -> bool {
    let lost = [codes::EAGAIN, codes::EMSGSIZE, codes::ENOBUFS, codes::EPERM, codes::EINTR];
    error.raw_os_error().is_some_and(|code| lost.contains(&code))
}
