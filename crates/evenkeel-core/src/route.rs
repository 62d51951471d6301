//! Which route a request takes: the first, in the order they are written, whose whole test holds.
//!
//! Routes are indexed by host, so that ten thousand hosts cost what one costs; a table that tests
//! no host never hashes. The index only narrows down which routes are tested: the answer is always
//! that of testing them one after the other.

use crate::path;
use crate::plan::{PathMatch, RouteMatch, RoutePlan};
use memchr::memrchr;
use std::borrow::Cow;
use std::collections::HashMap;

/// The fields of a request, as far as routes ask about them.
pub trait FieldLookup {
    /// True if `test` holds for the value of any line of the field with this lower-case name.
    fn any_value(&self, lower_name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// What is known of a request when its route is looked for.
#[derive(Clone, Copy)]
pub struct RouteQuery<'a> {
    /// Name of the listener that the request came in by.
    pub listener: &'a str,
    /// Lower case, without port and trailing dot; empty if the request names none.
    pub host: &'a [u8],
    /// The matching side of the path view.
    pub path: &'a [u8],
    /// As received; methods are case-sensitive.
    pub method: &'a [u8],
    /// The request's fields.
    pub fields: &'a dyn FieldLookup,
}

/// Numbers of the routes that test for a host, ascending, by that host.
type RoutesByHost = HashMap<Box<[u8]>, Vec<usize>>;

/// The routes of a configuration, ready to be searched.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By route number, with canonical paths.
    tests: Vec<RouteMatch>,
    any_host: Vec<usize>,
    by_host: RoutesByHost,
    /// By what follows the `*.`.
    by_suffix: RoutesByHost,
    /// Labels of the longest such suffix: no longer one needs to be looked up.
    suffix_labels: usize,
}

impl RouteTable {
    /// Compiles the routes; the numbers that [`RouteTable::find`] gives are indices of `routes`.
    pub fn compile(routes: &[RoutePlan]) -> RouteTable {
        let mut table = RouteTable::default();
        for (route, plan) in routes.iter().enumerate() {
            let mut test = plan.matches.clone();
            test.path = canonical_path(test.path);
            table.index(route, &test.hosts);
            table.tests.push(test);
        }
        table
    }

    /// The number of the first route that matches.
    pub fn find(&self, query: &RouteQuery<'_>) -> Option<usize> {
        let none = self.tests.len();
        let mut first = self.first_of(self.by_host.get(query.host), none, query);
        let mut end = query.host.len();
        for _ in 0..self.suffix_labels {
            let Some(dot) = memrchr(b'.', &query.host[..end]).filter(|&dot| dot > 0) else {
                break;
            };
            first = self.first_of(self.by_suffix.get(&query.host[dot + 1..]), first, query);
            end = dot;
        }
        first = self.first_of(Some(&self.any_host), first, query);
        (first < none).then_some(first)
    }

