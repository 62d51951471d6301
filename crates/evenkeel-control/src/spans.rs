//! Spans on their way to a collector: OTLP over HTTP, by the exporter of OpenTelemetry. The queue
//! that feeds it, its bound and its thread are ours; the SDK's own would be a second of each.
//!
//! *Architecture invariant:* a collector that is slow or gone costs spans, never traffic: they wait
//! in a bounded queue, and what finds it full is counted and forgotten.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(not(feature = "otlp"))]
#[path = "spans/no_collector.rs"]
mod collector;

use collector::Collector;
use evenkeel_core::plan::{LogLevel, TracingPlan};
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::detail::Finished;
use evenkeel_proxy::shared::Shared;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Exchanges whose spans wait.
const MAX_WAITING: usize = 2_048;
/// Exchanges in one message.
const MAX_BATCH: usize = 512;
/// A batch that is not full waits so long for more.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// What a collector has to take a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same at the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Spans that wait for their collector.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Waiting>);

/// Exchanges whose spans a collector did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loss {
    exchanges: usize,
    /// All of the message, and not some of it.
    whole: bool,
    why: String,
}

#[derive(Default)]
struct Waiting {
    queue: Mutex<VecDeque<Box<Finished>>>,
    full_batch: Notify,
    /// Exchanges whose spans no collector got.
    lost: AtomicU64,
    /// Of the plan that was in force when spans were last sent.
    collector: Mutex<Option<Arc<Collector>>>,
    /// The last message did not arrive.
    failing: AtomicBool,
}

impl Spans {
    /// Queues the spans of an exchange, or counts them as lost.
    pub(crate) fn offer(&self, finished: Box<Finished>) {
        let mut queue = self.lock();
        if queue.len() >= MAX_WAITING {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push_back(finished);
        if queue.len() >= MAX_BATCH {
            self.0.full_batch.notify_one();
        }
    }

    /// Sends what waits, a batch at a time, until it is given up.
    pub(crate) async fn export(self, server: Arc<Shared>) {
        loop {
            // Time over is as good a reason as a full batch.
            let _ = timeout(BATCH_TIME, self.0.full_batch.notified()).await;
            while self.send(&server, PATIENCE).await {}
        }
    }

    /// Sends what waits at the end, as far as the collector takes it quickly.
    pub(crate) async fn flush(&self, server: &Shared) {
        let all = async { while self.send(server, LAST_PATIENCE).await {} };
        let _ = timeout(LAST_PATIENCE, all).await;
    }

    /// One message. True if there is reason to send another at once.
    async fn send(&self, server: &Shared, patience: Duration) -> bool {
        let batch: Vec<Box<Finished>> = {
            let mut queue = self.lock();
            let count = queue.len().min(MAX_BATCH);
            queue.drain(..count).collect()
        };
        if batch.is_empty() {
            return false;
        }
        let snapshot = server.snapshot();
        let Some(plan) = &snapshot.plan.tracing else {
            self.lose(batch.len());
            return true;
        };
        let sent = match self.collector_of(plan) {
            Ok(collector) => collector.send(&batch, patience).await,
            Err(why) => Err(Loss { exchanges: batch.len(), whole: true, why }),
        };
        let Err(loss) = sent else {
            self.0.failing.store(false, Ordering::Relaxed);
            return true;
        };
        self.lose(loss.exchanges);
        if !self.0.failing.swap(true, Ordering::Relaxed) {
            self.tell(server, &loss);
        }
        !loss.whole
    }

    /// The collector of a plan, made anew if the plan is another one.
    fn collector_of(&self, plan: &TracingPlan) -> Result<Arc<Collector>, String> {
        let mut known = self.0.collector.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(collector) = known.as_ref().filter(|known| known.is_of(plan)) {
            return Ok(Arc::clone(collector));
        }
        let collector = Arc::new(Collector::of(plan)?);
        *known = Some(Arc::clone(&collector));
        Ok(collector)
    }

    /// Exchanges whose spans no collector got.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn lose(&self, count: usize) {
        self.0.lost.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Of a row of failures the first is told.
    fn tell(&self, server: &Shared, loss: &Loss) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let fields = [
            ("error", EventValue::Text(&loss.why)),
            ("lost", EventValue::Number(self.0.lost.load(Ordering::Relaxed))),
        ];
        server.events().emit(&Event {
            unix_nanos: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
            level: LogLevel::Warn,
            name: "traces_lost",
            message: match loss.whole {
                true => "the collector takes no spans; they are lost until it does",
                false => "the collector does not keep all spans",
            },
            fields: &fields,
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<Finished>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
