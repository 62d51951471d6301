//! Who may ask for what: checked before anything is done. And what every answer says besides.

use super::refusal::Refusal;
use super::seam::Desk;
use crate::dashboard;
use crate::limits::{MAX_FIELDS, MAX_HEAD_BYTES};
use crate::metrics::accepts_json;
use crate::origin::ServedHosts;
use crate::tokens::{Presented, Tokens};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use evenkeel_api::{ENDPOINTS, Endpoint, Role};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What every answer says unless it says something else itself.
const HARDENING: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];
/// The author of what is done where no token is asked for.
const NOBODY: &str = "local";

/// Where a request comes from; `None` = a unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}

/// Marks the answer to a request that only asked what a change would do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rehearsed;

/// Who may ask for what.
pub(crate) struct Gate {
    pub(crate) served: ServedHosts,
    pub(crate) tokens: Option<Arc<Tokens>>,
    pub(crate) log: Option<EventLog>,
}

/// Lets a request in or refuses it; writes down what was asked to change, and by whom.
pub(crate) async fn pass(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Response {
    let endpoint = endpoint_of(&request);
    let entry = Entry::of(&request, endpoint);
    let mut name: Arc<str> = Arc::from("");
    let admitted = gate.identify(&request, endpoint).and_then(|actor| {
        name = Arc::clone(&actor.name);
        permit(&actor, &request, endpoint).map(|()| actor)
    });
    let mut response = match admitted {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    for (field, value) in HARDENING {
        response.headers_mut().entry(field).or_insert(HeaderValue::from_static(value));
    }
    let rehearsed = response.extensions().get::<Rehearsed>().is_some();
    if let (Some(entry), Some(log)) = (entry.filter(|_| !rehearsed), &gate.log) {
        entry.write(log, &name, response.status());
    }
    response
}

/// The row of the table that a request is for; HEAD is GET without a body.
fn endpoint_of(request: &Request) -> Option<&'static Endpoint> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    ENDPOINTS.iter().find(|it| it.path == path && it.method.as_str() == method)
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

impl Gate {
    /// With tokens every host will do: a page that makes a browser come here under its own name has
    /// no token to show.
    pub(crate) fn of(desk: &Desk, bound: ServedHosts) -> Gate {
        let served = if desk.tokens.is_some() { ServedHosts::All } else { bound };
        Gate { served, tokens: desk.tokens.clone(), log: desk.log.clone() }
    }

    /// Who asks.
    fn identify(&self, request: &Request, endpoint: Option<&Endpoint>) -> Result<Actor, Refusal> {
        if head_bytes(request) > MAX_HEAD_BYTES || request.headers().len() > MAX_FIELDS {
            let detail = format!(
                "The head of a request has at most {MAX_HEAD_BYTES} bytes and {MAX_FIELDS} fields."
            );
            return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail));
        }
        if !has_own_host(self.served, request) {
            let detail = "This listener answers to loopback names and its own address only.";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        if !has_own_origin(request.headers()) {
            let detail = "The page that sends this request is not of this listener.";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        self.authenticate(request, needed_role(request, endpoint))
    }

    fn authenticate(&self, request: &Request, needed: Option<Role>) -> Result<Actor, Refusal> {
        let everybody = || Actor { name: NOBODY.into(), role: Role::Admin };
        let (Some(tokens), Some(_)) = (&self.tokens, needed) else { return Ok(everybody()) };
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
        let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match tokens.find(authorization, peer) {
            Presented::Known(actor) => Ok(actor),
            Presented::None => {
                Err(Refusal::unauthorized("A token is needed: Authorization: Bearer TOKEN."))
            }
            Presented::Unknown => Err(Refusal::unauthorized("The token is not known.")),
            Presented::TooOften(seconds) => {
                Err(Refusal::too_many("Too many unknown tokens from this address.", seconds))
            }
        }
    }
}

/// The least that one must be to be answered; `None` = anybody.
fn needed_role(request: &Request, endpoint: Option<&Endpoint>) -> Option<Role> {
    match endpoint {
        Some(endpoint) => endpoint.role,
        None if is_page(request) => None,
        None if is_read(request.method()) => Some(Role::Viewer),
        None => Some(Role::Operator),
    }
}

/// Whether who asks may have it, and takes the form that it has.
fn permit(actor: &Actor, request: &Request, endpoint: Option<&Endpoint>) -> Result<(), Refusal> {
    if let Some(needed) = needed_role(request, endpoint).filter(|needed| actor.role < *needed) {
        let detail = format!(
            "This needs the role {}; the token of {} has {}.",
            needed.as_str(),
            actor.name,
            actor.role.as_str()
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    }
    let wants_json = request.uri().path().starts_with("/api/") && !takes_other(endpoint);
    if wants_json && !accepts_json(text_of(request.headers(), &ACCEPT)) {
        let detail = "The answer is application/json, which `Accept` excludes.";
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, detail));
    }
    Ok(())
}

/// Bytes of the head as they were sent, except that an absolute target counts its path only.
fn head_bytes(request: &Request) -> usize {
    // Spaces, version and the ends of lines.
    let line = request.method().as_str().len() + 14;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    line + target + request.headers().iter().map(field).sum::<usize>()
}

/// The dashboard says nothing of the process: what it reads does, and asks for a token.
fn is_page(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    path.is_some_and(|path| dashboard::PATHS.contains(&path.as_str()))
}

/// Whether an answer may be something else than JSON.
fn takes_other(endpoint: Option<&Endpoint>) -> bool {
    endpoint.is_some_and(|it| it.operation == "events")
}

fn text_of<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// Both places that can name a host must name one of ours. Only HTTP/1.0 may name none.
fn has_own_host(served: ServedHosts, request: &Request) -> bool {
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| !served.include(authority.as_str())) {
        return false;
    }
    match named_hosts(request.headers()).as_slice() {
        [] => request.version() == Version::HTTP_10 || served == ServedHosts::All,
        [host] => served.include(host),
        _ => false,
    }
}

