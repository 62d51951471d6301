//! Bytes of a body that nobody looks at: while much of it is at hand, they go from socket to socket
//! through a pipe of the kernel.

use super::{Pump, PumpError, Side, Source};
use crate::net::{Net, Stream};
use crate::worker::Worker;
use std::task::{Context, Poll, ready};

/// Of a body with a length, so much must be to come: the pipe costs two system calls, the usual way
/// as many and two copies.
pub(crate) const WORTH_A_PIPE_BYTES: u64 = 32 * 1024;

impl Pump {
    /// True if bytes pass as they come, and nobody looks at them or keeps them.
    fn is_blind(&self) -> bool {
        let raw = !self.chunked_out && !matches!(self.source, Source::Chunked(_));
        let unseen = self.position.is_none() && self.tape.is_none() && self.witnesses.is_empty();
        raw && unseen && self.max_bytes == 0
    }

    /// True if the pipe is how bytes are moved now.
    pub(super) fn siphons(&self) -> bool {
        let much = match self.source {
            Source::Fixed(left) => left >= WORTH_A_PIPE_BYTES,
            Source::UntilClose | Source::Chunked(_) => true,
        };
        self.siphon.held() > 0 || (much && self.siphon.is_on() && self.is_blind())
    }

    /// Bytes that this direction still takes from its source.
    fn wanted(&self) -> u64 {
        match self.source {
            Source::Fixed(left) => left,
            Source::UntilClose | Source::Chunked(_) => u64::MAX,
        }
    }

    fn took(&mut self, drawn: u64) {
        self.moved += drawn;
        if let Source::Fixed(left) = &mut self.source {
            *left -= drawn;
        }
    }

    /// Takes what follows into the pipe before what comes first is written, so that both go out
    /// together. True if something is in it.
    pub(crate) fn draw_ahead<N: Net, F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        (from, to): (&mut F, &T),
    ) -> bool {
        if self.siphons() {
            let wanted = self.wanted();
            // What fails here fails again when the body is moved.
            if let Poll::Ready(Ok(drawn)) =
                self.siphon.poll_draw(cx, &worker.pipes, (from, to), wanted)
            {
                self.took(drawn);
            }
        }
        self.siphon.held() > 0
    }

    /// Moves bytes through the pipe. `Ok(())` before the end: from now on the usual way.
    pub(super) fn poll_siphon<N: Net, F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        (from, to): (&mut F, &mut T),
    ) -> Poll<Result<(), PumpError>> {
        let mut moved = 0;
        let wanted = self.wanted();
        let polled = self.siphon.poll(cx, &worker.pipes, (from, to), (wanted, &mut moved));
        self.took(moved);
        let waits_for = if self.siphon.held() > 0 { Side::Target } else { Side::Source };
        self.note_waiting(worker, waits_for, polled.is_pending())?;
        if ready!(polled)? {
            if !matches!(self.source, Source::Fixed(0) | Source::UntilClose) {
                return Poll::Ready(Err(PumpError::Truncated));
            }
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// So much was moved the usual way at one go: perhaps the pipe is worth it from now on.
    pub(super) fn note_moved(&mut self, moved: u64) {
        if self.outbox.is_empty() && self.is_blind() {
            self.siphon.note(moved);
        }
    }
}
