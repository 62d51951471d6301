//! Text in columns; in colour on a terminal.

use crate::output::{Tone, paints_stdout};
use std::fmt::Display;

/// Between two columns.
const GAP: &str = "  ";

/// One value.
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub(super) fn of(text: impl Display) -> Cell {
        Cell { text: text.to_string(), tone: None }
    }

    pub(super) fn toned(self, tone: Tone) -> Cell {
        Cell { tone: Some(tone), ..self }
    }
}

/// Rows below a heading.
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(Cell::of).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    pub(super) fn render(&self) -> String {
        self.painted(paints_stdout())
    }

    fn painted(&self, in_colour: bool) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width.saturating_sub(cell.text.chars().count()));
                match cell.tone.filter(|_| in_colour) {
                    Some(tone) => line.push_str(&tone.paint(&cell.text)),
                    None => line.push_str(&cell.text),
                }
                line.push_str(&padding);
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let mut table = Table::new(&["A", "BB"]);
        table.row([Cell::of("äöü"), Cell::of(1)]);
        table.row([Cell::of("x").toned(Tone::Error), Cell::of("")]);
        assert_eq!(table.painted(false), "A    BB\näöü  1\nx\n");
        let painted = table.painted(true);
        assert!(painted.ends_with("\n\x1b[1;31mx\x1b[0m\n"), "{painted:?}");
    }
}
