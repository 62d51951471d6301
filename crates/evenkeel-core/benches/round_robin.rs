//! What a round-robin pick costs, beside the one atomic addition it cannot do without, with one
//! worker and with two that share the cursor.

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_core::strategy::round_robin::RoundRobin;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long `threads` threads, started together, take to do `rounds` rounds each.
fn timed(rounds: u64, threads: usize, round: &(impl Fn() + Sync)) -> Duration {
    let start_line = Barrier::new(threads);
    let run = || {
        start_line.wait();
        let start = Instant::now();
        (0..rounds).for_each(|_| round());
        start.elapsed()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        let slowest = others.into_iter().filter_map(|other| other.join().ok()).max();
        slowest.map_or(own, |slowest| slowest.max(own))
    })
}

fn round_robin(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group(format!("round_robin/{threads}_threads"));
        let cursor = AtomicUsize::new(0);
        let add = || {
            black_box(cursor.fetch_add(1, Ordering::Relaxed));
        };
        group.bench_function("fetch_add", |bencher| {
            bencher.iter_custom(|rounds| timed(rounds, threads, &add));
        });
        for backends in [3, 10, 100] {
            let strategy = RoundRobin::default();
            let pick = || {
                black_box(strategy.next(black_box(backends)));
            };
            group.bench_function(format!("pick_of_{backends}"), |bencher| {
                bencher.iter_custom(|rounds| timed(rounds, threads, &pick));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, round_robin);
criterion_main!(benches);
