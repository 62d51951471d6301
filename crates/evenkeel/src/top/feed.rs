//! Where updates come from: the keyboard, the stream of events, and documents read in turn.

use super::world::Reading;
use evenkeel_api::{Client, ClientError, Event, HistoryOf};
use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

/// After the stream of events has ended.
const RECONNECT: Duration = Duration::from_secs(2);
/// Events that come together make one reading.
const GATHER: Duration = Duration::from_millis(100);

/// What changes the screen.
#[derive(Debug)]
pub(super) enum Update {
    Key(KeyEvent),
    Resized,
    Happened(Event),
    Read(Box<Result<Reading, ClientError>>),
    Done(Result<String, ClientError>),
}

/// Reads keys on a thread of its own, which ends with the process.
pub(super) fn watch_keys(updates: mpsc::Sender<Update>) -> io::Result<()> {
    let watch = move || {
        while let Ok(seen) = event::read() {
            let update = match seen {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => Update::Key(key),
                event::Event::Resize(_, _) => Update::Resized,
                event::Event::Key(_)
                | event::Event::Mouse(_)
                | event::Event::Paste(_)
                | event::Event::FocusGained
                | event::Event::FocusLost => continue,
            };
            if updates.blocking_send(update).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(watch).map(drop)
}

/// Passes on what happens; connects again for as long as somebody listens, and hears then what it
/// has missed.
pub(super) async fn watch_events(client: Client, updates: mpsc::Sender<Update>) {
    let mut seen = None;
    loop {
        if let Ok(mut events) = client.events_after(seen).await {
            while let Ok(Some(event)) = events.next().await {
                seen = events.last_id().or(seen);
                if updates.send(Update::Happened(event)).await.is_err() {
                    return;
                }
            }
        }
        if updates.is_closed() {
            return;
        }
        sleep(RECONNECT).await;
    }
}

/// Reads everything once in `interval`, and at once when told to.
pub(super) async fn watch_numbers(
    client: Client,
    updates: mpsc::Sender<Update>,
    interval: Duration,
    again: Arc<Notify>,
) {
    loop {
        let reading = read(&client).await;
        if updates.send(Update::Read(Box::new(reading))).await.is_err() {
            return;
        }
        // Both ends of the wait are the same.
        if timeout(interval, again.notified()).await.is_ok() {
            sleep(GATHER).await;
        }
    }
}

async fn read(client: &Client) -> Result<Reading, ClientError> {
    let (status, pools, requests, history) = tokio::try_join!(
        client.status(),
        client.pools(),
        client.requests(),
        client.history(HistoryOf::All),
    )?;
    Ok(Reading { status, pools: pools.pools, requests: requests.requests, history })
}
