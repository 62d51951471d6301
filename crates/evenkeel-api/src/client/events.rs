//! The stream of events (WHATWG HTML, "Server-sent events").

use super::ClientError;
use super::address::Address;
use super::call::Opened;
use crate::event::Event;
use std::time::Duration;

/// Bytes of one event, and of what was read behind it.
const MAX_EVENT_BYTES: usize = 256 * 1024;
/// Without even a comment for so long, the other side is gone.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// What happens, one event after another.
pub struct Events {
    opened: Opened,
    address: Address,
    lines: Lines,
}

impl Events {
    pub(super) fn new(opened: Opened, address: Address) -> Events {
        Events { opened, address, lines: Lines::default() }
    }

    /// The number of the last event that has come, for `Client::events_after`; `None` before the
    /// first.
    pub fn last_id(&self) -> Option<u64> {
        self.lines.last_id
    }

    /// Waits for the next event; `None` when the stream has ended. Nothing is lost if the wait is
    /// given up.
    ///
    /// # Errors
    /// `ClientError`; the stream is of no use after one.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(document) = self.lines.next_document() {
                let event = serde_json::from_slice(&document);
                return event.map(Some).map_err(|error| self.address.bad_answer(error));
            }
            if self.lines.len() > MAX_EVENT_BYTES {
                let address = self.address.to_string();
                return Err(ClientError::TooLarge { address, max_bytes: MAX_EVENT_BYTES });
            }
            let piece = async { Ok(self.opened.piece().await) };
            let Some(piece) = self.address.within(MAX_SILENCE, piece).await? else {
                return Ok(None);
            };
            let piece = piece.map_err(|error| self.address.bad_answer(error))?;
            self.lines.push(&piece);
        }
    }
}

/// Bytes of the stream as documents. Fields other than `data` and `id` say nothing that is not in
/// it.
#[derive(Default)]
struct Lines {
    unread: Vec<u8>,
    document: Vec<u8>,
    /// Of the document that is read.
    id: Option<u64>,
    /// Of the last one that was whole.
    last_id: Option<u64>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    fn len(&self) -> usize {
        self.unread.len() + self.document.len()
    }

    fn next_document(&mut self) -> Option<Vec<u8>> {
        let mut read = 0;
        let mut whole = None;
        while let Some(length) = self.unread[read..].iter().position(|byte| *byte == b'\n') {
            let line = &self.unread[read..read + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            read += length + 1;
            if line.is_empty() && !self.document.is_empty() {
                whole = Some(std::mem::take(&mut self.document));
                self.last_id = self.id.or(self.last_id);
                break;
            }
            if let Some(text) = line.strip_prefix(b"data:") {
                self.document.extend_from_slice(text.strip_prefix(b" ").unwrap_or(text));
                self.document.push(b'\n');
            } else if let Some(id) = line.strip_prefix(b"id:") {
                self.id = str::from_utf8(id).ok().and_then(|id| id.trim().parse().ok());
            }
        }
        self.unread.drain(..read);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_the_same_however_they_arrive() {
        let stream = b": hello\n\nevent: x\nid: 7\ndata: {\"a\":\ndata:1}\n\n\
            data: 2\r\n\r\n\n:\n\nid: 9\ndata: unfinished\n";
        for size in [1, 2, 3, 7, stream.len()] {
            let mut lines = Lines::default();
            let mut documents = Vec::new();
            for piece in stream.chunks(size) {
                lines.push(piece);
                while let Some(document) = lines.next_document() {
                    documents.push(String::from_utf8(document).unwrap());
                }
            }
            assert_eq!(documents, ["{\"a\":\n1}\n", "2\n"], "pieces of {size}");
            assert_eq!(lines.len(), "unfinished\n".len());
            assert_eq!(lines.last_id, Some(7), "of a document that is whole");
        }
    }
}
