//! Calls, in the clear.

use crate::echo::{COMPLAINT, Caller, DETAILS, MANY, large};
use crate::{call, eventually, runtime, stage};
use bytes::Bytes;
use evenkeel_core::breaker::BreakerState;
use evenkeel_testkit::proxy::Proxy;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::{self, StreamExt, wrappers::ReceiverStream};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn who(metadata: &MetadataMap) -> String {
    let name = metadata.get("x-backend").expect("its name").to_str();
    name.expect("text").to_owned()
}

/// All four kinds, with all that they carry.
pub(crate) async fn speak(caller: &mut Caller) {
    let answer = caller.unary(Bytes::from_static(b"hello")).await.expect("an answer");
    assert_eq!(answer.get_ref(), "echo hello");

    let answer = caller.client(tokio_stream::iter((0..MANY).map(large))).await.expect("an answer");
    let bytes: usize = (0..MANY).map(|number| large(number).len()).sum();
    assert_eq!(*answer.get_ref(), format!("{MANY} of {bytes}"));

    let mut messages = caller.server(b"").await.expect("a stream").into_inner();
    for number in 0..MANY {
        assert_eq!(messages.message().await.expect("whole"), Some(large(number)), "{number}");
    }
    assert_eq!(messages.message().await.expect("a good end"), None);

    // Word by word: each question is asked once the answer before it has come.
    let (ask, questions) = mpsc::channel(1);
    let mut answers =
        caller.both(ReceiverStream::new(questions)).await.expect("a stream").into_inner();
    for number in 0..20 {
        ask.send(Bytes::from(number.to_string())).await.expect("taken");
        let answer = answers.message().await.expect("whole").expect("an answer");
        assert_eq!(answer, format!("echo {number}"));
    }
    drop(ask);
    assert_eq!(answers.message().await.expect("a good end"), None);
}

#[test]
fn all_four_kinds_pass() {
    let (_backends, proxy) = stage(&["a", "b"], |_| {});
    runtime().block_on(async { speak(&mut call(&proxy).await).await });
}

#[test]
fn calls_of_one_connection_are_shared_evenly() {
    let (backends, proxy) = stage(&["a", "b", "c"], |_| {});
    let shares = runtime().block_on(async {
        let mut caller = call(&proxy).await;
        let mut shares = BTreeMap::new();
        for _ in 0..300 {
            let answer = caller.unary(Bytes::from_static(b"x")).await.expect("an answer");
            *shares.entry(who(answer.metadata())).or_insert(0) += 1;
        }
        shares
    });
    assert_eq!(shares, BTreeMap::from(["a", "b", "c"].map(|name| (name.to_owned(), 100))));
    assert_eq!(backends.iter().map(|backend| backend.calls()).collect::<Vec<_>>(), [100; 3]);
}

#[test]
fn metadata_pass_both_ways() {
    let (_backends, proxy) = stage(&["a"], |_| {});
    runtime().block_on(async {
        let mut caller = call(&proxy).await;
        for word in [&b"\x00\xff\x80 \n"[..], &[7; 3000]] {
            let mut request = Request::new(Bytes::from_static(b"hello"));
            let metadata = request.metadata_mut();
            metadata.insert("x-word", MetadataValue::from_static("a, b; c=\"d\""));
            metadata.insert_bin("x-word-bin", MetadataValue::from_bytes(word));
            let answer = caller.unary(request).await.expect("an answer");
            assert_eq!(answer.metadata().get("x-word").unwrap(), "a, b; c=\"d\"");
            let back = answer.metadata().get_bin("x-word-bin").expect("it").to_bytes();
            assert_eq!(back.expect("base64"), word);
        }
    });
}

fn assert_complaint(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::DataLoss, COMPLAINT));
    assert_eq!(status.details(), DETAILS);
    assert_eq!(status.metadata().get("x-why").unwrap(), "asked for");
    let why = status.metadata().get_bin("x-why-bin").expect("it").to_bytes();
    assert_eq!(why.expect("base64"), &[0, 1, 254][..]);
}

#[test]
fn how_a_call_fails_is_told_in_full() {
    let (_backends, proxy) = stage(&["a"], |_| {});
    runtime().block_on(async {
        let mut caller = call(&proxy).await;
        assert_complaint(&caller.unary(Bytes::from_static(b"fail")).await.expect_err("asked for"));
        // The same behind many messages: in trailers.
        let mut messages = caller.server(b"fail").await.expect("a stream").into_inner();
        let mut count = 0;
        let status = loop {
            match messages.message().await {
                Ok(message) => assert_eq!(message, Some(large(count))),
                Err(status) => break status,
            }
            count += 1;
        };
        assert_eq!(count, MANY);
        assert_complaint(&status);
        let unknown = caller.elsewhere("/test.Echo/Unknown").await.expect_err("no such method");
        assert_eq!(unknown.code(), Code::Unimplemented);
    });
    let totals = proxy.server().state().stats().read().merged(|_| true).calls;
    assert_eq!((totals[15], totals[12]), (2, 1), "{totals:?}");
}

