//! Every bound of the test backend.

use std::time::Duration;

/// Open connections; further clients wait in the accept queue of the kernel.
pub(crate) const MAX_CONNECTIONS: usize = 20_000;
/// Connections waiting in the kernel to be accepted.
pub(crate) const ACCEPT_BACKLOG: u32 = 4096;
/// How long accepting rests after an error, e.g. when file descriptors have run out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// First size of a connection's read buffer.
pub(crate) const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Bytes of request line and fields; also of a chunk-size line and of trailers.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Number of fields.
pub(crate) const MAX_FIELDS: usize = 256;
/// From the first byte of a request to the end of its head.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a request on a kept-alive connection.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Without a byte moving in a body, in either direction.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long, and how many bytes, a refused client may still send before the connection is cut.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// See `LINGER_TIMEOUT`.
pub(crate) const LINGER_BYTES: usize = 256 * 1024;

/// Bytes of a request body that `/echo` reports.
pub(crate) const MAX_ECHO_BYTES: usize = 1024 * 1024;
/// Bytes of a WebSocket frame, and of a message put together from fragments.
pub(crate) const MAX_WEBSOCKET_BYTES: usize = 1024 * 1024;
/// Bytes of an answer of `/bytes/N`, and of `body_size`.
pub(crate) const MAX_ANSWER_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes of a body that is kept ready in memory; longer ones are streamed in blocks of this size.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;
/// The longest `/delay/D` and the longest configured delay.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(3600);
/// Bytes of the server's name.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Between two events of `/events`.
pub(crate) const EVENT_INTERVAL: Duration = Duration::from_secs(1);
