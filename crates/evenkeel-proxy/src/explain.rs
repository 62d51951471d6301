//! Which way a request would go, and why: the questions that `admit` and `exchange` ask, asked of
//! the same functions in the same order, without a token taken, a cursor moved or a draw made.

use crate::admit::{Asked, forwarded_path};
use crate::client_ip::may_use;
use crate::http1::{Peer, head_limits};
use crate::{mount, redirect, session};
use evenkeel_core::address::BindAddress;
use evenkeel_core::backend::Backend;
use evenkeel_core::client_hello;
use evenkeel_core::failure::Failure;
use evenkeel_core::limit::Admission;
use evenkeel_core::path::{self, PathScratch};
use evenkeel_core::plan::{ListenerPlan, ListenerProtocol, Plan, RoutePlan};
use evenkeel_core::pool::{Foreseen, Pool, Preview, Query, Tried};
use evenkeel_core::request::{Parsed, RequestHead};
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::time::Nanos;
use std::net::{IpAddr, SocketAddr};

/// A request to think through.
#[derive(Clone, Debug)]
pub struct Question {
    /// Index of the listener that it comes to.
    pub listener: usize,
    /// Its head as a client would send it.
    pub head: Vec<u8>,
    /// Who sends it.
    pub client: IpAddr,
}

/// What an answer depends on, besides the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time of the server's clock.
    pub now: Nanos,
    /// Nanoseconds since 1970.
    pub unix_nanos: u64,
    /// Uniform over u64: stands for every draw.
    pub draw: u64,
}

/// What answers, or names the pool, in the place of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The mount at this place of its listener.
    Mount(usize),
    /// The listener, which sends everybody here.
    Redirect {
        /// 3xx.
        status: u16,
        /// Value of `Location`.
        location: String,
    },
    /// The TLS server name that these rules of a tcp listener cover, by the place of the first.
    ServerName(usize),
    /// A listener that knows no routes: its own pool.
    Listener,
}

/// How far the request gets, and what decides on the way. What was not reached is `None`.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// Index of the listener that it comes to.
    pub listener: usize,
    /// What answers, or names the pool, in the place of a route.
    pub instead: Option<Instead>,
    /// Routes by index up to the one that matched, each with why it does not.
    pub routes: Vec<(usize, Option<&'static str>)>,
    /// The one that matched.
    pub route: Option<usize>,
    /// Its pool.
    pub pool: Option<usize>,
    /// A session cookie decided between the pools of a split.
    pub arm_is_tied: bool,
    /// The client behind trusted proxies.
    pub client: Option<IpAddr>,
    /// The path that routes see.
    pub path: String,
    /// The path that the backend is asked for.
    pub forwarded: String,
    /// What the route's rate limit would say.
    pub rate: Option<Admission>,
    /// The backend that a genuine session cookie names.
    pub tied: Option<usize>,
    /// What the pool would do.
    pub preview: Option<Preview>,
    /// Why the client would get a local reply.
    pub failure: Option<Failure>,
}

impl Question {
    /// A request for `url` as a client at `client` would send it. The listener is the one of the
    /// URL's port, or else the first.
    ///
    /// # Errors
    /// Says which part cannot be sent, and why.
    pub fn new(
        plan: &Plan,
        (method, url): (&str, &str),
        fields: &[(String, String)],
        client: IpAddr,
    ) -> Result<Question, String> {
        let (authority, target) = split_url(url)?;
        let bare = |what: &str, text: &str| match text.bytes().find(u8::is_ascii_control) {
            Some(byte) => Err(format!("{what} has the control character 0x{byte:02x}")),
            None => Ok(()),
        };
        if !is_token(method) {
            return Err(format!("method: {method:?} is none, as GET is"));
        }
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {authority}\r\n"));
        }
        for (name, value) in fields {
            if !is_token(name) {
                return Err(format!("headers: {name:?} is no name of a header"));
            }
            bare("headers", value)?;
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let is_it = |listener: &ListenerPlan| port.is_some() && port_of(&listener.bind) == port;
        let listener = plan.listeners.iter().position(is_it).unwrap_or(0);
        Ok(Question { listener, head: head.into_bytes(), client })
    }
}

