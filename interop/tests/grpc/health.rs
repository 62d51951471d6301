//! Probes of `grpc.health.v1.Health`, answered by tonic's own service.

use crate::calls::who;
use crate::{call, eventually, runtime, stage};
use bytes::Bytes;
use evenkeel_core::health::HealthState;
use evenkeel_core::plan::{HealthCheck, PoolPlan};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn probed(service: &str) -> impl FnOnce(&mut PoolPlan) {
    |pool| {
        pool.health.check = HealthCheck::Grpc(service.to_owned());
        pool.health.interval = Duration::from_millis(20);
        pool.health.timeout = Duration::from_secs(5);
        (pool.health.healthy_threshold, pool.health.unhealthy_threshold) = (1, 1);
    }
}

#[test]
fn who_does_not_serve_gets_no_calls() {
    for service in ["", "test.Echo"] {
        let (backends, proxy) = stage(&["a", "b"], probed(service));
        let state = |index: usize| proxy.pool().backends[index].health.state();
        runtime().block_on(async {
            let mut caller = call(&proxy).await;
            let set = async |index: usize, status: ServingStatus| {
                backends[index].health.set_service_status(service, status).await;
                let wanted =
                    if status == Serving { HealthState::Healthy } else { HealthState::Unhealthy };
                eventually("what probes find", || state(index) == wanted).await;
            };
            set(0, Serving).await;
            set(1, NotServing).await;
            for _ in 0..6 {
                let answer = caller.unary(Bytes::from_static(b"x")).await.expect("from a");
                assert_eq!(who(answer.metadata()), "a");
            }
            set(1, Serving).await;
            set(0, NotServing).await;
            for _ in 0..6 {
                let answer = caller.unary(Bytes::from_static(b"x")).await.expect("from b");
                assert_eq!(who(answer.metadata()), "b");
            }
        });
    }
}

#[test]
fn a_name_that_a_server_does_not_know_is_not_served() {
    let (_backends, proxy) = stage(&["a"], probed("no.Such"));
    let unhealthy = || proxy.pool().backends[0].health.state() == HealthState::Unhealthy;
    runtime().block_on(eventually("what probes find", unhealthy));
}

#[test]
fn clients_may_ask_for_health_themselves() {
    let (backends, proxy) = stage(&["a"], |_| {});
    runtime().block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", proxy.address()));
        let channel = endpoint.expect("an address").connect().await.expect("connected");
        let mut client = HealthClient::new(channel);
        let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
        backends[0].health.set_service_status("test.Echo", Serving).await;
        let answer = client.check(ask("test.Echo")).await.expect("an answer").into_inner();
        assert_eq!(answer.status, 1);
        let unknown = client.check(ask("no.Such")).await.expect_err("nobody knows it");
        assert_eq!(unknown.code(), Code::NotFound);
        // A call that stays open and speaks now and then.
        let mut watch = client.watch(ask("test.Echo")).await.expect("a stream").into_inner();
        assert_eq!(watch.message().await.expect("whole").expect("a state").status, 1);
        backends[0].health.set_service_status("test.Echo", NotServing).await;
        assert_eq!(watch.message().await.expect("whole").expect("a state").status, 2);
    });
}
