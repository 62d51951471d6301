//! One direction of a tunnel in which much moves and nobody looks at it: its bytes go from socket
//! to socket through a pipe of the kernel. Small messages cost less the usual way, so a direction
//! is siphoned only while a lot comes at once.

use crate::net::Stream;
use crate::pump::PumpError;
use crate::socket::codes;
use crate::socket::pipes::{Pipe, Pipes};
use crate::wire::Wire;
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
    /// For bytes that somebody looks at.
    pub(crate) fn unfit() -> Siphon {
        Siphon { state: State::Unfit, ..Siphon::default() }
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

    /// Moves bytes until the source ends (`Ok(true)`), has nothing, or the target takes nothing.
    /// `Ok(false)`: from now on the usual way.
    pub(crate) fn poll<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        (from, to): (&mut Wire<S>, &mut Wire<S>),
        moved: &mut u64,
    ) -> Poll<Result<bool, PumpError>> {
        let before = *moved;
        let result = self.poll_moving(cx, pipes, (from, to), moved);
        if self.held() == 0 {
            if let Some(pipe) = self.pipe.take() {
                pipes.give(pipe);
            }
            let moved = *moved - before;
            if result.is_pending() && self.is_on() && moved > 0 && moved < LITTLE_BYTES {
                self.state = State::Off;
            }
        }
        result
    }

    fn poll_moving<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        (from, to): (&mut Wire<S>, &mut Wire<S>),
        moved: &mut u64,
    ) -> Poll<Result<bool, PumpError>> {
        for _ in 0..FILLS_PER_POLL {
            ready!(self.poll_empty(cx, to)).map_err(|_| PumpError::Write)?;
            if self.ended {
                return Poll::Ready(Ok(true));
            }
            let (Some(source), Some(_)) = (from.socket(), to.socket()) else {
                self.state = State::Unfit;
                return Poll::Ready(Ok(false));
            };
            let Some(pipe) = self.pipe.take().or_else(|| pipes.take()) else {
                self.state = State::Off;
                return Poll::Ready(Ok(false));
            };
            match self.pipe.insert(pipe).poll_draw(cx, source) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(drawn)) => *moved += drawn as u64,
                Poll::Ready(Err(error)) if is_refused(&error) => {
                    self.state = State::Unfit;
                    return Poll::Ready(Ok(false));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(PumpError::Read)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Lets out what is in the pipe.
    pub(crate) fn poll_empty<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Wire<S>,
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
