//! A network in memory for one single-threaded runtime with a paused clock. Everything that real
//! sockets may do is drawn from a seed: bytes arrive in pieces and late, writes take only a part,
//! connects wait, are refused or hang, connections break at a byte.

mod pipe;
mod script_stream;
mod stream;

pub use script_stream::ScriptStream;
pub use stream::MemoryStream;

use evenkeel_proxy::net::{Accept, Destination, LocalFuture, Net};
use fastrand::Rng;
use pipe::{Pulse, Wire};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// First port of those that connect.
const FIRST_PORT: u16 = 30_000;
/// Time at which every simulated world begins, in nanoseconds since 1970.
const WORLD_BEGIN_UNIX_NANOS: u64 = 1_700_000_000_000_000_000;

/// How connections behave; each connection draws its own from here.
#[derive(Clone, Debug)]
pub struct WireShape {
    /// Bytes that one direction holds.
    pub capacity: RangeInclusive<usize>,
    /// Most bytes that arrive at once.
    pub piece: RangeInclusive<usize>,
    /// Longest way of one piece, in milliseconds.
    pub delay_ms: RangeInclusive<u64>,
    /// Writes that take less than there is room for, in percent.
    pub short_write_percent: u8,
    /// Connections that break at some byte, in percent.
    pub break_percent: u8,
    /// The byte at which they break.
    pub break_at: RangeInclusive<u64>,
}

impl WireShape {
    /// Nothing is cut, split or late.
    pub fn smooth() -> WireShape {
        WireShape {
            capacity: 65_536..=65_536,
            piece: 65_536..=65_536,
            delay_ms: 0..=0,
            short_write_percent: 0,
            break_percent: 0,
            break_at: 0..=0,
        }
    }
}

/// What connecting to one address comes to.
#[derive(Clone, Debug)]
pub struct DialShape {
    /// Before anything else happens.
    pub delay_ms: RangeInclusive<u64>,
    /// Connects that are refused, in percent.
    pub refuse_percent: u8,
    /// Connects that never end, in percent of the others.
    pub hang_percent: u8,
}

impl DialShape {
    /// Every connect succeeds at once.
    pub fn smooth() -> DialShape {
        DialShape { delay_ms: 0..=0, refuse_percent: 0, hang_percent: 0 }
    }
}

/// True in `percent` of a hundred draws.
pub(crate) fn chance(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(0..100) < percent
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct MemoryNet {
    inner: Rc<Inner>,
}

struct Inner {
    rng: RefCell<Rng>,
    proxy_rng: RefCell<Rng>,
    places: RefCell<BTreeMap<SocketAddr, Place>>,
    shape: WireShape,
    begin: Instant,
    next_port: Cell<u16>,
    pulse: Rc<Pulse>,
}

struct Place {
    dial: DialShape,
    queue: VecDeque<(MemoryStream, SocketAddr)>,
    waker: Option<Waker>,
    open: bool,
}

impl MemoryNet {
    /// An empty network; must be called inside the runtime.
    pub fn new(seed: u64, shape: WireShape) -> MemoryNet {
        let mut rng = Rng::with_seed(seed);
        let proxy_rng = RefCell::new(rng.fork());
        let inner = Inner {
            rng: RefCell::new(rng),
            proxy_rng,
            places: RefCell::default(),
            shape,
            begin: Instant::now(),
            next_port: Cell::new(FIRST_PORT),
            pulse: Rc::default(),
        };
        MemoryNet { inner: Rc::new(inner) }
    }

    /// Virtual time since the network was made.
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.inner.begin)
    }

    /// Listens. A second listener on the address takes the place of the first.
    pub fn bind(&self, address: SocketAddr, dial: DialShape) -> MemoryListener {
        let place = Place { dial, queue: VecDeque::new(), waker: None, open: true };
        self.inner.places.borrow_mut().insert(address, place);
        MemoryListener { inner: Rc::clone(&self.inner), address }
    }

    /// Connects from an address with port 0, which is filled in.
    ///
    /// # Errors
    /// Refused, by the draw or because nobody listens.
    pub async fn dial(&self, mut from: SocketAddr, to: SocketAddr) -> io::Result<MemoryStream> {
        let refused = || Err(io::ErrorKind::ConnectionRefused.into());
        let (delay, refuse, hang) = {
            let mut rng = self.inner.rng.borrow_mut();
            let places = self.inner.places.borrow();
            let Some(place) = places.get(&to) else { return refused() };
            let delay = rng.u64(place.dial.delay_ms.clone());
            let refuse = chance(&mut rng, place.dial.refuse_percent);
            (delay, refuse, chance(&mut rng, place.dial.hang_percent))
        };
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if refuse {
            return refused();
        }
        if hang {
            return std::future::pending().await;
        }
        let mut places = self.inner.places.borrow_mut();
        let Some(place) = places.get_mut(&to).filter(|place| place.open) else {
            return refused();
        };
        let port = self.inner.next_port.get();
        self.inner.next_port.set(port.wrapping_add(1).max(FIRST_PORT));
        from.set_port(port);
        let seed = self.inner.rng.borrow_mut().fork();
        let wire = Wire::draw(seed, &self.inner.shape, Rc::clone(&self.inner.pulse));
        let (near, far) = MemoryStream::pair(wire);
        place.queue.push_back((far, from));
        place.waker.take().into_iter().for_each(Waker::wake);
        Ok(near)
    }

    /// The world ends: streams dropped from now on tell nobody. Call before the runtime ends.
    pub fn close(&self) {
        self.inner.pulse.over.set(true);
    }
}

impl Net for MemoryNet {
    type Stream = MemoryStream;

    fn connect<'a>(&'a self, to: &'a Destination) -> LocalFuture<'a, io::Result<MemoryStream>> {
        let own = SocketAddr::from(([10, 0, 0, 1], 0));
        match to {
            Destination::Ip(address) => Box::pin(self.dial(own, *address)),
            Destination::Unix(_) => {
                Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
            }
        }
    }

    fn random(&self) -> u64 {
        self.inner.proxy_rng.borrow_mut().u64(..)
    }

    fn unix_nanos(&self) -> u64 {
        let elapsed = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        WORLD_BEGIN_UNIX_NANOS.saturating_add(elapsed)
    }
}

/// Takes connections to one address; when dropped, connects are refused.
pub struct MemoryListener {
    inner: Rc<Inner>,
    address: SocketAddr,
}

impl Accept for MemoryListener {
    type Stream = MemoryStream;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(MemoryStream, Option<SocketAddr>)>> {
        let mut places = self.inner.places.borrow_mut();
        let Some(place) = places.get_mut(&self.address) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some((stream, from)) = place.queue.pop_front() {
            return Poll::Ready(Ok((stream, Some(from))));
        }
        place.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl MemoryListener {
    /// The next connection.
    ///
    /// # Errors
    /// Never while the listener lives.
    pub async fn accept(&mut self) -> io::Result<MemoryStream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await.map(|(stream, _)| stream)
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let waiting = match self.inner.places.borrow_mut().get_mut(&self.address) {
            Some(place) => {
                place.open = false;
                std::mem::take(&mut place.queue)
            }
            None => VecDeque::new(),
        };
        // Who was queued and never accepted sees a reset, as the kernel does it.
        waiting.into_iter().for_each(|(stream, _)| evenkeel_proxy::net::Stream::reset(stream));
    }
}

#[cfg(test)]
mod tests;
