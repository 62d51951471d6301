//! What counts prove: exact binomial tails and one-sided bounds, so that a verdict never rests on
//! luck. Regularized incomplete beta function by Lentz's continued fraction (Press et al.,
//! Numerical Recipes, section 6.4); bounds by Clopper and Pearson (1934).

use std::f64::consts::PI;

/// Terms of the continued fraction before it counts as converged.
const MAX_TERMS: usize = 500;
/// Halvings that find a bound.
const BISECTIONS: usize = 60;
const EPSILON: f64 = 1e-14;
const TINY: f64 = 1e-300;

/// Of so many that were looked at, how many were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// That were hit.
    pub hits: u64,
    /// That were looked at.
    pub of: u64,
}

impl Share {
    /// The part that was hit, 0 to 1; 0 of nothing is 0.
    pub fn rate(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }

    /// The chance of at least so many hits, if each is one with probability `p`.
    pub fn chance_of_more(self, p: f64) -> f64 {
        if self.hits == 0 {
            return 1.0;
        }
        beta(p, self.hits as f64, (self.of - self.hits) as f64 + 1.0)
    }

    /// The chance of at most so many hits, if each is one with probability `p`.
    pub fn chance_of_less(self, p: f64) -> f64 {
        let more = Share { hits: self.hits + 1, of: self.of };
        if more.hits > more.of { 1.0 } else { 1.0 - more.chance_of_more(p) }
    }

    /// The largest probability that is not refuted by so few hits, with risk `alpha`.
    pub fn upper_bound(self, alpha: f64) -> f64 {
        if self.hits >= self.of {
            return 1.0;
        }
        bisect(|p| self.chance_of_less(p) > alpha)
    }

    /// The smallest probability that is not refuted by so many hits, with risk `alpha`.
    pub fn lower_bound(self, alpha: f64) -> f64 {
        if self.hits == 0 {
            return 0.0;
        }
        bisect(|p| self.chance_of_more(p) <= alpha)
    }
}

/// The point in [0, 1] up to which `holds`, which holds at 0 and nowhere behind the point.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The risk of the `look`th of any number of looks at growing counts, so that all of them together
/// risk no more than `alpha`: alpha * 6 / (pi^2 * look^2), whose sum over all looks is alpha.
pub(super) fn spend(alpha: f64, look: u64) -> f64 {
    let look = look.max(1) as f64;
    alpha * 6.0 / (PI * PI * look * look)
}

/// Observations that show a rate of at most `allowed` where there is none at all, with risk
/// `alpha`: the least that any verdict needs.
pub(super) fn least_needed(allowed: f64, alpha: f64) -> u64 {
    if !(0.0..1.0).contains(&allowed) || allowed == 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let needed = (alpha.max(TINY).ln() / (1.0 - allowed).ln()).ceil() as u64;
    needed
}

/// The regularized incomplete beta function I_x(a, b).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    // The fraction converges quickly on one side of the mean only.
    if x < (a + 1.0) / (a + b + 2.0) {
        front.exp() * fraction(x, a, b) / a
    } else {
        1.0 - front.exp() * fraction(1.0 - x, b, a) / b
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for term in 1..=MAX_TERMS {
        let m = term as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let factor = d * c;
        value *= factor;
        if (factor - 1.0).abs() < EPSILON {
            break;
        }
    }
    value
}

/// Natural logarithm of the gamma function, by Lanczos (g = 7, 9 terms).
fn ln_gamma(x: f64) -> f64 {
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum: f64 = TERMS.iter().zip(1..).map(|(term, at)| term / (x + f64::from(at))).sum();
    let base = x + 7.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * base.ln() - base + (FIRST + sum).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-6), "{found} for {wanted}");
    }

    #[test]
    fn tails_are_those_of_the_binomial_distribution() {
        // Sums of the probability function, computed apart.
        close(Share { hits: 1, of: 1 }.chance_of_more(0.25), 0.25);
        close(Share { hits: 2, of: 3 }.chance_of_more(0.5), 0.5);
        close(Share { hits: 5, of: 500 }.chance_of_more(0.001), 1.693_636_777e-4);
        close(Share { hits: 0, of: 300 }.chance_of_less(0.01), 0.99_f64.powi(300));
        close(Share { hits: 3, of: 3 }.chance_of_less(0.1), 1.0);
    }

    #[test]
    fn tails_agree_with_a_sum_of_terms() {
        for (hits, of, p) in [(3_u64, 20_u64, 0.1_f64), (40, 200, 0.15), (7, 1000, 0.01)] {
            let mut term = (1.0 - p).powf(of as f64);
            let mut below = 0.0;
            for k in 0..hits {
                below += term;
                term *= (of - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
            close(Share { hits, of }.chance_of_more(p), 1.0 - below);
        }
    }

    #[test]
    fn bounds_are_those_of_clopper_and_pearson() {
        close(Share { hits: 0, of: 300 }.upper_bound(0.05), 1.0 - 0.05_f64.powf(1.0 / 300.0));
        close(Share { hits: 10, of: 10 }.lower_bound(0.05), 0.05_f64.powf(0.1));
        assert!((Share { hits: 5, of: 100 }.upper_bound(0.025) - 0.112_83).abs() < 1e-4);
        assert!((Share { hits: 5, of: 100 }.lower_bound(0.025) - 0.016_43).abs() < 1e-4);
        close(Share { hits: 4, of: 4 }.upper_bound(0.05), 1.0);
        close(Share { hits: 0, of: 4 }.lower_bound(0.05), 0.0);
    }

    #[test]
    fn all_looks_together_risk_alpha() {
        let all: f64 = (1..200_000).map(|look| spend(0.05, look)).sum();
        assert!(all < 0.05 && all > 0.0499, "{all}");
    }

    #[test]
    fn what_a_clean_arm_needs() {
        assert_eq!(least_needed(0.01, 0.05), 299);
        assert_eq!(least_needed(0.001, 0.05), 2995);
        assert_eq!(least_needed(0.0, 0.05), 0);
    }
}
