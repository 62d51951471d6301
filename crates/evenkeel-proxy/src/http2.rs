//! HTTP/2 as a wire: each stream is a byte stream that carries one exchange in HTTP/1.1's form, so
//! that routes, retries, limits and records know one protocol. Nothing here decides about a
//! request; what must be refused because of how HTTP/2 is spoken is refused here.
//!
//! `server` and `inbound` face clients, `client` and `outbound` face backends; `shape`, `sending`,
//! `receiving`, `lines` and `spare` serve both; `lanes` are the tasks of clients' streams. `io`
//! shows what comes to `meter` (clients) or `answers` (backends) before the library gets it; both
//! see `frames`, and `fields` by `table` and `huffman`.

mod answers;
mod fields;
mod frames;
mod from_client;
mod huffman;
mod inbound;
mod io;
pub(crate) mod lanes;
mod late;
mod lines;
pub(crate) mod links;
mod meter;
mod outbound;
mod receiving;
mod sending;
pub(crate) mod server;
mod settings;
mod shape;
mod spare;
mod table;
mod to_backend;
mod websocket;

pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;

use evenkeel_core::address::Scheme;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::PoolProtocol;
use evenkeel_core::pool::Pool;

/// Streams that a client may have open at a time.
const MAX_CONCURRENT_STREAMS: u32 = 100;
/// Bytes of one stream of a client that may be under way before we take them.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// And of all streams of its connection together.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same of one stream of a backend: what its client does not take waits in memory.
const BACKEND_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// And of all its streams: many clients share a connection, and none who takes nothing may take
/// the others' share.
const BACKEND_CONNECTION_WINDOW_BYTES: u32 = MAX_CONCURRENT_STREAMS * BACKEND_STREAM_WINDOW_BYTES;
/// Bytes of one stream that wait in memory for the peer's window.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most body bytes that one write to a stream takes.
pub(crate) const MAX_WRITE_BYTES: usize = 64 * 1024;
/// Streams that are reset before we have seen them.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that a peer's errors make us reset, until its connection ends.
const MAX_CAUSED_RESETS: usize = 20;
/// Streams that are remembered after we have reset them, so that late frames do no harm.
const MAX_REMEMBERED_RESETS: usize = 20;

/// Where the library's count of small DATA that nobody has taken yet ends a client's connection:
/// each frame counts for 256 bytes less those in it, which is what it costs in memory. One stream's
/// whole window in messages of 64 bytes stays below; of shorter ones some 4,500 may wait while a
/// backend pauses. To let go of more at once would hold others up.
const MAX_SMALL_DATA_BYTES: usize = 1024 * 1024;
/// And a backend's, which carries the streams of many clients: the connection's whole window in
/// messages of 64 bytes.
const MAX_BACKEND_SMALL_DATA_BYTES: usize = 20 * 1024 * 1024;

/// The beginning of every connection of a client (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// It is HTTP/2.
    Whole,
    /// It may become HTTP/2.
    Partial,
    /// It is something else.
    Other,
}

impl Preface {
    /// Looks at the first bytes of a connection.
    pub(crate) fn of(bytes: &[u8]) -> Preface {
        if bytes.starts_with(PREFACE) {
            Preface::Whole
        } else if PREFACE.starts_with(bytes) {
            Preface::Partial
        } else {
            Preface::Other
        }
    }
}

/// What HTTP is spoken to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What TLS agrees on.
    Auto,
}

impl Spoken {
    /// As the pool and the backend's address say.
    #[inline]
    pub(crate) fn of(pool: &Pool, backend: &Backend) -> Spoken {
        match (pool.plan.protocol, backend.plan.address.scheme) {
            (PoolProtocol::Http2, _) | (_, Scheme::H2c) => Spoken::Http2,
            (PoolProtocol::Auto, Scheme::Https) => Spoken::Auto,
            (PoolProtocol::Http1 | PoolProtocol::Auto, Scheme::Http | Scheme::Https) => {
                Spoken::Http1
            }
        }
    }

    /// True if some backend of a pool may be asked over HTTP/2.
    pub(crate) fn is_http2_in(pool: &Pool) -> bool {
        pool.backends.iter().any(|backend| Spoken::of(pool, backend) != Spoken::Http1)
    }
}
