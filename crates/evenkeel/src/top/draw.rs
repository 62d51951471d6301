//! The screen as cells: the same state gives the same cells. Fits 80 columns and 24 lines; wider
//! screens get more columns, narrower ones fewer.

mod lists;
mod over;
mod overview;
mod paint;

use super::screen::{Screen, View};
use super::text;
use evenkeel_api::State;
use paint::Paint;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use text::Mood;

/// Lines that are not the view's: two above, one below.
const AROUND: [Constraint; 4] =
    [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];

/// Draws the screen.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let paint = Paint { in_colour: screen.in_colour };
    let [head, tabs, body, foot] = Layout::vertical(AROUND).areas(frame.area());
    frame.render_widget(Paragraph::new(head_line(screen, paint)), head);
    frame.render_widget(Paragraph::new(tabs_line(screen, paint)), tabs);
    match screen.view {
        View::Overview => overview::draw(frame, screen, (paint, body)),
        View::Pools => lists::pools(frame, screen, (paint, body)),
        View::Backends => lists::backends(frame, screen, (paint, body)),
        View::Requests => lists::requests(frame, screen, (paint, body)),
        View::Events => lists::events(frame, screen, (paint, body)),
    }
    frame.render_widget(Paragraph::new(foot_line(screen, paint, foot)), foot);
    over::draw(frame, screen, (paint, body));
}

fn head_line(screen: &Screen, paint: Paint) -> Line<'static> {
    let mut parts = vec![Span::styled(" evenkeel ", paint.title())];
    let Some(status) = &screen.world.status else {
        parts.push(Span::raw(" reading …"));
        return Line::from(parts);
    };
    let (mood, state) = match status.state {
        State::Starting => (Mood::Odd, "starting"),
        State::Ready => (Mood::Good, "ready"),
        State::Draining => (Mood::Odd, "draining"),
    };
    parts.push(Span::raw(" "));
    parts.push(paint.sign(mood, state));
    parts.push(Span::raw(format!(
        "  v{}  up {}  configuration {}  {} clients",
        status.version,
        text::span(status.uptime_seconds),
        status.generation,
        text::count(status.client_connections),
    )));
    if screen.is_paused {
        parts.push(Span::raw("  "));
        parts.push(paint.sign(Mood::Odd, "paused"));
    }
    Line::from(parts)
}

fn tabs_line(screen: &Screen, paint: Paint) -> Line<'static> {
    let tab = |(place, view): (usize, &View)| {
        let name = format!(" {} {} ", place + 1, view.name());
        let style = if *view == screen.view { paint.chosen() } else { paint.faint() };
        Span::styled(name, style)
    };
    let mut parts: Vec<Span<'_>> = View::ALL.iter().enumerate().map(tab).collect();
    if screen.is_filtering || !screen.filter.is_empty() {
        let caret = if screen.is_filtering { "▏" } else { "" };
        parts.push(Span::styled(format!("  /{}{caret}", screen.filter), paint.strong()));
    }
    Line::from(parts)
}

fn foot_line(screen: &Screen, paint: Paint, area: Rect) -> Line<'static> {
    if let Some(trouble) = &screen.trouble {
        return Line::from(paint.sign(Mood::Bad, trouble));
    }
    if let Some(note) = &screen.note {
        let mood = if note.is_bad { Mood::Bad } else { Mood::Good };
        return Line::from(paint.sign(mood, &note.text));
    }
    let keys = match screen.view {
        View::Overview => "1-5 views  p pause",
        View::Pools => "↑↓ rows  Enter backends  / filter",
        View::Backends => "d drain  e enable  x disable  w weight  s sort  / filter",
        View::Requests => "↑↓ rows  Enter where the time went  s sort  / filter",
        View::Events => "↑↓ rows  Enter details  / filter",
    };
    let always = "  ? keys  q quit";
    let wide = usize::from(area.width) > keys.chars().count() + always.len();
    let text = if wide { format!(" {keys}{always}") } else { format!(" {}", always.trim()) };
    Line::from(Span::styled(text, paint.faint()))
}
