//! Lowest peak EWMA of response time.
//!
//! The cost of a backend is its estimated response time times the requests it would have in flight.
//! The estimate is Finagle's and Linkerd's "peak EWMA" (Twitter Finagle, `PeakEwma.scala`; Linkerd,
//! `linkerd2-proxy` and `tower::load::PeakEwma`): a moving average that decays by elapsed time,
//! but goes up to a higher sample at once, so that a backend that turns slow is left after one
//! answer. Ours differs in three ways:
//! - A failure counts as far slower than the estimate, so that failing fast attracts nothing.
//! - One never observed gets one request, and while that is under way is priced as the mean of the
//!   others: no stampede on a newcomer.
//! - The estimate does not fade unobserved. A backend left alone gets one request a second, and
//!   comes back by what that one measures.

use crate::time::Nanos;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time constant of the moving average: a sample keeps `1/e` of its weight for so long. A backend
/// that recovers from being 100 times slower has its share back after about six of these.
pub const TAU: Duration = Duration::from_millis(1_500);
/// A backend with nothing in flight that was not chosen for longer gets one request.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How much slower than the estimate a failure counts. Above `1 / ERROR_FACTOR` of failures the
/// estimate grows without end, up to [`ERROR_CEILING`].
pub const ERROR_FACTOR: f64 = 20.0;
/// A failure counts as `ERROR_FACTOR` times this at least, however fast the backend is.
pub const ERROR_FLOOR: Duration = Duration::from_millis(5);
/// Failures alone raise the estimate no higher than this, so that it can come down again soon.
pub const ERROR_CEILING: Duration = Duration::from_secs(10);

/// What is remembered of a backend's response times. Shared by all workers without locks: the
/// numbers are hints, and no order between them is needed.
#[derive(Debug, Default)]
pub struct ResponseTimes {
    /// Bits of the estimate, an `f64` in nanoseconds; all zero while nothing was observed.
    estimate: AtomicU64,
    /// Time of the latest observation, in nanoseconds.
    observed_at: AtomicU64,
    /// One more than the time of the latest choice, in nanoseconds; 0 if never chosen.
    chosen_at: AtomicU64,
}

