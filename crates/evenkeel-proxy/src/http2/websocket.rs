//! The handshake of a WebSocket over HTTP/1.1 (RFC 6455 4), which a stream of HTTP/2 has none of: a
//! proxy between the two makes it.

use crate::net::Net;
use aws_lc_rs::digest;

/// Characters of base64 (RFC 4648 4).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A key for the handshake: 16 random bytes.
pub(crate) fn new_key<N: Net>(net: &N) -> String {
    let bits = u128::from(net.random()) << 64 | u128::from(net.random());
    base64(&bits.to_be_bytes())
}

/// What a server answers to a key (RFC 6455 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(GUID);
    base64(digest.finish().as_ref())
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4u32 {
            let digit = (bits >> (18 - 6 * place) & 0x3f) as usize;
            let filled = place as usize <= group.len();
            text.push(if filled { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, expected) in cases {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        // The example of RFC 6455 1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(base64(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }
}
