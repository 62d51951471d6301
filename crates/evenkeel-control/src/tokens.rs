//! Whose token opens the admin listener, and for what. Only hashes are kept; a token itself is
//! looked at once and forgotten.

use crate::admin::Actor;
use crate::limits::{MAX_FAILING_ADDRESSES, MAX_FAILURES, MAX_TOKEN_BYTES, MAX_TOKENS_BYTES};
use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::fill;
use evenkeel_api::Role;
use evenkeel_config::{Diagnostics, TokenEntry, TokenRole};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An address may try one more unknown token after so long.
const FORGIVE_AFTER: Duration = Duration::from_secs(1);

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
}

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
    /// It was not looked at; come again in so many seconds.
    TooOften(u32),
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or says what cannot be.
    pub fn load(file: &Path) -> Result<Tokens, TokensError> {
        let known = ArcSwap::from_pointee(read(file)?);
        Ok(Tokens { file: file.to_owned(), known, failures: Failures::default() })
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
    pub(crate) fn find(&self, authorization: Option<&[u8]>, peer: Option<IpAddr>) -> Presented {
        let Some(token) = authorization.and_then(token_of) else { return Presented::None };
        if let Some(wait) = self.failures.wait(peer, Instant::now()) {
            return Presented::TooOften(wait);
        }
        let presented = digest(&SHA256, token);
        let mut found = None;
        // All of them are compared, each in constant time.
        for token in self.known.load().iter() {
            if verify_slices_are_equal(presented.as_ref(), &token.digest).is_ok() {
                found = Some(token.actor.clone());
            }
        }
        match found {
            Some(actor) => Presented::Known(actor),
            None => {
                self.failures.count(peer, Instant::now());
                Presented::Unknown
            }
        }
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

/// Unknown tokens by the address that sent them: after `MAX_FAILURES` in a row an address waits.
#[derive(Default)]
struct Failures(Mutex<HashMap<Ipv6Addr, Failing>>);

/// A bucket that leaks one failure every `FORGIVE_AFTER`.
struct Failing {
    empty_at: Instant,
}

impl Failures {
    /// How many seconds this address has to wait, if it does.
    fn wait(&self, peer: Option<IpAddr>, now: Instant) -> Option<u32> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let level = failing.get(&key(peer))?.empty_at.checked_duration_since(now)?;
        let over = level.checked_sub(FORGIVE_AFTER * (MAX_FAILURES - 1))?;
        (!over.is_zero()).then(|| u32::try_from(over.as_secs()).unwrap_or(u32::MAX).max(1))
    }

    fn count(&self, peer: Option<IpAddr>, now: Instant) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(peer);
        if failing.len() >= MAX_FAILING_ADDRESSES && !failing.contains_key(&key) {
            failing.retain(|_, it| it.empty_at > now);
            if failing.len() >= MAX_FAILING_ADDRESSES {
                failing.clear();
            }
        }
        let entry = failing.entry(key).or_insert(Failing { empty_at: now });
        entry.empty_at = entry.empty_at.max(now) + FORGIVE_AFTER;
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
    fn guessing_is_slowed_down_for_the_guesser_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let tokens = tokens(&folder);
        for _ in 0..MAX_FAILURES {
            assert!(matches!(tokens.find(Some(b"Bearer x"), PEER), Presented::Unknown));
        }
        assert!(matches!(tokens.find(Some(b"Bearer root"), PEER), Presented::TooOften(1..)));
        assert!(matches!(tokens.find(Some(b"Bearer root"), None), Presented::Known(_)));
        let now = Instant::now();
        let later = now + FORGIVE_AFTER * (MAX_FAILURES + 1);
        assert!(tokens.failures.wait(PEER, now).is_some());
        assert_eq!(tokens.failures.wait(PEER, later), None);
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::default();
        let now = Instant::now();
        for number in 0..u32::try_from(2 * MAX_FAILING_ADDRESSES).expect("small") {
            failures.count(Some(IpAddr::V4(number.into())), now);
        }
        let held = failures.0.lock().expect("lock").len();
        assert!(held <= MAX_FAILING_ADDRESSES, "{held}");
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
