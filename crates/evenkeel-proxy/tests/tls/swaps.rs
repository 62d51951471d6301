//! Certificates that change while clients come and go.

use crate::stage::{Authority, Client, Manner, tls};
use evenkeel_core::stats::Handshake;
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const CALLERS: usize = 3;
const SWAPS: usize = 12;
/// Handshakes that all callers together make under each certificate, at the least.
const CALLS_PER_SWAP: usize = 6;

/// What the callers have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    calls: AtomicUsize,
    failures: Mutex<Vec<String>>,
    certificates: Mutex<BTreeSet<Vec<u8>>>,
}

impl Seen {
    /// A connection of its own for each request.
    fn call(&self, address: &str) {
        while !self.over.load(Ordering::Acquire) {
            let manner = Manner::plain();
            let config = Arc::new(manner.config);
            let answered = Client::connect(address, "a.test", &config).and_then(|mut client| {
                client.send(GET.as_bytes()).response().map(|response| response.status())
            });
            match answered {
                Ok(200) => {
                    let shown = manner.seen.certificates.lock().unwrap();
                    let shown = shown.iter().map(|one| one.to_vec());
                    self.certificates.lock().unwrap().extend(shown);
                }
                other => self.failures.lock().unwrap().push(format!("{other:?}")),
            }
            self.calls.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[test]
fn certificates_are_swapped_under_load_without_a_failed_handshake() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let plan = PlanBuilder::to(&[backend.address()])
        .listener(|listener| listener.tls = Some(tls(&[&authority.sign(&["a.test"])])))
        .build();
    let proxy = Proxy::start(&plan);
    let seen = Seen::default();
    let patient = Arc::new(Manner::plain().config);
    let mut kept = Client::connect(proxy.address(), "a.test", &patient).expect("let in");
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| seen.call(proxy.address()));
        }
        for swap in 1..=SWAPS {
            while seen.calls.load(Ordering::Acquire) < swap * CALLS_PER_SWAP {
                std::thread::yield_now();
            }
            // The same files with another certificate in them.
            authority.sign(&["a.test"]);
            proxy.server().apply(plan.clone()).expect("a certificate that holds");
            assert_eq!(kept.ask(GET).status(), 200, "a connection that was there stays");
        }
        seen.over.store(true, Ordering::Release);
    });
    let failures = seen.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {:?}: {failures:?}", failures.len(), seen.calls);
    let certificates = seen.certificates.into_inner().unwrap().len();
    assert!(certificates > SWAPS / 2, "{certificates} certificates were shown");
    let totals = proxy.server().state().stats().read();
    let handshakes = totals.listeners[0].1.handshakes;
    let failed: u64 = Handshake::ALL
        .iter()
        .map(|result| *result as usize)
        .filter(|at| *at != Handshake::Success as usize)
        .map(|at| handshakes[at])
        .sum();
    assert_eq!(failed, 0, "{handshakes:?}");
}
