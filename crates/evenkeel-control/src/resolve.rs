//! Keeps the addresses of named backends fresh: runs the look-ups that `schedule` decides on.

use crate::limits::LOOKUP_TIMEOUT;
use crate::lookup::Lookup;
use crate::schedule::{Answer, Change, Moment, Schedule};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// Somebody who needs the addresses of a name. Called on the control thread only.
pub trait ResolveTarget: Send + Sync {
    /// The host name, and the port to join to each address.
    fn name(&self) -> (&str, u16);
    /// The name's addresses: not empty, sorted, without repetitions. Called when they are first
    /// known and when they change.
    fn publish(&self, addresses: &[SocketAddr]);
    /// A look-up failed; what was published last stays in use.
    fn failed(&self, error: &str);
}

/// The targets to watch, and how often they have been replaced.
#[derive(Clone, Default)]
pub(crate) struct TargetSet {
    /// Counts replacements; 0 = nothing was asked for yet.
    pub(crate) round: u64,
    /// All of them.
    pub(crate) targets: Vec<Arc<dyn ResolveTarget>>,
}

/// Lets a thread wait until every name of a target set had its first answer.
#[derive(Default)]
pub(crate) struct FirstAnswers {
    round: Mutex<u64>,
    risen: Condvar,
}

impl FirstAnswers {
    /// Blocks until the round is complete or the time is over; tells which.
    pub(crate) fn wait(&self, round: u64, limit: Duration) -> bool {
        let complete = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.risen.wait_timeout_while(complete, limit, |complete| *complete < round);
        let (complete, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *complete >= round
    }

    fn complete(&self, round: u64) {
        let mut complete = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if *complete < round {
            *complete = round;
            self.risen.notify_all();
        }
    }
}

/// Watches the names of the latest target set until the sender of sets is gone.
pub(crate) async fn watch_names<L: Lookup>(
    lookup: Arc<L>,
    mut sets: watch::Receiver<TargetSet>,
    first_answers: Arc<FirstAnswers>,
) {
    let mut board = Board::default();
    let mut running = Running::new(lookup);
    board.adopt(sets.borrow_and_update().clone());
    loop {
        while let Some(name) = board.schedule.start_due(Instant::now().into_std()) {
            running.start(name);
        }
        if board.schedule.all_answered() {
            first_answers.complete(board.round);
        }
        let due = board.schedule.next_due();
        tokio::select! {
            changed = sets.changed() => match changed {
                Ok(()) => board.adopt(sets.borrow_and_update().clone()),
                Err(_) => return,
            },
            Some((name, outcome)) = running.next() => board.finish(&name, outcome),
            () = sleep_until(due.unwrap_or_else(std::time::Instant::now).into()),
                if due.is_some() => {}
        }
    }
}

/// Names, and who waits for which.
#[derive(Default)]
struct Board {
    schedule: Schedule,
    targets: HashMap<Arc<str>, Vec<Arc<dyn ResolveTarget>>>,
    round: u64,
}

impl Board {
    /// Takes new targets; those whose name is known get its addresses at once.
    fn adopt(&mut self, set: TargetSet) {
        self.round = set.round;
        self.targets.clear();
        for target in set.targets {
            let name = target.name().0.to_ascii_lowercase();
            self.targets.entry(name.into()).or_default().push(target);
        }
        let names = self.targets.keys().cloned().collect();
        self.schedule.replace(names, Instant::now().into_std());
        for (name, targets) in &self.targets {
            let addresses = self.schedule.addresses(name);
            if !addresses.is_empty() {
                publish(targets, addresses);
            }
        }
    }

    fn finish(&mut self, name: &Arc<str>, outcome: Result<Answer, String>) {
        let moment = Moment { now: Instant::now().into_std(), chance: fastrand::f64() };
        let change = self.schedule.finish(name, outcome, moment);
        let targets = self.targets.get(name).map_or(&[][..], Vec::as_slice);
        match change {
            Change::Publish => publish(targets, self.schedule.addresses(name)),
            Change::Failed(reason) => targets.iter().for_each(|target| target.failed(&reason)),
            Change::Same | Change::Unwanted => {}
        }
    }
}

fn publish(targets: &[Arc<dyn ResolveTarget>], addresses: &[IpAddr]) {
    for target in targets {
        let port = target.name().1;
        let joined: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        target.publish(&joined);
    }
}

/// The look-ups that are under way; the schedule bounds their number.
struct Running<L> {
    lookup: Arc<L>,
    tasks: JoinSet<Result<Answer, String>>,
    names: HashMap<task::Id, Arc<str>>,
}

impl<L: Lookup> Running<L> {
    fn new(lookup: Arc<L>) -> Running<L> {
        Running { lookup, tasks: JoinSet::new(), names: HashMap::new() }
    }

    fn start(&mut self, name: Arc<str>) {
        let lookup = Arc::clone(&self.lookup);
        let wanted = Arc::clone(&name);
        let task = self.tasks.spawn(async move {
            let found = timeout(LOOKUP_TIMEOUT, lookup.look_up(&wanted)).await;
            found.unwrap_or_else(|_| Err("no answer in time".to_owned()))
        });
        self.names.insert(task.id(), name);
    }

