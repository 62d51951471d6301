//! What a server allows: how many streams at a time, how much of their bodies, and a smaller table
//! of fields.

use super::Connection;
use crate::bench::fault::Fault;
use crate::bench::http2::frame::{self, Frame, MAX_31_BITS, broken, push_head};
use crate::bench::http2::hpack::{Block, TABLE_BYTES};

const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

impl Connection {
    pub(super) fn settings(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (settings, rest) = frame.payload.as_chunks::<6>();
        if frame.has(frame::ACK) && frame.payload.is_empty() {
            return Ok(());
        }
        if !rest.is_empty() || frame.has(frame::ACK) {
            return Err(broken("settings have a wrong length"));
        }
        self.limit.get_or_insert(usize::MAX);
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                HEADER_TABLE_SIZE => self.shrink_table(value),
                MAX_CONCURRENT_STREAMS => self.limit = usize::try_from(value).ok(),
                INITIAL_WINDOW_SIZE => self.resize_windows(value)?,
                _ => {}
            }
        }
        push_head(&mut self.out, 0, [frame::SETTINGS, frame::ACK], 0);
        Ok(())
    }

    fn shrink_table(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(TABLE_BYTES);
        if size < self.table {
            self.table = size;
            self.block = Block::new(&self.template.fields, size, true);
        }
    }

    fn resize_windows(&mut self, size: u32) -> Result<(), Fault> {
        if size > MAX_31_BITS {
            return Err(broken("a window is too large"));
        }
        let change = i64::from(size) - i64::from(self.stream_window);
        self.stream_window = size;
        for (_, slot) in &self.open {
            widen(&mut self.slots[*slot].send_window, change)?;
        }
        self.resume();
        Ok(())
    }

    pub(super) fn window_update(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let change = i64::from(frame.number(true)? & MAX_31_BITS);
        if change == 0 {
            return Err(broken("a window grows by nothing"));
        }
        if frame.stream == 0 {
            widen(&mut self.send_window, change)?;
        } else if let Some(slot) = self.find(frame.stream) {
            widen(&mut self.slots[slot].send_window, change)?;
        }
        self.resume();
        Ok(())
    }

    fn resume(&mut self) {
        for slot in self.stalled.drain(..).rev() {
            self.queue.push_front(slot);
        }
    }
}

fn widen(window: &mut i64, change: i64) -> Result<(), Fault> {
    *window += change;
    if *window > MAX_31_BITS.into() {
        return Err(broken("a window is too large"));
    }
    Ok(())
}
