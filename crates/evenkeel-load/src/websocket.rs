//! `/ws`: sends every message back (RFC 6455). Masking, fragments, pings and the closing
//! handshake are tungstenite's work; the bounds are ours.

use crate::answer::{Framing, Head};
use crate::limits::{BODY_TIMEOUT, MAX_WEBSOCKET_BYTES, READ_BUFFER_BYTES};
use crate::request::Persistence;
use crate::wire::Wire;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Accepts the opening with the client's key, then echoes until one side closes.
pub(crate) async fn echo(mut wire: Wire, backend: &str, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    let extra =
        format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n");
    let head = Head {
        status: 101,
        backend,
        content_type: "",
        framing: Framing::UntilClose,
        extra: &extra,
    };
    if wire.send(&head.render(Persistence::Open)).await.is_err() {
        return;
    }
    let (stream, unused) = wire.into_parts();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_frame_size(Some(MAX_WEBSOCKET_BYTES))
        .max_message_size(Some(MAX_WEBSOCKET_BYTES));
    let role = Role::Server;
    let socket = WebSocketStream::from_partially_read(stream, unused, role, Some(config)).await;
    echo_messages(socket).await;
}

async fn echo_messages(mut socket: WebSocketStream<TcpStream>) {
    while let Some(received) = socket.next().await {
        let sent = match received {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).await,
            // The library has queued the pong.
            Ok(Message::Ping(_)) => socket.flush().await,
            // The answering close frame is queued: reading on sends it, then the stream ends.
            Ok(Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => Ok(()),
            Err(error) => return refuse(socket, &error).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Tells a client that broke the rules why its connection ends.
async fn refuse(mut socket: WebSocketStream<TcpStream>, error: &Error) {
    let code = if matches!(error, Error::Capacity(_)) {
        CloseCode::Size
    } else if matches!(error, Error::Utf8(_)) {
        CloseCode::Invalid
    } else if matches!(error, Error::Protocol(_)) {
        CloseCode::Protocol
    } else {
        return;
    };
    let frame = CloseFrame { code, reason: "".into() };
    // The client may be gone already: then there is nobody to tell.
    let _ = timeout(BODY_TIMEOUT, socket.close(Some(frame))).await;
}
