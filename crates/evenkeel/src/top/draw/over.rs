//! What lies over the view: help, details, questions.

use super::paint::Paint;
use crate::top::keys::KEYS;
use crate::top::screen::{Change, Over, Screen, View};
use crate::top::text::{self, Mood};
use evenkeel_api::{AdminState, Backend, Event, Pool, RecordedRequest};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

/// Cells of a bar of the waterfall.
const BAR: usize = 30;
const WIDTH: u16 = 76;

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, (paint, area): (Paint, Rect)) {
    let Some(over) = &screen.over else { return };
    let (title, lines) = match over {
        Over::Help => (" Keys ".to_owned(), help(paint)),
        Over::Confirm(change) => (" Sure? ".to_owned(), confirm(screen, change, paint)),
        Over::Weight { pool, backend, typed } => {
            let line = Line::from(vec![
                Span::raw("Share of new traffic, 0 = none: "),
                Span::styled(format!("{typed}▏"), paint.strong()),
            ]);
            let keys = Line::styled("Enter sets it, Esc does not", paint.faint());
            (format!(" Weight of {pool}/{backend} "), vec![line, Line::default(), keys])
        }
        Over::Details => match details(screen, paint) {
            Some(shown) => shown,
            None => return,
        },
    };
    let inner = usize::from(WIDTH.min(area.width).saturating_sub(2)).max(1);
    let height: usize = lines.iter().map(|line| rows(line, inner)).sum();
    let height = u16::try_from(height).unwrap_or(u16::MAX).saturating_add(2);
    let [place] = Layout::vertical([Constraint::Max(height)]).flex(Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Max(WIDTH)]).flex(Flex::Center).areas(place);
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title).title_style(paint.strong());
    let text = Paragraph::new(lines).wrap(Wrap { trim: false }).block(block);
    frame.render_widget(text, place);
}

/// How many rows a line takes once it is broken between words; rather one too many.
fn rows(line: &Line<'_>, width: usize) -> usize {
    if line.width() <= width {
        return 1;
    }
    let text = line.to_string();
    let (rows, _) = text.split(' ').fold((1, 0), |(rows, used), word| {
        let word = Span::raw(word).width();
        match used + 1 + word {
            joined if joined <= width => (rows, joined),
            _ => (rows + word.div_ceil(width).max(1), word % width),
        }
    });
    rows
}

fn help(paint: Paint) -> Vec<Line<'static>> {
    let line = |(keys, meaning): &(&str, &str)| {
        Line::from(vec![
            Span::styled(format!("{keys:<32}"), paint.strong()),
            Span::raw((*meaning).to_owned()),
        ])
    };
    KEYS.iter().map(line).collect()
}

fn confirm(screen: &Screen, change: &Change, paint: Paint) -> Vec<Line<'static>> {
    let Change { pool, backend, patch } = change;
    let (verb, meaning) = match patch.admin {
        Some(AdminState::Draining) => ("Drain", "It takes nothing new; what runs ends by itself."),
        Some(AdminState::Disabled) => ("Disable", "It takes nothing at all, sessions included."),
        Some(AdminState::Enabled) | None => ("Enable", "It takes new traffic again."),
    };
    let mut lines =
        vec![Line::styled(format!("{verb} {pool}/{backend}?"), paint.strong()), Line::raw(meaning)];
    let takes_out = patch.admin != Some(AdminState::Enabled);
    let others = screen.world.pools.iter().filter(|it| it.name == *pool);
    let others = others.flat_map(|it| &it.backends).filter(|it| it.eligible && it.name != *backend);
    let others = others.count();
    if takes_out {
        let in_flight = screen.world.find(pool, backend).map_or(0, |it| it.in_flight);
        lines
            .push(Line::raw(format!("{in_flight} in flight there; {others} others take traffic.")));
    }
    if takes_out && others == 0 {
        let text = "Nobody else is left: clients of this pool will get 503.";
        lines.push(Line::from(paint.sign(Mood::Bad, text)));
    }
    lines.push(Line::default());
    lines.push(Line::styled("y does it, n or Esc does not", paint.faint()));
    lines
}

type Shown = (String, Vec<Line<'static>>);

fn details(screen: &Screen, paint: Paint) -> Option<Shown> {
    match screen.view {
        View::Backends => screen.chosen().map(|(pool, it)| backend(pool, it, paint)),
        View::Requests => screen.requests().get(screen.cursor()).map(|it| request(it, paint)),
        View::Events => screen.events().get(screen.cursor()).map(|it| event(it, paint)),
        View::Overview | View::Pools => None,
    }
}

fn named(name: &str, value: impl Into<String>) -> Line<'static> {
    Line::raw(format!("{name:<10}{}", value.into()))
}

