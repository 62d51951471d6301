//! Responses of scripted backends.

use super::client::chunked;
use super::inbox;
use super::world::{Manners, Mood};
use crate::memory::chance;
use fastrand::Rng;
use std::net::SocketAddr;

/// Statuses that tell of trouble.
const TROUBLE: &[u16] = &[500, 502, 503, 504, 429];

/// A response, encoded.
pub(super) struct Response {
    /// Its first lines, up to the framing.
    pub(super) start: String,
    pub(super) bytes: Vec<u8>,
    pub(super) head_bytes: usize,
    pub(super) closes: bool,
    pub(super) ends_by_close: bool,
    /// Its status tells of trouble.
    pub(super) is_complaint: bool,
}

impl Response {
    /// A whole response of a backend to a request.
    pub(super) fn draw(
        rng: &mut Rng,
        (address, manners, mood): (SocketAddr, &Manners, Mood),
        (id, is_head): (&str, bool),
    ) -> Response {
        let interim = if chance(rng, manners.interim) { rng.usize(1..=2) } else { 0 };
        let usual = [200, 200, 200, 200, 200, 404, 204, 304][rng.usize(0..8)];
        let fails = chance(rng, manners.failing).then(|| TROUBLE[rng.usize(0..TROUBLE.len())]);
        let status = match mood {
            Mood::Unavailable => 503,
            Mood::Well | Mood::Dead | Mood::Gone | Mood::Frozen | Mood::Sick | Mood::Slow => {
                fails.unwrap_or(usual)
            }
        };
        let bodiless = is_head || matches!(status, 204 | 304);
        let body = inbox::body_of(id, rng.usize(manners.size.clone()));
        let hash = inbox::hash(&body);
        let ends_by_close = !bodiless && chance(rng, manners.until_close);
        let closes = ends_by_close || chance(rng, manners.closes);
        let mut text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(interim);
        text.push_str(&format!(
            "HTTP/1.1 {status} Fine\r\nX-Echo-Id: {id}\r\nX-Body-Hash: {hash}\r\n"
        ));
        text.push_str(&format!("X-Backend: {}\r\n", address));
        if let (503, Some(seconds)) = (status, manners.retry_after) {
            text.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        let start = text.clone();
        if closes && !ends_by_close {
            text.push_str("Connection: close\r\n");
        }
        let length = body.len();
        let encoded = if ends_by_close || status == 204 {
            body
        } else if !chance(rng, manners.chunked) {
            text.push_str(&format!("Content-Length: {length}\r\n"));
            body
        } else {
            text.push_str("Transfer-Encoding: chunked\r\n");
            chunked(&body, rng.usize(1..=length.max(1)))
        };
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        let head_bytes = bytes.len();
        if !bodiless {
            bytes.extend(encoded);
        }
        let is_complaint = status >= 429;
        Response { start, bytes, head_bytes, closes, ends_by_close, is_complaint }
    }
}
