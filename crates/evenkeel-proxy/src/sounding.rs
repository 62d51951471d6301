//! A few requests of our own to backends of a pool, spoken as the pool speaks: its HTTP, its TLS,
//! its PROXY header. For who must know what a backend answers before traffic goes there.

use crate::connect::Beginning;
use crate::probe::{ProbeAnswer, ProbeTarget, probe};
use crate::socket::SystemNet;
use evenkeel_core::address::{BackendAddress, Endpoint};
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::{AdminState, BackendPlan, HealthCheck};
use evenkeel_core::pool::Pool;
use evenkeel_core::snapshot::Snapshot;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

const NOT_FOUND: u16 = 404;
/// After so many answers that are not as they must be, no further one is asked for.
const MAX_FAILED: u32 = 10;

/// What is asked of backends, one after another.
pub struct Sounding {
    /// The configuration that the pool is of.
    pub snapshot: Arc<Snapshot>,
    /// The pool's name.
    pub pool: Arc<str>,
    /// What an answer must be like.
    pub check: HealthCheck,
    /// Bound of one request, connection included.
    pub timeout: Duration,
}

impl Sounding {
    /// Asks the backends that are to take traffic, in turn, so many times in all.
    ///
    /// # Errors
    /// In words: how many answers were not as they must be, and what was wrong with the first.
    pub async fn ask_in_turn(self, times: u32) -> Result<(), String> {
        let pool = self.pool()?;
        let wanted =
            |it: &&Arc<Backend>| it.plan.admin == AdminState::Enabled && it.plan.weight > 0;
        let backends: Vec<_> = pool.backends.iter().filter(wanted).map(Arc::clone).collect();
        if backends.is_empty() {
            return Err(format!("{} has no backend that is to take traffic", self.pool));
        }
        self.on_a_thread(pool, backends, times).await
    }

    /// Asks once, at an address that need not be in the pool; its name, if it has one, stands for
    /// these `hosts`.
    ///
    /// # Errors
    /// In words: the answer is not as it must be.
    pub async fn ask_at(self, address: BackendAddress, hosts: &[IpAddr]) -> Result<(), String> {
        let pool = self.pool()?;
        let backend = Arc::new(Backend::new(&self.pool, BackendPlan::bare(address)));
        if let Endpoint::Name(_, port) = backend.plan.address.endpoint {
            let at: Vec<_> = hosts.iter().map(|host| SocketAddr::new(*host, port)).collect();
            backend.publish(&at);
        }
        self.on_a_thread(pool, vec![backend], 1).await
    }

    fn pool(&self) -> Result<Arc<Pool>, String> {
        let found = self.snapshot.pools.iter().find(|pool| pool.plan.name == self.pool);
        found.cloned().ok_or_else(|| format!("there is no pool named {:?}", self.pool))
    }

    /// Connections belong to one thread, so they have one. It ends early if nobody waits for it.
    async fn on_a_thread(
        self,
        pool: Arc<Pool>,
        backends: Vec<Arc<Backend>>,
        times: u32,
    ) -> Result<(), String> {
        let (told, heard) = oneshot::channel();
        let named = thread::Builder::new().name("sounding".to_owned());
        let asking = move || self.ask_all(&pool, (&backends, times), told);
        named.spawn(asking).map_err(|error| format!("no thread to ask from: {error}"))?;
        heard.await.unwrap_or_else(|_| Err("nobody could be asked".to_owned()))
    }

    fn ask_all(
        &self,
        pool: &Pool,
        (backends, times): (&[Arc<Backend>], u32),
        told: oneshot::Sender<Result<(), String>>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(tokio::runtime::LocalOptions::default());
        let Ok(runtime) = runtime else { return };
        let (mut failed, mut first) = (0_u32, None);
        for (backend, _) in backends.iter().cycle().zip(0..times) {
            if told.is_closed() {
                return;
            }
            if failed == MAX_FAILED {
                break;
            }
            if let Err(why) = runtime.block_on(self.ask(pool, backend)) {
                failed += 1;
                first.get_or_insert_with(|| format!("{}: {why}", backend.label));
            }
        }
        let result = match first {
            None => Ok(()),
            Some(first) => Err(format!("{failed} of {times} requests failed, first {first}")),
        };
        // Whoever asked may have gone meanwhile.
        let _ = told.send(result);
    }

    async fn ask(&self, pool: &Pool, backend: &Backend) -> Result<(), String> {
        let beginning = Beginning::own(&self.snapshot, (pool, backend));
        let Sounding { check, timeout, .. } = self;
        let target = ProbeTarget { backend, check, beginning, timeout: *timeout };
        let answer = probe(&SystemNet::new(), &target).await.map_err(|fault| fault.to_string())?;
        match (answer, check) {
            (ProbeAnswer::Unasked, _) => Err("this machine has no descriptor or port left".into()),
            (ProbeAnswer::Status(status), HealthCheck::Http(check)) => {
                let is_expected = check.expect_status.iter().any(|range| range.contains(&status));
                let is_missing_page = check.by_default && status == NOT_FOUND;
                if is_expected || is_missing_page {
                    Ok(())
                } else {
                    Err(format!("status {status}"))
                }
            }
            (ProbeAnswer::Status(_) | ProbeAnswer::Connected | ProbeAnswer::Serves, _) => Ok(()),
        }
    }
}
