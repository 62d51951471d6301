//! A scripted backend on blocking threads, which remembers every byte it was sent.

use crate::message::{self, Kind, Message, Reading};
use crate::wire::{PATIENCE, Wire};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The answer that tests use where any will do.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Bytes taken per read; small, as tests measure the memory of their process.
const READ_BYTES: usize = 8 * 1024;

/// A running backend; dropping it ends all its connections, and fails the test if a script
/// panicked.
pub struct Backend {
    address: String,
    seen: Arc<Seen>,
    accepting: Option<JoinHandle<()>>,
}

/// What arrived, per connection in the order of their acceptance.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    received: Vec<Vec<u8>>,
    ended: Vec<bool>,
    open: Vec<Option<Wire>>,
    stopping: bool,
    /// A script panicked.
    failed: bool,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a condition; false if it does not come true within [`PATIENCE`].
    fn wait_for(&self, condition: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !condition(&state) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Backend {
    /// Runs `script` on each connection, on a thread of its own.
    ///
    /// # Panics
    /// If no port is to be had.
    pub fn start(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let accept = move || Wire::from_tcp(listener.accept().ok()?.0).ok();
        Backend::run(address, accept, script)
    }

    /// The same on a unix socket.
    ///
    /// # Panics
    /// If the path cannot be bound.
    pub fn start_unix(
        path: &std::path::Path,
        script: impl Fn(&mut Conversation) + Send + Sync + 'static,
    ) -> Backend {
        let listener = UnixListener::bind(path).expect("a free path");
        let address = format!("unix:{}", path.display());
        let accept = move || Wire::from_unix(listener.accept().ok()?.0).ok();
        Backend::run(address, accept, script)
    }

    fn run(
        address: String,
        accept: impl Fn() -> Option<Wire> + Send + 'static,
        script: impl Fn(&mut Conversation) + Send + Sync + 'static,
    ) -> Backend {
        let seen = Arc::new(Seen::default());
        let script = Arc::new(script);
        let own = Arc::clone(&seen);
        let accepting = std::thread::spawn(move || {
            while let Some(wire) = accept() {
                if own.lock().stopping {
                    return;
                }
                let (script, seen) = (Arc::clone(&script), Arc::clone(&own));
                let mut conversation = Conversation::new(wire, seen);
                std::thread::spawn(move || {
                    let run = AssertUnwindSafe(|| script(&mut conversation));
                    let failed = std::panic::catch_unwind(run).is_err();
                    conversation.finish(failed);
                });
            }
        });
        Backend { address, seen, accepting: Some(accepting) }
    }

    /// Answers every request with the same bytes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Backend {
        let answer = answer.into();
        Backend::start(
            move |conversation| {
                while conversation.request().is_some() && conversation.send(&answer) {}
            },
        )
    }

    /// Answers every request with what `answer` makes of it.
    pub fn by_request(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Backend {
        Backend::start(move |conversation| {
            while let Some(request) = conversation.request() {
                if !conversation.send(&answer(&request)) {
                    return;
                }
            }
        })
    }

    /// Answers 200 with a chosen text, again and again.
    pub fn named(name: &str) -> Backend {
        Backend::answering(ok_with(name))
    }

    /// Answers the request number N of connection M with `answers[M][N]`, then closes it; further
    /// connections get [`OK`] for every request.
    pub fn scripted(answers: Vec<Vec<Vec<u8>>>) -> Backend {
        Backend::start(move |conversation| match answers.get(conversation.index()) {
            Some(answers) => {
                for answer in answers {
                    if conversation.request().is_none() || !conversation.send(answer) {
                        return;
                    }
                }
            }
            None => while conversation.request().is_some() && conversation.send(OK) {},
        })
    }

    /// Takes connections, reads nothing and answers nothing.
    pub fn stalling() -> Backend {
        Backend::start(|conversation| {
            conversation.shrink_receive_buffer();
            conversation.stall();
        })
    }

    /// `host:port` or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().received.len()
    }

    /// The bytes of each connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.seen.lock().received.clone()
    }

    /// Every whole request, and the connection it came on, in the order of the connections.
    ///
    /// # Panics
    /// If what arrived is not legal HTTP.
    pub fn requests(&self) -> Vec<(usize, Message)> {
        let split = |(index, bytes): (usize, Vec<u8>)| {
            let own = whole_requests(&bytes).into_iter();
            own.map(|request| (index, request)).collect::<Vec<_>>()
        };
        self.received().into_iter().enumerate().flat_map(split).collect()
    }

    /// Now, to ask later what came since.
    pub fn mark(&self) -> Mark {
        Mark(self.seen.lock().received.iter().map(Vec::len).collect())
    }

    /// The bytes that came since, of each connection that got any.
    pub fn bytes_since(&self, mark: &Mark) -> Vec<Vec<u8>> {
        let lengths = mark.0.iter().copied().chain(std::iter::repeat(0));
        let news =
            self.received().into_iter().zip(lengths).map(|(bytes, from)| bytes[from..].to_vec());
        news.filter(|bytes| !bytes.is_empty()).collect()
    }

    /// The targets of all requests, in the order of the connections.
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|(_, request)| request.target().to_owned()).collect()
    }

    /// Waits until so many bytes came on all connections together.
    pub fn wait_for_bytes(&self, count: usize) -> bool {
        self.seen.wait_for(|state| state.received.iter().map(Vec::len).sum::<usize>() >= count)
    }

    /// Waits until so many connections were taken.
    pub fn wait_for_connections(&self, count: usize) -> bool {
        self.seen.wait_for(|state| state.received.len() >= count)
    }

    /// Waits until this connection has ended.
    pub fn wait_for_end(&self, connection: usize) -> bool {
        self.seen.wait_for(|state| state.ended.get(connection) == Some(&true))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let open = {
            let mut state = self.seen.lock();
            state.stopping = true;
            std::mem::take(&mut state.open)
        };
        self.seen.changed.notify_all();
        for wire in open.into_iter().flatten() {
            let _ = wire.shutdown(Shutdown::Both);
        }
        // The accept loop sees the wish to stop with its next connection: this one.
        let woken = Wire::connect(&self.address).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
        if !std::thread::panicking() {
            assert!(!self.seen.lock().failed, "a script panicked");
        }
    }
}

