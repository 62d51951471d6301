//! Exactness of one bucket, the bound under floods, and the spread of keys.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;

const SEED: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
const START: Nanos = Nanos(5_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn plan(requests: u32, per: Duration, burst: u32) -> RateLimitPlan {
    RateLimitPlan { requests, per, burst, key: RateKey::ClientIp }
}

/// All keys in one set.
fn narrow(plan: &RateLimitPlan) -> RateLimiter {
    RateLimiter::new(&RateLimitPlan { key: RateKey::Route, ..plan.clone() }, SEED)
}

fn is_allowed(admission: Admission) -> bool {
    matches!(admission, Admission::Allowed(_))
}

fn retry_after(admission: Admission) -> Duration {
    match admission {
        Admission::Limited { retry_after, .. } => retry_after,
        Admission::Allowed(_) => panic!("allowed"),
    }
}

/// A draw for each step (SplitMix64, Steele et al. 2014).
fn draw(step: u64) -> u64 {
    let mut bits = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[test]
fn a_burst_then_one_per_interval() {
    let cases = [
        (100, SECOND, 100),
        (1, SECOND, 1),
        (3, SECOND, 7),
        (10, Duration::from_secs(60), 5),
        (1_000_000, SECOND, 50),
        (1, Duration::from_secs(86_400), 2),
        (u32::MAX, SECOND, 3),
        (1, Duration::ZERO, 4),
    ];
    for (requests, per, burst) in cases {
        let limiter = RateLimiter::new(&plan(requests, per, burst), SEED);
        let key = limiter.key_of_bytes(b"client");
        let at_once = (0..burst * 3).filter(|_| is_allowed(limiter.check(key, START))).count();
        assert_eq!(at_once, burst as usize, "{requests} per {per:?}");
        let mut now = START;
        for _ in 0..20 {
            let wait = retry_after(limiter.check(key, now));
            let interval = per.as_nanos().div_ceil(u128::from(requests)).max(1);
            assert_eq!(wait.as_nanos(), interval, "{requests} per {per:?}");
            let early = now.after(wait - Duration::from_nanos(1));
            assert!(!is_allowed(limiter.check(key, early)), "{requests} per {per:?}");
            now = now.after(wait);
            assert!(is_allowed(limiter.check(key, now)), "{requests} per {per:?}");
        }
    }
}

#[test]
fn tells_what_is_left() {
    let limiter = RateLimiter::new(&plan(2, SECOND, 3), SEED);
    let ms = Duration::from_millis;
    let allowed = |remaining, reset| Admission::Allowed(Allowance { limit: 3, remaining, reset });
    let limited = |reset, retry_after| Admission::Limited {
        allowance: Allowance { limit: 3, remaining: 0, reset },
        retry_after,
    };
    let cases = [
        (0, allowed(2, ms(500))),
        (0, allowed(1, ms(1000))),
        (250, allowed(0, ms(1250))),
        (250, limited(ms(1250), ms(250))),
        (499, limited(ms(1001), ms(1))),
        (500, allowed(0, ms(1500))),
        (1500, allowed(1, ms(1000))),
        (60_000, allowed(2, ms(500))),
    ];
    for (at, expected) in cases {
        assert_eq!(limiter.check(7, START.after(ms(at))), expected, "at {at} ms");
    }
}

#[test]
fn absurd_plans_are_safe() {
    let cases =
        [(0, SECOND, 0), (1, Duration::MAX, u32::MAX), (u32::MAX, Duration::ZERO, u32::MAX)];
    for (requests, per, burst) in cases {
        let limiter = RateLimiter::new(&plan(requests, per, burst), SEED);
        for now in [Nanos(0), START, Nanos(u64::MAX / 2), Nanos::NEVER] {
            let first = limiter.check(now.0, now);
            assert!(is_allowed(first), "{requests} per {per:?} at {now:?}");
        }
    }
    let endless = RateLimiter::new(&plan(1, Duration::MAX, 5), SEED);
    assert!(is_allowed(endless.check(1, START)));
    assert!(!is_allowed(endless.check(1, START)), "a bucket that large holds one token");
}

#[test]
fn keys_follow_what_they_stand_for() {
    let limiter = RateLimiter::new(&plan(1, SECOND, 1), SEED);
    let key = |text: &str| limiter.key_of_ip(text.parse().expect("an address"));
    let same = [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"),
        ("::1", "::2"),
    ];
    for (one, other) in same {
        assert_eq!(key(one), key(other), "{one} {other}");
    }
    let different = [("192.0.2.1", "192.0.2.2"), ("2001:db8:0:1::1", "2001:db8:0:2::1")];
    for (one, other) in different {
        assert_ne!(key(one), key(other), "{one} {other}");
    }
    assert_ne!(key("97.98.99.100"), limiter.key_of_bytes(b"abcd"), "the same bytes");
    // The vector of the paper's appendix: this key, the bytes 0 to 14, of which 0 is the kind.
    let vector: Vec<u8> = (1..15).collect();
    assert_eq!(limiter.key_of_bytes(&vector), 0xa129_ca61_49be_45e5);
    let seeded_otherwise = RateLimiter::new(&plan(1, SECOND, 1), [1, 2]);
    assert_ne!(seeded_otherwise.key_of_bytes(&vector), limiter.key_of_bytes(&vector));
}

#[test]
fn a_route_has_one_bucket() {
    let route = RateLimitPlan { key: RateKey::Route, ..plan(10, SECOND, 4) };
    let limiter = RateLimiter::new(&route, SEED);
    let allowed = (0..9).filter(|_| is_allowed(limiter.check(limiter.whole(), START))).count();
    assert_eq!((allowed, limiter.sets.len()), (4, 1));
}

#[test]
fn addresses_spread_evenly_over_the_sets() {
    let limiter = RateLimiter::new(&plan(1, SECOND, 1), SEED);
    let mut loads = vec![0u32; limiter.sets.len()];
    for address in 0..32_768u32 {
        let key = limiter.key_of_ip(IpAddr::from((0x0a00_0000 + address).to_be_bytes()));
        loads[usize::try_from(key).expect("64 bits") % limiter.sets.len()] += 1;
    }
    // Poisson with mean 4: 150 sets are expected empty, and above 18 not one in a hundred runs.
    let empty = loads.iter().filter(|load| **load == 0).count();
    assert!((75..300).contains(&empty), "{empty} sets are empty");
    assert!(loads.iter().max() <= Some(&18), "{:?}", loads.iter().max());
}

/// Ten million throw-away keys: the memory is what it was, and each place admits what one key may.
#[test]
fn a_flood_of_keys_is_bounded_as_a_whole() {
    const FLOOD: u64 = 10_000_000;
    let limiter = RateLimiter::new(&plan(1, SECOND, 2), SEED);
    let place = limiter.sets.as_ptr();
    let mut admitted = 0;
    for step in 0..FLOOD {
        // Four seconds in all.
        let now = START.after(Duration::from_nanos(step * 400));
        admitted += usize::from(is_allowed(limiter.check(draw(step), now)));
    }
    assert_eq!((limiter.sets.as_ptr(), limiter.sets.len() * WAYS), (place, MAX_KEYS));
    assert!(size_of_val(&*limiter.sets) <= 5 << 18, "1.25 MiB");
    let now = START.after(Duration::from_secs(4));
    let live: usize = limiter.sets.iter().map(|set| set.lock().expect("whole").live(now)).sum();
    assert!(live > MAX_KEYS * 9 / 10, "{live} entries are in use");
    assert!(admitted <= MAX_KEYS * (2 + 4), "{admitted} were admitted");
    assert!(admitted >= MAX_KEYS * 4, "{admitted} were admitted");
}

/// Between two requests of his own, the attacker sends as many keys as he likes.
#[test]
fn throw_away_keys_buy_nothing() {
    let (requests, burst, seconds) = (10, 5, 20);
    // One at each tenth of a second after the burst, the last at 19.9 s.
    let alone = burst + requests * seconds - 1;
    for flood in [0, 1, 8, 64] {
        let limiter = narrow(&plan(requests, SECOND, burst));
        let mut admitted = 0;
        for step in 0..u64::from(seconds) * 1000 {
            let now = START.after(Duration::from_millis(step));
            admitted += u32::from(is_allowed(limiter.check(u64::MAX, now)));
            for other in 0..flood {
                limiter.check(draw(step * flood + other), now);
            }
        }
        assert!(admitted <= alone, "{flood}: {admitted}");
        assert!(flood > 0 || admitted == alone, "{admitted}");
    }
}

#[test]
fn threads_share_a_bucket() {
    let limiter = RateLimiter::new(&plan(1, SECOND, 1000), SEED);
    let spend = || (0..1000).filter(|_| is_allowed(limiter.check(3, START))).count();
    let total: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(spend)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(total, 1000);
}

proptest! {
    /// Against a bucket of its own for every key, which knows what the key was really granted:
    /// never admitted where that would refuse; and just as it would, while keys are few.
    #[test]
    fn nobody_gets_more_than_alone(
        steps in vec((0u64..24, 0u64..20), 1..600),
        burst in 1u32..6,
    ) {
        let plan = plan(10, SECOND, burst);
        let limiter = narrow(&plan);
        let alone = Bucket::new(&plan);
        let mut granted: HashMap<u64, Nanos> = HashMap::new();
        let keys = steps.iter().map(|(key, _)| key).collect::<std::collections::HashSet<_>>().len();
        let mut now = START;
        for (key, pause) in steps {
            now = now.after(Duration::from_millis(pause));
            let full_at = granted.get(&key).copied().unwrap_or_default();
            let fair = alone.take(full_at, now);
            let allowed = is_allowed(limiter.check(key + 1, now));
            prop_assert!(!allowed || fair.is_ok(), "key {} at {:?}", key, now);
            prop_assert!(keys > WAYS || allowed == fair.is_ok(), "key {} at {:?}", key, now);
            if let (true, Ok(full_at)) = (allowed, fair) {
                granted.insert(key, full_at);
            }
        }
    }
}
