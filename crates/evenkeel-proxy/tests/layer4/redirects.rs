//! Listeners that send every request elsewhere.

use evenkeel_core::plan::RedirectPlan;
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;

#[test]
fn host_path_and_query_are_kept() {
    let backend = Backend::answering(OK);
    for (port, status, target, host, location) in [
        (443, 308, "/a/b?c=d&e", "a.test:8080", "https://a.test/a/b?c=d&e"),
        (8443, 301, "/", "a.test", "https://a.test:8443/"),
        (443, 302, "/a/../b//c%2fd", "a.test", "https://a.test/b//c%2fd"),
        (443, 307, "/", "[::1]:8080", "https://[::1]/"),
    ] {
        let plan = PlanBuilder::to(&[backend.address()]).listener(|listener| {
            listener.redirect = Some(RedirectPlan { secure: true, port, status });
        });
        let proxy = Proxy::start(&plan.build());
        let mut client = proxy.connect();
        for _ in 0..2 {
            let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!((response.status(), response.value("location")), (status, Some(location)));
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn without_a_host_there_is_nowhere_to_go() {
    let plan = PlanBuilder::to(&["127.0.0.1:1"]).listener(|listener| {
        listener.redirect = Some(RedirectPlan { secure: true, port: 443, status: 308 });
    });
    let proxy = Proxy::start(&plan.build());
    assert_eq!(proxy.connect().ask("GET / HTTP/1.0\r\n\r\n").status(), 400);
}
