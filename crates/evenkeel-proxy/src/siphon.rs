//! One direction in which much moves and nobody looks at it: its bytes go from socket to socket
//! through a pipe of the kernel. Small messages cost less the usual way, so a direction is siphoned
//! only while a lot comes at once.

use crate::net::Stream;
use crate::pump::PumpError;
use crate::socket::codes;
use crate::socket::pipes::{Pipe, Pipes};
use std::io;
use std::task::{Context, Poll, ready};

/// So many bytes at one go are much.
const MUCH_BYTES: u64 = 128 * 1024;
/// And so few are little.
const LITTLE_BYTES: u64 = 16 * 1024;
/// Times that the pipe is filled in one poll, so that others get their turn.
const FILLS_PER_POLL: u32 = 16;

/// What is known about siphoning one direction.
#[derive(Debug, Default)]
pub(crate) struct Siphon {
    state: State,
    /// While it is in use.
    pipe: Option<Pipe>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Little moves.
    #[default]
    Off,
    /// Much moves.
    On,
    /// It cannot be: nobody need ask again.
    Unfit,
}

impl Siphon {
    /// For a body of which much is to come.
    pub(crate) fn on() -> Siphon {
        Siphon { state: State::On, ..Siphon::default() }
    }

    /// True if this is how bytes are to be moved.
    pub(crate) fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// Bytes under way.
    pub(crate) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// So much was moved the usual way at one go, and nothing of it is left.
    pub(crate) fn note(&mut self, moved: u64) {
        if self.state == State::Off && moved >= MUCH_BYTES {
            self.state = State::On;
        }
    }

    /// Moves up to `most` bytes, until that is done or the source ends (`Ok(true)`), the source has
    /// nothing, or the target takes nothing. `Ok(false)`: from now on the usual way.
    pub(crate) fn poll<F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        (from, to): (&mut F, &mut T),
        (most, moved): (u64, &mut u64),
    ) -> Poll<Result<bool, PumpError>> {
        let result = self.poll_moving(cx, pipes, (from, to), (most, moved));
        if self.held() == 0 {
            self.release(pipes);
            if result.is_pending() && self.is_on() && *moved > 0 && *moved < LITTLE_BYTES {
                self.state = State::Off;
            }
        }
        result
    }

    fn poll_moving<F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        (from, to): (&mut F, &mut T),
        (most, moved): (u64, &mut u64),
    ) -> Poll<Result<bool, PumpError>> {
        for _ in 0..FILLS_PER_POLL {
            ready!(self.poll_empty(cx, to)).map_err(|_| PumpError::Write)?;
            if self.ended || *moved >= most {
                return Poll::Ready(Ok(true));
            }
            let drawn = self.poll_draw(cx, pipes, (from, to), most - *moved);
            *moved += ready!(drawn).map_err(|_| PumpError::Read)?;
            if !self.is_on() {
                return Poll::Ready(Ok(false));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes in up to `most` bytes of what the source has. Afterwards it is on, or nothing was
    /// taken because it cannot be.
    pub(crate) fn poll_draw<F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        (from, to): (&mut F, &T),
        most: u64,
    ) -> Poll<io::Result<u64>> {
        let (Some(source), Some(_)) = (from.socket(), to.socket()) else {
            self.state = State::Unfit;
            return Poll::Ready(Ok(0));
        };
        let Some(pipe) = self.pipe.take().or_else(|| pipes.take()) else {
            self.state = State::Off;
            return Poll::Ready(Ok(0));
        };
        match ready!(self.pipe.insert(pipe).poll_draw(cx, source, most)) {
            Ok(drawn) => {
                self.ended = drawn == 0;
                Poll::Ready(Ok(drawn as u64))
            }
            Err(error) if is_refused(&error) => {
                self.state = State::Unfit;
                Poll::Ready(Ok(0))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Lets out what is in the pipe.
    pub(crate) fn poll_empty<T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<io::Result<()>> {
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let Some(target) = to.socket() else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            if ready!(pipe.poll_pour(cx, target))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives back what it has.
    pub(crate) fn release(&mut self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.give(pipe);
        }
    }
}

/// The system does not do this here, for these sockets or at all.
fn is_refused(error: &io::Error) -> bool {
    let refusals = [codes::EINVAL, codes::ENOSYS, codes::EPERM, codes::EOPNOTSUPP];
    error.raw_os_error().is_some_and(|code| refusals.contains(&code))
}
