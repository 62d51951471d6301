//! Request bodies, read to their end in bounded memory.

use crate::limits::{BODY_TIMEOUT, MAX_HEAD_BYTES};
use crate::refusal::Refusal;
use crate::request::BodyLength;
use crate::wire::Wire;
use httparse::Status;
use tokio::time::Instant;

/// What is remembered of a body.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Its first bytes.
    pub(crate) bytes: Vec<u8>,
    /// How long it was.
    pub(crate) total: u64,
    limit: usize,
}

impl Kept {
    /// Remembers at most `limit` bytes.
    pub(crate) fn up_to(limit: usize) -> Kept {
        Kept { limit, ..Kept::default() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }
}

/// Reads a body to its end.
pub(crate) async fn read(
    wire: &mut Wire,
    length: BodyLength,
    kept: &mut Kept,
) -> Result<(), Refusal> {
    match length {
        BodyLength::Fixed(length) => read_fixed(wire, length, kept).await,
        BodyLength::Chunked => read_chunks(wire, kept).await,
    }
}

async fn read_fixed(wire: &mut Wire, length: u64, kept: &mut Kept) -> Result<(), Refusal> {
    let mut left = length;
    while left > 0 {
        if wire.buffered().is_empty() {
            more(wire).await?;
        }
        let buffered = wire.buffered();
        let part = usize::try_from(left).map_or(buffered.len(), |left| left.min(buffered.len()));
        kept.take(&buffered[..part]);
        wire.consume(part);
        left -= part as u64;
    }
    Ok(())
}

/// RFC 9112, section 7.1.
async fn read_chunks(wire: &mut Wire, kept: &mut Kept) -> Result<(), Refusal> {
    loop {
        let size = read_chunk_size(wire).await?;
        if size == 0 {
            return read_trailers(wire).await;
        }
        read_fixed(wire, size, kept).await?;
        if !read_line(wire).await?.is_empty() {
            return Err(Refusal::BadRequest);
        }
    }
}

async fn read_chunk_size(wire: &mut Wire) -> Result<u64, Refusal> {
    loop {
        match httparse::parse_chunk_size(wire.buffered()) {
            Ok(Status::Complete((line, size))) => {
                wire.consume(line);
                return Ok(size);
            }
            Ok(Status::Partial) => more(wire).await?,
            Err(_) => return Err(Refusal::BadRequest),
        }
    }
}

async fn read_trailers(wire: &mut Wire) -> Result<(), Refusal> {
    let mut read = 0;
    while read <= MAX_HEAD_BYTES {
        let line = read_line(wire).await?;
        if line.is_empty() {
            return Ok(());
        }
        read += line.len();
    }
    Err(Refusal::HeadTooLarge)
}

/// One line without its end.
async fn read_line(wire: &mut Wire) -> Result<Vec<u8>, Refusal> {
    loop {
        if let Some(end) = wire.buffered().iter().position(|byte| *byte == b'\n') {
            let line = wire.buffered()[..end].strip_suffix(b"\r").ok_or(Refusal::BadRequest)?;
            let line = line.to_vec();
            wire.consume(end + 1);
            return Ok(line);
        }
        more(wire).await?;
    }
}

async fn more(wire: &mut Wire) -> Result<(), Refusal> {
    wire.fill(Instant::now() + BODY_TIMEOUT).await
}