impl ResponseTimes {
    /// Takes in that a request was answered after `latency`. `good` is false for an error or a
    /// refusal for load (429): that counts as [`ERROR_FACTOR`] times the estimate.
    pub fn observe(&self, now: Nanos, latency: Duration, good: bool) {
        // Each observation takes the time since the one before, so that none is counted twice.
        let elapsed = now.since(Nanos(self.observed_at.fetch_max(now.0, Ordering::Relaxed)));
        let kept = (-(elapsed as f64) / nanos(TAU)).exp();
        let latency = nanos(latency).max(1.0);
        let next = |bits| {
            let old = f64::from_bits(bits);
            // Nothing observed yet is 0, which every sample is above.
            let peak = old.max(latency);
            let sample = if good { latency } else { penalised(peak) };
            let next = if bits == 0 { sample } else { sample + (peak - sample) * kept };
            Some(next.to_bits())
        };
        // Never refused: `next` always gives a value.
        let _ = self.estimate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// What one more request would cost: the estimate times `in_flight + 1`, in nanoseconds; 0 if
    /// cold.
    pub fn cost(&self, in_flight: u32) -> f64 {
        f64::from_bits(self.estimate.load(Ordering::Relaxed)) * (f64::from(in_flight) + 1.0)
    }

    /// What is remembered now, apart from what will be.
    pub fn copied(&self) -> ResponseTimes {
        let copy = |from: &AtomicU64| AtomicU64::new(from.load(Ordering::Relaxed));
        ResponseTimes {
            estimate: copy(&self.estimate),
            observed_at: copy(&self.observed_at),
            chosen_at: copy(&self.chosen_at),
        }
    }

    /// Whether nothing was observed yet.
    pub fn is_cold(&self) -> bool {
        self.estimate.load(Ordering::Relaxed) == 0
    }

    /// The estimated response time; `None` if cold.
    pub fn estimate(&self) -> Option<Duration> {
        let seconds = f64::from_bits(self.estimate.load(Ordering::Relaxed)) / 1e9;
        if self.is_cold() { None } else { Duration::try_from_secs_f64(seconds).ok() }
    }

    /// Whether it was never chosen, or not for longer than [`SAMPLE_EVERY`].
    fn is_due(&self, now: Nanos) -> bool {
        is_due(self.chosen_at.load(Ordering::Relaxed), now)
    }

    /// Takes the sample that is due, if nobody else has: exactly one caller gets `true`.
    fn claim(&self, now: Nanos) -> bool {
        let seen = self.chosen_at.load(Ordering::Relaxed);
        let claimed = now.0.saturating_add(1);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        is_due(seen, now)
            && self.chosen_at.compare_exchange(seen, claimed, success, failure).is_ok()
    }

    fn mark_chosen(&self, now: Nanos) {
        self.chosen_at.store(now.0.saturating_add(1), Ordering::Relaxed);
    }
}

fn is_due(chosen_at: u64, now: Nanos) -> bool {
    chosen_at.checked_sub(1).is_none_or(|at| now.duration_since(Nanos(at)) > SAMPLE_EVERY)
}

/// What a failure counts as, given the estimate or its own latency if that is higher.
fn penalised(peak: f64) -> f64 {
    (peak.max(nanos(ERROR_FLOOR)) * ERROR_FACTOR).min(nanos(ERROR_CEILING)).max(peak)
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// The position of the lowest cost per weight; `None` if all are skipped or have no weight. Of
/// equals it is the first at or after `start`, taken modulo their number.
///
/// Before that, one with nothing in flight that was never chosen, or not for [`SAMPLE_EVERY`], gets
/// a request, claimed by exactly one caller. While one is cold its estimate is the mean of the
/// others'; if all are cold, the one with the fewest in flight is chosen.
// tidy: allow(parameters) because a candidate is known by three questions, asked only if needed
pub fn choose<'a>(
    weights: &[u32],
    start: usize,
    now: Nanos,
    times: impl Fn(usize) -> &'a ResponseTimes,
    in_flight: impl Fn(usize) -> u32,
    skip: impl Fn(usize) -> bool,
) -> Option<usize> {
    let first = start.checked_rem(weights.len())?;
    let mut seen = Seen::default();
    let turns = (first..weights.len()).chain(0..first);
    for at in turns.filter(|&at| weights[at] > 0 && !skip(at)) {
        let (times, in_flight) = (times(at), in_flight(at));
        if in_flight == 0 && seen.due.is_none() && times.is_due(now) {
            seen.due = Some(at);
        }
        let share = (f64::from(in_flight) + 1.0) / f64::from(weights[at]);
        seen.add(at, times.cost(0), share);
    }
    if let Some(due) = seen.due
        && times(due).claim(now)
    {
        return Some(due);
    }
    let chosen = seen.cheapest()?;
    times(chosen).mark_chosen(now);
    Some(chosen)
}

/// What one look at all candidates found.
#[derive(Default)]
struct Seen {
    /// One whose sample is due.
    due: Option<usize>,
    /// The cheapest of those observed, with its cost.
    known: Option<(usize, f64)>,
    /// The cold one with the fewest in flight per weight, with that number plus one.
    cold: Option<(usize, f64)>,
    /// Sum and number of the estimates of those observed.
    estimates: (f64, f64),
}

impl Seen {
    /// `share`: in flight plus one, per weight.
    fn add(&mut self, at: usize, estimate: f64, share: f64) {
        if estimate == 0.0 {
            if self.cold.is_none_or(|(_, fewest)| share < fewest) {
                self.cold = Some((at, share));
            }
            return;
        }
        self.estimates = (self.estimates.0 + estimate, self.estimates.1 + 1.0);
        let cost = estimate * share;
        if self.known.is_none_or(|(_, lowest)| cost < lowest) {
            self.known = Some((at, cost));
        }
    }

