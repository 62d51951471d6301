//! The operator's listener: whether the process lives and whether it is ready.

use crate::bind::Bound;
use crate::dashboard;
use crate::documents::{HealthStatus, health_html, health_json, metrics_json};
use crate::limits::{ACCEPT_PAUSE, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_FIELDS, MAX_HEAD_BYTES};
use crate::metrics::{self, Format, negotiate};
use crate::numbers::Numbers;
use crate::origin::ServedHosts;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, VARY,
};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Whether traffic may be sent here.
pub trait Readiness: Send + Sync {
    /// Why not, in a word for the operator (`starting`, `draining`); `None` when ready.
    fn not_ready(&self) -> Option<String>;
}

/// Answers requests on every socket of `bound`; ends only by being dropped.
pub(crate) async fn serve(bound: Bound, router: Router) -> io::Result<()> {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut listeners = JoinSet::new();
    // Held to the end: dropping it removes the socket's file.
    let mut file = None;
    match bound {
        Bound::Tcp(sockets) => {
            for socket in sockets {
                let listener = Listener::Tcp(TcpListener::from_std(socket)?);
                listeners.spawn(accept_all(listener, Arc::clone(&seats), router.clone()));
            }
        }
        Bound::Unix(socket, socket_file) => {
            file = Some(socket_file);
            let listener = Listener::Unix(UnixListener::from_std(socket)?);
            listeners.spawn(accept_all(listener, seats, router));
        }
    }
    while listeners.join_next().await.is_some() {}
    drop(file);
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Listener::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Listener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Survives every error of the system; a connection holds its seat until it ends.
async fn accept_all(listener: Listener, seats: Arc<Semaphore>, router: Router) {
    // Nobody closes the semaphore: the loop goes on until its task is dropped.
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        match listener.accept().await {
            Ok(stream) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve_connection(stream, router).await;
                    drop(seat);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: Box<dyn Stream>, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Its errors are the client's: a broken request, a closed socket, a head that took too long.
    let _ = connection.await;
}

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) readiness: Arc<dyn Readiness>,
    pub(crate) numbers: Option<Arc<Numbers>>,
}

/// The paths and their answers.
pub(crate) fn router(desk: Desk, served: ServedHosts) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .route("/metrics", get(metrics_in))
        .route("/prometheus", get(prometheus))
        .merge(dashboard::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(served, refuse_foreign_hosts))
        .with_state(desk)
}

async fn livez() -> Response {
    ([(CACHE_CONTROL, "no-store")], "ok").into_response()
}

async fn readyz(State(desk): State<Desk>) -> Response {
    let (status, text) = match desk.readiness.not_ready() {
        None => (StatusCode::OK, "ready".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

/// The state of all backends: a page for browsers, JSON for everybody else.
async fn health(State(desk): State<Desk>, fields: HeaderMap) -> Response {
    let Some(numbers) = desk.numbers else { return not_found().await };
    let (state, document) = numbers.render(health_json);
    let status = match state {
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let plain = [(CACHE_CONTROL, "no-store"), (VARY, "Accept")];
    let browser = accept_of(&fields).is_some_and(|accept| accept.contains("text/html"));
    if browser {
        let page = numbers.render(health_html);
        let html = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        return (status, plain, html, page).into_response();
    }
    (status, plain, Json(document)).into_response()
}

#[derive(serde::Deserialize)]
struct MetricsQuery {
    format: Option<String>,
}

async fn metrics_in(
    State(desk): State<Desk>,
    Query(query): Query<MetricsQuery>,
    fields: HeaderMap,
) -> Response {
    let format = negotiate(query.format.as_deref(), accept_of(&fields), Format::Prometheus);
    numbers_as(&desk, format).await
}

async fn prometheus(State(desk): State<Desk>) -> Response {
    numbers_as(&desk, Format::Prometheus).await
}

async fn numbers_as(desk: &Desk, format: Format) -> Response {
    let Some(numbers) = &desk.numbers else { return not_found().await };
    let text = numbers.render(|view| match format {
        Format::Prometheus => metrics::prometheus(view),
        Format::OpenMetrics => metrics::openmetrics(view),
        Format::Json => metrics_json(view).to_string(),
    });
    let fields =
        [(CACHE_CONTROL, "no-store"), (VARY, "Accept"), (CONTENT_TYPE, format.content_type())];
    (fields, text).into_response()
}

fn accept_of(fields: &HeaderMap) -> Option<&str> {
    fields.get(ACCEPT)?.to_str().ok()
}

async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "Nothing is served at this path.")
}

async fn method_not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "This path is read with GET.")
}

async fn refuse_foreign_hosts(
    State(served): State<ServedHosts>,
    request: Request,
    next: Next,
) -> Response {
    if has_own_host(served, &request) {
        return next.run(request).await;
    }
    let detail = "This listener answers to loopback names and its own address only.";
    problem(StatusCode::MISDIRECTED_REQUEST, detail)
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

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
