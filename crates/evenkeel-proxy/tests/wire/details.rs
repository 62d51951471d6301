//! What is told of exchanges that are worth a second look.

use crate::stage::{Act, Stage, answer, get, pause, status};
use evenkeel_proxy::detail::{Detail, Finished, Remark, TryOutcome};
use evenkeel_testkit::backend::RefusingAddress;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::wire::PATIENCE;
use std::time::{Duration, Instant};

pub(crate) fn details(stage: &Stage) -> impl FnMut() -> Box<Finished> {
    let mut reader = stage.proxy.watch();
    move || {
        let until = Instant::now() + PATIENCE;
        loop {
            match reader.try_recv() {
                Ok(Detail::Exchange(finished)) => return finished,
                Ok(Detail::Event(_) | Detail::Compared(_)) => {}
                Err(_) => {
                    assert!(Instant::now() < until, "nothing is told");
                    pause(Duration::from_millis(2));
                }
            }
        }
    }
}

fn slow_after(slow: Duration) -> impl Fn(PlanBuilder) -> PlanBuilder {
    move |plan| plan.plan(|plan| plan.recorder.slow = slow)
}

#[test]
fn a_retry_is_told_with_both_tries() {
    let stage = Stage::of(2, |plan| slow_after(Duration::ZERO)(plan));
    let mut next = details(&stage);
    stage.players[0].says(status(503));
    stage.players[1].says(answer(200, "", "hello"));
    let mut two_tries = None;
    for _ in 0..2 {
        stage.ask(&get("/seen?hidden=1"));
        let finished = next();
        if finished.tries.len() == 2 {
            two_tries = Some(finished);
        }
    }
    let finished = two_tries.expect("one of two begins at the one that fails");
    assert_eq!((finished.remark, finished.status), (Remark::Slow, 200));
    assert_eq!((finished.method.as_str(), finished.path.as_str()), ("GET", "/seen"));
    assert_eq!((finished.host.as_str(), finished.client_ip.as_str()), ("x", "127.0.0.1"));
    assert_eq!((finished.route.as_deref(), finished.pool.as_deref()), (Some("all"), Some("web")));
    assert_eq!(finished.id.len(), 32);
    assert!(finished.accept.is_some(), "the first request of its connection");
    let [first, second] = finished.tries.as_slice() else { panic!("{finished:?}") };
    assert_eq!((first.outcome, second.outcome), (TryOutcome::Status(503), TryOutcome::Status(200)));
    assert_ne!(first.backend, second.backend);
    assert!(first.start <= first.end && first.end <= second.start && second.end <= finished.total);
    assert!(second.first_byte.is_some() && first.connect.is_some() && first.pick.is_some());
    assert!(finished.body.is_some());
    assert_eq!(finished.captured, None, "off by default");
}

#[test]
fn failures_and_slow_ones_are_told_and_nothing_else() {
    let stage = Stage::of(1, |plan| slow_after(Duration::from_millis(80))(plan));
    let mut next = details(&stage);
    let player = &stage.players[0];
    let mut client = stage.connect();
    client.ask(get("/quick"));
    player.does(Act::After(Duration::from_millis(120), answer(200, "", "late")));
    client.ask(get("/slow"));
    player.says(status(500));
    client.ask(get("/own-error"));
    let seen: Vec<_> = (0..2).map(|_| next()).map(|one| (one.path.clone(), one.remark)).collect();
    let wanted = [("/slow".to_owned(), Remark::Slow), ("/own-error".to_owned(), Remark::Failed)];
    assert_eq!(seen, wanted);
    let refused = client.ask("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n");
    let malformed = next();
    assert_eq!((refused.status(), malformed.bytes_out), (400, refused.body.len() as u64));
    assert_eq!(malformed.failure.map(|failure| failure.code()), Some("bad_request"));
    assert!(malformed.tries.is_empty());
}

#[test]
fn a_backend_that_is_not_there_is_told_by_try() {
    let gone = RefusingAddress::new();
    let stage = Stage::of(0, |_| {
        let plan = PlanBuilder::to(&[gone.address()]);
        plan.pool(|pool| pool.retry.attempts = 1)
    });
    let mut next = details(&stage);
    assert_eq!(stage.ask(&get("/")).status(), 502);
    let finished = next();
    assert_eq!(finished.remark, Remark::Failed);
    let outcomes: Vec<_> = finished.tries.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [TryOutcome::Code("connect_failure")]);
}

#[test]
fn a_drawn_request_is_told_with_what_it_said() {
    let stage = Stage::of(1, |plan| {
        plan.plan(|plan| {
            plan.recorder.capture.sample = 1.0;
            plan.recorder.capture.max_body_bytes = 4;
        })
    });
    let mut next = details(&stage);
    stage.ask("POST /p HTTP/1.1\r\nHost: x\r\nX-A: b\r\nContent-Length: 6\r\n\r\nabcdef");
    let finished = next();
    assert_eq!((finished.remark, finished.bytes_in), (Remark::Drawn, 6));
    let captured = String::from_utf8(finished.captured.clone().expect("drawn")).expect("text");
    assert!(captured.starts_with("POST /p HTTP/1.1\r\n"), "{captured}");
    assert!(
        captured.contains("\r\nX-A: b\r\n") && captured.ends_with("\r\n\r\nabcd"),
        "{captured}"
    );
}