    /// The next look-up to end; `None` if none is running. A panic in one counts as its failure.
    async fn next(&mut self) -> Option<(Arc<str>, Result<Answer, String>)> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (JoinError::id(&error), Err(format!("the look-up broke: {error}"))),
        };
        Some((self.names.remove(&id)?, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::mpsc;

    /// Calls to targets that a test may leave unread.
    const MAX_CALLS: usize = 64;

    /// Answers from a table; counts calls.
    #[derive(Default)]
    struct FakeLookup {
        table: Mutex<HashMap<String, Result<Answer, String>>>,
        calls: AtomicUsize,
    }

    impl FakeLookup {
        fn set(&self, name: &str, outcome: Result<&[&str], &str>) {
            let answer = |addresses: &[&str]| Answer {
                addresses: addresses.iter().map(|text| text.parse().expect("ip")).collect(),
                ttl: Duration::from_secs(60),
            };
            let outcome = outcome.map(answer).map_err(str::to_owned);
            self.table.lock().expect("table").insert(name.to_owned(), outcome);
        }
    }

    impl Lookup for FakeLookup {
        async fn look_up(&self, name: &str) -> Result<Answer, String> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            assert_ne!(name, "broken", "a look-up that panics");
            if name == "silent" {
                std::future::pending::<()>().await;
            }
            let table = self.table.lock().expect("table");
            table.get(name).cloned().unwrap_or_else(|| Err("no such name".to_owned()))
        }
    }

    /// Reports each call as a line.
    struct FakeTarget {
        host: &'static str,
        port: u16,
        calls: mpsc::Sender<String>,
    }

    impl ResolveTarget for FakeTarget {
        fn name(&self) -> (&str, u16) {
            (self.host, self.port)
        }

        fn publish(&self, addresses: &[SocketAddr]) {
            let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            let _ = self.calls.try_send(format!("{} = {}", self.host, texts.join(" ")));
        }

        fn failed(&self, error: &str) {
            let _ = self.calls.try_send(format!("{} ! {error}", self.host));
        }
    }

    struct Bench {
        lookup: Arc<FakeLookup>,
        sets: watch::Sender<TargetSet>,
        first_answers: Arc<FirstAnswers>,
        calls: mpsc::Receiver<String>,
        sender: mpsc::Sender<String>,
    }

    impl Bench {
        fn new() -> Bench {
            let lookup = Arc::new(FakeLookup::default());
            let (sets, receiver) = watch::channel(TargetSet::default());
            let first_answers = Arc::new(FirstAnswers::default());
            let (sender, calls) = mpsc::channel(MAX_CALLS);
            tokio::spawn(watch_names(lookup.clone(), receiver, first_answers.clone()));
            Bench { lookup, sets, first_answers, calls, sender }
        }

        fn watch(&self, names: &[(&'static str, u16)]) {
            let target = |&(host, port): &(&'static str, u16)| {
                let calls = self.sender.clone();
                Arc::new(FakeTarget { host, port, calls }) as Arc<dyn ResolveTarget>
            };
            let targets = names.iter().map(target).collect();
            self.sets.send_modify(|set| *set = TargetSet { round: set.round + 1, targets });
        }

        async fn called(&mut self, lines: usize) -> Vec<String> {
            let mut called = Vec::new();
            for _ in 0..lines {
                called.push(self.calls.recv().await.expect("a call"));
            }
            called.sort();
            called
        }

        fn complete(&self, round: u64) -> bool {
            self.first_answers.wait(round, Duration::ZERO)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_is_looked_up_once_and_joined_to_the_ports() {
        let mut bench = Bench::new();
        bench.lookup.set("a", Ok(&["10.0.0.2", "10.0.0.1"]));
        bench.watch(&[("a", 80), ("A", 81)]);
        let wanted = ["A = 10.0.0.1:81 10.0.0.2:81", "a = 10.0.0.1:80 10.0.0.2:80"];
        assert_eq!(bench.called(2).await, wanted);
        assert_eq!(bench.lookup.calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_published_when_the_ttl_is_over() {
        let mut bench = Bench::new();
        bench.lookup.set("a", Ok(&["10.0.0.1"]));
        bench.watch(&[("a", 80)]);
        assert_eq!(bench.called(1).await, ["a = 10.0.0.1:80"]);
        let before = Instant::now();
        bench.lookup.set("a", Ok(&["10.0.0.9"]));
        assert_eq!(bench.called(1).await, ["a = 10.0.0.9:80"]);
        let waited = before.elapsed().as_secs_f64();
        assert!((60.0..=66.1).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_and_tried_again() {
        let mut bench = Bench::new();
        bench.watch(&[("a", 80), ("broken", 80), ("silent", 80)]);
        let first = bench.called(2).await;
        assert_eq!(first[0], "a ! no such name");
        assert!(first[1].starts_with("broken ! the look-up broke"));
        assert!(!bench.complete(1), "one name is still silent");
        bench.lookup.set("a", Ok(&["::1"]));
        let mut calls = Vec::new();
        while calls.last().map(String::as_str) != Some("silent ! no answer in time") {
            calls.extend(bench.called(1).await);
        }
        assert!(calls.contains(&"a = [::1]:80".to_owned()), "{calls:?}");
        task::yield_now().await;
        assert!(bench.complete(1));
    }

    #[tokio::test(start_paused = true)]
    async fn replaced_targets_get_known_addresses_at_once() {
        let mut bench = Bench::new();
        bench.lookup.set("a", Ok(&["10.0.0.1"]));
        bench.watch(&[("a", 80)]);
        bench.called(1).await;
        let before = Instant::now();
        bench.watch(&[("a", 90)]);
        assert_eq!(bench.called(1).await, ["a = 10.0.0.1:90"]);
        assert_eq!(bench.lookup.calls.load(Ordering::Relaxed), 1);
        assert_eq!(before.elapsed(), Duration::ZERO);
        task::yield_now().await;
        assert!(bench.complete(2));
        assert!(!bench.complete(3));
    }
}
