//! What a pick costs with each strategy, beside the one atomic addition that is the least a shared
//! cursor can do: nanoseconds and cycles for each pick, with one thread and with two that share the
//! state.
//! Best of several short runs, which is what is left when nothing else disturbs.

use crossbeam_utils::CachePadded;
use evenkeel_core::strategy::hash::hash;
use evenkeel_core::strategy::least_response_time::{self, ResponseTimes};
use evenkeel_core::strategy::maglev::Maglev;
use evenkeel_core::strategy::ring::Ring;
use evenkeel_core::strategy::round_robin::RoundRobin;
use evenkeel_core::strategy::weighted::{Schedule, Shares};
use evenkeel_core::strategy::{least_connections, power_of_two, random};
use evenkeel_core::time::Nanos;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SIZES: [usize; 4] = [3, 10, 100, 1_000];
const THREADS: [usize; 2] = [1, 2];
const RUNS: usize = 5;
/// About how long one run takes.
const RUN: Duration = Duration::from_millis(20);
const VIRTUAL_NODES: u32 = 100;

/// What a table row measures: a name and a pick for each number of candidates.
type Row<'a> = (&'a str, Box<dyn Fn(&Pool, usize) -> Option<usize> + Sync>);

/// Candidates, and the state that strategies share between threads.
struct Pool {
    size: usize,
    weights: Vec<u32>,
    in_flight: Vec<AtomicU32>,
    times: Vec<ResponseTimes>,
    cursor: CachePadded<AtomicUsize>,
    round_robin: RoundRobin,
    schedule: Schedule,
    shares: Shares,
    ring: Ring,
    maglev: Maglev,
}

impl Pool {
    fn new(size: usize) -> Pool {
        let weights: Vec<u32> = (1..4).cycle().take(size).collect();
        let names: Vec<String> = (0..size).map(|at| format!("backend-{at}")).collect();
        let members: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        let times: Vec<ResponseTimes> = (0..size).map(|_| ResponseTimes::default()).collect();
        times.iter().for_each(|times| times.observe(Nanos(1), Duration::from_millis(5), true));
        Pool {
            size,
            in_flight: (0..10).cycle().take(size).map(AtomicU32::new).collect(),
            times,
            cursor: CachePadded::default(),
            round_robin: RoundRobin::default(),
            schedule: Schedule::new(&weights),
            shares: Shares::new(&weights),
            ring: Ring::new(&members, VIRTUAL_NODES),
            maglev: Maglev::new(&members),
            weights,
        }
    }

    fn busy(&self, at: usize) -> u32 {
        self.in_flight[at].load(Ordering::Relaxed)
    }

    fn turn(&self) -> usize {
        self.cursor.fetch_add(1, Ordering::Relaxed)
    }
}

/// A draw for a round: spread over all `u64`, at the cost of one multiplication.
fn draw(round: usize) -> u64 {
    (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn rows() -> Vec<Row<'static>> {
    let none = |_| false;
    vec![
        ("fetch_add", Box::new(|pool, _| Some(pool.turn()))),
        ("round_robin", Box::new(|pool, _| pool.round_robin.next(pool.size))),
        ("weighted_round_robin", Box::new(|pool, _| pool.schedule.at(pool.turn()))),
        ("weighted_random", Box::new(move |pool, n| pool.shares.draw_unskipped(draw(n), none))),
        ("random", Box::new(move |pool, n| random::choose(draw(n), pool.size, none))),
        (
            "least_connections",
            Box::new(move |pool, _| {
                least_connections::choose(&pool.weights, pool.turn(), |at| pool.busy(at), none)
            }),
        ),
        (
            "least_response_time",
            Box::new(move |pool, _| {
                let (times, busy) = (|at: usize| &pool.times[at], |at| pool.busy(at));
                least_response_time::choose(&pool.weights, pool.turn(), Nanos(2), times, busy, none)
            }),
        ),
        (
            "power_of_two",
            Box::new(move |pool, n| {
                power_of_two::choose(pool.size, draw(n), |at| pool.busy(at), none)
            }),
        ),
        ("ring", Box::new(move |pool, n| pool.ring.choose(hash(&n.to_le_bytes()), none))),
        (
            "ring, bounded",
            Box::new(move |pool, n| {
                let total = pool.size as u64 * 5;
                let place = hash(&n.to_le_bytes());
                pool.ring.choose_bounded(place, 1.25, |at| pool.busy(at), total, none)
            }),
        ),
        ("maglev", Box::new(move |pool, n| pool.maglev.choose(hash(&n.to_le_bytes()), none))),
    ]
}

/// How long `threads` threads, started together, take to do `rounds` rounds each.
fn timed(rounds: usize, threads: usize, round: &(impl Fn(usize) + Sync)) -> Duration {
    let start_line = Barrier::new(threads);
    let run = || {
        start_line.wait();
        let start = Instant::now();
        (0..rounds).for_each(round);
        start.elapsed()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        let slowest = others.into_iter().filter_map(|other| other.join().ok()).max();
        slowest.map_or(own, |slowest| slowest.max(own))
    })
}

/// Nanoseconds for each round, as one thread sees it.
fn measure(threads: usize, round: &(impl Fn(usize) + Sync)) -> f64 {
    let mut rounds = 64;
    while timed(rounds, threads, round) < RUN / 4 {
        rounds *= 2;
    }
    rounds *= 4;
    let runs = (0..RUNS).map(|_| timed(rounds, threads, round)).min();
    runs.unwrap_or_default().as_nanos() as f64 / rounds as f64
}

/// What the kernel says of the first processor's clock; `None` where it says nothing.
fn cycles_per_ns() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    let mhz: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    Some(mhz / 1_000.0)
}

fn table(
    out: &mut impl Write,
    title: &str,
    costs: &[(&str, [f64; SIZES.len()])],
    factor: f64,
) -> io::Result<()> {
    write!(out, "{title:<22}")?;
    SIZES.iter().try_for_each(|size| write!(out, "{size:>9}"))?;
    writeln!(out)?;
    for (name, costs) in costs {
        write!(out, "{name:<22}")?;
        costs.iter().try_for_each(|cost| write!(out, "{:>9.1}", cost * factor))?;
        writeln!(out)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let pools = SIZES.map(Pool::new);
    let mut out = io::stdout().lock();
    for threads in THREADS {
        let costs: Vec<(&str, [f64; SIZES.len()])> = rows()
            .iter()
            .map(|(name, pick)| {
                let cost = |pool| {
                    measure(threads, &|round| {
                        black_box(pick(black_box(pool), round));
                    })
                };
                (*name, pools.each_ref().map(cost))
            })
            .collect();
        table(&mut out, &format!("ns, {threads} thread(s)"), &costs, 1.0)?;
        if let Some(cycles) = cycles_per_ns() {
            table(&mut out, &format!("cycles, {threads} thread(s)"), &costs, cycles)?;
        }
    }
    // The most work there is for 1,000 backends: as many distinct weights as fit.
    let weights: Vec<u32> = (1..=359).chain(std::iter::repeat_n(1, 641)).collect();
    let start = Instant::now();
    let len = black_box(Schedule::new(black_box(&weights))).len();
    writeln!(out, "a schedule of {len} turns for 1,000 backends: {:?}", start.elapsed())
}
