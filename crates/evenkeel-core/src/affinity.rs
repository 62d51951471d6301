//! The cookie that keeps a client on its backend: a backend's id and an end of life, signed, so
//! that nothing is kept here and any instance with the same keys can read what another has issued.
//!
//! ```text
//! value = lower-case hex of:  version 1 byte | expiry 8 | id 8 | mac 16
//! mac   = HMAC-SHA256(key, version | expiry | id | pool), its first 16 bytes (RFC 2104, section 5)
//! ```
//!
//! *Architecture invariant:* of a client's text nothing is believed before its signature holds, and
//! each cookie has one spelling. Where the cookie stands in a request is `crumb`'s.

mod crumb;

pub use crumb::{find_cookie, query_value, strip_cookie};

use crate::plan::CookiePlan;
use aws_lc_rs::{constant_time, hmac};
use std::fmt;
use xxhash_rust::xxh3::Xxh3Default;

/// Least characters of a key.
pub const MIN_KEY_BYTES: usize = 16;
/// Most keys in use at a time: each forged cookie costs one signature per key.
pub const MAX_KEYS: usize = 8;
/// A longer value is not looked at.
pub const MAX_COOKIE_BYTES: usize = 128;

const VERSION: u8 = 1;
/// Version, expiry and id.
const CLAIM_BYTES: usize = 1 + 8 + 8;
const MAC_BYTES: usize = 16;
const VALUE_BYTES: usize = CLAIM_BYTES + MAC_BYTES;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The keys that sign and verify: the first signs, every one verifies. To rotate, put a new key
/// first and keep the old one until the cookies it signed have ended.
#[derive(Debug)]
pub struct CookieKeys {
    first: hmac::Key,
    older: Vec<hmac::Key>,
}

/// Why a text holds no usable keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// There is none.
    Empty,
    /// This one, by its line from 1, has fewer than [`MIN_KEY_BYTES`] bytes.
    Short {
        /// From 1.
        line: usize,
    },
    /// On this line there is one more than [`MAX_KEYS`].
    TooMany {
        /// From 1.
        line: usize,
    },
}

/// Why a cookie is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// It is none of ours, or not whole.
    Malformed,
    /// No key of ours signed it for this pool.
    BadSignature,
    /// It is ours, and its time is over.
    Expired,
}

/// Stands for a backend in cookies. It is the same in every instance and run. Its address cannot be
/// read from it; who has a guess can confirm it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(u64);

/// What a genuine cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Where its client belongs.
    pub backend: BackendId,
    /// Seconds until it ends.
    pub left: u64,
}

impl Tie {
    /// True if more than half of its life is over: then a client that is still there gets a new
    /// one, so that no session ends while it is in use.
    pub fn is_old(&self, plan: &CookiePlan) -> bool {
        u128::from(self.left) * 2 * 1_000_000_000 < plan.ttl.as_nanos()
    }
}

/// Whether the cookie is for encrypted connections only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// The client came over TLS; it will send the cookie over nothing else.
    Yes,
    /// The client came without.
    No,
}

impl BackendId {
    /// The id of a backend, by the names of its pool and its own.
    pub fn of(pool: &str, backend: &str) -> BackendId {
        let mut hash = Xxh3Default::new();
        for part in [pool, backend] {
            // The length in front keeps ("a", "bc") and ("ab", "c") apart.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        BackendId(hash.digest())
    }
}

impl CookieKeys {
    /// Reads a file of keys: one per line, blank space around it ignored; empty lines and those
    /// that begin with `#` are skipped.
    ///
    /// # Errors
    /// There is no key, too many, or one is too short to be a secret.
    pub fn parse(text: &str) -> Result<CookieKeys, KeyFault> {
        let lines = text.lines().map(str::trim).zip(1..);
        let mut keys = Vec::new();
        for (secret, line) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
            if secret.len() < MIN_KEY_BYTES {
                return Err(KeyFault::Short { line });
            }
            if keys.len() == MAX_KEYS {
                return Err(KeyFault::TooMany { line });
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyFault::Empty)?;
        Ok(CookieKeys { first, older: keys.collect() })
    }

    /// One key of bytes drawn at random, for a process that shares its cookies with none.
    pub fn random(bytes: [u8; 32]) -> CookieKeys {
        let first = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        CookieKeys { first, older: Vec::new() }
    }

    /// The value of a cookie that ties a client to a backend of a pool until a time, in Unix
    /// seconds; 66 characters of 0-9 and a-f.
    pub fn issue(&self, pool: &str, backend: BackendId, expires_unix: u64) -> String {
        let mut value = [0; VALUE_BYTES];
        value[0] = VERSION;
        value[1..9].copy_from_slice(&expires_unix.to_be_bytes());
        value[9..CLAIM_BYTES].copy_from_slice(&backend.0.to_be_bytes());
        let (claim, mac) = value.split_at_mut(CLAIM_BYTES);
        mac.copy_from_slice(&sign(&self.first, claim, pool).as_ref()[..MAC_BYTES]);
        to_hex(&value)
    }