    /// The first reason why the request does not match this route; `None` if it does.
    pub fn why_not(&self, route: usize, query: &RouteQuery<'_>) -> Option<&'static str> {
        let Some(test) = self.tests.get(route) else {
            return Some("there is no such route");
        };
        let mut hosts = test.hosts.iter();
        if !test.hosts.is_empty() && !hosts.any(|pattern| host_matches(pattern, query.host)) {
            return Some("the host is none of its hosts");
        }
        mismatch(test, query)
    }

    fn index(&mut self, route: usize, hosts: &[String]) {
        if hosts.is_empty() {
            self.any_host.push(route);
        }
        for host in hosts {
            let routes = match host.strip_prefix("*.") {
                _ if host == "*" => &mut self.any_host,
                None => self.by_host.entry(host.as_bytes().into()).or_default(),
                Some(suffix) => {
                    self.suffix_labels = self.suffix_labels.max(suffix.split('.').count());
                    self.by_suffix.entry(suffix.as_bytes().into()).or_default()
                }
            };
            if routes.last() != Some(&route) {
                routes.push(route);
            }
        }
    }

    /// The first of `routes` that matches, if it comes before route `bound`; `bound` otherwise.
    fn first_of(&self, routes: Option<&Vec<usize>>, bound: usize, query: &RouteQuery<'_>) -> usize {
        let routes = routes.map_or(&[][..], Vec::as_slice);
        let mut earlier = routes.iter().copied().take_while(|&route| route < bound);
        earlier.find(|&route| mismatch(&self.tests[route], query).is_none()).unwrap_or(bound)
    }
}

/// The path test in the spelling of the matching view; `/` as a prefix covers everything.
fn canonical_path(test: PathMatch) -> PathMatch {
    match test {
        PathMatch::Any => PathMatch::Any,
        PathMatch::Exact(text) => PathMatch::Exact(path::canonical(&text).unwrap_or(text)),
        PathMatch::Prefix(text) => {
            let mut prefix = path::canonical(&text).unwrap_or(text);
            prefix.truncate(prefix.trim_end_matches('/').len());
            if prefix.is_empty() { PathMatch::Any } else { PathMatch::Prefix(prefix) }
        }
    }
}

/// The first part of the test, hosts aside, that does not hold.
fn mismatch(test: &RouteMatch, query: &RouteQuery<'_>) -> Option<&'static str> {
    if !test.listeners.is_empty() && !test.listeners.iter().any(|it| it == query.listener) {
        return Some("the listener is none of its listeners");
    }
    if !path_matches(&test.path, query.path) {
        return Some("the path differs");
    }
    let mut methods = test.methods.iter();
    if !test.methods.is_empty() && !methods.any(|method| method.as_bytes() == query.method) {
        return Some("the method is none of its methods");
    }
    let mut headers = test.headers.iter();
    let all_hold = headers.all(|(name, wanted)| {
        query.fields.any_value(name.as_bytes(), &mut |value| value == wanted.as_bytes())
    });
    if all_hold { None } else { Some("a header is missing or has another value") }
}

fn path_matches(test: &PathMatch, path: &[u8]) -> bool {
    match test {
        PathMatch::Any => true,
        PathMatch::Exact(exact) => exact.as_bytes() == path,
        PathMatch::Prefix(prefix) => {
            let rest = path.strip_prefix(prefix.as_bytes());
            rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        }
    }
}

/// One host against one pattern: exact, `*.suffix` for any number of labels below it, or `*`.
pub fn host_matches(pattern: &str, host: &[u8]) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == "*" || pattern.as_bytes() == host,
        Some(suffix) => {
            let below = host.strip_suffix(suffix.as_bytes());
            matches!(below, Some([_, .., b'.']))
        }
    }
}

/// The forwarded path without `prefix`, beginning with `/`: `/v1/x` without `/v1` is `/x`, and
/// `/v1` is `/`. `prefix` is in the spelling of the matching view, see [`path::canonical`].
///
/// Walks both spellings side by side, so that exactly what matched is removed: `//v1%2Fx` without
/// `/v1` is `/x`. What follows the prefix stays as the client spelt it, but for an encoded
/// separator right behind it, which becomes the leading `/` (only that case allocates). A path
/// that does not have the prefix is returned whole.
pub fn strip_prefix<'a>(forward: &'a [u8], prefix: &str) -> Cow<'a, [u8]> {
    match after_prefix(forward, prefix.trim_end_matches('/')) {
        None => Cow::Borrowed(forward),
        Some([]) => Cow::Borrowed(b"/"),
        Some(rest @ [b'/', ..]) => Cow::Borrowed(rest),
        Some(rest) => {
            let rest = path::after_separator(rest).unwrap_or(rest);
            Cow::Owned([b"/", rest].concat())
        }
    }
}

/// What follows the prefix in the forwarded spelling: nothing, or a separator and more.
fn after_prefix<'a>(forward: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (mut rest, mut prefix) = (forward, prefix.as_bytes());
    while let Some((&wanted, wanted_next)) = prefix.split_first() {
        (rest, prefix) = match (path::after_separator(rest), rest, prefix) {
            (Some(after), _, _) if wanted == b'/' => (skip_separators(after), wanted_next),
            (Some(_), _, _) => return None,
            (None, [b'%', hex @ ..], [b'%', wanted_hex @ ..]) => {
                let (hex, after) = hex.split_at_checked(2)?;
                let (wanted_hex, wanted_next) = wanted_hex.split_at_checked(2)?;
                (hex.eq_ignore_ascii_case(wanted_hex)).then_some((after, wanted_next))?
            }
            (None, [byte, after @ ..], _) if *byte == wanted => (after, wanted_next),
            (None, _, _) => return None,
        };
    }
    (rest.is_empty() || path::after_separator(rest).is_some()).then_some(rest)
}

fn skip_separators(path: &[u8]) -> &[u8] {
    let mut rest = path;
    while let Some(after) = path::after_separator(rest) {
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests;
