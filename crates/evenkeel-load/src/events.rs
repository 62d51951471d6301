//! `/events`: server-sent events, one each second until the client leaves.

use crate::limits::EVENT_INTERVAL;
use crate::refusal::Refusal;
use crate::request::Version;
use crate::wire::Wire;
use tokio::time::{MissedTickBehavior, interval};

/// Sends numbered events after a head that announced chunks (HTTP/1.1) or an end by closing.
pub(crate) async fn send(wire: &mut Wire, backend: &str, version: Version) -> Result<(), Refusal> {
    let mut ticks = interval(EVENT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number: u64 = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = wire.client_left() => return Ok(()),
        }
        number += 1;
        let event = render(number, backend);
        match version {
            Version::Http10 => wire.send(event.as_bytes()).await?,
            Version::Http11 => {
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                wire.send(chunk.as_bytes()).await?;
            }
        }
    }
}

fn render(number: u64, backend: &str) -> String {
    let json = serde_json::json!({ "n": number, "backend": backend });
    format!("id: {number}\ndata: {json}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_two_fields_and_an_empty_line() {
        assert_eq!(render(1, "x"), "id: 1\ndata: {\"n\":1,\"backend\":\"x\"}\n\n");
    }
}
