//! Whose token opens the admin listener, and for what. Only hashes are kept; a token itself is
//! looked at once and forgotten.

use crate::admin::Actor;
use crate::limits::{
    MAX_FAILING_ADDRESSES, MAX_FAILURES, MAX_PROVEN_TOKENS, MAX_TOKEN_BYTES, MAX_TOKENS_BYTES,
};
use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::fill;
use evenkeel_api::Role;
use evenkeel_config::{Diagnostics, TokenEntry, TokenRole};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An address may try one more unknown token after so long.
const FORGIVE_AFTER: Duration = Duration::from_secs(1);
/// What looking at an unknown token costs its address, of `LOOK_AHEAD`.
const LOOK_COST: Duration = Duration::from_millis(10);
/// Beyond so much nothing more of an address is looked at: a hundred at once, a hundred a second.
const LOOK_AHEAD: Duration = Duration::from_secs(1);

/// Why the tokens of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot read the tokens file {file}: {source}")]
    Unreadable {
        /// As configured.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// What it says does not hold.
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// A token that nobody has yet.
pub struct FreshToken {
    /// What is shown.
    pub token: String,
    /// What is stored: its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl FreshToken {
    /// Draws 256 bits at random; `None` if the system has none.
    pub fn draw() -> Option<FreshToken> {
        let mut bits = [0; 32];
        fill(&mut bits).ok()?;
        let token = format!("ek_{}", digits(&bits));
        let sha256 = digits(digest(&SHA256, token.as_bytes()).as_ref());
        Some(FreshToken { token, sha256 })
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tokens of a file.
pub struct Tokens {
    file: PathBuf,
    known: ArcSwap<Vec<Token>>,
    failures: Failures,
    proven: Proven,
}

#[derive(Clone)]
struct Token {
    actor: Actor,
    digest: [u8; 32],
}

/// What a request shows.
pub(crate) enum Presented {
    /// No token.
    None,
    /// One of ours.
    Known(Actor),
    /// Somebody else's.
    Unknown,
    /// Somebody else's, or not looked at: come again in so many seconds.
    TooOften(u32),
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or says what cannot be.
    pub fn load(file: &Path) -> Result<Tokens, TokensError> {
        let known = ArcSwap::from_pointee(read(file)?);
        let (failures, proven) = (Failures::default(), Proven::default());
        Ok(Tokens { file: file.to_owned(), known, failures, proven })
    }

    /// Reads the file again; on error what was known stays.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn reload(&self) -> Result<(), TokensError> {
        self.known.store(Arc::new(read(&self.file)?));
        Ok(())
    }

    /// Whose token the value of an `Authorization` field is.
    ///
    /// One of ours is let in however many others its address has sent, so that nobody locks out
    /// those behind the same address. Only where they come by the hundred is one held back unseen,
    /// unless it has been let in from there before.
    pub(crate) fn find(&self, authorization: Option<&[u8]>, peer: Option<IpAddr>) -> Presented {
        let Some(token) = authorization.and_then(token_of) else { return Presented::None };
        let (place, now) = (key(peer), Instant::now());
        let presented = digest(&SHA256, token);
        if let Some(wait) = self.failures.held(place, now)
            && !self.proven.contain(place, presented.as_ref())
        {
            return Presented::TooOften(wait);
        }
        if let Some(token) = self.known_by(presented.as_ref()) {
            self.proven.remember(place, token.digest);
            self.failures.forgive(place, now);
            return Presented::Known(token.actor);
        }
        match self.failures.count(place, now) {
            Some(wait) => Presented::TooOften(wait),
            None => Presented::Unknown,
        }
    }

    /// All of them are compared, each in constant time.
    fn known_by(&self, presented: &[u8]) -> Option<Token> {
        let mut found = None;
        for token in self.known.load().iter() {
            if verify_slices_are_equal(presented, &token.digest).is_ok() {
                found = Some(token.clone());
            }
        }
        found
    }
}

fn read(file: &Path) -> Result<Vec<Token>, TokensError> {
    let name = file.display().to_string();
    let text =
        read_text(file).map_err(|source| TokensError::Unreadable { file: name.clone(), source })?;
    let entries = evenkeel_config::tokens(&name, &text).map_err(TokensError::Invalid)?;
    Ok(entries.into_iter().map(Token::of).collect())
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?.take(MAX_TOKENS_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_TOKENS_BYTES) {
        return Ok(text);
    }
    Err(io::Error::other(format!("longer than {MAX_TOKENS_BYTES} bytes")))
}

impl Token {
    fn of(entry: TokenEntry) -> Token {
        let role = match entry.role {
            TokenRole::Viewer => Role::Viewer,
            TokenRole::Operator => Role::Operator,
            TokenRole::Admin => Role::Admin,
        };
        Token { actor: Actor { name: entry.name.into(), role }, digest: entry.sha256 }
    }
}

/// The token in the value of an `Authorization` field (RFC 6750).
fn token_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    let token = rest.trim_ascii();
    let fits = !token.is_empty() && token.len() <= MAX_TOKEN_BYTES;
    (scheme.eq_ignore_ascii_case(b"bearer") && fits).then_some(token)
}

/// Unknown tokens by the address that sent them: after `MAX_FAILURES` in a row an address is told
/// to wait.
#[derive(Default)]
struct Failures(Mutex<HashMap<Ipv6Addr, Failing>>);

/// Two buckets that leak: what was answered with "unknown", and what was looked at.
struct Failing {
    empty_at: Instant,
    looked_until: Instant,
}

impl Failures {
    /// How many seconds nothing of this address is looked at.
    fn held(&self, place: Ipv6Addr, now: Instant) -> Option<u32> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = failing.get(&place)?.looked_until.checked_duration_since(now)?;
        seconds(ahead.checked_sub(LOOK_AHEAD)?)
    }

    /// Counts one more; how many seconds its sender has to wait, if there were too many.
    fn count(&self, place: Ipv6Addr, now: Instant) -> Option<u32> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.len() >= MAX_FAILING_ADDRESSES && !failing.contains_key(&place) {
            failing.retain(|_, it| it.empty_at > now);
            if failing.len() >= MAX_FAILING_ADDRESSES {
                failing.clear();
            }
        }
        let entry = failing.entry(place).or_insert(Failing { empty_at: now, looked_until: now });
        entry.looked_until = entry.looked_until.max(now) + LOOK_COST;
        let before = entry.empty_at.saturating_duration_since(now);
        let wait = before.checked_sub(FORGIVE_AFTER * (MAX_FAILURES - 1)).and_then(seconds);
        if wait.is_none() {
            entry.empty_at = entry.empty_at.max(now) + FORGIVE_AFTER;
        }
        wait
    }

    /// One of ours came: the next unknown one is the first in a row again. How many are looked at
    /// stays bounded.
    fn forgive(&self, place: Ipv6Addr, now: Instant) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = failing.get_mut(&place) {
            entry.empty_at = now;
        }
    }
}