/// A moment in the life of a backend.
#[derive(Clone, Debug)]
pub struct Mark(Vec<usize>);

/// The whole requests at the start of `bytes`; one that is cut at the end is left out.
///
/// # Panics
/// If the bytes are not legal HTTP.
pub fn whole_requests(bytes: &[u8]) -> Vec<Message> {
    let mut requests = Vec::new();
    let mut rest = bytes;
    while let Reading::Whole(message, used) =
        message::read(rest, Kind::Request).expect("the proxy sends legal requests")
    {
        requests.push(message);
        rest = &rest[used..];
    }
    requests
}

/// An address where every connection is refused, kept from everybody else while this lives.
#[derive(Debug)]
pub struct RefusingAddress {
    _bound: socket2::Socket,
    address: String,
}

impl RefusingAddress {
    /// Takes a free port and never listens on it.
    ///
    /// # Panics
    /// If no port is to be had.
    pub fn new() -> RefusingAddress {
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let bound = bound.expect("a socket");
        let any: std::net::SocketAddr = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        bound.bind(&any.into()).expect("a free port");
        let own = bound.local_addr().expect("bound").as_socket().expect("an IP socket");
        RefusingAddress { _bound: bound, address: own.to_string() }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Default for RefusingAddress {
    fn default() -> RefusingAddress {
        RefusingAddress::new()
    }
}

/// 200 with a text and its length.
pub fn ok_with(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One connection, as a script sees it.
pub struct Conversation {
    wire: Option<Wire>,
    index: usize,
    seen: Arc<Seen>,
    unread: Vec<u8>,
}

impl Conversation {
    fn new(wire: Wire, seen: Arc<Seen>) -> Conversation {
        let index = {
            let mut state = seen.lock();
            state.received.push(Vec::new());
            state.ended.push(false);
            state.open.push(wire.try_clone().ok());
            state.received.len() - 1
        };
        seen.changed.notify_all();
        Conversation { wire: Some(wire), index, seen, unread: Vec::new() }
    }

    /// Number of the connection, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The next whole request; `None` if the connection ends before.
    pub fn request(&mut self) -> Option<Message> {
        loop {
            if let Ok(Reading::Whole(message, used)) = message::read(&self.unread, Kind::Request) {
                self.unread.drain(..used);
                return Some(message);
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// Waits for the head of a request, and leaves its body to be read by others.
    pub fn head(&mut self) -> bool {
        loop {
            let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                self.unread.drain(..end + 4);
                return true;
            }
            if !self.receive() {
                return false;
            }
        }
    }

    /// Reads once; false if nothing more comes.
    pub fn receive(&mut self) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let start = self.unread.len();
        self.unread.resize(start + READ_BYTES, 0);
        let length = wire.read(&mut self.unread[start..]).unwrap_or(0);
        self.unread.truncate(start + length);
        self.seen.lock().received[self.index].extend_from_slice(&self.unread[start..]);
        self.seen.changed.notify_all();
        length > 0
    }

    /// What came and was not read as a request, once there is something.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.receive();
        }
        std::mem::take(&mut self.unread)
    }

    /// Sends all bytes; false if the proxy does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.as_mut().is_some_and(|wire| wire.write_all(bytes).is_ok())
    }

    /// Sends pieces of `size` bytes, each as a segment of its own.
    pub fn send_in_slices(&mut self, bytes: &[u8], size: usize) -> bool {
        bytes.chunks(size).all(|piece| {
            std::thread::yield_now();
            self.send(piece)
        })
    }

    /// Reads, and forgets, until the proxy ends the connection.
    pub fn read_to_end(&mut self) {
        while self.receive() {
            self.unread.clear();
        }
    }

    /// Does nothing until the backend is dropped.
    pub fn stall(&self) {
        let mut state = self.seen.lock();
        while !state.stopping {
            let waited = self.seen.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes the kernel take little before the script reads.
    pub fn shrink_receive_buffer(&self) {
        self.wire.iter().for_each(Wire::shrink_receive_buffer);
    }

    /// From now on nothing is waited for any longer than this.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn bound_waits(&self, patience: Duration) {
        let wire = self.wire.as_ref().expect("not reset");
        wire.set_timeouts(patience).expect("a live socket");
    }

    /// Ends our half.
    pub fn half_close(&self) {
        self.wire.iter().for_each(|wire| drop(wire.shutdown(Shutdown::Write)));
    }

    /// Breaks the connection.
    pub fn reset(&mut self) {
        self.seen.lock().open[self.index] = None;
        if let Some(wire) = self.wire.take() {
            wire.reset();
        }
    }

    fn finish(&mut self, failed: bool) {
        let mut state = self.seen.lock();
        state.failed |= failed;
        state.open[self.index] = None;
        state.ended[self.index] = true;
        drop(state);
        self.wire = None;
        self.seen.changed.notify_all();
    }
}

/// Something that one thread waits for and another brings about.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; false if it stays shut for [`PATIENCE`].
    pub fn wait(&self) -> bool {
        self.wait_at_most(PATIENCE)
    }

    /// Waits until it is open; false if it stays shut so long.
    pub fn wait_at_most(&self, patience: Duration) -> bool {
        let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(open, patience, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
