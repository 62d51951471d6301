//! The CSV of a run: a row for each request, streamed, in the order in which requests ended.
//!
//! Each thread renders its rows and hands them over in batches. The writer merges the batches by
//! the time at which requests ended, as far as it knows that no earlier one is still to come.

use super::tally::Ended;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The first line.
pub(crate) const HEADER: &str = "seq,start_ns,latency_ns,status,backend,bytes,error";
/// Bytes of a batch before it is handed over.
const BATCH_BYTES: usize = 32 * 1024;
/// Batches that wait for the writer; if the disk is slower than that, the load waits for the disk.
const WAITING_BATCHES: usize = 64;
/// Bytes that the writer holds back for the sake of order; beyond that it writes what it has.
const MAX_HELD_BYTES: usize = 8 << 20;

/// Rows of one thread, in the order in which its requests ended.
struct Batch {
    thread: usize,
    text: Vec<u8>,
    /// When each request ended, from the start of the run, and how long its row is.
    rows: Vec<(Duration, usize)>,
    /// No row of this thread that is still to come ended before this.
    complete_until: Duration,
}

/// The rows of one thread on their way to the writer.
pub(crate) struct Rows {
    thread: usize,
    start: Instant,
    text: Vec<u8>,
    rows: Vec<(Duration, usize)>,
    writer: SyncSender<Batch>,
}

impl Rows {
    /// Renders the row of one request.
    pub(crate) fn add(&mut self, ended: &Ended<'_>, backend: &str) {
        let before = self.text.len();
        let (status, bytes, error) = match &ended.outcome {
            Ok(answer) => (answer.status, answer.bytes, ""),
            Err(fault) => (0, 0, fault.kind.code()),
        };
        push_number(&mut self.text, ended.seq.into());
        push_number(&mut self.text, ended.begun.as_nanos());
        push_number(&mut self.text, ended.latency.as_nanos());
        push_number(&mut self.text, status.into());
        push_cell(&mut self.text, backend);
        self.text.push(b',');
        push_number(&mut self.text, bytes.into());
        self.text.extend_from_slice(error.as_bytes());
        self.text.push(b'\n');
        self.rows.push((ended.begun + ended.latency, self.text.len() - before));
        if self.text.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is, and tells until when this is all.
    pub(crate) fn flush(&mut self) {
        let text = Vec::with_capacity(if self.text.is_empty() { 0 } else { BATCH_BYTES * 2 });
        let batch = Batch {
            thread: self.thread,
            text: std::mem::replace(&mut self.text, text),
            rows: std::mem::take(&mut self.rows),
            complete_until: self.start.elapsed(),
        };
        // A writer that has given up says why when it is joined.
        let _ = self.writer.send(batch);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.flush();
        let (text, rows) = (Vec::new(), Vec::new());
        let complete_until = Duration::MAX;
        let _ = self.writer.send(Batch { thread: self.thread, text, rows, complete_until });
    }
}

fn push_number(text: &mut Vec<u8>, number: u128) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    text.push(b',');
}

/// A cell as RFC 4180 quotes it.
fn push_cell(text: &mut Vec<u8>, cell: &str) {
    if cell.contains(['"', ',', '\r', '\n']) {
        let quoted = cell.replace('"', "\"\"");
        text.extend_from_slice(format!("\"{quoted}\"").as_bytes());
    } else {
        text.extend_from_slice(cell.as_bytes());
    }
}

/// Writes the rows of all threads to one file.
pub(crate) struct Journal {
    sender: SyncSender<Batch>,
    writer: JoinHandle<io::Result<()>>,
}

impl Journal {
    /// Creates the file and writes its header.
    pub(crate) fn create(file: &Path, threads: usize) -> io::Result<Journal> {
        let mut out = BufWriter::new(File::create(file)?);
        writeln!(out, "{HEADER}")?;
        let (sender, batches) = sync_channel(WAITING_BATCHES);
        let write = move || write_all(Merge::new(threads), &batches, out);
        let writer = thread::Builder::new().name("bench-csv".to_owned()).spawn(write)?;
        Ok(Journal { sender, writer })
    }

    /// Where thread number `thread` puts its rows.
    pub(crate) fn rows(&self, thread: usize, start: Instant) -> Rows {
        let (text, rows) = (Vec::new(), Vec::new());
        Rows { thread, start, text, rows, writer: self.sender.clone() }
    }

