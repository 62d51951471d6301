//! The request on its way to a backend. A short body is gathered behind the head, so that all of it
//! can be sent again elsewhere; a long or chunked one is streamed and cannot.

use crate::buffer::Outbox;
use crate::net::{Net, Stream};
use crate::pump::{Pump, PumpError, Toward};
use crate::rate::Rate;
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::framing::BodyLength;
use evenkeel_core::headers::Trailers;
use evenkeel_core::path::put_prefix;
use evenkeel_core::retry::MAX_REPLAYED_BYTES;
use std::borrow::Cow;
use std::task::{Context, Poll};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a request could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadError {
    /// The backend takes no more.
    Backend,
    /// The client left.
    Client,
    /// The client's chunked coding is not legal.
    BadChunk,
    /// More body than the limit allows.
    TooLarge,
    /// The client is below the minimum rate.
    TooSlow,
}

/// One request going up.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// The head for the backend, and behind it the gathered body.
    pub(crate) kept: Outbox,
    /// Bytes before the path in it that are the backend's own.
    prefix_bytes: usize,
    /// Bytes of a gathered body that have not arrived.
    missing: u64,
    /// A body that is streamed.
    rest: Option<Box<Pump>>,
    /// Streamed bytes were taken from the client: they cannot be sent again.
    streamed: bool,
    /// The client waits for `100 Continue` before it sends its body.
    continue_owed: bool,
    rate: Rate,
    /// Body bytes that came from the client, gathered ones only.
    gathered: u64,
}

impl Upload {
    /// With room for a head.
    pub(crate) fn new(buffer: Vec<u8>) -> Upload {
        Upload { kept: Outbox { bytes: buffer, written: 0 }, ..Upload::default() }
    }

    /// Announces the body, takes what has arrived of it, and says how many bytes that was.
    pub(crate) fn begin_body(
        &mut self,
        body: BodyLength,
        arrived: &[u8],
        (max_bytes, trailers): (u64, Trailers),
    ) -> usize {
        match body {
            BodyLength::None | BodyLength::UntilClose => 0,
            BodyLength::Fixed(length) => {
                let taken = usize::try_from(length).unwrap_or(usize::MAX).min(arrived.len());
                self.kept.bytes.extend_from_slice(&arrived[..taken]);
                self.gathered = taken as u64;
                let left = length - self.gathered;
                if length <= MAX_REPLAYED_BYTES {
                    self.missing = left;
                } else if left > 0 {
                    let left = BodyLength::Fixed(left);
                    self.rest = Some(Box::new(Pump::new(left, left, Toward::Backend, 0)));
                }
                taken
            }
            BodyLength::Chunked => {
                let pump = Pump::new(body, body, Toward::Backend, max_bytes);
                self.rest = Some(Box::new(pump.with_trailers(trailers)));
                0
            }
        }
    }

    /// Keeps a streamed body as well, if it is no longer than `most` with its framing: calls have
    /// no length, and yet most are short.
    pub(crate) fn record_stream(&mut self, most: usize) {
        if let Some(rest) = &mut self.rest {
            rest.record(most);
        }
    }

    /// True if all of the request has come, and all of it is still here.
    pub(crate) fn is_whole(&self) -> bool {
        self.has_arrived() && !self.streamed
    }

    /// The client must be told to go on before it sends its body.
    pub(crate) fn owe_continue(&mut self) {
        self.continue_owed = true;
    }

    /// True once every byte has come from the client.
    pub(crate) fn has_arrived(&self) -> bool {
        self.missing == 0 && self.rest.is_none()
    }

    /// True once every byte has gone to the backend.
    pub(crate) fn is_sent(&self) -> bool {
        self.has_arrived() && self.kept.is_empty()
    }

    /// True if the backend has taken all that is there: the client keeps us waiting.
    pub(crate) fn waits_for_client(&self) -> bool {
        let flushed = self.rest.as_ref().is_none_or(|rest| rest.is_flushed());
        !self.has_arrived() && self.kept.is_empty() && flushed
    }

    /// What of the body has not arrived.
    pub(crate) fn unread(&self) -> BodyLength {
        match (&self.rest, self.missing) {
            (Some(_), _) => BodyLength::Chunked,
            (None, 0) => BodyLength::None,
            (None, missing) => BodyLength::Fixed(missing),
        }
    }

    /// True if the client has not been told to go on.
    pub(crate) fn owes_continue(&self) -> bool {
        self.continue_owed
    }

