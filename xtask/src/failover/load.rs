//! The clients: an open-loop load on a thread of its own, undisturbed by what the rig does.

use super::network::BALANCER;
use anyhow::{Context as _, Result};
use evenkeel_load::{OpenLoop, Sample, Summary};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Connections of the clients: at 1000 requests per second, enough for every backend to hang for
/// the whole of a repeat.
const MAX_CONNECTIONS: usize = 5000;

/// A load to offer to the balancer.
pub(super) struct Load {
    /// Requests per second.
    pub(super) rate: f64,
    /// How long requests are started.
    pub(super) duration: Duration,
    /// Of one request.
    pub(super) timeout: Duration,
}

/// A load that runs.
pub(super) struct Running {
    /// When it began.
    pub(super) start: Instant,
    offered: oneshot::Receiver<Result<Offered>>,
}

/// A load that was offered.
pub(super) struct Offered {
    /// One for each request.
    pub(super) samples: Vec<Sample>,
    /// Of all of them.
    pub(super) summary: Summary,
}

impl Load {
    /// Starts to offer it.
    pub(super) fn start(self) -> Result<Running> {
        let (tell, offered) = oneshot::channel();
        let start = Instant::now();
        let offer = move || {
            // Nobody listens any more if the run was interrupted.
            let _ = tell.send(super::block_on(self.offer()));
        };
        std::thread::Builder::new().name("load".to_owned()).spawn(offer)?;
        Ok(Running { start, offered })
    }

    async fn offer(self) -> Result<Offered> {
        let load = OpenLoop {
            address: BALANCER,
            host: "rig.test".to_owned(),
            path: "/r/{seq}".to_owned(),
            rate: self.rate,
            duration: self.duration,
            timeout: self.timeout,
            max_connections: MAX_CONNECTIONS,
        };
        let mut samples = Vec::new();
        let summary = load.run(|sample| samples.push(sample)).await?;
        Ok(Offered { samples, summary })
    }
}

impl Running {
    /// Waits for its end.
    pub(super) async fn end(self) -> Result<Offered> {
        self.offered.await.context("the load's thread has ended")?
    }
}