fn backend(pool: &Pool, it: &Backend, paint: Paint) -> Shown {
    let (mood, traffic) = text::traffic(it);
    let and = |reason: &Option<String>, time: &Option<String>, word: &str| {
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let time = time.as_ref().map(|time| format!(", {word} {}", text::clock(time)));
        format!("{reason}{}", time.unwrap_or_default())
    };
    let health = and(&it.health_reason, &it.health_since, "since");
    let admin = and(&it.admin_reason, &it.admin_since, "since");
    let breaker = and(&it.breaker_reason, &it.breaker_since, "since");
    let breaker = format!("{breaker}{}", and(&None, &it.breaker_until, "until"));
    let probe =
        |result: &evenkeel_api::ProbeResult| if result.fault.is_some() { '✖' } else { '✔' };
    let mut lines = vec![
        Line::from(vec![Span::raw("traffic   "), paint.sign(mood, &traffic)]),
        named("address", it.url.clone()),
        named("admin", format!("{}{admin}", text::admin(it.admin))),
        named("health", format!("{}{health}", text::health(it.health))),
        named("probes", it.results.iter().map(probe).collect::<String>()),
        named("breaker", format!("{}{breaker}", text::breaker(it.breaker))),
        named("weight", it.weight.to_string()),
        named(
            "requests",
            match text::errors(it) {
                Some(errors) => format!("{}, {errors} errors of late", it.requests),
                None => format!("{}, none of late", it.requests),
            },
        ),
        named(
            "latency",
            format!(
                "p50 {}  p95 {}  p99 {}",
                text::millis(it.p50_ms),
                text::millis(it.p95_ms),
                text::millis(it.p99_ms)
            ),
        ),
    ];
    if let Some(doubt) = &it.suspected {
        lines.insert(1, Line::from(paint.sign(Mood::Odd, &format!("suspected: {doubt}"))));
    }
    (format!(" {}/{} ", pool.name, it.name), lines)
}

fn request(it: &RecordedRequest, paint: Paint) -> Shown {
    let mut lines = vec![
        Line::styled(
            format!("{} {}{} → {}", it.method, it.host, it.path, it.status),
            paint.strong(),
        ),
        named("from", format!("{} by listener {}", it.client_ip, it.listener)),
        named("route", it.route.clone().unwrap_or_else(|| "none".to_owned())),
        named("id", it.id.clone()),
    ];
    if let Some(failure) = &it.failure {
        lines.push(Line::from(paint.sign(Mood::Bad, failure)));
    }
    if let Some(hint) = &it.hint {
        lines.push(named("helps", hint.clone()));
    }
    lines.push(Line::default());
    for (name, start, length) in phases(it) {
        let bar = bar(start, length, it.total_ms);
        let took = text::millis(Some(length));
        lines.push(Line::raw(format!("{name:<26.26} {took:>8} {bar}")));
    }
    (format!(" {} ", text::millis(Some(it.total_ms))), lines)
}

/// Where the time went: what, when, how long; in milliseconds from the end of the request's head.
fn phases(it: &RecordedRequest) -> Vec<(String, f64, f64)> {
    let mut found = Vec::new();
    let queue = it.timings.queue_ms;
    found.extend(queue.map(|took| ("queue".to_owned(), 0.0, took)));
    let mut end = queue.unwrap_or(0.0);
    for one in &it.tries {
        end = one.start_ms;
        for (phase, took) in [("pick", one.pick_ms), ("connect", one.connect_ms)] {
            let Some(took) = took else { continue };
            found.push((format!("{} {phase}", one.backend), end, took));
            end += took;
        }
        // Counted from the start of the try: what was before is shown already.
        if let Some(took) = one.first_byte_ms.map(|at| (one.start_ms + at - end).max(0.0)) {
            found.push((format!("{} first byte", one.backend), end, took));
            end += took;
        }
    }
    // One without an answer took all the time that was left.
    if let Some(last) = it.tries.last().filter(|last| last.first_byte_ms.is_none()) {
        let took = it.total_ms - end;
        if took > 0.0 {
            found.push((format!("{} {}", last.backend, last.outcome), end, took));
            end = it.total_ms;
        }
    }
    found.extend(it.timings.body_ms.map(|took| ("body".to_owned(), end, took)));
    found
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
fn bar(start: f64, length: f64, total: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let cells = |ms: f64| ((ms / total.max(0.001)).clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let before = cells(start).min(BAR - 1);
    format!("{}{}", " ".repeat(before), "█".repeat(cells(length).clamp(1, BAR - before)))
}

fn event(it: &Event, paint: Paint) -> Shown {
    let mood = text::level(it.level);
    let mut lines = vec![Line::from(paint.sign(mood, &it.event)), Line::raw(it.message.clone())];
    lines.push(named("time", it.timestamp.clone()));
    for (name, value) in &it.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.push(named(name, format!(" {value}")));
    }
    (" Event ".to_owned(), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_rows_that_its_words_need() {
        let cases = [("", 1), ("ten cells.", 1), ("eleven cell", 2), ("aaaaaa bbbbbb cccccc", 3)];
        for (text, wanted) in cases {
            assert_eq!(rows(&Line::raw(text), 10), wanted, "{text}");
        }
        assert!(rows(&Line::raw("x".repeat(35)), 10) >= 4);
    }
}
