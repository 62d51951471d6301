//! The first glance: totals, how traffic went, pools, and the last events.

use super::paint::Paint;
use crate::top::screen::Screen;
use crate::top::text::{self, Mood};
use evenkeel_api::{AdminState, History, HistoryStep, Pool};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

/// Lines of the figures, and of each curve.
const FIGURES: u16 = 3;
const CURVE: u16 = 4;

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, (paint, area): (Paint, Rect)) {
    let pools = u16::try_from(screen.world.pools.len()).unwrap_or(u16::MAX);
    let rows = [
        Constraint::Length(FIGURES),
        Constraint::Length(CURVE),
        Constraint::Max(pools.saturating_add(1).max(2)),
        Constraint::Fill(1),
    ];
    let [figures, curves, pools, events] = Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(figures_of(screen, paint)), figures);
    draw_curves(frame, &screen.world.history, (paint, curves));
    frame.render_widget(Paragraph::new(pools_of(screen, (paint, pools))), pools);
    frame.render_widget(Paragraph::new(events_of(screen, (paint, events))), events);
}

fn figures_of(screen: &Screen, paint: Paint) -> Vec<Line<'static>> {
    let world = &screen.world;
    let newest = world.history.steps.last().cloned().unwrap_or_default();
    let (mut all, mut eligible, mut down, mut in_flight) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (_, backend) in world.backends() {
        all += 1;
        in_flight += u64::from(backend.in_flight);
        eligible += u64::from(backend.eligible);
        down += u64::from(text::traffic(backend).0 == Mood::Bad);
    }
    let waiting: u64 = world.pools.iter().map(|pool| pool.waiting).sum();
    let strong = |text: String| Span::styled(text, paint.strong());
    let mut backends = vec![
        Span::raw(" backends "),
        strong(format!("{eligible} of {all}")),
        Span::raw(" take traffic  "),
    ];
    if down > 0 {
        backends.push(paint.sign(Mood::Bad, &format!("{down} down")));
    }
    vec![
        Line::from(vec![
            Span::raw(" requests "),
            strong(text::count(world.history.requests)),
            Span::raw("  now "),
            strong(text::rate(world.rate)),
            Span::raw("  errors "),
            strong(text::count(world.history.errors)),
            Span::raw("  in flight "),
            strong(text::count(in_flight)),
            Span::raw("  waiting "),
            strong(text::count(waiting)),
        ]),
        Line::from(vec![
            Span::raw(" p50 "),
            strong(text::millis(newest.p50_ms)),
            Span::raw("  p95 "),
            strong(text::millis(newest.p95_ms)),
            Span::raw("  p99 "),
            strong(text::millis(newest.p99_ms)),
        ]),
        Line::from(backends),
    ]
}

/// A curve: its name, the value of a step, and how that reads, given the seconds of a step.
type Curve = (&'static str, fn(&HistoryStep) -> u64, fn(u64, u32) -> String);

const CURVES: [Curve; 3] = [
    ("requests", |step| step.requests, per_second),
    ("errors", |step| step.errors, per_second),
    ("p95", |step| micros(step.p95_ms), |micros, _| from_micros(micros)),
];

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn per_second(count: u64, seconds: u32) -> String {
    text::rate(Some(count as f64 / f64::from(seconds.max(1))))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to hours")]
fn micros(ms: Option<f64>) -> u64 {
    (ms.unwrap_or(0.0).max(0.0) * 1_000.0) as u64
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn from_micros(micros: u64) -> String {
    text::millis(Some(micros as f64 / 1_000.0))
}

fn draw_curves(frame: &mut Frame<'_>, history: &History, (paint, area): (Paint, Rect)) {
    let area = area.inner(Margin { horizontal: 1, vertical: 0 });
    let columns: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).areas(area);
    for ((name, value, shown), column) in CURVES.into_iter().zip(columns) {
        let [title, curve] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(column);
        let skipped = history.steps.len().saturating_sub(usize::from(curve.width));
        let values: Vec<u64> = history.steps.iter().skip(skipped).map(value).collect();
        let most = values.iter().copied().max().unwrap_or(0);
        let time = match values.len() as u64 * u64::from(history.step_seconds) {
            seconds @ 0..60 => format!("{seconds} s"),
            seconds => format!("{} min", seconds / 60),
        };
        let text = format!("{name}, {time}, max {}", shown(most, history.step_seconds));
        frame.render_widget(Paragraph::new(Span::styled(text, paint.faint())), title);
        frame.render_widget(Sparkline::default().data(values).style(paint.line()), curve);
    }
}

fn pools_of(screen: &Screen, (paint, area): (Paint, Rect)) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(Span::styled(" Pools", paint.strong()))];
    let room = usize::from(area.height).saturating_sub(1);
    let pools = &screen.world.pools;
    // The troubled come first: all may not fit.
    let mut order: Vec<&Pool> = pools.iter().collect();
    order.sort_by_key(|pool| text::mode(pool.mode).0 == Mood::Good);
    let shown = if pools.len() > room { room.saturating_sub(1) } else { room };
    for pool in order.iter().take(shown) {
        lines.push(pool_line(screen, pool, paint));
    }
    if order.len() > shown {
        lines.push(Line::raw(format!("   … and {} more: press 2", order.len() - shown)));
    }
    lines
}

fn pool_line(screen: &Screen, pool: &Pool, paint: Paint) -> Line<'static> {
    let (mood, mode) = text::mode(pool.mode);
    let eligible = pool.backends.iter().filter(|backend| backend.eligible).count();
    let drained = pool.backends.iter().filter(|it| it.admin != AdminState::Enabled).count();
    let rate = text::rate(screen.world.rate_of_pool(pool));
    let mut rest = format!("  {eligible}/{} backends  {rate}", pool.backends.len());
    if drained > 0 {
        rest.push_str(&format!("  {drained} taken out"));
    }
    if pool.waiting > 0 {
        rest.push_str(&format!("  {} wait", pool.waiting));
    }
    let name = format!("   {:<20} ", pool.name);
    Line::from(vec![Span::raw(name), paint.sign(mood, mode), Span::raw(rest)])
}

fn events_of(screen: &Screen, (paint, area): (Paint, Rect)) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(Span::styled(" Last events", paint.strong()))];
    let room = usize::from(area.height).saturating_sub(1);
    if screen.world.events.is_empty() {
        lines.push(Line::from(Span::styled("   nothing since this began", paint.faint())));
    }
    for event in screen.world.events.iter().take(room) {
        let mood = text::level(event.level);
        lines.push(Line::from(vec![
            Span::raw(format!("   {} ", text::clock(&event.timestamp))),
            paint.sign(mood, &event.event),
            Span::raw(format!("  {}", event.message)),
        ]));
    }
    lines
}