    /// Waits until everything is in the file; all rows must have been dropped.
    pub(crate) fn close(self) -> io::Result<()> {
        drop(self.sender);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer broke down")))
    }
}

fn write_all(
    mut merge: Merge,
    batches: &Receiver<Batch>,
    mut out: BufWriter<File>,
) -> io::Result<()> {
    while let Ok(batch) = batches.recv() {
        merge.add(batch);
        merge.write(&mut out)?;
    }
    merge.finish(&mut out)?;
    out.flush()
}

/// What has come and may not be written yet.
struct Merge {
    held: Vec<VecDeque<Batch>>,
    /// How far the first batch of each thread has been written: rows, bytes.
    written: Vec<(usize, usize)>,
    complete_until: Vec<Duration>,
    held_bytes: usize,
}

impl Merge {
    fn new(threads: usize) -> Merge {
        Merge {
            held: (0..threads).map(|_| VecDeque::new()).collect(),
            written: vec![(0, 0); threads],
            complete_until: vec![Duration::ZERO; threads],
            held_bytes: 0,
        }
    }

    fn add(&mut self, batch: Batch) {
        self.complete_until[batch.thread] = batch.complete_until;
        if !batch.rows.is_empty() {
            self.held_bytes += batch.text.len();
            self.held[batch.thread].push_back(batch);
        }
    }

    /// Writes every row that no row still to come can precede.
    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        let known = self.complete_until.iter().min().copied().unwrap_or_default();
        while let Some((ended, thread)) = self.first() {
            if ended > known && self.held_bytes <= MAX_HELD_BYTES {
                break;
            }
            self.write_row(thread, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.complete_until.fill(Duration::MAX);
        self.write(out)
    }

    /// The earliest row that is held, and whose it is.
    fn first(&self) -> Option<(Duration, usize)> {
        let heads = self.held.iter().zip(&self.written).enumerate();
        heads.filter_map(|(i, (held, at))| Some((held.front()?.rows[at.0].0, i))).min()
    }

    fn write_row(&mut self, thread: usize, out: &mut impl Write) -> io::Result<()> {
        let (row, at) = &mut self.written[thread];
        let Some(batch) = self.held[thread].front() else { return Ok(()) };
        let length = batch.rows[*row].1;
        out.write_all(&batch.text[*at..*at + length])?;
        (*row, *at) = (*row + 1, *at + length);
        if *row == batch.rows.len() {
            self.held_bytes -= batch.text.len();
            self.written[thread] = (0, 0);
            self.held[thread].pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(thread: usize, ends: &[u64], complete_until: u64) -> Batch {
        let rows = ends.iter().map(|end| (Duration::from_nanos(*end), 4)).collect();
        let text = ends.iter().flat_map(|end| format!("{end:03}\n").into_bytes()).collect();
        Batch { thread, text, rows, complete_until: Duration::from_nanos(complete_until) }
    }

    #[test]
    fn rows_wait_for_those_that_ended_before() {
        let mut merge = Merge::new(2);
        let mut out = Vec::new();
        merge.add(batch(0, &[1, 5, 9], 10));
        merge.write(&mut out).expect("memory");
        assert_eq!(out, b"", "the other thread has not spoken");
        merge.add(batch(1, &[2, 6], 7));
        merge.write(&mut out).expect("memory");
        assert_eq!(out, b"001\n002\n005\n006\n");
        merge.add(batch(1, &[], 9));
        merge.write(&mut out).expect("memory");
        merge.add(batch(0, &[12], 13));
        merge.add(batch(1, &[11], 11));
        merge.finish(&mut out).expect("memory");
        assert_eq!(out, b"001\n002\n005\n006\n009\n011\n012\n");
    }

    #[test]
    fn a_silent_thread_does_not_fill_the_memory() {
        let mut merge = Merge::new(2);
        let mut out = Vec::new();
        for round in 0..3 {
            let mut large = batch(0, &[round], 0);
            large.text.resize(MAX_HELD_BYTES / 2, b'x');
            merge.add(large);
            merge.write(&mut out).expect("memory");
        }
        assert!(merge.held_bytes <= MAX_HELD_BYTES);
        assert_eq!(out, b"000\n");
    }

    #[test]
    fn cells_are_quoted_if_they_must_be() {
        for (cell, wanted) in [("b1", "b1"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\"")] {
            let mut text = Vec::new();
            push_cell(&mut text, cell);
            assert_eq!(text, wanted.as_bytes());
        }
    }
}