    /// The backend that a cookie's value names, if it was issued for this pool and lives still, and
    /// for how many seconds more it does.
    ///
    /// # Errors
    /// It is not to be followed; see [`Forgery`]. The time this takes tells nothing about keys.
    pub fn verify(&self, pool: &str, value: &[u8], now_unix: u64) -> Result<Tie, Forgery> {
        if value.len() > MAX_COOKIE_BYTES {
            return Err(Forgery::Malformed);
        }
        let bytes = from_hex(value).ok_or(Forgery::Malformed)?;
        let (claim, mac) = bytes.split_at(CLAIM_BYTES);
        if claim[0] != VERSION {
            return Err(Forgery::Malformed);
        }
        let signed_by = |key| {
            let expected = sign(key, claim, pool);
            constant_time::verify_slices_are_equal(&expected.as_ref()[..MAC_BYTES], mac).is_ok()
        };
        if !signed_by(&self.first) && !self.older.iter().any(signed_by) {
            return Err(Forgery::BadSignature);
        }
        let (expires_unix, id) = claim[1..].split_at(8);
        let left = number(expires_unix).saturating_sub(now_unix);
        if left == 0 {
            return Err(Forgery::Expired);
        }
        Ok(Tie { backend: BackendId(number(id)), left })
    }
}

/// The value of a `Set-Cookie` field (RFC 6265, section 4.1) that gives a client this cookie for
/// the plan's life, in whole seconds, rounded up.
pub fn set_cookie(plan: &CookiePlan, value: &str, secure: Secure) -> String {
    let seconds = plan.ttl.as_secs() + u64::from(plan.ttl.subsec_nanos() > 0);
    let secure = match secure {
        Secure::Yes => "; Secure",
        Secure::No => "",
    };
    let name = &plan.name;
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// The claim has a fixed length, so where the pool begins is not in doubt.
fn sign(key: &hmac::Key, claim: &[u8], pool: &str) -> hmac::Tag {
    let mut signing = hmac::Context::with_key(key);
    signing.update(claim);
    signing.update(pool.as_bytes());
    signing.sign()
}

fn number(big_endian: &[u8]) -> u64 {
    big_endian.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn to_hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(HEX[usize::from(half)]));
    bytes.iter().flat_map(digits).collect()
}

/// `None` if it is not the lower-case hex of just so many bytes.
fn from_hex(text: &[u8]) -> Option<[u8; VALUE_BYTES]> {
    if text.len() != 2 * VALUE_BYTES {
        return None;
    }
    let mut bytes = [0; VALUE_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = half_byte(digits[0])? << 4 | half_byte(digits[1])?;
    }
    Some(bytes)
}

fn half_byte(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        0..b'0' | b':'..b'a' | b'g'.. => None,
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFault::Empty => write!(f, "no key: write one per line"),
            KeyFault::Short { line } => {
                write!(f, "line {line}: a key has at least {MIN_KEY_BYTES} characters")
            }
            KeyFault::TooMany { line } => {
                write!(f, "line {line}: more than {MAX_KEYS} keys; drop the oldest")
            }
        }
    }
}

impl std::error::Error for KeyFault {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OLD: &str = "an older secret, long enough";
    const NEW: &str = "a newer secret, long enough";
    const NOW: u64 = 1_700_000_000;
    const END: u64 = NOW + 3600;
    const GOLDEN: &str = "01000000006553ff10d4b4aa0b9ba3ca99\
        e3a805f6b8819211b4404a3c48b4ae2a";

    fn keys(text: &str) -> CookieKeys {
        CookieKeys::parse(text).expect("usable keys")
    }

    fn backend() -> BackendId {
        BackendId::of("web", "127.0.0.1:8081")
    }

    fn tie(left: u64) -> Tie {
        Tie { backend: backend(), left }
    }

    #[test]
    fn instances_with_the_same_keys_agree() {
        let value = keys(OLD).issue("web", backend(), END);
        assert_eq!(value, GOLDEN);
        assert_eq!(keys(OLD).verify("web", value.as_bytes(), NOW), Ok(tie(3600)));
        assert!(value.len() <= MAX_COOKIE_BYTES);
    }

