//! Pipes of the kernel, through which bytes go from one socket to another without coming here
//! (Linux `splice`). Where there are none, or no more may be had, whoever asks moves the bytes
//! himself.

use super::Socket;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;

/// Pipes of one worker, free ones included; each holds two descriptors.
const MAX_PIPES: usize = 128;
/// Free pipes that a worker keeps.
const MAX_FREE: usize = 16;
/// Bytes that a pipe takes, if the system lets it: as much as a socket has at hand as a rule.
const PIPE_BYTES: usize = 256 * 1024;

/// The pipes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: RefCell<Vec<Pipe>>,
    open: Rc<Cell<usize>>,
}

/// One pipe; between two uses it is empty.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes in it.
    held: usize,
    open: Rc<Cell<usize>>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Pipes {
    /// An empty pipe, if there is one.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.free.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.open.get() >= MAX_PIPES {
            return None;
        }
        let (reader, writer) = system::new_pipe(PIPE_BYTES).ok()?;
        self.open.set(self.open.get() + 1);
        Some(Pipe { reader, writer, held: 0, open: Rc::clone(&self.open) })
    }

    /// Takes a pipe back; one that is not empty is closed, and what it holds is lost.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut free = self.free.borrow_mut();
        if pipe.held == 0 && free.len() < MAX_FREE {
            free.push(pipe);
        }
    }
}

impl Pipe {
    /// Bytes that went in and have not come out.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes in up to `most` bytes of what the socket has, as far as there is room; 0 = it has
    /// ended. Only while the pipe is empty: a full one looks like a socket that has nothing.
    pub(crate) fn poll_draw(
        &mut self,
        cx: &mut Context<'_>,
        from: &Socket,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        let most = usize::try_from(most).unwrap_or(PIPE_BYTES).min(PIPE_BYTES);
        let moved = ready!(poll_moved(cx, from, Interest::READABLE, || {
            system::splice(from, &self.writer, most)
        }))?;
        self.held += moved;
        Poll::Ready(Ok(moved))
    }

    /// Lets out what the socket takes.
    pub(crate) fn poll_pour(
        &mut self,
        cx: &mut Context<'_>,
        to: &Socket,
    ) -> Poll<io::Result<usize>> {
        let moved = ready!(poll_moved(cx, to, Interest::WRITABLE, || {
            system::splice(&self.reader, to, self.held)
        }))?;
        self.held -= moved.min(self.held);
        Poll::Ready(Ok(moved))
    }
}

/// Tries until it worked or the socket is not ready.
fn poll_moved(
    cx: &mut Context<'_>,
    socket: &Socket,
    interest: Interest,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(match (socket, interest.is_readable()) {
            (Socket::Tcp(stream), true) => stream.poll_read_ready(cx),
            (Socket::Tcp(stream), false) => stream.poll_write_ready(cx),
            (Socket::Unix(stream), true) => stream.poll_read_ready(cx),
            (Socket::Unix(stream), false) => stream.poll_write_ready(cx),
        })?;
        let moved = match socket {
            Socket::Tcp(stream) => stream.try_io(interest, &mut attempt),
            Socket::Unix(stream) => stream.try_io(interest, &mut attempt),
        };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            moved => return Poll::Ready(moved),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::pipe::{
        PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice as move_bytes,
    };
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    pub(super) fn new_pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        let pipe = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A smaller one does too: the system gives a user so much and no more.
        let _ = fcntl_setpipe_size(&pipe.1, bytes);
        Ok(pipe)
    }

    pub(super) fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(move_bytes(from, None, to, None, most, flags)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    pub(super) fn new_pipe(_: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn splice(_: impl AsFd, _: impl AsFd, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        (here.expect("connected"), Socket::Tcp(there.expect("accepted").0))
    }

    #[test]
    fn pipes_are_pooled_and_bounded() {
        let pipes = Pipes::default();
        let all: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(all.len(), MAX_PIPES);
        all.into_iter().for_each(|pipe| pipes.give(pipe));
        assert_eq!((pipes.open.get(), pipes.free.borrow().len()), (MAX_FREE, MAX_FREE));
        let mut full = pipes.take().expect("a free one");
        full.held = 1;
        pipes.give(full);
        assert_eq!(pipes.open.get(), MAX_FREE - 1, "what holds bytes is closed");
    }

    #[tokio::test]
    async fn bytes_go_through_and_an_end_is_seen() {
        let (mut sender, from) = pair().await;
        let (mut receiver, to) = pair().await;
        let pipes = Pipes::default();
        let mut pipe = pipes.take().expect("a pipe");
        sender.write_all(b"some bytes").await.expect("taken");
        let moved = poll_fn(|cx| pipe.poll_draw(cx, &from, u64::MAX)).await.expect("drawn");
        assert_eq!((moved, pipe.held()), (10, 10));
        assert_eq!(poll_fn(|cx| pipe.poll_pour(cx, &to)).await.expect("poured"), 10);
        assert_eq!(pipe.held(), 0);
        let mut bytes = [0; 10];
        receiver.read_exact(&mut bytes).await.expect("there");
        assert_eq!(&bytes, b"some bytes");
        sender.shutdown().await.expect("open");
        assert_eq!(poll_fn(|cx| pipe.poll_draw(cx, &from, u64::MAX)).await.expect("an end"), 0);
    }
}