    fn cheapest(&self) -> Option<usize> {
        match (self.known, self.cold) {
            (Some((known, cost)), Some((cold, share))) => {
                let cold_cost = self.estimates.0 / self.estimates.1 * share;
                Some(if cold_cost < cost { cold } else { known })
            }
            (Some((at, _)), None) | (None, Some((at, _))) => Some(at),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of a simulation are small")]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Time and latency in milliseconds, and whether it was good.
    type Observation = (u64, u64, bool);

    fn after(times: &[Observation]) -> ResponseTimes {
        let fresh = ResponseTimes::default();
        for &(at, latency, good) in times {
            fresh.observe(Nanos(at * MS), ms(latency), good);
        }
        fresh
    }

    #[test]
    fn estimates() {
        let tau = TAU.as_millis() as u64;
        let ceiling = ERROR_CEILING.as_millis() as u64;
        // Observations, estimate in ms.
        let cases: [(&[Observation], f64); 9] = [
            (&[(0, 10, true)], 10.0),
            (&[(0, 10, true), (1, 500, true)], 500.0),
            (&[(0, 500, true), (tau, 10, true)], 10.0 + 490.0 / std::f64::consts::E),
            (&[(0, 500, true), (0, 10, true)], 500.0),
            (&[(0, 500, true), (1_000 * tau, 10, true)], 10.0),
            (&[(0, 1, false)], 100.0),
            (&[(0, 50, false)], 1_000.0),
            (&[(0, 10, true), (1_000 * tau, 1, false), (2_000 * tau, 1, false)], 4_000.0),
            (&[(0, 10, true), (1_000 * tau, 3 * ceiling, false)], 30_000.0),
        ];
        for (number, (observed, expected)) in cases.into_iter().enumerate() {
            let estimate = after(observed).estimate().expect("observed").as_secs_f64() * 1e3;
            assert!((estimate - expected).abs() < 1e-3, "case {number}: {estimate} ms");
        }
    }

    #[test]
    fn cold_until_observed_even_for_no_time_at_all() {
        let times = ResponseTimes::default();
        assert!(times.is_cold() && times.estimate().is_none());
        times.observe(Nanos(5), Duration::ZERO, true);
        assert!(!times.is_cold() && times.cost(0) > 0.0);
        assert_eq!(times.cost(3), 4.0 * times.cost(0));
    }

    #[test]
    fn late_observations_do_not_turn_time_back() {
        let times = after(&[(1_000, 100, true), (500, 10, true), (1_000, 10, true)]);
        assert_eq!(times.estimate(), Some(ms(100)));
    }

    #[test]
    fn all_cold_go_in_turn_then_by_in_flight() {
        let times: [ResponseTimes; 3] = Default::default();
        let mut in_flight = [0_u32; 3];
        for start in 0..9 {
            let pick =
                choose(&[1; 3], start, Nanos(7), |at| &times[at], |at| in_flight[at], |_| false);
            assert_eq!(pick, Some(start % 3));
            in_flight[start % 3] += 1;
        }
    }

    #[test]
    fn a_newcomer_gets_one_sample_then_a_mean_price() {
        let times = [after(&[(0, 10, true)]), after(&[(0, 30, true)]), ResponseTimes::default()];
        times[..2].iter().for_each(|known| known.mark_chosen(Nanos(MS)));
        let pick = |in_flight: [u32; 3]| {
            choose(&[1; 3], 0, Nanos(2 * MS), |at| &times[at], |at| in_flight[at], |_| false)
        };
        assert_eq!(pick([0, 0, 0]), Some(2), "the sample");
        assert_eq!(pick([0, 0, 0]), Some(0), "claimed already");
        assert_eq!(pick([4, 2, 1]), Some(2), "20 ms x 2 against 50 and 90");
        assert_eq!(pick([2, 2, 1]), Some(0), "20 ms x 2 against 30 and 90");
    }

    #[test]
    fn exactly_one_caller_takes_a_sample() {
        let slow = after(&[(0, 1_000, true)]);
        slow.mark_chosen(Nanos(0));
        assert!(!slow.claim(Nanos(SECOND)), "not due yet");
        let claims = std::thread::scope(|scope| {
            let claim = || scope.spawn(|| slow.claim(Nanos(SECOND + 1)));
            let threads: Vec<_> = (0..8).map(|_| claim()).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(claims, 1);
    }

    #[test]
    fn nothing_to_choose_from() {
        let times = ResponseTimes::default();
        assert_eq!(choose(&[], 3, Nanos(0), |_| &times, |_| 0, |_| false), None);
        assert_eq!(choose(&[1], 3, Nanos(0), |_| &times, |_| 0, |_| true), None);
    }

    const BACKENDS: usize = 3;
    const WINDOW: u64 = SECOND;

    /// One balancer: its own estimates, and what it has in flight itself.
    #[derive(Default)]
    struct Balancer {
        times: [ResponseTimes; BACKENDS],
        in_flight: [u32; BACKENDS],
    }

    /// When a request ends, of which balancer, at which backend, sent when.
    type Ending = Reverse<(u64, usize, usize, u64)>;

    /// Sends `rps` requests a second in turn from each balancer for `seconds`. `serve` says of
    /// (backend, now, all in flight there) how long it takes, in ns, and whether it is good.
    /// Gives the requests each backend got in each window.
    fn simulate(
        mut balancers: Vec<Balancer>,
        rps: u64,
        seconds: u64,
        serve: impl Fn(usize, u64, u32) -> (u64, bool),
    ) -> Vec<[u32; BACKENDS]> {
        let mut windows = vec![[0; BACKENDS]; seconds as usize];
        let mut endings = BinaryHeap::<Ending>::new();
        for number in 0..rps * seconds {
            let now = number * SECOND / rps;
            while let Some(&Reverse((end, of, backend, sent))) = endings.peek()
                && end <= now
            {
                endings.pop();
                let (_, good) = serve(backend, sent, 0);
                balancers[of].in_flight[backend] -= 1;
                let latency = Duration::from_nanos(end - sent);
                balancers[of].times[backend].observe(Nanos(end), latency, good);
            }
            let of = number as usize % balancers.len();
            let Balancer { times, in_flight } = &balancers[of];
            let start = number as usize / balancers.len();
            let see = |at: usize| in_flight[at];
            let backend =
                choose(&[1; BACKENDS], start, Nanos(now), |at| &times[at], see, |_| false)
                    .expect("none is skipped");
            let busy = balancers.iter().map(|balancer| balancer.in_flight[backend]).sum();
            let (latency, _) = serve(backend, now, busy);
            balancers[of].in_flight[backend] += 1;
            endings.push(Reverse((now + latency, of, backend, now)));
            windows[(now / WINDOW) as usize][backend] += 1;
        }
        windows
    }

    /// 5 to 15 ms, the same for the same backend and time.
    fn about_10_ms(backend: usize, now: u64) -> u64 {
        let noise = crate::strategy::hash::hash_with(&now.to_le_bytes(), backend as u64);
        5 * MS + noise % (10 * MS)
    }

    #[test]
    fn a_slow_backend_is_left_and_comes_back() {
        let slow = 5 * SECOND..20 * SECOND;
        let serve = |backend, now, _| {
            let factor = if backend == 1 && slow.contains(&now) { 100 } else { 1 };
            (factor * about_10_ms(backend, now), true)
        };
        let windows = simulate(vec![Balancer::default()], 1_000, 32, serve);
        let got = |from: usize, to: usize| windows[from..to].iter().map(|w| w[1]).sum::<u32>();
        assert!(got(0, 5) > 1_250, "a fair share before: {windows:?}");
        assert!(got(5, 15) < 50, "below 0.5 % while slow: {windows:?}");
        assert!(got(6, 20) >= 5, "sampled while slow: {windows:?}");
        assert!(got(29, 30) > 250, "above 25 % ten seconds after: {windows:?}");
    }

    #[test]
    fn failing_fast_attracts_nothing() {
        let serve = |backend, now, _| match backend {
            2 => (MS, false),
            _ => (about_10_ms(backend, now), true),
        };
        let windows = simulate(vec![Balancer::default()], 1_000, 10, serve);
        let failing: u32 = windows.iter().map(|window| window[2]).sum();
        assert!(failing < 100, "of 10,000: {windows:?}");
    }

    #[test]
    fn turning_to_fail_fast_is_left_soon() {
        let serve = |backend, now, _| match backend {
            2 if now > 5 * SECOND => (MS, false),
            _ => (about_10_ms(backend, now), true),
        };
        let windows = simulate(vec![Balancer::default()], 1_000, 10, serve);
        let failing: u32 = windows[5..].iter().map(|window| window[2]).sum();
        assert!(failing < 250, "of 5,000, 1,667 fair: {windows:?}");
    }

    #[test]
    fn one_failure_in_a_hundred_keeps_most_of_its_share() {
        let serve = |backend: usize, now: u64, _| {
            let bad = backend == 2 && (now / MS).is_multiple_of(100);
            (about_10_ms(backend, now), !bad)
        };
        let windows = simulate(vec![Balancer::default()], 1_000, 10, serve);
        let got: u32 = windows.iter().map(|window| window[2]).sum();
        assert!((1_500..3_500).contains(&got), "of 10,000: {windows:?}");
    }

    #[test]
    fn two_balancers_do_not_oscillate() {
        // Latency grows with what both have in flight there.
        let serve =
            |backend, now, busy| (about_10_ms(backend, now) * (10 + u64::from(busy)) / 10, true);
        let balancers = vec![Balancer::default(), Balancer::default()];
        let windows = simulate(balancers, 2_000, 20, serve);
        for window in &windows[1..] {
            for &got in window {
                let share = f64::from(got) / 2_000.0;
                assert!((share - 1.0 / 3.0).abs() < 0.1, "{windows:?}");
            }
        }
    }
}
