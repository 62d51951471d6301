//! One client's connection: one exchange after another until either side has enough.

use crate::answer::{BLOCK, Framing, Head, Ready};
use crate::body::{self, Kept};
use crate::events;
use crate::limits::{HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_ECHO_BYTES};
use crate::refusal::Refusal;
use crate::request::{self, Opening, Persistence, Request, Version};
use crate::target::Target;
use crate::websocket;
use crate::wire::Wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// What a server says, prepared once.
pub(crate) struct Script {
    /// Value of X-Backend.
    pub(crate) name: String,
    /// Before the configured answer.
    pub(crate) delay: Duration,
    /// Share of requests that get `failed` instead of `plain`, 0 to 1.
    pub(crate) fail_rate: f64,
    /// The configured answer.
    pub(crate) plain: Ready,
    /// The configured failure.
    pub(crate) failed: Ready,
    /// The answer of `/health`.
    pub(crate) health: Ready,
    /// The answer of `/delay/D`.
    pub(crate) delayed: Ready,
}

/// Serves one connection to its end.
pub(crate) async fn serve(stream: TcpStream, script: Arc<Script>) {
    let mut wire = Wire::new(stream);
    loop {
        let served = match read_request(&mut wire).await {
            Ok(request) => match request.opening {
                Some(Opening::Key(key)) => return websocket::echo(wire, &script.name, &key).await,
                Some(Opening::UpgradeRequired) | None => answer(&mut wire, request, &script).await,
            },
            Err(refusal) => Err(refusal),
        };
        match served {
            Ok(Persistence::Open | Persistence::OpenOld) => {}
            Ok(Persistence::Close) => return wire.linger().await,
            Err(refusal) => return refuse(wire, refusal, &script.name).await,
        }
    }
}

async fn refuse(mut wire: Wire, refusal: Refusal, name: &str) {
    let Some(status) = refusal.status() else {
        return;
    };
    let ready = Ready::text(status, name, "The request is refused.\n");
    if wire.send(ready.bytes(Persistence::Close)).await.is_ok() {
        wire.linger().await;
    }
}

async fn read_request(wire: &mut Wire) -> Result<Request, Refusal> {
    if wire.buffered().is_empty() {
        // Nobody has asked anything yet: an end here is silent, whatever its reason.
        let first = wire.fill(Instant::now() + IDLE_TIMEOUT).await;
        first.map_err(|_| Refusal::Gone)?;
    }
    let mut deadline = None;
    loop {
        if let Some((request, length)) = request::parse(wire.buffered())? {
            wire.consume(length);
            return Ok(request);
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + HEAD_TIMEOUT);
        wire.fill(deadline).await?;
    }
}

/// Reads the body, then answers; tells what becomes of the connection.
async fn answer(
    wire: &mut Wire,
    request: Request,
    script: &Script,
) -> Result<Persistence, Refusal> {
    let limit = if request.copied.is_some() { MAX_ECHO_BYTES } else { 0 };
    let mut kept = Kept::up_to(limit);
    if request.expects_continue && wire.buffered().is_empty() {
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    body::read(wire, request.body, &mut kept).await?;
    let name = &script.name;
    match request.target {
        Target::Plain => {
            if !script.delay.is_zero() {
                sleep(script.delay).await;
            }
            let fails = script.fail_rate > 0.0 && fastrand::f64() < script.fail_rate;
            let ready = if fails { &script.failed } else { &script.plain };
            send_ready(wire, ready, &request).await?;
        }
        Target::Health => send_ready(wire, &script.health, &request).await?,
        Target::Delay(delay) => {
            sleep(delay).await;
            send_ready(wire, &script.delayed, &request).await?;
        }
        Target::Status(status) => {
            let ready = Ready::text(status, name, &format!("{status} from {name}\n"));
            send_ready(wire, &ready, &request).await?;
        }
        Target::Bytes(size) => {
            send_ready(wire, &Ready::sized(200, name, size), &request).await?;
        }
        Target::Wrong(why) => send_ready(wire, &Ready::text(400, name, why), &request).await?,
        Target::Echo => send_echo(wire, &request, &kept, name).await?,
        Target::WebSocket => return refuse_opening(wire, &request, name).await,
        Target::Events => return send_events(wire, &request, name).await,
    }
    Ok(request.persistence)
}

async fn send_ready(wire: &mut Wire, ready: &Ready, request: &Request) -> Result<(), Refusal> {
    if request.head_only {
        return wire.send(ready.head(request.persistence)).await;
    }
    wire.send(ready.bytes(request.persistence)).await?;
    let mut left = ready.streamed;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK.len()).min(BLOCK.len());
        wire.send(&BLOCK[..part]).await?;
        left -= part as u64;
    }
    Ok(())
}

async fn send_echo(
    wire: &mut Wire,
    request: &Request,
    kept: &Kept,
    name: &str,
) -> Result<(), Refusal> {
    let version = match request.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    let copied = request.copied.as_ref();
    let json = serde_json::json!({
        "method": copied.map(|copied| &copied.method),
        "path": copied.map(|copied| &copied.target),
        "version": version,
        "headers": copied.map(|copied| &copied.fields),
        "body": String::from_utf8_lossy(&kept.bytes),
        "body_bytes": kept.total,
        "backend": name,
    });
    let body = format!("{json}\n");
    let framing = Framing::Length(body.len() as u64);
    let content_type = "application/json";
    let head = Head { status: 200, backend: name, content_type, framing, extra: "" };
    let mut bytes = head.render(request.persistence);
    if !request.head_only {
        bytes.extend_from_slice(body.as_bytes());
    }
    wire.send(&bytes).await
}

async fn refuse_opening(
    wire: &mut Wire,
    request: &Request,
    name: &str,
) -> Result<Persistence, Refusal> {
    let head = Head {
        status: 426,
        backend: name,
        content_type: "text/plain",
        framing: Framing::Length(0),
        extra: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    };
    wire.send(&head.render(request.persistence)).await?;
    Ok(request.persistence)
}

async fn send_events(
    wire: &mut Wire,
    request: &Request,
    name: &str,
) -> Result<Persistence, Refusal> {
    let framing = match request.version {
        Version::Http10 => Framing::UntilClose,
        Version::Http11 => Framing::Chunked,
    };
    let extra = "Cache-Control: no-cache\r\n";
    let head =
        Head { status: 200, backend: name, content_type: "text/event-stream", framing, extra };
    wire.send(&head.render(Persistence::Close)).await?;
    if !request.head_only {
        events::send(wire, name, request.version).await?;
    }
    Ok(Persistence::Close)
}
