//! HTTP/2: many exchanges share a connection.
//!
//! An implementation of our own, because a tester must not cost more than what it tests, and all
//! that it does is to repeat one request: `bench/RESULTS.md` has the figures. It offers no push,
//! takes frames of 16 KiB at most, and closes a connection whose server breaks the rules.
//!
//! Reading order: `Http2` (one client), `Trunk` (the connection that clients share), `Driver`
//! (moves its bytes), `connection` (what they mean) with `terms` (what the server allows), `slot`
//! (one exchange of it), `template`, `frame`, `hpack`, `huffman`.

mod connection;
mod frame;
mod hpack;
mod huffman;
mod slot;
mod template;

pub(crate) use template::Template;

use super::fault::Fault;
use super::lane::{Answer, Client};
use super::link::{Dialer, Link};
use super::patience::Patience;
use connection::Connection;
use slot::End;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// Exchanges that share a connection.
pub(crate) const STREAMS_PER_CONNECTION: usize = 100;
/// A request that a server has not processed is sent again on this many further connections.
const MAX_FURTHER: u32 = 20;
/// First size of the buffer that is read into.
const FIRST_BYTES: usize = 8 * 1024;
/// Its size once it was full. A frame always has room.
const LARGE_BYTES: usize = 64 * 1024;

/// A connection that several clients share.
pub(crate) struct Trunk {
    dialer: Arc<Dialer>,
    template: Arc<Template>,
    clients: usize,
    open: AsyncMutex<Option<Arc<Shared>>>,
}

impl Trunk {
    /// Opens nothing yet.
    pub(crate) fn new(dialer: Arc<Dialer>, template: Arc<Template>, clients: usize) -> Arc<Trunk> {
        Arc::new(Trunk { dialer, template, clients, open: AsyncMutex::default() })
    }

    /// The connection, opened anew if it takes no further request.
    async fn shared(&self, deadline: Instant) -> Result<Arc<Shared>, Fault> {
        let mut open = self.open.lock().await;
        if let Some(shared) = open.as_ref().filter(|shared| shared.lock().connection.is_open()) {
            return Ok(Arc::clone(shared));
        }
        let link = self.dialer.open(deadline).await?;
        let connection = Connection::new(Arc::clone(&self.template), self.clients);
        let shared = Arc::new(Shared(Mutex::new(State { connection, driver: None })));
        tokio::spawn(Driver::new(link, &shared));
        *open = Some(Arc::clone(&shared));
        Ok(shared)
    }

    async fn forget(&self, shared: &Arc<Shared>) {
        let mut open = self.open.lock().await;
        open.take_if(|open| Arc::ptr_eq(open, shared));
    }
}

/// A connection, as its clients and its driver see it. It is closed with its last client.
struct Shared(Mutex<State>);

struct State {
    connection: Connection,
    /// Wakes the driver, if it sleeps.
    driver: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lock().wake_driver();
    }
}

/// Sends the same request again and again.
pub(crate) struct Http2 {
    caller: Caller,
    patience: Patience,
}

impl Http2 {
    /// Number `slot` of those that share the trunk; needs a running runtime.
    pub(crate) fn new(trunk: Arc<Trunk>, slot: usize, keep_alive: bool) -> Http2 {
        let caller = Caller { trunk, slot, keep_alive, backend: String::new(), current: None };
        Http2 { caller, patience: Patience::new() }
    }
}

impl Client for Http2 {
    async fn exchange(&mut self, _: u64, deadline: Instant) -> Result<Answer, Fault> {
        self.caller.backend.clear();
        self.patience.within(deadline, self.caller.attempt(deadline)).await
    }

    fn backend(&self) -> &str {
        &self.caller.backend
    }
}

struct Caller {
    trunk: Arc<Trunk>,
    slot: usize,
    keep_alive: bool,
    backend: String,
    /// The connection of the last exchange.
    current: Option<Arc<Shared>>,
}

