use super::*;
use evenkeel_config::{Format, Overrides, Source, read};
use evenkeel_core::breaker::{BreakerState, Trip};
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets::compile;
use evenkeel_proxy::shared::{Bounds, Shared};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;
use tempfile::TempDir;

const TEXT: &str = "listen: \"127.0.0.1:0\"\nbackends: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";

/// A process: its ledger in a folder that others had before it.
struct Process {
    ledger: Arc<Ledger>,
    server: Arc<Shared>,
    log: Log,
    lines: PathBuf,
}

impl Process {
    fn of(folder: &TempDir) -> Process {
        let name = "c.yaml".to_owned();
        let source = Source { name, text: TEXT.to_owned(), format: Format::Yaml };
        let configuration = read(Some(&source), &Overrides::default()).expect("it is valid");
        let (plan, _) = configuration.plan();
        let lines = folder.path().join("log");
        let (format, level) = (plan.logging.format, plan.logging.level);
        let log = Log::start(LogOptions { format, level, file: Some(lines.clone()) });
        let log = log.expect("a log");
        let bounds = Bounds { max_clients: 10, workers: 1 };
        let snapshot = compile(plan).expect("no files to read");
        let server = Arc::new(Shared::new(snapshot, bounds, 1, log.events()));
        let numbers = Arc::new(Numbers::new(Arc::clone(&server), "1"));
        let state = folder.path().join("state");
        let ledger = Ledger::new(numbers, Some(&state), Some(log.events()));
        Process { ledger, server, log, lines }
    }

    fn trip(&self) {
        let pool = Arc::clone(&self.server.snapshot().pools[0]);
        let breaker = &pool.backends[0].breaker;
        let trip = Trip::Consecutive(5);
        assert!(breaker.eject(&pool.plan.breaker, self.server.now(), trip, 0.0).is_some());
    }

    fn breaker(&self) -> BreakerState {
        self.server.snapshot().pools[0].backends[0].breaker.state()
    }

    /// Whether an event of this name was told; ends the log.
    fn told(self, event: &str) -> bool {
        self.log.finish();
        fs::read_to_string(&self.lines).expect("a log").contains(event)
    }
}

fn verdicts_of(folder: &TempDir) -> PathBuf {
    folder.path().join("state").join(VERDICTS)
}

fn age(file: &Path, age: Duration) {
    let file = File::options().write(true).open(file).expect("it is there");
    file.set_modified(SystemTime::now() - age).expect("its own file");
}

#[test]
fn a_restart_knows_whose_breaker_was_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = Process::of(&folder);
    before.trip();
    before.ledger.save();
    let after = Process::of(&folder);
    after.ledger.restore();
    assert_eq!(after.breaker(), BreakerState::Open);
    assert!(after.told("verdicts_taken_up"));
}

#[test]
fn a_file_that_still_holds_is_touched_and_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::of(&folder);
    process.trip();
    process.ledger.save();
    let file = verdicts_of(&folder);
    let text = fs::read_to_string(&file).expect("written");
    fs::write(&file, "somebody else's").expect("its own file");
    age(&file, 2 * FRESH);
    process.ledger.save();
    assert_eq!(fs::read_to_string(&file).expect("there"), "somebody else's");
    assert!(process.ledger.lock().verdicts.is_younger_than(FRESH));
    fs::remove_file(&file).expect("its own file");
    process.ledger.save();
    let again = fs::read_to_string(&file).expect("written");
    assert_eq!(again.len(), text.len(), "the same state");
}

#[test]
fn an_old_file_says_who_waits_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = Process::of(&folder);
    before.trip();
    before.ledger.save();
    age(&verdicts_of(&folder), 2 * FRESH);
    let after = Process::of(&folder);
    after.ledger.restore();
    assert_eq!(after.breaker(), BreakerState::Open, "its wait is not over");
    assert!(after.told("state_stale"));
}

#[test]
fn what_is_no_file_of_verdicts_is_told_and_kept_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("state")).expect("a folder");
    fs::write(verdicts_of(&folder), "{\"version\":1,\"backends\":[{}]}").expect("written");
    let process = Process::of(&folder);
    process.ledger.restore();
    assert!(folder.path().join("state/verdicts.json.unreadable").exists());
    assert!(process.told("state_unreadable"));
}

#[test]
fn a_successor_knows_it_and_one_that_cannot_read_it_counts_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = Process::of(&folder);
    before.trip();
    let text = before.ledger.leave();
    assert!(!text.contains(&b'\n'));
    let other = tempfile::tempdir().expect("a folder");
    let after = Process::of(&other);
    after.ledger.begin_with(&text).expect("our own");
    assert_eq!(after.breaker(), BreakerState::Open);
    before.ledger.save();
    assert!(!verdicts_of(&folder).exists(), "it is another process's file");
    let text = String::from_utf8(text).expect("JSON");
    let odd = text.replace("\"open_until\":", "\"open_until\":\"x\",\"_\":");
    let process = Process::of(&folder);
    let error = process.ledger.begin_with(odd.as_bytes()).expect_err("no time");
    assert!(error.starts_with("verdicts: "), "{error}");
    assert_eq!(process.breaker(), BreakerState::Closed);
    let without = Carried::default().to_text();
    process.ledger.begin_with(&without).expect("an older program's");
}
