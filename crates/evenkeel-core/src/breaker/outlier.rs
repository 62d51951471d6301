//! Backends that do clearly worse than the rest of their pool.

use super::Trip;

/// Requests in the window before a backend is compared.
pub const MIN_REQUESTS: u64 = 100;
/// Backends that can be compared before any of them is an outlier.
pub const MIN_HOSTS: usize = 5;
/// Standard deviations below the mean, from which on a success rate is an outlier.
const DEVIATIONS: f64 = 1.9;
/// Least distance from the mean: where all do well, the deviation is so small that one failure in
/// ten thousand requests would stand out.
const MIN_DROP: f64 = 0.01;

/// What one backend did in the window of its breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostWindow {
    /// Requests that ended.
    pub requests: u64,
    /// Those that did not fail.
    pub successes: u64,
}

impl HostWindow {
    /// Requests that failed.
    pub fn failures(&self) -> u64 {
        self.requests.saturating_sub(self.successes)
    }

    /// 0 to 1; 1 without a request.
    pub fn success_rate(&self) -> f64 {
        if self.requests == 0 { 1.0 } else { self.successes as f64 / self.requests as f64 }
    }
}

/// A backend that does worse than its pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Its place in the list that was judged.
    pub index: usize,
    /// Its share of successes, 0 to 1.
    pub success_rate: f64,
    /// The mean of the backends it was compared with, itself included.
    pub mean: f64,
}

impl Outlier {
    /// The reason to open its breaker.
    pub fn trip(&self) -> Trip {
        Trip::Outlier { success_rate: self.success_rate, mean: self.mean }
    }
}

/// The backends of a pool whose success rate lies more than 1.9 standard deviations below the mean
/// (and a hundredth at least), the worst first: the success rate rule of Envoy's outlier detection.
/// Backends with fewer than `MIN_REQUESTS` are left out; fewer than `MIN_HOSTS` are not compared.
pub fn outliers(hosts: &[HostWindow]) -> Vec<Outlier> {
    let busy = |host: &HostWindow| host.requests >= MIN_REQUESTS;
    let indexed = hosts.iter().enumerate().filter(|(_, host)| busy(host));
    let rates: Vec<(usize, f64)> = indexed.map(|(n, host)| (n, host.success_rate())).collect();
    if rates.len() < MIN_HOSTS {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let bound = mean - (DEVIATIONS * variance.sqrt()).max(MIN_DROP);
    let below = rates.into_iter().filter(|(_, rate)| *rate < bound);
    let mut found: Vec<Outlier> =
        below.map(|(index, success_rate)| Outlier { index, success_rate, mean }).collect();
    found.sort_by(|a, b| a.success_rate.total_cmp(&b.success_rate));
    found
}

/// How many more backends of a pool outlier rules may take out: half of it is out at most, and
/// never the last.
pub fn ejectable(pool_size: usize, already_out: usize) -> usize {
    (pool_size / 2).saturating_sub(already_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests and successes of a backend.
    type Host = (u64, u64);

    fn indexes(hosts: &[Host]) -> Vec<usize> {
        let hosts: Vec<HostWindow> =
            hosts.iter().map(|&(requests, successes)| HostWindow { requests, successes }).collect();
        outliers(&hosts).iter().map(|outlier| outlier.index).collect()
    }

    #[test]
    fn outliers_are_found() {
        let good = (1000, 990);
        let cases: [(&str, &[Host], &[usize]); 9] = [
            ("no backend", &[], &[]),
            ("all alike", &[good; 7], &[]),
            ("all failing", &[(1000, 0); 6], &[]),
            ("one bad of five", &[good, good, (1000, 500), good, good], &[2]),
            ("too few backends", &[good, good, (1000, 0), good], &[]),
            ("too few requests", &[good, good, good, good, good, (99, 0)], &[]),
            ("too few busy ones", &[good, (100, 0), good, good, (99, 99)], &[]),
            (
                "worst first",
                &[good, good, good, (1000, 300), good, good, good, good, (1000, 200), good, good],
                &[8, 3],
            ),
            (
                "a failure among thousands",
                &[(9999, 9998), (9999, 9999), (9999, 9999), (9999, 9999), (9999, 9999)],
                &[],
            ),
        ];
        for (name, hosts, expected) in cases {
            assert_eq!(indexes(hosts), expected, "{name}");
        }
    }

    #[test]
    fn an_outlier_says_why() {
        let mut hosts = [HostWindow { requests: 200, successes: 200 }; 10];
        hosts[4].successes = 100;
        let found = outliers(&hosts);
        assert_eq!(found.len(), 1);
        let Trip::Outlier { success_rate, mean } = found[0].trip() else { panic!("{found:?}") };
        assert!((success_rate - 0.5).abs() < 1e-9 && (mean - 0.95).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn half_a_pool_stays() {
        let cases = [(0, 0, 0), (1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 0, 1), (10, 2, 3), (10, 9, 0)];
        for (pool_size, already_out, expected) in cases {
            assert_eq!(ejectable(pool_size, already_out), expected, "{pool_size} {already_out}");
        }
    }
}
