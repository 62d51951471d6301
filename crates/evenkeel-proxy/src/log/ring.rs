//! A bounded queue of lines from one thread to one other, without locks and without waiting.
//!
//! ```text
//!          read                        written
//!   ────────┴──┬──────────────┬──────┬────┴──────────
//!    free      │ length │ bytes, padded │ …   free
//!   ───────────┴──────────────┴──────┴───────────────
//! ```
//!
//! Lines lie in a circle of words: the length in one word, then the bytes, the last word padded.
//! `read` and `written` count words since the start and only grow; modulo the size they are places.
//!
//! *Why the memory order is right.* A word is written by the producer only while it is free, and
//! read by the consumer only while it is taken. The producer stores words (relaxed), then releases
//! `written`; the consumer acquires `written` before it loads them, so it sees them all. The
//! consumer loads words (relaxed), then releases `read`; the producer acquires `read` before it
//! stores into them again, so those loads came first. Words are atomics only so that this needs no
//! `unsafe`; a relaxed access is an ordinary one on the machines that matter.

use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

const WORD_BYTES: usize = size_of::<usize>();

struct Ring {
    words: Box<[AtomicUsize]>,
    /// Of the consumer; on a cache line of its own, as `written`.
    read: CachePadded<AtomicUsize>,
    /// Of the producer.
    written: CachePadded<AtomicUsize>,
}

/// The end that lines go into.
pub(super) struct Producer {
    ring: Arc<Ring>,
    written: usize,
    /// What `ring.read` was when last looked at: it may be more by now.
    read: usize,
}

/// The end that lines come out of.
pub(super) struct Consumer {
    ring: Arc<Ring>,
    read: usize,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the ring.
    Taken,
    /// It is in the ring, more than half of which is taken: time to wake the consumer.
    TakenPastHalf,
    /// There was no room for all of it, so nothing was written.
    Dropped,
}

/// An empty ring of `bytes` bytes, rounded up to a power of two of words.
pub(super) fn ring(bytes: usize) -> (Producer, Consumer) {
    let words =
        (0..(bytes / WORD_BYTES).next_power_of_two()).map(|_| AtomicUsize::new(0)).collect();
    let ring =
        Arc::new(Ring { words, read: CachePadded::default(), written: CachePadded::default() });
    (Producer { ring: Arc::clone(&ring), written: 0, read: 0 }, Consumer { ring, read: 0 })
}

impl Producer {
    /// Puts a whole line in, or nothing.
    pub(super) fn push(&mut self, line: &[u8]) -> Pushed {
        let half = self.ring.words.len() / 2;
        let needed = 1 + line.len().div_ceil(WORD_BYTES);
        let mut taken = self.written - self.read + needed;
        if taken > half {
            self.read = self.ring.read.load(Ordering::Acquire);
            taken = self.written - self.read + needed;
        }
        if taken > self.ring.words.len() {
            return Pushed::Dropped;
        }
        self.store(line);
        self.written += needed;
        self.ring.written.store(self.written, Ordering::Release);
        if taken > half { Pushed::TakenPastHalf } else { Pushed::Taken }
    }

    /// True if nothing is left to be drained.
    pub(super) fn is_drained(&self) -> bool {
        self.ring.read.load(Ordering::Relaxed) == self.written
    }

    fn store(&self, line: &[u8]) {
        let body = self.written + 1;
        self.ring.slot(self.written).store(line.len(), Ordering::Relaxed);
        let (words, rest) = line.as_chunks();
        let (wrapped, first) = self.ring.words.split_at(self.ring.place(body));
        let (near, far) = words.split_at(words.len().min(first.len()));
        store_words(first, near);
        store_words(wrapped, far);
        if !rest.is_empty() {
            let mut padded = [0; WORD_BYTES];
            padded[..rest.len()].copy_from_slice(rest);
            store_words(std::slice::from_ref(self.ring.slot(body + words.len())), &[padded]);
        }
    }
}

fn store_words(slots: &[AtomicUsize], words: &[[u8; WORD_BYTES]]) {
    for (slot, word) in slots.iter().zip(words) {
        slot.store(usize::from_ne_bytes(*word), Ordering::Relaxed);
    }
}

