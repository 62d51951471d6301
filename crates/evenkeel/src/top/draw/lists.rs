//! Views with rows: pools, backends, requests, events.

use super::paint::Paint;
use crate::top::screen::{Screen, View};
use crate::top::text::{self, Mood};
use evenkeel_api::{Backend, Kept, Pool, RecordedRequest};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

/// A column: its head, its width, and the width of the screen from which on there is room for it
/// beside what the row is about.
#[derive(Clone, Copy)]
struct Column {
    head: &'static str,
    width: Constraint,
    from: u16,
    is_number: bool,
}

const fn words(head: &'static str, width: Constraint) -> Column {
    Column { head, width, from: 0, is_number: false }
}

const fn number(head: &'static str, width: u16) -> Column {
    Column { head, width: Constraint::Length(width), from: 0, is_number: true }
}

const fn from(width: u16, column: Column) -> Column {
    Column { from: width, ..column }
}

/// Rows of cells under their heads; cells of columns without room are left out.
struct List<'a> {
    columns: &'static [Column],
    rows: Vec<Vec<Line<'a>>>,
    /// What stands there without a row.
    empty: String,
}

fn draw(frame: &mut Frame<'_>, screen: &Screen, (paint, area): (Paint, Rect), list: List<'_>) {
    let fits = |column: &Column| area.width >= column.from;
    if list.rows.is_empty() {
        frame.render_widget(
            Paragraph::new(format!("\n   {}", list.empty)).style(paint.faint()),
            area,
        );
        return;
    }
    let (sorted, descending) = screen.sort();
    let sorted = screen.view.columns().get(sorted).copied().unwrap_or_default();
    let head = |column: &Column| {
        let sign = match (column.head.to_lowercase() == sorted, descending) {
            (false, _) => "",
            (true, false) => "▲",
            (true, true) => "▼",
        };
        aligned(Line::from(format!("{}{sign}", column.head)), column)
    };
    let heads = Row::new(list.columns.iter().filter(|it| fits(it)).map(head)).style(paint.strong());
    let widths = list.columns.iter().filter(|it| fits(it)).map(|column| column.width);
    let count = list.rows.len();
    let rows = list.rows.into_iter().map(|cells| {
        let cells = cells.into_iter().zip(list.columns).filter(|(_, column)| fits(column));
        Row::new(cells.map(|(cell, column)| aligned(cell, column)))
    });
    let table = Table::new(rows, widths).header(heads).row_highlight_style(paint.chosen());
    let mut state = TableState::new().with_selected(screen.cursor().min(count - 1));
    frame.render_stateful_widget(table, area, &mut state);
}

fn aligned<'a>(line: Line<'a>, column: &Column) -> Cell<'a> {
    let side = if column.is_number { Alignment::Right } else { Alignment::Left };
    Cell::from(Text::from(line.alignment(side)))
}

fn none(screen: &Screen, nothing: &str) -> String {
    if screen.filter.is_empty() {
        nothing.to_owned()
    } else {
        format!("nothing matches {:?}; Esc shows all", screen.filter)
    }
}

const POOL_COLUMNS: &[Column] = &[
    words("Pool", Constraint::Fill(2)),
    words("Mode", Constraint::Length(14)),
    number("Backends", 8),
    from(50, number("Rate", 8)),
    from(60, number("In flight", 9)),
    from(70, number("Waiting", 7)),
    from(80, words("Strategy", Constraint::Fill(2))),
    from(100, number("Requests", 9)),
    from(110, number("Retries refused", 15)),
];

pub(super) fn pools(frame: &mut Frame<'_>, screen: &Screen, at: (Paint, Rect)) {
    let row = |pool: &&Pool| {
        let (mood, mode) = text::mode(pool.mode);
        let eligible = pool.backends.iter().filter(|backend| backend.eligible).count();
        let in_flight = pool.backends.iter().map(|backend| u64::from(backend.in_flight)).sum();
        let requests = pool.backends.iter().map(|backend| backend.requests).sum();
        vec![
            Line::from(pool.name.clone()),
            Line::from(at.0.sign(mood, mode)),
            Line::from(format!("{eligible}/{}", pool.backends.len())),
            Line::from(text::rate(screen.world.rate_of_pool(pool))),
            Line::from(text::count(in_flight)),
            Line::from(text::count(pool.waiting)),
            Line::from(pool.strategy.clone()),
            Line::from(text::count(requests)),
            Line::from(text::count(pool.retry_budget.refused)),
        ]
    };
    let rows = screen.pools().iter().map(row).collect();
    let empty = none(screen, "there is no pool");
    draw(frame, screen, at, List { columns: POOL_COLUMNS, rows, empty });
}