    #[test]
    fn ids_keep_names_apart() {
        let all = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a", "bd"), ("b", "bc")];
        let ids: std::collections::BTreeSet<_> =
            all.iter().map(|(pool, backend)| BackendId::of(pool, backend)).collect();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn keys_rotate() {
        let before = keys(OLD);
        let during = keys(&format!("# the newest first\n{NEW}\r\n\n  {OLD}\n"));
        let after = keys(NEW);
        let old = before.issue("web", backend(), END);
        let new = during.issue("web", backend(), END);
        let cases = [
            (&before, &old, Ok(tie(3600))),
            (&during, &old, Ok(tie(3600))),
            (&after, &old, Err(Forgery::BadSignature)),
            (&before, &new, Err(Forgery::BadSignature)),
            (&during, &new, Ok(tie(3600))),
            (&after, &new, Ok(tie(3600))),
        ];
        for (row, (keys, value, expected)) in cases.into_iter().enumerate() {
            assert_eq!(keys.verify("web", value.as_bytes(), NOW), expected, "row {row}");
        }
        let own = CookieKeys::random([7; 32]);
        let value = own.issue("web", backend(), END);
        assert_eq!(own.verify("web", value.as_bytes(), NOW), Ok(tie(3600)));
        let other = CookieKeys::random([8; 32]);
        assert_eq!(other.verify("web", value.as_bytes(), NOW), Err(Forgery::BadSignature));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let keys = keys(OLD);
        let value = keys.issue("web", backend(), END).into_bytes();
        for place in 0..value.len() {
            for bit in 0..8 {
                let mut forged = value.clone();
                forged[place] ^= 1 << bit;
                let answer = keys.verify("web", &forged, NOW);
                assert!(
                    matches!(answer, Err(Forgery::Malformed | Forgery::BadSignature)),
                    "bit {bit} of byte {place}: {answer:?}",
                );
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let keys = keys(OLD);
        let value = keys.issue("web", backend(), END);
        let verify = |pool: &str, value: &[u8], now| keys.verify(pool, value, now);
        assert_eq!(verify("api", value.as_bytes(), NOW), Err(Forgery::BadSignature));
        assert_eq!(verify("web2", value.as_bytes(), NOW), Err(Forgery::BadSignature));
        assert_eq!(verify("web", value.as_bytes(), END - 1), Ok(tie(1)));
        assert_eq!(verify("web", value.as_bytes(), END), Err(Forgery::Expired));
        assert_eq!(verify("web", value.as_bytes(), u64::MAX), Err(Forgery::Expired));
        let upper = value.to_uppercase();
        let shapeless: &[&[u8]] = &[
            b"",
            b"v",
            &value.as_bytes()[1..],
            &[value.as_bytes(), b"0"].concat(),
            &[b"02", &value.as_bytes()[2..]].concat(),
            upper.as_bytes(),
            &[0xc3, 0xa9].repeat(33),
            &[0xff; 66],
            &[b'0'; 129],
            &[b'a'; 8192],
        ];
        for text in shapeless {
            assert_eq!(verify("web", text, NOW), Err(Forgery::Malformed), "{text:?}");
        }
    }

    #[test]
    fn a_cookie_is_old_in_the_second_half_of_its_life() {
        let plan = |ttl| CookiePlan { name: "evenkeel".into(), ttl, secret_file: None };
        for (ttl, left, wanted) in [
            (Duration::from_secs(3600), 3600, false),
            (Duration::from_secs(3600), 1800, false),
            (Duration::from_secs(3600), 1799, true),
            (Duration::from_secs(60), 3600, false),
            (Duration::from_secs(7200), 3600, false),
            (Duration::from_secs(7201), 3600, true),
            (Duration::from_millis(1), 1, false),
            (Duration::MAX, 1, true),
        ] {
            assert_eq!(tie(left).is_old(&plan(ttl)), wanted, "{left} s of {ttl:?}");
        }
    }

    #[test]
    fn unusable_keys_are_named_by_line() {
        let many = [NEW; MAX_KEYS + 1].join("\n");
        let cases = [
            ("", "no key: write one per line"),
            ("# only words\n\n   \n", "no key: write one per line"),
            ("\n# one\nfifteen letters\n", "line 3: a key has at least 16 characters"),
            (many.as_str(), "line 9: more than 8 keys; drop the oldest"),
        ];
        for (text, expected) in cases {
            let fault = CookieKeys::parse(text).expect_err(text);
            assert_eq!(fault.to_string(), expected, "{text:?}");
        }
        assert!(CookieKeys::parse(&[NEW; MAX_KEYS].join("\n")).is_ok());
        assert!(CookieKeys::parse("sixteen letters!").is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", keys("sixteen letters!"));
        assert!(!shown.contains("letters"), "{shown}");
    }

    #[test]
    fn set_cookie_says_all_it_must() {
        let plan = |ttl| CookiePlan { name: "evenkeel".into(), ttl, secret_file: None };
        let cases = [
            (
                Duration::from_secs(3600),
                Secure::No,
                "evenkeel=v; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
            ),
            (
                Duration::from_millis(1500),
                Secure::Yes,
                "evenkeel=v; Path=/; Max-Age=2; HttpOnly; SameSite=Lax; Secure",
            ),
        ];
        for (ttl, secure, expected) in cases {
            assert_eq!(set_cookie(&plan(ttl), "v", secure), expected);
        }
    }
}
