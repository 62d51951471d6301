//! Styles. Without colour everything is still told apart: by signs, weight and reversal.

use crate::top::text::Mood;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// Chooses styles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) in_colour: bool,
}

impl Paint {
    fn coloured(self, colour: Color) -> Style {
        if self.in_colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn mood(self, mood: Mood) -> Style {
        match mood {
            Mood::Good => self.coloured(Color::Green),
            Mood::Odd => self.coloured(Color::Yellow),
            Mood::Bad => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
            Mood::Off => self.faint(),
        }
    }

    /// A state: its sign, and what it is.
    pub(super) fn sign(self, mood: Mood, text: &str) -> Span<'static> {
        Span::styled(format!("{} {text}", mood.sign()), self.mood(mood))
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn title(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn line(self) -> Style {
        self.coloured(Color::Cyan)
    }
}