#[test]
fn what_we_refuse_ourselves_is_a_status() {
    let (_backends, proxy) = stage(&["a"], |_| {});
    let down = stage_of_nobody();
    runtime().block_on(async {
        let status = call(&down).await.unary(Bytes::new()).await.expect_err("nobody is there");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("connect_failure"), "{status:?}");
        let far = call(&proxy).await.elsewhere("/a/../%2e%2e/%00").await.expect_err("a bad path");
        assert_eq!(far.code(), Code::Internal, "{far:?}");
    });
}

fn stage_of_nobody() -> Proxy {
    let nobody = evenkeel_testkit::backend::RefusingAddress::new();
    let plan = evenkeel_testkit::plan::PlanBuilder::to(&[nobody.address()]);
    let plan = plan.pool(|pool| pool.protocol = evenkeel_core::plan::PoolProtocol::Http2);
    Proxy::start(&plan.build())
}

#[test]
fn a_deadline_is_told_shortened_and_kept() {
    let (backends, proxy) = stage(&["a"], |_| {});
    runtime().block_on(async {
        let mut caller = call(&proxy).await;
        let told = caller.unary_within(b"timeout", LONG).await.expect("an answer").into_inner();
        let told = std::str::from_utf8(&told).expect("text");
        let micros: u64 = told.strip_suffix('u').expect("microseconds").parse().expect("digits");
        let long = u64::try_from(LONG.as_micros()).expect("short");
        assert!(micros < long && micros > long / 2, "{told}");

        let began = Instant::now();
        let patience = Duration::from_millis(200);
        let status = caller.unary_within(b"wait", patience).await.expect_err("too late");
        // Client, proxy and server all keep the time; the first of them ends the call.
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        assert!(began.elapsed() >= patience);
        eventually("the server to be relieved", || backends[0].running() == 0).await;
        caller.unary(Bytes::from_static(b"hello")).await.expect("the connection lives");
    });
}

#[test]
fn a_call_that_its_client_gives_up_ends_at_the_server() {
    let (backends, proxy) = stage(&["a"], |_| {});
    runtime().block_on(async {
        let mut caller = call(&proxy).await;
        for _ in 0..8 {
            let waiting = caller.unary(Bytes::from_static(b"wait"));
            assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
            // One that streams, given up in its midst.
            let (ask, questions) = mpsc::channel(1);
            ask.send(Bytes::from_static(b"x")).await.expect("taken");
            let mut answers =
                caller.both(ReceiverStream::new(questions)).await.expect("a stream").into_inner();
            assert!(answers.message().await.expect("whole").is_some());
        }
        eventually("both calls to end", || backends[0].running() == 0).await;
    });
    // A client that leaves says nothing about a backend.
    assert_eq!(proxy.pool().backends[0].breaker.state(), BreakerState::Closed);
    assert_eq!(proxy.pool().backends[0].breaker.consecutive_failures(), 0);
}

#[test]
fn unavailable_is_tried_elsewhere() {
    let (backends, proxy) = stage(&["a", "b"], |pool| pool.breaker.enabled = false);
    runtime().block_on(async {
        let mut caller = call(&proxy).await;
        for _ in 0..10 {
            let answer = caller.unary(Bytes::from_static(b"refuse")).await.expect("from b");
            assert_eq!(who(answer.metadata()), "b");
        }
    });
    assert!(backends[0].calls() >= 5, "{}", backends[0].calls());
}

#[test]
fn hundreds_of_calls_at_a_time_all_end() {
    const AT_A_TIME: usize = 150;
    let (backends, proxy) = stage(&["a", "b"], |_| {});
    runtime().block_on(async {
        let caller = call(&proxy).await;
        let calls: Vec<_> = (0..AT_A_TIME)
            .map(|number| {
                let mut caller = caller.clone();
                tokio::spawn(async move {
                    let words = tokio_stream::iter(vec![Bytes::from(number.to_string()); 10]);
                    let answers = caller.both(words).await?.into_inner();
                    answers.collect::<Result<Vec<_>, _>>().await
                })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            let answers = call.await.expect("no panic").expect("a good end");
            assert_eq!(answers, vec![Bytes::from(format!("echo {number}")); 10]);
        }
    });
    assert_eq!(backends.iter().map(|backend| backend.calls()).sum::<usize>(), AT_A_TIME);
}
