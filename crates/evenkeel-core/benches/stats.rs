//! What counting costs a serving thread, and what reading it all costs a scrape. Best of several
//! short runs, which is what is left when nothing else disturbs.

use evenkeel_core::stats::{Cell, ExchangeEnd, Histogram, MethodLabel, Series, Stats};
use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

const RUNS: usize = 9;
const ROUNDS: usize = 1_000_000;
const BACKENDS: usize = 1_000;
const CODES: u16 = 10;
/// Durations of a run: a power of two, so that taking the next one costs nothing.
const DURATIONS: usize = 4_096;

/// Nanoseconds for each round.
fn measure(mut round: impl FnMut(usize)) -> f64 {
    let run = |_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(&mut round);
        start.elapsed()
    };
    (0..RUNS).map(run).min().unwrap_or_default().as_nanos() as f64 / ROUNDS as f64
}

/// From 50 us to 50 ms, most of them short, in no order.
fn durations() -> Vec<u64> {
    let draw = |round: u64| round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    (0..DURATIONS as u64).map(|round| 50_000 + draw(round).pow(3) / 21).collect()
}

fn end(total: u64) -> ExchangeEnd {
    ExchangeEnd {
        code: 200,
        method: MethodLabel::Get,
        total,
        first_byte: Some(total - total / 8),
        connect: None,
        queue: None,
        bytes_in: 120,
        bytes_out: 1_400,
        failed: false,
    }
}

/// As many series as a large configuration has, each with every code from two workers.
fn filled() -> Stats {
    let stats = Stats::new(2);
    for backend in 0..BACKENDS {
        let name = || "name".into();
        let backend = format!("10.0.0.1:{backend}").into();
        let series = Series { listener: name(), route: name(), pool: name(), backend };
        for worker in stats.workers() {
            let cell = worker.cell(&series);
            let spread = |code: u16| u64::from(code) * u64::from(code) * 100_000;
            let codes = (0..CODES).map(|code| (200 + code * 37, 50_000 + spread(code)));
            codes.for_each(|(code, total)| cell.exchange(&ExchangeEnd { code, ..end(total) }));
        }
    }
    stats
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let durations = durations();
    let nanos = |round: usize| durations[round % DURATIONS];
    let histogram = Histogram::default();
    let cost = measure(|round| black_box(&histogram).record(black_box(nanos(round))));
    writeln!(out, "histogram record, mixed durations   {cost:>7.2} ns")?;
    let cost = measure(|_| black_box(&histogram).record(black_box(150_000)));
    writeln!(out, "histogram record, one duration      {cost:>7.2} ns")?;
    let cell = Cell::default();
    let cost = measure(|round| black_box(&cell).exchange(black_box(&end(nanos(round)))));
    writeln!(out, "exchange, total and first byte      {cost:>7.2} ns")?;
    let all = |round: usize| {
        let total = nanos(round);
        ExchangeEnd { connect: Some(total / 4), queue: Some(total / 2), ..end(total) }
    };
    let cost = measure(|round| black_box(&cell).exchange(black_box(&all(round))));
    writeln!(out, "exchange, all four times            {cost:>7.2} ns")?;

    let stats = filled();
    let read = |_| {
        let start = Instant::now();
        black_box(stats.read());
        start.elapsed()
    };
    let best: Duration = (0..RUNS).map(read).min().unwrap_or_default();
    writeln!(out, "read {BACKENDS} series, 2 workers, {CODES} codes  {best:>7.2?}")
}
