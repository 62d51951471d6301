//! The one reader of details: keeps the last exchanges that are worth a second look, and passes
//! events on to whoever listens.
//!
//! *Architecture invariant:* memory is bounded by `recorder.size` and by the bounds below, whatever
//! arrives; nothing that is kept here counts in a metric.

mod captured;
mod har;
mod recorded;

use crate::differences::Differences;
use crate::spans::Spans;
use evenkeel_api::{RecordedRequest, RequestList};
use evenkeel_proxy::detail::{Detail, Finished, Remark};
use evenkeel_proxy::shared::Shared;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

/// Events that are kept for those who come back, and that a listener may be behind before it loses
/// some.
const MAX_EVENTS: usize = 1_000;
/// Numbers of events that one second of a start leaves before those of the next.
const IDS_PER_SECOND: u64 = 1_000_000;
/// What the end gives listeners, if there are any, to take the last events.
const LAST_EVENTS_TIME: Duration = Duration::from_millis(200);

/// An event, with the number that stands for its place.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub(crate) id: u64,
    /// The text of a JSON object.
    pub(crate) json: Arc<str>,
}

/// Events that have been told.
struct Told {
    /// Those of later starts are higher, so that a listener never hears an old one twice.
    next_id: u64,
    last: VecDeque<Numbered>,
    listeners: Option<broadcast::Sender<Numbered>>,
}

/// Exchanges that are kept.
#[derive(Default)]
struct Keepsakes {
    last: VecDeque<Arc<RecordedRequest>>,
    /// How many ever were.
    count: u64,
}

/// What is remembered of what happened.
pub struct Journal {
    server: Arc<Shared>,
    kept: Mutex<Keepsakes>,
    told: Mutex<Told>,
    details: tokio::sync::Mutex<Receiver<Detail>>,
    spans: Spans,
    differences: Arc<Differences>,
    /// Events that listeners were too slow for.
    unheard: AtomicU64,
}

impl Journal {
    /// An empty one, for what this server tells; answers that are to be compared go to
    /// `differences`.
    pub fn new(
        server: Arc<Shared>,
        details: Receiver<Detail>,
        differences: Arc<Differences>,
    ) -> Journal {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next_id = since_1970.as_secs().saturating_mul(IDS_PER_SECOND);
        let (listeners, _) = broadcast::channel(MAX_EVENTS);
        let told = Told { next_id, last: VecDeque::new(), listeners: Some(listeners) };
        let details = tokio::sync::Mutex::new(details);
        let (kept, told) = (Mutex::default(), Mutex::new(told));
        let (spans, unheard) = (Spans::default(), AtomicU64::new(0));
        Journal { server, kept, told, details, spans, differences, unheard }
    }

    /// Takes what is told until nobody is left to tell anything.
    pub(crate) async fn read(self: Arc<Self>) {
        let mut details = self.details.lock().await;
        tokio::spawn(self.spans.clone().export(Arc::clone(&self.server)));
        while let Some(detail) = details.recv().await {
            self.take(detail);
        }
    }

    /// Takes what waits, then lets listeners go when they have heard it. Nobody reads meanwhile.
    pub(crate) async fn end(&self) {
        let mut details = self.details.lock().await;
        details.close();
        while let Ok(detail) = details.try_recv() {
            self.take(detail);
        }
        let listeners = lock(&self.told).listeners.take();
        let someone = listeners.as_ref().is_some_and(|listeners| listeners.receiver_count() > 0);
        self.spans.flush(&self.server).await;
        // Without a sender their streams end by themselves, behind the last event.
        drop(listeners);
        if someone {
            sleep(LAST_EVENTS_TIME).await;
        }
    }

    fn take(&self, detail: Detail) {
        match detail {
            Detail::Event(event) => lock(&self.told).tell(event.json.into()),
            Detail::Exchange(finished) => {
                if finished.remark != Remark::Traced {
                    self.keep(&finished);
                }
                if finished.traced.is_some() {
                    self.spans.offer(finished);
                }
            }
            Detail::Compared(compared) => self.differences.take(&compared),
        }
    }

    fn keep(&self, finished: &Finished) {
        let snapshot = self.server.snapshot();
        let plan = &snapshot.plan.recorder;
        let recorded = Arc::new(recorded::recorded(finished, &plan.capture.redact));
        let mut kept = lock(&self.kept);
        kept.count += 1;
        while kept.last.len() >= plan.size.max(1) {
            kept.last.pop_front();
        }
        if plan.size > 0 {
            kept.last.push_back(recorded);
        }
    }

    fn newest_first(&self) -> Vec<Arc<RecordedRequest>> {
        lock(&self.kept).last.iter().rev().cloned().collect()
    }

    /// Those that were kept behind the first `seen` ones, the oldest first, and how many that
    /// makes.
    pub(crate) fn kept_after(&self, seen: u64) -> (Vec<RecordedRequest>, u64) {
        let kept = lock(&self.kept);
        let new = usize::try_from(kept.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let known = kept.last.len().saturating_sub(new);
        let new = kept.last.iter().skip(known).map(|one| RecordedRequest::clone(one));
        (new.collect(), kept.count)
    }

    /// Takes up what another process has kept: each where its time is.
    pub(crate) fn remember(&self, earlier: &[RecordedRequest]) {
        let size = self.server.snapshot().plan.recorder.size;
        let mut kept = lock(&self.kept);
        for one in earlier {
            let at = kept.last.partition_point(|known| known.time <= one.time);
            kept.last.insert(at, Arc::new(one.clone()));
        }
        kept.count += u64::try_from(earlier.len()).unwrap_or_default();
        let surplus = kept.last.len().saturating_sub(size);
        kept.last.drain(..surplus);
    }
}

impl Journal {
    /// Exchanges that are kept, the newest first.
    pub(crate) fn requests(&self) -> RequestList {
        let requests = self.newest_first().iter().map(|one| RecordedRequest::clone(one)).collect();
        RequestList { requests }
    }

    /// The same as an HTTP Archive.
    pub(crate) fn archive(&self) -> Value {
        har::archive(&self.newest_first())
    }

    /// A listener was too slow for so many events.
    pub(crate) fn count_unheard(&self, events: u64) {
        self.unheard.fetch_add(events, Ordering::Relaxed);
    }

    /// What was lost behind the queue of details, by kind: exchanges whose spans no collector got,
    /// and events that listeners were too slow for.
    pub(crate) fn lost(&self) -> [(&'static str, u64); 2] {
        let unheard = self.unheard.load(Ordering::Relaxed);
        [("span", self.spans.lost()), ("stream_event", unheard)]
    }

    /// Events from now on; and those that are kept of what came after this one, if it is given.
    pub(crate) fn listen(
        &self,
        after: Option<u64>,
    ) -> (Vec<Numbered>, broadcast::Receiver<Numbered>) {
        let told = lock(&self.told);
        let missed = |event: &&Numbered| after.is_some_and(|after| event.id > after);
        let missed = told.last.iter().filter(missed).cloned().collect();
        let from_now = match &told.listeners {
            Some(listeners) => listeners.subscribe(),
            // It is over: a stream that ends at once.
            None => broadcast::channel(1).1,
        };
        (missed, from_now)
    }
}

impl Told {
    fn tell(&mut self, json: Arc<str>) {
        let event = Numbered { id: self.next_id, json };
        self.next_id += 1;
        if self.last.len() == MAX_EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(event.clone());
        if let Some(listeners) = &self.listeners {
            // If nobody listens, nothing is lost.
            let _ = listeners.send(event);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
