//! Read-only endpoints of ours on a traffic listener.

use evenkeel_core::plan::{MountAccept, MountPlan, Mounted};
use evenkeel_proxy::mount::{Errand, Page};
use evenkeel_testkit::backend::Backend;
use evenkeel_testkit::client::Client;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::thread;
use tokio::sync::mpsc::Receiver;

fn mount(path: &str, accept: MountAccept) -> MountPlan {
    MountPlan { path: path.to_owned(), hosts: Vec::new(), accept, serve: Mounted::Report }
}

/// A proxy with two mounts before a backend that says "backend".
fn proxy() -> (Proxy, Backend) {
    let backend = Backend::named("backend");
    let plan = PlanBuilder::to(&[backend.address()]).plan(|plan| {
        plan.listeners[0].mounts =
            vec![mount("/report", MountAccept::Any), mount("/", MountAccept::Html)];
    });
    (Proxy::start(&plan.build()), backend)
}

/// Answers every errand with what it was asked.
fn answer_all(mut errands: Receiver<Errand>) {
    thread::spawn(move || {
        while let Some(errand) = errands.blocking_recv() {
            let accept = errand.accept.as_deref().unwrap_or("-");
            let body = format!("{} {} {accept}", errand.path, errand.query);
            let fields = vec![("Content-Type".into(), "text/plain".to_owned())];
            // A client may be gone.
            let _ = errand.reply.send(Page { status: 200, fields, body: body.into() });
        }
    });
}

fn ask(client: &mut Client, line: &str, fields: &str) -> (u16, String) {
    let response = client.ask(format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    (response.status(), response.text())
}

#[test]
fn what_a_mount_takes_never_reaches_a_backend_and_all_else_does() {
    let (proxy, _backend) = proxy();
    answer_all(proxy.server().state().open_mounts().expect("nobody else has it"));
    let mut client = proxy.connect();
    let html = "Accept: text/html\r\n";
    for (line, fields, wanted) in [
        ("GET /report?a=1&b", "", "/report a=1&b -"),
        ("GET /x/../report", "Accept: a/b\r\n", "/report  a/b"),
        ("POST /report", "Content-Length: 0\r\n", "backend"),
        ("GET /report/", "", "backend"),
        ("GET /", html, "/  text/html"),
        ("GET /", "", "backend"),
        ("GET /", "Accept: */*\r\n", "backend"),
    ] {
        assert_eq!(ask(&mut client, line, fields), (200, wanted.to_owned()), "{line} {fields}");
    }
    let records = proxy.wait_for_records(7);
    assert_eq!(records[0]["status"], 200);
    assert_eq!(records[0]["path"], "/report");
    assert!(records[0]["route"].is_null());
    assert_eq!(records[2]["route"], "all");
    assert!(proxy.server().state().open_mounts().is_none(), "one takes them all");
}

#[test]
fn an_answer_of_a_mount_is_framed_like_any_other() {
    let (proxy, _backend) = proxy();
    answer_all(proxy.server().state().open_mounts().expect("nobody else has it"));
    let mut client = proxy.connect();
    client.send("HEAD /report HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.read_until(b"\r\n\r\n");
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 10\r\n"), "{head}");
    // Pipelined behind it, with a body that nobody wants.
    client.send(
        "GET /report HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
         GET /good HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(client.final_response().expect("a page").text(), "/report  -");
    assert_eq!(client.final_response().expect("a response").text(), "backend");
    let mut old = proxy.connect();
    old.send("GET /report HTTP/1.0\r\nHost: x\r\n\r\n");
    let (bytes, _) = old.read_to_close();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.ends_with("\r\n\r\n/report  -"), "{text}");
}

#[test]
fn traffic_needs_nobody_behind_the_mounts() {
    let (proxy, _backend) = proxy();
    let mut client = proxy.connect();
    assert_eq!(ask(&mut client, "GET /report", "").0, 503);
    assert_eq!(ask(&mut client, "GET /x", ""), (200, "backend".to_owned()));
    drop(proxy.server().state().open_mounts());
    assert_eq!(ask(&mut client, "GET /report", "").0, 503);
    assert_eq!(ask(&mut client, "GET /x", ""), (200, "backend".to_owned()));
}
