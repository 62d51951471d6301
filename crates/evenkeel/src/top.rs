//! `top`: a running evenkeel on a terminal, live.
//!
//! ```text
//! keyboard ─┐
//! events ───┼──▶ Update ──▶ Screen (state) ──▶ draw (state -> cells)
//! polls ────┘       ▲          │ Wish
//!                   └── call ◀─┘
//! ```
//!
//! *Architecture invariant:* `draw` is pure: the same screen gives the same cells.

mod draw;
mod feed;
mod keys;
mod screen;
mod text;
mod world;

pub(crate) use text::span;

#[cfg(test)]
mod tests;

use crate::arguments::TopArguments;
use crate::remote;
use crate::system::runtime;
use crate::trouble::Trouble;
use evenkeel_api::{Client, ClientError};
use feed::{Update, watch_events, watch_keys, watch_numbers};
use ratatui::DefaultTerminal;
use screen::{Change, Screen, Wish};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Updates that wait to be shown.
const MAX_UPDATES: usize = 64;

/// Shows it until the reader has seen enough.
pub(crate) fn run(arguments: &TopArguments) -> Result<(), Trouble> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let hint = "`top` needs a terminal; `evenkeel status` prints the same once";
        return Err(Trouble::Mistake(hint.to_owned()));
    }
    let client = remote::client(&arguments.admin)?;
    runtime()?.block_on(async {
        // Before the terminal is taken over: a wrong address or token is said where it stays.
        client.status().await.map_err(remote::refused)?;
        let in_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let cannot = |error: io::Error| {
            Trouble::CannotStart(format!("cannot draw on this terminal: {error}"))
        };
        let mut terminal = ratatui::try_init().map_err(cannot)?;
        let shown = show(&mut terminal, client, Screen::new(in_colour, arguments.interval)).await;
        ratatui::restore();
        shown.map_err(cannot)
    })
}

async fn show(
    terminal: &mut DefaultTerminal,
    client: Client,
    mut screen: Screen,
) -> io::Result<()> {
    let (updates, mut coming) = mpsc::channel(MAX_UPDATES);
    let again = Arc::new(Notify::new());
    watch_keys(updates.clone())?;
    let interval = screen.interval;
    tokio::spawn(watch_events(client.clone(), updates.clone()));
    tokio::spawn(watch_numbers(client.clone(), updates.clone(), interval, Arc::clone(&again)));
    terminal.draw(|frame| draw::draw(frame, &screen))?;
    while let Some(update) = coming.recv().await {
        let wish = match update {
            Update::Key(key) => keys::press(&mut screen, key),
            Update::Resized => None,
            Update::Happened(event) => {
                screen.world.happened(event);
                again.notify_one();
                None
            }
            Update::Read(reading) => {
                screen.read(*reading);
                None
            }
            Update::Done(result) => {
                screen.done(result);
                again.notify_one();
                None
            }
        };
        match wish {
            Some(Wish::Quit) => return Ok(()),
            Some(Wish::Change(change)) => {
                let (client, updates) = (client.clone(), updates.clone());
                tokio::spawn(async move {
                    let done = perform(&client, &change).await;
                    // Nobody is left to be told once the screen is gone.
                    let _ = updates.send(Update::Done(done)).await;
                });
            }
            None => {}
        }
        terminal.draw(|frame| draw::draw(frame, &screen))?;
    }
    Ok(())
}

/// Makes a change; what it was, or why it was refused.
async fn perform(client: &Client, change: &Change) -> Result<String, ClientError> {
    let Change { pool, backend, patch } = change;
    // The tag of now: the question was about what the screen showed a moment ago.
    let (_, tag) = client.pool(pool).await?;
    let (now, _) = client.patch_backend(pool, backend, patch, Some(&tag)).await?;
    let admin = text::admin(now.admin);
    Ok(format!("{pool}/{backend} is {admin}, weight {}", now.weight))
}