/// Authority and target.
fn split_url(url: &str) -> Result<(&str, String), String> {
    if let Some(letter) = url.chars().find(|letter| !letter.is_ascii_graphic()) {
        return Err(format!("url: {letter:?} is to be percent-encoded"));
    }
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some((scheme, _)) if is_scheme(scheme) => {
            return Err(format!("url: `{scheme}` is neither http nor https"));
        }
        Some(_) | None => url,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let target = target.split('#').next().unwrap_or_default();
    if authority.is_empty() {
        return Err("url: it names no host, as in http://api.example.com/v1".to_owned());
    }
    if !is_authority(authority) {
        return Err(format!("url: {authority:?} is no host with or without a port"));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((authority, format!("{slash}{target}")))
}

/// RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

/// A name or an address, and perhaps a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) if !after.is_empty() => (host, after.strip_prefix(':').or(Some(""))),
        Some((host, _)) => (host, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_six = text.starts_with('[');
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let of_six = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let legal = |byte: u8| if is_six { of_six(byte) } else { of_name(byte) };
    let is_port = |port: &str| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    !host.is_empty() && host.bytes().all(legal) && port.is_none_or(is_port)
}

fn port_of(bind: &BindAddress) -> Option<u16> {
    bind.socket_addrs().first().map(SocketAddr::port)
}

/// Which way the request would go at this moment. Nothing is changed by asking.
pub fn explain(snapshot: &Snapshot, question: &Question, moment: Moment) -> Explained {
    let mut explained = Explained { listener: question.listener, ..Explained::default() };
    let walked = explained.walk(snapshot, question, moment);
    explained.failure = walked.err();
    explained
}

impl Explained {
    fn walk(
        &mut self,
        snapshot: &Snapshot,
        question: &Question,
        moment: Moment,
    ) -> Result<(), Failure> {
        let listener = snapshot.plan.listeners.get(question.listener).ok_or(Failure::NoRoute)?;
        let bytes = &question.head;
        let mut head = RequestHead::default();
        match head.parse(bytes, head_limits(&listener.limits))? {
            Parsed::Complete => {}
            Parsed::Partial => return Err(Failure::BadRequest),
        }
        let from = SocketAddr::new(question.client, 0);
        let peer = Peer::new(Some(from), &listener.trusted_proxies);
        let asked = Asked { head: &head, bytes, peer: &peer, listener };
        self.client = asked.ip();
        let mut scratch = PathScratch::default();
        let given = if head.path.is_empty() { b"/" } else { head.path.of_buf(bytes) };
        let view = path::view(given, listener.paths, &mut scratch)?;
        self.path = String::from_utf8_lossy(view.matching).into_owned();
        let host = head.host.of_buf(bytes).to_ascii_lowercase();
        let named = match &listener.protocol {
            ListenerProtocol::Http => None,
            ListenerProtocol::Tcp(tcp) => {
                let name = String::from_utf8_lossy(&host);
                let mut rules = tcp.sni_routes.iter();
                let rule = rules.position(|rule| client_hello::covers(&rule.hosts, &name));
                let pool = rule.and_then(|at| tcp.sni_routes.get(at)).map(|rule| rule.pool);
                let instead = rule.map_or(Instead::Listener, Instead::ServerName);
                Some((instead, pool.or(tcp.pool)))
            }
            ListenerProtocol::Udp(udp) => Some((Instead::Listener, Some(udp.pool))),
        };
        if let Some((instead, pool)) = named {
            self.instead = Some(instead);
            self.pool = Some(pool.ok_or(Failure::NoRoute)?);
            return self.pick(snapshot, (asked, view.matching), moment);
        }
        self.instead = mount::find(asked, &host, view.matching).map(|it| Instead::Mount(it.mount));
        if let (None, Some(plan)) = (&self.instead, &listener.redirect) {
            let page = redirect::page(plan, asked, view.forward)?;
            let location = page.fields.into_iter().map(|(_, value)| value).next();
            let location = location.unwrap_or_default();
            self.instead = Some(Instead::Redirect { status: page.status, location });
        }
        if self.instead.is_some() {
            return Ok(());
        }
        let route = self.find(snapshot, asked, view.matching)?;
        self.forwarded = String::from_utf8_lossy(&forwarded_path(route, view.forward)).into_owned();
        self.admit(snapshot, (route, asked), moment)?;
        self.choose(snapshot, (route, asked, view.matching), moment)
    }

    /// Looks at the routes one after the other, and makes sure that the table sees it alike.
    fn find<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        asked: Asked<'_>,
        path: &[u8],
    ) -> Result<&'s RoutePlan, Failure> {
        let host = asked.head.host.of_buf(asked.bytes).to_ascii_lowercase();
        let lines = asked.lines();
        let query = asked.query((&host, path), &lines);
        let found = snapshot.table.find(&query);
        let looked_at = found.map_or(snapshot.plan.routes.len(), |found| found + 1);
        let why = |route: usize| (route, snapshot.table.why_not(route, &query));
        self.routes = (0..looked_at).map(why).collect();
        self.route = found;
        found.and_then(|route| snapshot.plan.routes.get(route)).ok_or(Failure::NoRoute)
    }

    fn admit(
        &mut self,
        snapshot: &Snapshot,
        (route, asked): (&RoutePlan, Asked<'_>),
        moment: Moment,
    ) -> Result<(), Failure> {
        if !may_use(route, || self.client) {
            return Err(Failure::Denied);
        }
        let limiter = self.route.and_then(|route| snapshot.limiters.get(route)?.as_ref());
        if let (Some(plan), Some(limiter)) = (&route.rate_limit, limiter) {
            let admission = limiter.preview(asked.rate_key(plan, limiter), moment.now);
            self.rate = Some(admission);
            if matches!(admission, Admission::Limited { .. }) {
                return Err(Failure::RateLimited);
            }
        }
        if asked.is_too_large() { Err(Failure::BodyTooLarge) } else { Ok(()) }
    }

    fn choose(
        &mut self,
        snapshot: &Snapshot,
        (route, asked, path): (&RoutePlan, Asked<'_>, &[u8]),
        moment: Moment,
    ) -> Result<(), Failure> {
        let arm = match (&route.arms, route.split.as_slice()) {
            (Some(rule), _) => Some(asked.moved_to(rule, moment.draw)),
            (None, [_]) => None,
            (None, _) => asked.tied_arm(snapshot, route, moment.unix_nanos),
        };
        self.arm_is_tied = arm.is_some() && route.arms.is_none();
        let draw = || asked.arm_draw(snapshot, route, || moment.draw);
        self.pool = arm.or_else(|| snapshot.pool_of(route, draw()));
        self.pick(snapshot, (asked, path), moment)
    }

    fn pick(
        &mut self,
        snapshot: &Snapshot,
        (asked, path): (Asked<'_>, &[u8]),
        moment: Moment,
    ) -> Result<(), Failure> {
        let pool = self.pool.and_then(|at| snapshot.pools.get(at)).ok_or(Failure::NoBackend)?;
        let tie = session::tie(pool, asked.head, asked.bytes, moment.unix_nanos);
        self.tied = tie.and_then(|tie| pool.find_by_id(tie.backend));
        let preview = pool.preview(&Query {
            tried: &Tried::default(),
            now: moment.now,
            draw: moment.draw,
            hash: if pool.wants_hash() { asked.hash(pool, path) } else { 0 },
            tied: self.tied,
            repeatable: is_repeatable(pool, asked),
            has_idle: &|backend: &Backend| backend.idle_connections() > 0,
        });
        let outcome = preview.outcome;
        self.preview = Some(preview);
        if outcome == Foreseen::Nobody { Err(Failure::NoBackend) } else { Ok(()) }
    }
}

/// Whether it could be sent again, as far as its head says.
fn is_repeatable(pool: &Pool, asked: Asked<'_>) -> bool {
    let retry = &pool.plan.retry;
    asked.head.verb.is_idempotent() || retry.methods == evenkeel_core::plan::RetryMethods::All
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_every_form() {
        let cases = [
            ("http://a.test/x?y#z", Ok(("a.test", "/x?y"))),
            ("https://a.test:8443", Ok(("a.test:8443", "/"))),
            ("a.test/x", Ok(("a.test", "/x"))),
            ("a.test?q", Ok(("a.test", "/?q"))),
            ("[::1]:8080/", Ok(("[::1]:8080", "/"))),
            ("/x", Err("names no host")),
            ("ftp://a.test/", Err("neither http nor https")),
            ("a.test/?next=http://b.test/", Ok(("a.test", "/?next=http://b.test/"))),
            ("http://[2001:db8::1]", Ok(("[2001:db8::1]", "/"))),
            ("a.test:/", Err("no host")),
            ("a.test:123456", Err("no host")),
            ("[::1]x/", Err("no host")),
            ("user@a.test/", Err("no host")),
            ("http://\u{e9}.test/", Err("percent-encoded")),
            ("a.test/a b", Err("percent-encoded")),
        ];
        for (url, wanted) in cases {
            match (split_url(url), wanted) {
                (Ok((authority, target)), Ok(wanted)) => {
                    assert_eq!((authority, target.as_str()), wanted, "{url}");
                }
                (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{url}: {said}"),
                (split, _) => panic!("{url}: {split:?}"),
            }
        }
    }
}
