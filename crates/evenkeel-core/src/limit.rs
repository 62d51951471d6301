//! Requests per time and key, in memory of a fixed size.
//!
//! Each key has a bucket (`bucket`); buckets are kept in sets of few entries (`set`), and a key
//! belongs to one set. A newcomer to a set without a free entry takes over the fullest bucket there
//! is, as it is, so that no flood of keys, however large, buys anybody a fresh one:
//!
//! **Bound.** A key is admitted at most `burst + time * requests / per` times in any stretch of
//! `time`, whatever other keys do. *Proof:* the `full_at` of an entry never decreases, so neither
//! does the earliest of its set. A key that loses its entry had the earliest `full_at` of the set;
//! when it comes back it gets the then earliest one, which is no earlier. So what is kept for a
//! key is never less than what it has used.
//!
//! **Price.** While more keys of a set are short of tokens than it has entries, those without an
//! entry of their own share one and may be limited early; never is anybody limited late.
//!
//! *Architecture invariant:* nothing is allocated after `RateLimiter::new`, and a request that is
//! limited changes nothing.

mod bucket;
mod set;

use crate::plan::{RateKey, RateLimitPlan};
use crate::time::Nanos;
use bucket::Bucket;
use set::{Entry, Set, WAYS};
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Kinds of keys.
const VALUE: u8 = 0;
const ADDRESS: u8 = 1;

/// Keys that have a bucket of their own at a time, per limiter (about 1 MiB).
pub const MAX_KEYS: usize = 65_536;
/// The key of all requests together.
const WHOLE: u64 = 0;

/// Admits requests at a rate per key. Threads share one: a check locks one set for some
/// nanoseconds.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: Bucket,
    seed: [u64; 2],
    sets: Box<[Mutex<Set>]>,
}

/// What a key has left, as `RateLimit` fields tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Size of the bucket, in requests.
    pub limit: u32,
    /// Requests that would be admitted now.
    pub remaining: u32,
    /// Time until the bucket is full again, if nothing is asked meanwhile.
    pub reset: Duration,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go on; what is left after it.
    Allowed(Allowance),
    /// It may not; nothing was taken.
    Limited {
        /// What is left.
        allowance: Allowance,
        /// The shortest wait after which a request of this key is admitted.
        retry_after: Duration,
    },
}

impl RateLimiter {
    /// An empty limiter. `seed` is a secret drawn at random: who knows it can choose keys that fall
    /// into the set of somebody else.
    pub fn new(plan: &RateLimitPlan, seed: [u64; 2]) -> RateLimiter {
        let sets = match plan.key {
            RateKey::Route => 1,
            RateKey::ClientIp | RateKey::Header(_) => MAX_KEYS / WAYS,
        };
        let sets = (0..sets).map(|_| Mutex::default()).collect();
        RateLimiter { bucket: Bucket::new(plan), seed, sets }
    }

    /// Asks for one request of a key, which is one of `key_of_ip`, `key_of_bytes` or `whole`.
    /// Threads whose `now` differ are served as exactly as their clocks agree.
    pub fn check(&self, key: u64, now: Nanos) -> Admission {
        // A thread that panicked here left a whole entry behind: each is written by one assignment.
        let mut set = self.set_of(key).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = set.own_or_earliest(key);
        match self.bucket.take(entry.full_at, now) {
            Ok(full_at) => {
                *entry = Entry { key, full_at };
                Admission::Allowed(self.bucket.allowance(full_at, now))
            }
            Err(retry_after) => {
                let allowance = self.bucket.allowance(entry.full_at, now);
                Admission::Limited { allowance, retry_after }
            }
        }
    }

    /// What `check` would answer; nothing is taken.
    pub fn preview(&self, key: u64, now: Nanos) -> Admission {
        let mut set = self.set_of(key).lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = set.own_or_earliest(key).full_at;
        match self.bucket.take(full_at, now) {
            Ok(full_at) => Admission::Allowed(self.bucket.allowance(full_at, now)),
            Err(retry_after) => {
                Admission::Limited { allowance: self.bucket.allowance(full_at, now), retry_after }
            }
        }
    }

    /// The key of an address: IPv4 whole, also if written as IPv6; of IPv6 the /64, which is what
    /// one customer has at least.
    pub fn key_of_ip(&self, ip: IpAddr) -> u64 {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.key_of(ADDRESS, &ip.octets()),
            IpAddr::V6(ip) => self.key_of(ADDRESS, &ip.octets()[..8]),
        }
    }

    /// The key of a field's value.
    ///
    /// It is SipHash-2-4 (Aumasson and Bernstein 2012) under the seed: clients choose these bytes,
    /// and against a fast hash such as xxh3 values are known that collide under every seed.
    pub fn key_of_bytes(&self, value: &[u8]) -> u64 {
        self.key_of(VALUE, value)
    }

    /// `kind` keeps addresses and values apart that are spelt alike.
    fn key_of(&self, kind: u8, value: &[u8]) -> u64 {
        #[expect(deprecated, reason = "the only keyed hash of std whose algorithm is promised")]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.seed[0], self.seed[1]);
        hasher.write(&[kind]);
        hasher.write(value);
        hasher.finish()
    }

    /// The key of all requests together.
    pub fn whole(&self) -> u64 {
        WHOLE
    }

    fn set_of(&self, key: u64) -> &Mutex<Set> {
        // The remainder is below `sets.len()`, so it is a usize; there is always a set 0.
        let index = usize::try_from(key % self.sets.len() as u64).unwrap_or(0);
        &self.sets[index]
    }
}

#[cfg(test)]
mod tests;