    /// Body bytes from the client so far.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.gathered + self.rest.as_ref().map_or(0, |rest| rest.moved)
    }

    /// Changes whenever a byte moves, in or out.
    pub(crate) fn progress(&self) -> (u64, usize, usize) {
        let unsent = self.rest.as_ref().map_or(0, |rest| rest.progress().1);
        (self.bytes_in(), self.kept.written, unsent)
    }

    /// True if everything that was sent can be sent again; `buffer` bounds a body that is kept.
    pub(crate) fn is_replayable(&self, buffer: u64) -> bool {
        !self.streamed && self.bytes_in() <= buffer
    }

    /// Writes the head for a backend, whose paths may begin with something.
    #[inline]
    pub(crate) fn lead_to(&mut self, prefix: &str) {
        if self.prefix_bytes > 0 || !prefix.is_empty() {
            self.prefix_bytes = put_prefix(&mut self.kept.bytes, self.prefix_bytes, prefix);
        }
    }

    /// What is kept, from some byte of its first line on: every field stands where it stood before
    /// a backend was known.
    pub(crate) fn fields_mut(&mut self) -> &mut [u8] {
        &mut self.kept.bytes[self.prefix_bytes..]
    }

    /// What is kept, as it was before a backend was known.
    pub(crate) fn for_anybody(&self) -> Cow<'_, [u8]> {
        let mut request = Cow::Borrowed(self.kept.bytes.as_slice());
        if self.prefix_bytes > 0 {
            put_prefix(request.to_mut(), self.prefix_bytes, "");
        }
        request
    }

    /// Begins anew for another backend.
    pub(crate) fn rewind(&mut self) {
        self.kept.written = 0;
        if let Some(rest) = &mut self.rest {
            rest.rewind();
        }
    }

    /// Gives back what a stream holds; call before the upload is dropped or used again.
    pub(crate) fn release<N: Net>(&mut self, worker: &Worker<N>) {
        if let Some(mut rest) = self.rest.take() {
            self.gathered += rest.moved;
            self.streamed = true;
            rest.release(worker);
        }
        worker.buffers.give(std::mem::take(&mut self.kept.bytes));
    }

    /// Sends what is there, as far as the backend takes it. `ahead` is what the client gets before
    /// the final response.
    pub(crate) fn send<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut Wire<N::Stream>, &mut Vec<u8>, &mut Outbox),
        to: &mut Wire<N::Stream>,
    ) -> Result<(), UploadError> {
        if self.has_arrived() {
            return self.flush(cx, to).map(|_| ());
        }
        let (client, carry, ahead) = from;
        if std::mem::take(&mut self.continue_owed) && carry.is_empty() {
            let told = ahead.send(cx, client, [CONTINUE, &[], &[]]);
            told.map_err(|_| UploadError::Client)?;
        }
        // What had arrived was taken with the head: the rest comes from the socket.
        debug_assert!(self.missing == 0 || carry.is_empty());
        self.gather(cx, worker, client)?;
        if !self.flush(cx, to)? {
            return Ok(());
        }
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let polled = rest.poll(cx, worker, (client, carry), to);
        let moved = rest.moved > 0 || polled.is_ready() || !rest.is_flushed();
        self.streamed |= moved && rest.tape().is_none();
        match polled {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.gathered += rest.moved;
                if let Some(tape) = rest.tape() {
                    // All of it is out: from here on it is kept like a body that was gathered.
                    self.kept.bytes.extend_from_slice(tape);
                    self.kept.written = self.kept.bytes.len();
                }
                self.rest = None;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(match error {
                PumpError::Write => UploadError::Backend,
                PumpError::Read | PumpError::Truncated => UploadError::Client,
                PumpError::BadChunk => UploadError::BadChunk,
                PumpError::TooLarge => UploadError::TooLarge,
                PumpError::TooSlow => UploadError::TooSlow,
            }),
        }
    }

    /// Writes what is kept. True if all of it is out.
    fn flush<S: Stream>(&mut self, cx: &mut Context<'_>, to: &mut S) -> Result<bool, UploadError> {
        match self.kept.poll_write(cx, to) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(UploadError::Backend),
        }
    }

    /// Reads the rest of a short body behind the head.
    fn gather<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        client: &mut Wire<N::Stream>,
    ) -> Result<(), UploadError> {
        while self.missing > 0 {
            let window = usize::try_from(self.missing).unwrap_or(usize::MAX);
            let mut scratch = worker.scratch.borrow_mut();
            let window = window.min(scratch.bytes.len());
            match client.poll_read(cx, &mut scratch.bytes[..window]) {
                Poll::Pending => {
                    self.rate.wait(worker.tick());
                    return Ok(());
                }
                Poll::Ready(Ok(length)) if length > 0 => {
                    self.keep_body(&scratch.bytes[..length]);
                    let resumed = self.rate.resume(worker.tick(), self.gathered);
                    resumed.map_err(|_| UploadError::TooSlow)?;
                }
                Poll::Ready(_) => return Err(UploadError::Client),
            }
        }
        Ok(())
    }

    fn keep_body(&mut self, bytes: &[u8]) {
        self.kept.bytes.extend_from_slice(bytes);
        self.gathered += bytes.len() as u64;
        self.missing -= bytes.len() as u64;
    }
}
