//! Migrations of a route that carries gRPC: how a call ends in its trailers is what counts.

use crate::program::get;
use crate::world::{PATIENCE, World};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Instant;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

fn runtime() -> LocalRuntime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).expect("a runtime")
}

/// A server that speaks nothing but HTTP/2 and ends every call so; serves until the process ends.
fn server(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let Ok(mut link) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((_, respond))) = link.accept().await {
                        // Who has gone needs no answer.
                        let _ = answer(respond, status);
                    }
                });
            }
        });
    });
    address
}

fn answer(mut respond: SendResponse<Bytes>, status: &str) -> Option<()> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).ok()?;
    let mut sent = respond.send_response(head, false).ok()?;
    sent.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().ok()?);
    sent.send_trailers(trailers).ok()
}

/// One call: how it ended.
async fn call(sender: &mut SendRequest<Bytes>) -> String {
    let request = Request::post("http://x/test.S/Unary")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(());
    let mut ready = sender.clone().ready().await.expect("a live connection");
    let (response, mut body) =
        ready.send_request(request.expect("a request"), false).expect("sent");
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), true).expect("sent");
    let response = response.await.expect("a response");
    let mut frames = response.into_body();
    while let Some(data) = frames.data().await {
        let data = data.expect("a whole body");
        frames.flow_control().release_capacity(data.len()).expect("open");
    }
    let trailers = frames.trailers().await.expect("an end").unwrap_or_default();
    let status = trailers.get("grpc-status").and_then(|value| value.to_str().ok());
    status.unwrap_or_default().to_owned()
}

/// Calls until a migration is over: what became of it, and how calls ended.
fn call_until_over(world: &World, id: &str) -> (Value, Vec<String>) {
    let until = Instant::now() + PATIENCE;
    let mut ends = Vec::new();
    runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(&world.address).await.expect("it listens");
        let (mut sender, link) = h2::client::handshake(socket).await.expect("HTTP/2");
        tokio::task::spawn_local(link);
        loop {
            for _ in 0..100 {
                ends.push(call(&mut sender).await);
            }
            let document = world.json(&["migrate", "status", id, "--json"]);
            if ["done", "aborted"].iter().any(|over| document["state"] == *over) {
                return (document, std::mem::take(&mut ends));
            }
            assert!(Instant::now() < until, "{document:#}");
        }
    })
}

fn world(new: &'static str) -> World {
    let (old, new) = (server("0"), server(new));
    World::new(&format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: web, pool: old }}]\n\
         pools:\n  \
           - {{ name: old, protocol: h2, backends: [\"{old}\"], health: {{ type: none }} }}\n  \
           - {{ name: new, protocol: h2, backends: [\"{new}\"], health: {{ type: none }},\n      \
             circuit_breaker: {{ enabled: false }}, retry: {{ attempts: 1 }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n"
    ))
}

fn start(world: &World, name: &str, stage: &str) {
    let plan = format!(
        "name: {name}\nroute: web\nfrom: old\nto: new\ncohort: request\ninterval: 1s\n\
         preflight: {{ requests: 3, path: /any }}\n\
         gates: {{ max_p99_ratio: 0, max_success_drop: 10% }}\n\
         stages: [{{ {stage}, min_duration: 1s }}]\nwatch: 1s\n"
    );
    world.shell.write("plan.yaml", &plan);
    let started = world.shell.run(&["migrate", "start", "plan.yaml"]);
    assert_eq!(started.code, 0, "{started:?}");
}

#[test]
fn calls_that_fail_in_their_trailers_take_a_migration_back() {
    let world = world("13");
    start(&world, "moved", "weight: 50");
    let (ended, ends) = call_until_over(&world, "moved");
    assert_eq!((&ended["state"], &ended["weight"]), (&"aborted".into(), &0.0.into()));
    let reason = ended["reason"].as_str().expect("a text");
    assert!(reason.contains("errors") || reason.contains("success"), "{ended:#}");
    assert!(ends.contains(&"13".to_owned()) && ends.contains(&"0".to_owned()));
    let after = call_once_more(&world);
    assert!(after.iter().all(|end| end == "0"), "{after:?}");
}

fn call_once_more(world: &World) -> Vec<String> {
    runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(&world.address).await.expect("it listens");
        let (mut sender, link) = h2::client::handshake(socket).await.expect("HTTP/2");
        tokio::task::spawn_local(link);
        let mut ends = Vec::new();
        for _ in 0..50 {
            ends.push(call(&mut sender).await);
        }
        ends
    })
}

#[test]
fn copies_of_calls_that_fail_end_a_stage_of_copies_and_no_client_feels_it() {
    let world = world("14");
    start(&world, "copied", "mirror: 100");
    let (ended, ends) = call_until_over(&world, "copied");
    assert_eq!(ended["state"], "aborted", "{ended:#}");
    let reason = ended["reason"].as_str().expect("a text");
    assert!(reason.contains("in a row") || reason.contains("success"), "{ended:#}");
    assert!(ends.iter().all(|end| end == "0"), "clients have the old pool's answers");
    let sent = "evenkeel_mirror_requests_total{route=\"web\",result=\"sent\"} ";
    let copies = |metrics: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(sent).map(str::to_owned));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    let before = copies(&get(&world.admin, "/metrics"));
    assert!(before >= 5, "they went to a pool of HTTP/2: {before}");
    // What was on its way may still arrive.
    drop(call_once_more(&world));
    let early = copies(&get(&world.admin, "/metrics"));
    (0..4).for_each(|_| drop(call_once_more(&world)));
    let late = copies(&get(&world.admin, "/metrics"));
    assert!(late < early + 100, "200 calls have no more copies: {early}, {late}");
}

#[test]
fn calls_that_go_well_go_through() {
    let world = world("0");
    start(&world, "good", "mirror: 100");
    let (ended, _) = call_until_over(&world, "good");
    assert_eq!(ended["state"], "done", "{ended:#}");
}