const BACKEND_COLUMNS: &[Column] = &[
    words("Name", Constraint::Fill(3)),
    words("Traffic", Constraint::Length(14)),
    from(80, number("Weight", 6)),
    from(70, number("In flight", 9)),
    from(50, number("Rate", 8)),
    from(58, number("Errors", 7)),
    from(66, number("p99", 8)),
    from(100, number("p50", 8)),
    from(100, number("Requests", 9)),
    from(130, words("Health", Constraint::Length(11))),
    from(130, words("Breaker", Constraint::Length(9))),
    from(130, words("Address", Constraint::Fill(2))),
];

pub(super) fn backends(frame: &mut Frame<'_>, screen: &Screen, at: (Paint, Rect)) {
    let row = |(pool, backend): &(&Pool, &Backend)| {
        let (mood, traffic) = text::traffic(backend);
        vec![
            Line::from(format!("{}/{}", pool.name, backend.name)),
            Line::from(at.0.sign(mood, &traffic)),
            Line::from(backend.weight.to_string()),
            Line::from(text::count(backend.in_flight.into())),
            Line::from(text::rate(screen.world.rate_of(&pool.name, &backend.name))),
            Line::from(text::errors(backend).unwrap_or_else(|| "-".to_owned())),
            Line::from(text::millis(backend.p99_ms)),
            Line::from(text::millis(backend.p50_ms)),
            Line::from(text::count(backend.requests)),
            Line::from(text::health(backend.health)),
            Line::from(text::breaker(backend.breaker)),
            Line::from(backend.address.clone()),
        ]
    };
    let rows = screen.backends().iter().map(row).collect();
    let empty = none(screen, "there is no backend");
    draw(frame, screen, at, List { columns: BACKEND_COLUMNS, rows, empty });
}

const REQUEST_COLUMNS: &[Column] = &[
    from(66, words("Time", Constraint::Length(8))),
    words("Why", Constraint::Length(18)),
    number("Status", 6),
    from(56, number("Took", 8)),
    words("Request", Constraint::Fill(3)),
    from(100, words("Backend", Constraint::Fill(1))),
    from(100, number("Tries", 5)),
];

pub(super) fn requests(frame: &mut Frame<'_>, screen: &Screen, at: (Paint, Rect)) {
    let row = |it: &&RecordedRequest| {
        let why = match (&it.failure, it.kept) {
            (Some(failure), _) => at.0.sign(Mood::Bad, failure),
            (None, Kept::Failed) => at.0.sign(Mood::Bad, "failed"),
            (None, Kept::Slow) => at.0.sign(Mood::Odd, "slow"),
            (None, Kept::Drawn) => at.0.sign(Mood::Off, "drawn"),
        };
        vec![
            Line::from(text::clock(&it.time).to_owned()),
            Line::from(why),
            Line::from(if it.status == 0 { "-".to_owned() } else { it.status.to_string() }),
            Line::from(text::millis(Some(it.total_ms))),
            Line::from(format!("{} {}{}", it.method, it.host, it.path)),
            Line::from(it.backend.clone().unwrap_or_else(|| "-".to_owned())),
            Line::from(it.tries.len().to_string()),
        ]
    };
    let rows = screen.requests().iter().map(row).collect();
    let empty = none(screen, "no request failed or was slow");
    draw(frame, screen, at, List { columns: REQUEST_COLUMNS, rows, empty });
}

const EVENT_COLUMNS: &[Column] = &[
    from(60, words("Time", Constraint::Length(8))),
    words("Event", Constraint::Length(24)),
    words("What", Constraint::Fill(1)),
];

pub(super) fn events(frame: &mut Frame<'_>, screen: &Screen, at: (Paint, Rect)) {
    debug_assert_eq!(screen.view, View::Events);
    let row = |event: &&evenkeel_api::Event| {
        let mood = text::level(event.level);
        vec![
            Line::from(text::clock(&event.timestamp).to_owned()),
            Line::from(at.0.sign(mood, &event.event)),
            Line::from(Span::raw(event.message.clone())),
        ]
    };
    let rows = screen.events().iter().map(row).collect();
    let empty = none(screen, "nothing has happened since this began");
    draw(frame, screen, at, List { columns: EVENT_COLUMNS, rows, empty });
}
