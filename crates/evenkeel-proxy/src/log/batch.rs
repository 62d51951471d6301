//! Lines on their way out. What could not be written stays, so that no line is ever torn.

use std::io::{ErrorKind, Write};

/// Writes that one `flush` tries at most; a sane output needs one.
const MAX_WRITES: usize = 1_000;

/// Lines, of which the first `written` bytes are out.
#[derive(Default)]
pub(super) struct Batch {
    lines: Vec<u8>,
    written: usize,
}

/// How far a flush came.
#[derive(Debug)]
pub(super) enum Flushed {
    /// All is out; the batch is empty.
    All,
    /// The reader has no room at the moment.
    Blocked,
    /// The output is broken, perhaps for a while.
    Failed(std::io::Error),
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// For whole lines to be appended.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Writes what is left, in one piece if the output takes it.
    pub(super) fn flush(&mut self, output: &mut impl Write) -> Flushed {
        for _ in 0..MAX_WRITES {
            let rest = &self.lines[self.written..];
            if rest.is_empty() {
                self.lines.clear();
                self.written = 0;
                return Flushed::All;
            }
            match output.write(rest) {
                Ok(0) => return Flushed::Failed(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) => return Flushed::Failed(error),
            }
        }
        Flushed::Blocked
    }

    /// The output is a new one: a line that is half in the old one goes whole into the new one.
    pub(super) fn rewind_line(&mut self) {
        let out = &self.lines[..self.written];
        self.written = out.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io;

    /// Each write takes so many bytes or fails.
    struct Scripted {
        steps: VecDeque<Result<usize, ErrorKind>>,
        out: Vec<u8>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.steps.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.out.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(steps: &[Result<usize, ErrorKind>]) -> Scripted {
        Scripted { steps: steps.iter().copied().collect(), out: Vec::new() }
    }

    fn batch() -> Batch {
        Batch { lines: b"first\nsecond\nthird\n".to_vec(), written: 0 }
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        let mut output = scripted(&[Ok(3), Err(ErrorKind::Interrupted), Ok(1)]);
        let mut batch = batch();
        assert!(matches!(batch.flush(&mut output), Flushed::All));
        assert!(batch.is_empty());
        assert_eq!(output.out, b"first\nsecond\nthird\n");
    }

    #[test]
    fn what_is_left_waits_for_the_output() {
        let mut output = scripted(&[
            Ok(8),
            Err(ErrorKind::WouldBlock),
            Ok(1),
            Err(ErrorKind::StorageFull),
            Ok(0),
        ]);
        let mut batch = batch();
        assert!(matches!(batch.flush(&mut output), Flushed::Blocked));
        for expected in [ErrorKind::StorageFull, ErrorKind::WriteZero] {
            let flushed = batch.flush(&mut output);
            assert!(matches!(flushed, Flushed::Failed(error) if error.kind() == expected));
        }
        assert!(matches!(batch.flush(&mut output), Flushed::All));
        assert_eq!(output.out, b"first\nsecond\nthird\n");
    }

    #[test]
    fn an_output_that_takes_a_byte_at_a_time_does_not_hold_the_writer() {
        let mut output = scripted(&[Ok(1); 2 * MAX_WRITES]);
        let mut batch = Batch { lines: vec![b'x'; MAX_WRITES + 1], written: 0 };
        assert!(matches!(batch.flush(&mut output), Flushed::Blocked));
        assert!(matches!(batch.flush(&mut output), Flushed::All));
    }

    #[test]
    fn a_new_output_gets_the_torn_line_whole() {
        for (taken, expected) in [
            (0, "first\nsecond\nthird\n"),
            (5, "first\nsecond\nthird\n"),
            (6, "second\nthird\n"),
            (9, "second\nthird\n"),
        ] {
            let mut old = scripted(&[Ok(taken), Err(ErrorKind::StorageFull)]);
            let mut batch = batch();
            assert!(matches!(batch.flush(&mut old), Flushed::Failed(_)));
            batch.rewind_line();
            let mut new = scripted(&[]);
            assert!(matches!(batch.flush(&mut new), Flushed::All));
            assert_eq!(new.out, expected.as_bytes());
        }
    }
}
