//! What the old process has counted, on its way to the new one: everything when it is relieved,
//! then what came since, a line each, until it ends.

use evenkeel_control::Ledger;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written: a minute of them.
const MAX_LINES: usize = 64;
/// How long the end of a process waits until its last line is written.
const LAST_LINE_TIME: Duration = Duration::from_secs(2);
/// How long a new process waits for the first line.
const FIRST_LINE_TIME: Duration = Duration::from_secs(5);
/// Bytes of a line.
const MAX_LINE: u64 = 1 << 30;

/// The old process's end.
pub(crate) struct Bequest {
    lines: SyncSender<Vec<u8>>,
    /// Says nothing; is disconnected when everything is written.
    written: Receiver<()>,
}

impl Bequest {
    /// Into this pipe.
    pub(super) fn into(mut pipe: PipeWriter) -> io::Result<Bequest> {
        let (lines, waiting) = sync_channel::<Vec<u8>>(MAX_LINES);
        let (ended, written) = sync_channel(1);
        let write = move || {
            for mut line in waiting {
                line.push(b'\n');
                if pipe.write_all(&line).is_err() {
                    // Nobody counts on.
                    break;
                }
            }
            drop(ended);
        };
        thread::Builder::new().name("ek-bequest".to_owned()).spawn(write)?;
        Ok(Bequest { lines, written })
    }

    /// Sends a line; never waits.
    pub(crate) fn send(&self, line: Vec<u8>) {
        // One that has not read for a minute does not count on.
        let _ = self.lines.try_send(line);
    }

    /// Waits a moment until everything is written.
    pub(crate) fn finish(self) {
        drop(self.lines);
        // It ends by being disconnected or by time.
        let _: Result<(), RecvTimeoutError> = self.written.recv_timeout(LAST_LINE_TIME);
    }
}

/// The new process's end.
pub(crate) struct Bygone {
    first: Receiver<()>,
    over: Arc<AtomicBool>,
}

impl Bygone {
    /// Adds everything that comes to the ledger; what makes no sense is told.
    pub(super) fn read(
        pipe: File,
        ledger: Arc<Ledger>,
        tell: impl Fn(&str) + Send + 'static,
    ) -> io::Result<Bygone> {
        let (begun, first) = sync_channel(1);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let read = move || {
            let mut pipe = BufReader::new(pipe);
            let mut is_first = true;
            while let Some(line) = next_line(&mut pipe) {
                let taken = if is_first { ledger.begin_with(&line) } else { ledger.add(&line) };
                if let Err(why) = taken {
                    tell(&why);
                }
                is_first = false;
                // Only the first is waited for.
                let _ = begun.try_send(());
            }
            drop(begun);
            ended.store(true, Ordering::Release);
        };
        thread::Builder::new().name("ek-bygone".to_owned()).spawn(read)?;
        Ok(Bygone { first, over })
    }

    /// Waits for the first line. False if there will be none.
    pub(crate) fn await_first(&self) -> bool {
        // Should it take longer, it is added when it comes.
        self.first.recv_timeout(FIRST_LINE_TIME) != Err(RecvTimeoutError::Disconnected)
    }

    /// True once the process before this one has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// A whole line without its end; `None` behind the last.
fn next_line(pipe: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    pipe.take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
    (line.pop() == Some(b'\n')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_none() {
        let mut text: &[u8] = b"one\n\ntw";
        let lines: Vec<_> = std::iter::from_fn(|| next_line(&mut text)).collect();
        assert_eq!(lines, [b"one".to_vec(), Vec::new()]);
    }

    #[test]
    fn lines_arrive_in_order_and_the_end_is_seen() {
        let (mut reader, writer) = io::pipe().unwrap();
        let bequest = Bequest::into(writer).unwrap();
        bequest.send(b"one".to_vec());
        bequest.send(b"two".to_vec());
        bequest.finish();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn nobody_who_listens_is_no_reason_to_wait() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let bequest = Bequest::into(writer).unwrap();
        (0..2 * MAX_LINES).for_each(|_| bequest.send(vec![b'x'; 1 << 16]));
        bequest.finish();
    }
}