impl Caller {
    /// A server may close a connection whenever it likes, if it says which requests it leaves
    /// alone.
    async fn attempt(&mut self, deadline: Instant) -> Result<Answer, Fault> {
        let mut further = 0;
        loop {
            let shared = match self.current.take() {
                Some(shared) => shared,
                None => self.trunk.shared(deadline).await?,
            };
            let answered = match Exchange::begin(&shared, self.slot) {
                Ok(exchange) => exchange.answer(&mut self.backend).await,
                Err(end) => Err(end),
            };
            if self.keep_alive {
                self.current = Some(shared);
            } else {
                self.trunk.forget(&shared).await;
            }
            match answered {
                Ok(answer) => return Ok(answer),
                Err(End::Failed(fault)) => return Err(fault),
                Err(End::Unprocessed(fault)) if further == MAX_FURTHER => return Err(fault),
                Err(End::Unprocessed(_)) => self.current = None,
            }
            further += 1;
        }
    }
}

/// A request under way. If nobody waits for it any more, its stream is reset.
struct Exchange<'a> {
    shared: &'a Shared,
    slot: usize,
    is_over: bool,
}

impl<'a> Exchange<'a> {
    fn begin(shared: &'a Shared, slot: usize) -> Result<Exchange<'a>, End> {
        let mut state = shared.lock();
        state.connection.begin(slot)?;
        state.wake_driver();
        Ok(Exchange { shared, slot, is_over: false })
    }

    async fn answer(mut self, backend: &mut String) -> Result<Answer, End> {
        poll_fn(|cx| {
            let polled = self.shared.lock().connection.poll(self.slot, backend, cx);
            self.is_over = polled.is_ready();
            polled
        })
        .await
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.shared.lock();
            state.connection.cancel(self.slot);
            state.wake_driver();
        }
    }
}

/// Moves the bytes of one connection. What all its clients want to send in one turn of the runtime
/// goes out in one write.
struct Driver {
    link: Link,
    shared: Weak<Shared>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are no complete frame yet.
    held: usize,
    /// Nothing can be written any more; what the server has said can still be read.
    is_mute: bool,
}

impl Driver {
    fn new(link: Link, shared: &Arc<Shared>) -> Driver {
        let shared = Arc::downgrade(shared);
        Driver { link, shared, buffer: vec![0; FIRST_BYTES], held: 0, is_mute: false }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<Fault> {
        loop {
            connection.render();
            self.write(cx, connection);
            if connection.is_full() {
                return Poll::Pending;
            }
            if let Err(fault) = ready!(self.poll_read(cx, connection)) {
                return Poll::Ready(fault);
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, connection: &mut Connection) {
        while !connection.waiting().is_empty() && !self.is_mute {
            match Pin::new(&mut self.link).poll_write(cx, connection.waiting()) {
                Poll::Ready(Ok(bytes @ 1..)) => connection.wrote(bytes),
                Poll::Ready(Ok(0) | Err(_)) => self.is_mute = true,
                Poll::Pending => return,
            }
            connection.render();
        }
        if self.is_mute {
            connection.wrote(connection.waiting().len());
        } else {
            // An error shows in what is read.
            let _ = Pin::new(&mut self.link).poll_flush(cx);
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), Fault>> {
        let mut room = ReadBuf::new(&mut self.buffer[self.held..]);
        let read = ready!(Pin::new(&mut self.link).poll_read(cx, &mut room));
        let bytes = room.filled().len();
        match read {
            Ok(()) if bytes == 0 => return Poll::Ready(Err(Fault::closed())),
            Ok(()) => {}
            Err(error) => return Poll::Ready(Err(Fault::reset(&error))),
        }
        let held = self.held + bytes;
        let taken = connection.receive(&self.buffer[..held])?;
        if held == self.buffer.len() {
            self.buffer.resize(LARGE_BYTES, 0);
        }
        self.buffer.copy_within(taken..held, 0);
        self.held = held - taken;
        Poll::Ready(Ok(()))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else { return Poll::Ready(()) };
        let mut state = shared.lock();
        let polled = self.poll_bytes(cx, &mut state.connection);
        match polled {
            Poll::Ready(fault) => {
                state.connection.fail(&fault);
                Poll::Ready(())
            }
            Poll::Pending => {
                state.driver = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
