//! A stream for scripts: one side reads while the other writes, and either may end it.

use super::MemoryStream;
use evenkeel_proxy::net::{Peek, Stream};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Most bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Shared by those who read and those who write; clones are the same stream.
#[derive(Clone)]
pub struct ScriptStream {
    stream: Rc<RefCell<Option<MemoryStream>>>,
    reader: Rc<Cell<Option<Waker>>>,
    writer: Rc<Cell<Option<Waker>>>,
}

impl ScriptStream {
    /// Around one end of a connection.
    pub fn new(stream: MemoryStream) -> ScriptStream {
        ScriptStream {
            stream: Rc::new(RefCell::new(Some(stream))),
            reader: Rc::default(),
            writer: Rc::default(),
        }
    }

    /// Appends what is there to `to`; 0 = the peer ended.
    ///
    /// # Errors
    /// The connection broke, or our side has left.
    pub async fn read(&self, to: &mut Vec<u8>) -> io::Result<usize> {
        let mut buffer = vec![0; READ_BYTES];
        let read = poll_fn(|cx| match &mut *self.stream.borrow_mut() {
            Some(stream) => {
                self.reader.set(Some(cx.waker().clone()));
                stream.poll_read(cx, &mut buffer)
            }
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        });
        let length = read.await?;
        to.extend_from_slice(&buffer[..length]);
        Ok(length)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The connection broke, or our side has left.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let written = poll_fn(|cx| match &mut *self.stream.borrow_mut() {
                Some(stream) => {
                    self.writer.set(Some(cx.waker().clone()));
                    stream.poll_write(cx, &[IoSlice::new(left)])
                }
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            });
            left = &left[written.await?..];
        }
        Ok(())
    }

    /// Ends our half.
    pub async fn shutdown(&self) {
        poll_fn(|cx| match &mut *self.stream.borrow_mut() {
            Some(stream) => stream.poll_shutdown(cx).map(|_| ()),
            None => Poll::Ready(()),
        })
        .await;
    }

    /// What lies at our end, unread.
    pub fn peek(&self) -> Peek {
        self.stream.borrow_mut().as_mut().map_or(Peek::Gone, MemoryStream::peek)
    }

    /// Closes.
    pub fn close(&self) {
        drop(self.stream.borrow_mut().take());
        self.wake();
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(&self) {
        let taken = self.stream.borrow_mut().take();
        taken.into_iter().for_each(MemoryStream::reset);
        self.wake();
    }

    fn wake(&self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}