impl Ring {
    fn place(&self, position: usize) -> usize {
        position & (self.words.len() - 1) // a power of two
    }

    fn slot(&self, position: usize) -> &AtomicUsize {
        &self.words[self.place(position)]
    }
}

impl Consumer {
    /// Appends all lines that are in the ring now, and returns how many.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) -> usize {
        let written = self.ring.written.load(Ordering::Acquire);
        out.reserve((written - self.read) * WORD_BYTES);
        let mut lines = 0;
        while self.read != written {
            self.read += self.load_line(out);
            lines += 1;
        }
        self.ring.read.store(self.read, Ordering::Release);
        lines
    }

    /// True if the producer is gone: what is in the ring is all there will be.
    pub(super) fn is_last(&self) -> bool {
        let last = Arc::strong_count(&self.ring) == 1;
        // Dropping an Arc releases; with this the producer's last lines are seen.
        fence(Ordering::Acquire);
        last
    }

    /// Appends the line at `read`; returns its words.
    fn load_line(&self, out: &mut Vec<u8>) -> usize {
        let load = |position| self.ring.slot(position).load(Ordering::Relaxed);
        let len = load(self.read);
        let end = self.read + 1 + len.div_ceil(WORD_BYTES);
        let out_end = out.len() + len;
        for position in self.read + 1..end {
            out.extend_from_slice(&load(position).to_ne_bytes());
        }
        out.truncate(out_end);
        end - self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn lines_come_out_as_they_went_in() {
        let (mut producer, mut consumer) = ring(512);
        for round in 0..200_usize {
            let lines: Vec<Vec<u8>> =
                (0..round % 4).map(|n| vec![b'a'; (round * 7 + n * 13) % 100]).collect();
            for line in &lines {
                assert_ne!(producer.push(line), Pushed::Dropped);
            }
            assert_eq!(producer.is_drained(), lines.is_empty());
            let mut out = Vec::new();
            assert_eq!(consumer.drain_into(&mut out), lines.len());
            assert_eq!(out, lines.concat());
            assert!(producer.is_drained());
        }
    }

    #[test]
    fn a_full_ring_drops_whole_lines_and_recovers() {
        let (mut producer, mut consumer) = ring(8 * WORD_BYTES);
        let line = [b'x'; 2 * WORD_BYTES + 1]; // 4 words with its length
        let pushed = [0; 3].map(|_| producer.push(&line));
        assert_eq!(pushed, [Pushed::Taken, Pushed::TakenPastHalf, Pushed::Dropped]);
        let mut out = Vec::new();
        assert_eq!(consumer.drain_into(&mut out), 2);
        assert_eq!(out, [line, line].concat());
        assert_eq!(producer.push(&line), Pushed::Taken);
        assert_eq!(producer.push(&[b'x'; 8 * WORD_BYTES]), Pushed::Dropped, "never fits");
    }

    #[test]
    fn the_consumer_knows_the_last_of_a_producer() {
        let (producer, consumer) = ring(64);
        assert!(!consumer.is_last());
        drop(producer);
        assert!(consumer.is_last());
    }

    /// Line `n` is its number and then filler, both of which only that line has.
    fn numbered(number: usize) -> Vec<u8> {
        let filler = char::from(b"abcdefghijklmnopqrstuvwxyz"[number % 26]);
        let filler: String = std::iter::repeat_n(filler, number * 31 % 300).collect();
        format!("{number} {filler}\n").into_bytes()
    }

    #[test]
    fn no_line_is_torn_between_two_threads() {
        const LINES: usize = 50_000;
        let (mut producer, mut consumer) = ring(4096);
        let pusher = thread::spawn(move || {
            let taken = |number: &usize| producer.push(&numbered(*number)) != Pushed::Dropped;
            (0..LINES).filter(taken).collect::<Vec<_>>()
        });
        let mut out = Vec::new();
        while !consumer.is_last() {
            consumer.drain_into(&mut out);
            thread::yield_now();
        }
        consumer.drain_into(&mut out);
        let taken = pusher.join().expect("the pusher ends");
        let expected: Vec<u8> = taken.iter().flat_map(|number| numbered(*number)).collect();
        assert!(!taken.is_empty());
        assert!(out == expected, "{} lines went in", taken.len());
    }
}
