//! The health check of gRPC: one call of `grpc.health.v1.Health/Check`, on an HTTP/2 connection of
//! its own. The two messages are small enough to be written and read by hand.

use crate::buffer::Outbox;
use crate::net::Stream;
use evenkeel_core::chunked::ChunkDecoder;
use evenkeel_core::framing::BodyLength;
use evenkeel_core::grpc;
use evenkeel_core::health::ProbeFault;
use evenkeel_core::request::{Parsed, Upgrade, Verb};
use evenkeel_core::response::ResponseHead;
use std::future::poll_fn;
use std::task::Poll;

/// Most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// `status` of a `HealthCheckResponse`, a varint: the field's number and kind.
const STATUS_TAG: u8 = 0x08;
/// `service` of a `HealthCheckRequest`, bytes.
const SERVICE_TAG: u8 = 0x0a;
/// Longest name that fits the two-byte length that we write.
const MAX_SERVICE_BYTES: usize = 0x3fff;
const SERVING: u8 = 1;

/// Asks, and reads the whole answer.
pub(super) async fn ask<S: Stream>(
    stream: &mut S,
    (host, service): (&str, &str),
) -> Result<(), ProbeFault> {
    let mut request = Outbox { bytes: request(host, service), written: 0 };
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    poll_fn(|cx| {
        // A write that fails is no verdict: the answer may be on its way all the same.
        let _ = request.poll_write(cx, stream);
        loop {
            match stream.poll_read(cx, &mut piece) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ProbeFault::BadResponse)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(length)) => answer.extend_from_slice(&piece[..length]),
            }
            if answer.len() > MAX_ANSWER_BYTES {
                return Poll::Ready(Err(ProbeFault::BadResponse));
            }
        }
    })
    .await?;
    judge(&mut answer)
}

fn request(host: &str, service: &str) -> Vec<u8> {
    let service = &service.as_bytes()[..service.len().min(MAX_SERVICE_BYTES)];
    let mut message = Vec::with_capacity(service.len() + 3);
    if !service.is_empty() {
        message.push(SERVICE_TAG);
        // A varint: seven bits a byte, the lowest first. Both parts fit a byte by the bound above.
        let low = u8::try_from(service.len() & 0x7f).unwrap_or(0);
        match u8::try_from(service.len() >> 7).unwrap_or(0) {
            0 => message.push(low),
            high => message.extend_from_slice(&[low | 0x80, high]),
        }
        message.extend_from_slice(service);
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: {host}\r\n\
         User-Agent: evenkeel-health/{version}\r\nContent-Type: application/grpc\r\n\
         TE: trailers\r\nContent-Length: {}\r\n\r\n",
        PREFIX_BYTES + message.len()
    )
    .into_bytes();
    text.push(0);
    text.extend_from_slice(&length.to_be_bytes());
    text.append(&mut message);
    text
}

/// Looks at a whole answer: a good status, and a message that says SERVING.
fn judge(answer: &mut [u8]) -> Result<(), ProbeFault> {
    let mut head = ResponseHead::default();
    let parsed = head.parse(answer, Verb::Once, Upgrade::NotAsked);
    if !matches!(parsed, Ok(Parsed::Complete)) || head.is_interim() {
        return Err(ProbeFault::BadResponse);
    }
    if head.status != 200 {
        return Err(ProbeFault::Status(head.status));
    }
    let is_status = |name: &[u8]| name.eq_ignore_ascii_case(b"grpc-status");
    let field = head.fields.iter().find(|field| is_status(field.name.of_buf(answer)));
    let early = field.and_then(|field| grpc::parse_status(field.value.of_buf(answer)));
    let (_, body) = answer.split_at_mut(head.bytes);
    let mut trailers = Vec::new();
    let body = match head.body {
        BodyLength::Chunked => {
            let decoded = ChunkDecoder::default().decode_in_place(body, &mut trailers);
            let decoded = decoded.map_err(|_| ProbeFault::BadResponse)?;
            &body[..decoded.body_len]
        }
        BodyLength::None | BodyLength::Fixed(_) | BodyLength::UntilClose => &*body,
    };
    match early.or_else(|| grpc::status_of_trailers(&trailers)) {
        Some(grpc::OK) => {}
        status => return Err(ProbeFault::Call(status.unwrap_or(grpc::UNKNOWN))),
    }
    let message = body.get(PREFIX_BYTES..).unwrap_or_default();
    let serves = message.chunks(2).any(|field| field == [STATUS_TAG, SERVING]);
    if serves { Ok(()) } else { Err(ProbeFault::NotServing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question() {
        let text = request("x:1", "");
        assert!(text.ends_with(b"Content-Length: 5\r\n\r\n\0\0\0\0\0"));
        let text = request("x:1", "a.B");
        assert!(text.ends_with(b"Content-Length: 10\r\n\r\n\0\0\0\0\x05\x0a\x03a.B"));
        let text = request("x:1", &"n".repeat(200));
        assert!(text.windows(4).any(|bytes| bytes == [0x0a, 0xc8, 0x01, b'n']));
    }

    #[test]
    fn answers() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
        let chunked = |message: &str, trailers: &str| {
            format!(
                "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{message}\r\n0\r\n{trailers}\r\n",
                message.len()
            )
        };
        let cases = [
            (chunked("\0\0\0\0\x02\x08\x01", "grpc-status: 0\r\n"), Ok(())),
            (chunked("\0\0\0\0\x02\x08\x02", "grpc-status: 0\r\n"), Err(ProbeFault::NotServing)),
            (chunked("\0\0\0\0\0", "grpc-status: 0\r\n"), Err(ProbeFault::NotServing)),
            (chunked("\0\0\0\0\x02\x08\x01", "grpc-status: 13\r\n"), Err(ProbeFault::Call(13))),
            (chunked("\0\0\0\0\x02\x08\x01", ""), Err(ProbeFault::Call(2))),
            (
                format!("{head}grpc-status: 12\r\ncontent-length: 0\r\n\r\n"),
                Err(ProbeFault::Call(12)),
            ),
            (
                "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
                Err(ProbeFault::Status(404)),
            ),
            ("SSH-2.0\r\n".to_owned(), Err(ProbeFault::BadResponse)),
        ];
        for (text, expected) in cases {
            assert_eq!(judge(&mut text.clone().into_bytes()), expected, "{text:?}");
        }
    }
}
