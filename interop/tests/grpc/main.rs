//! gRPC as tonic speaks it, client and servers, through the proxy: the four kinds of calls, what
//! they say besides messages, how they end, how long they may take, who serves them. Another client
//! and other servers are those of `.ci/check-grpc.py`; frames by hand are in the tests of
//! evenkeel-proxy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod calls;
mod echo;
mod health;
mod tls;

use crate::echo::{Backend, Caller};
use evenkeel_core::plan::{PoolPlan, PoolProtocol};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::PATIENCE;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Servers of these names, and a proxy before them.
fn stage(names: &[&'static str], adjust: impl FnOnce(&mut PoolPlan)) -> (Vec<Backend>, Proxy) {
    let backends: Vec<_> = names.iter().map(|name| Backend::start(name, None)).collect();
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address.as_str()).collect();
    let plan = PlanBuilder::to(&addresses).pool(|pool| {
        pool.protocol = PoolProtocol::Http2;
        adjust(pool);
    });
    let proxy = Proxy::start(&plan.build());
    (backends, proxy)
}

async fn call(proxy: &Proxy) -> Caller {
    let endpoint = Endpoint::from_shared(format!("http://{}", proxy.address()));
    Caller::over(endpoint.expect("an address").connect().await.expect("connected"))
}

/// Waits for something that comes by itself.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(LOOK).await;
    }
}
