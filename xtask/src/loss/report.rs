//! The figures as a table.

use super::clients::{Losses, Tally};
use super::options::Change;
use crate::peer::Peer;
use std::time::Duration;

/// One peer, changed in one way.
pub(super) struct Row {
    pub(super) peer: Peer,
    pub(super) change: Change,
    pub(super) times: u32,
    /// Changes that did not come about.
    pub(super) failed: u32,
    pub(super) losses: Losses,
    /// From the wish to the end of the process.
    pub(super) ended: Option<Duration>,
}

fn cell(tally: Tally) -> String {
    if tally.all == 0 { "-".to_owned() } else { format!("{} of {}", tally.lost, tally.all) }
}

/// A row in one line.
pub(super) fn line(row: &Row) -> String {
    let Losses { fresh, kept, websockets, downloads, slow } = row.losses;
    let cells = [fresh, kept, websockets, downloads, slow].map(cell).join(" | ");
    let ended = row.ended.map_or_else(|| "-".to_owned(), |it| format!("{:.1}", it.as_secs_f64()));
    let (change, times, failed) = (row.change.name(), row.times, row.failed);
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("| {change} x {times}{failed} | {} | {cells} | {ended} |", row.peer.name())
}

/// All rows as Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| change | balancer | fresh connections | kept connections | WebSockets | \
                    downloads | 2 s requests | ended after, s |\n\
                    |---|---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for row in rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_what_was_lost_of_what() {
        let mut losses = Losses { kept: Tally { all: 900, lost: 3 }, ..Losses::default() };
        let row = |losses| Row {
            peer: Peer::Nginx,
            change: Change::Reload,
            times: 20,
            failed: 1,
            losses,
            ended: Some(Duration::from_millis(2050)),
        };
        let told = line(&row(losses));
        assert_eq!(told, "| reload x 20, 1 failed | nginx | - | 3 of 900 | - | - | - | 2.0 |");
        assert_eq!(losses.total(), 3);
        losses.slow = Tally { all: 200, lost: 4 };
        assert_eq!(table(&[row(losses)]).lines().count(), 3);
        assert_eq!(losses.total(), 7);
    }
}
