//! The session cookies of one client, and those that it forges.

use super::world::{COOKIE, Client, Cookie, Forged, Request, backend_address};
use evenkeel_core::affinity::{BackendId, CookieKeys};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The key of every pool, as the file has it.
pub(super) const KEYS: &str = "a key of the simulated world\n";
/// A key that nobody has given to the proxy.
const OTHER_KEYS: &str = "another key, of another world\n";
/// A moment long after the end of every world, in Unix seconds.
const FAR: u64 = 1_800_000_000;
/// A moment before its beginning.
const PAST: u64 = 1_600_000_000;
/// A cookie of somebody else.
pub(super) const FOREIGN: &str = "theme=dark";

/// A cookie, and whom it names.
#[derive(Clone, Debug)]
struct Held {
    value: String,
    backend: SocketAddr,
}

/// The session cookies of one client, by pool.
#[derive(Debug, Default)]
pub(super) struct Jar(RefCell<BTreeMap<usize, Held>>);

impl Jar {
    /// With the sessions from before the world began.
    pub(super) fn of(client: &Client) -> Jar {
        let held = client.ties.iter().map(|(pool, index)| {
            let backend = backend_address(*pool, *index);
            (*pool, Held { value: issue(KEYS, (*pool, backend), FAR), backend })
        });
        Jar(RefCell::new(held.collect()))
    }

    /// Whom the genuine cookie of a request will name.
    pub(super) fn tie(&self, request: &Request) -> Option<SocketAddr> {
        match request.cookie {
            Cookie::Own => self.0.borrow().get(&request.pool).map(|held| held.backend),
            Cookie::Missing | Cookie::Forged(_) => None,
        }
    }

    /// The `Cookie` line of a request.
    pub(super) fn line(&self, request: &Request) -> String {
        let pool = request.pool;
        let first = backend_address(pool, 0);
        let own = match request.cookie {
            Cookie::Own => self.0.borrow().get(&pool).map(|held| held.value.clone()),
            Cookie::Missing => None,
            Cookie::Forged(Forged::Noise) => Some("0123456789abcdef".repeat(4) + "00"),
            Cookie::Forged(Forged::WrongKey) => Some(issue(OTHER_KEYS, (pool, first), FAR)),
            Cookie::Forged(Forged::WrongPool) => {
                Some(issue(KEYS, (pool + 1, backend_address(pool + 1, 0)), FAR))
            }
            Cookie::Forged(Forged::Expired) => Some(issue(KEYS, (pool, first), PAST)),
        };
        match own {
            Some(own) => format!("Cookie: {COOKIE}={own}; {FOREIGN}\r\n"),
            None => format!("Cookie: {FOREIGN}\r\n"),
        }
    }

    /// Takes what a response sets. True if that was a session cookie.
    pub(super) fn take(&self, pool: usize, set_cookie: &str, backend: SocketAddr) -> bool {
        let value = set_cookie.strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('='));
        let Some(value) = value.and_then(|rest| rest.split(';').next()) else { return false };
        self.0.borrow_mut().insert(pool, Held { value: value.to_owned(), backend });
        true
    }
}

/// The cookie for a backend of a pool, which are named as `plan_of` names them.
fn issue(keys: &str, (pool, backend): (usize, SocketAddr), expires: u64) -> String {
    let keys = CookieKeys::parse(keys).expect("keys");
    let pool = format!("p{pool}");
    keys.issue(&pool, BackendId::of(&pool, &backend.to_string()), expires)
}