/// Rounded down, but never 0; `None` = there is nothing to wait for.
fn seconds(wait: Duration) -> Option<u32> {
    (!wait.is_zero()).then(|| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1))
}

/// Tokens that were let in, and from where: the newest last.
#[derive(Default)]
struct Proven(Mutex<VecDeque<(Ipv6Addr, [u8; 32])>>);

impl Proven {
    fn contain(&self, place: Ipv6Addr, presented: &[u8]) -> bool {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_place = proven.iter().filter(|(from, _)| *from == place);
        // All of them are compared, each in constant time.
        of_place.filter(|(_, it)| verify_slices_are_equal(presented, it).is_ok()).count() > 0
    }

    fn remember(&self, place: Ipv6Addr, digest: [u8; 32]) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.contains(&(place, digest)) {
            return;
        }
        if proven.len() >= MAX_PROVEN_TOKENS {
            proven.pop_front();
        }
        proven.push_back((place, digest));
    }
}

/// IPv4 whole; of IPv6 the /64, which is what one customer has at least.
fn key(peer: Option<IpAddr>) -> Ipv6Addr {
    match peer.map(|ip| ip.to_canonical()) {
        None => Ipv6Addr::UNSPECIFIED,
        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
        Some(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) >> 64 << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn hex_of(token: &str) -> String {
        digest(&SHA256, token.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    fn tokens(folder: &tempfile::TempDir) -> Tokens {
        let file = folder.path().join("tokens.yaml");
        let line = |name: &str, role: &str| {
            format!("  - {{ name: {name}, role: {role}, sha256: \"{}\" }}\n", hex_of(name))
        };
        let text = format!("tokens:\n{}{}", line("see", "viewer"), line("root", "admin"));
        fs::write(&file, text).expect("write");
        Tokens::load(&file).expect("load")
    }

    fn shown(tokens: &Tokens, authorization: &str) -> Option<(String, Role)> {
        match tokens.find(Some(authorization.as_bytes()), PEER) {
            Presented::Known(actor) => Some((actor.name.to_string(), actor.role)),
            Presented::None | Presented::Unknown | Presented::TooOften(_) => None,
        }
    }

    #[test]
    fn bearers_of_a_token_are_known() {
        let folder = tempfile::tempdir().expect("folder");
        let tokens = tokens(&folder);
        let see = Some(("see".to_owned(), Role::Viewer));
        let cases = [
            ("Bearer see", see.clone()),
            ("bearer  see ", see),
            ("Bearer root", Some(("root".to_owned(), Role::Admin))),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic see", None),
            ("Bearer other", None),
        ];
        for (authorization, wanted) in cases {
            assert_eq!(shown(&tokens, authorization), wanted, "{authorization}");
        }
    }

    #[test]
    fn unknown_tokens_are_told_to_wait_and_ours_are_let_in_all_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let tokens = tokens(&folder);
        for _ in 0..MAX_FAILURES {
            assert!(matches!(tokens.find(Some(b"Bearer x"), PEER), Presented::Unknown));
        }
        assert!(matches!(tokens.find(Some(b"Bearer x"), PEER), Presented::TooOften(1..)));
        assert!(matches!(tokens.find(Some(b"Bearer root"), PEER), Presented::Known(_)));
        assert!(matches!(tokens.find(Some(b"Bearer x"), PEER), Presented::Unknown), "a new row");
        assert!(matches!(tokens.find(Some(b"Bearer x"), None), Presented::Unknown));
    }

    #[test]
    fn an_address_is_forgiven_a_token_a_second() {
        let failures = Failures::default();
        let (place, now) = (key(PEER), Instant::now());
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.count(place, now), None);
        }
        assert_eq!(failures.count(place, now), Some(1));
        assert_eq!(failures.count(place, now + FORGIVE_AFTER), None);
        assert_eq!(failures.count(place, now + FORGIVE_AFTER), Some(1));
    }

    #[test]
    fn of_a_flood_only_those_are_let_in_who_were_before() {
        let folder = tempfile::tempdir().expect("folder");
        let tokens = tokens(&folder);
        assert!(shown(&tokens, "Bearer see").is_some());
        let (place, far) = (key(PEER), Instant::now() + Duration::from_secs(3600));
        // As far in the future as the test may last, so that nothing is forgiven meanwhile.
        tokens.failures.count(place, far);
        assert!(matches!(tokens.find(Some(b"Bearer root"), PEER), Presented::TooOften(1..)));
        assert!(shown(&tokens, "Bearer see").is_some());
        assert!(matches!(tokens.find(Some(b"Bearer root"), None), Presented::Known(_)));
    }

    #[test]
    fn guesses_are_looked_at_a_hundred_at_once_and_a_hundred_a_second() {
        let failures = Failures::default();
        let (place, now) = (key(PEER), Instant::now());
        for _ in 0..=100 {
            assert_eq!(failures.held(place, now), None);
            failures.count(place, now);
        }
        assert_eq!(failures.held(place, now), Some(1));
        assert_eq!(failures.held(place, now + LOOK_COST), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, proven) = (Failures::default(), Proven::default());
        let now = Instant::now();
        for number in 0..u32::try_from(2 * MAX_FAILING_ADDRESSES).expect("small") {
            let place = key(Some(IpAddr::V4(number.into())));
            failures.count(place, now);
            proven.remember(place, [0; 32]);
            proven.remember(place, [0; 32]);
        }
        let held = failures.0.lock().expect("lock").len();
        assert!(held <= MAX_FAILING_ADDRESSES, "{held}");
        assert_eq!(proven.0.lock().expect("lock").len(), MAX_PROVEN_TOKENS);
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let tokens = tokens(&folder);
        fs::write(folder.path().join("tokens.yaml"), "tokens: [{name: x}]").expect("write");
        assert!(matches!(tokens.reload(), Err(TokensError::Invalid(_))));
        assert!(shown(&tokens, "Bearer root").is_some());
        fs::write(folder.path().join("tokens.yaml"), "tokens: []\n").expect("write");
        tokens.reload().expect("reload");
        assert_eq!(shown(&tokens, "Bearer root"), None);
    }
}