fn named_hosts(fields: &HeaderMap) -> Vec<&str> {
    // A host that is no text is nobody's name.
    fields.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("")).collect()
}

/// A browser says which page a request comes from, if it is not of this host or changes something:
/// then that page must be one of ours. Programs say nothing.
fn has_own_origin(fields: &HeaderMap) -> bool {
    let own = text_of(fields, &HOST);
    fields.get_all(ORIGIN).iter().all(|origin| {
        let page = origin.to_str().ok().and_then(|origin| {
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
        });
        matches!((page, own), (Some(page), Some(own)) if page.eq_ignore_ascii_case(own))
    })
}

/// A line of the audit log: what was asked to change.
struct Entry {
    operation: &'static str,
    method: Method,
    path: String,
    peer: String,
}

impl Entry {
    /// `None` for what changes nothing.
    fn of(request: &Request, endpoint: Option<&'static Endpoint>) -> Option<Entry> {
        let endpoint = endpoint.filter(|it| it.role >= Some(Role::Operator))?;
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
        Some(Entry {
            operation: endpoint.operation,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            peer: peer.map(|ip| ip.to_canonical().to_string()).unwrap_or_default(),
        })
    }

    fn write(&self, log: &EventLog, author: &str, status: StatusCode) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (level, message) = if status.is_success() {
            (LogLevel::Info, "a change was made over the admin listener")
        } else {
            (LogLevel::Warn, "a change was refused on the admin listener")
        };
        log.emit(&Event {
            unix_nanos: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
            level,
            name: "admin_change",
            message,
            fields: &[
                ("author", EventValue::Text(author)),
                ("operation", EventValue::Text(self.operation)),
                ("method", EventValue::Text(self.method.as_str())),
                ("path", EventValue::Text(&self.path)),
                ("status", EventValue::Number(status.as_u16().into())),
                ("client_ip", EventValue::Text(&self.peer)),
            ],
        });
    }
}
