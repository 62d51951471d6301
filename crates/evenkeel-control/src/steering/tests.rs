mod moves;

use super::*;
use crate::discoverers::{Settled, Settles};
use evenkeel_config::{Format, Overrides};
use evenkeel_core::address::Scheme;
use evenkeel_core::backend::Backend;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::AdminState;
use evenkeel_proxy::log::{Log, LogOptions};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const FILE: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0" }]
routes: [{ name: r, pool: a }]
pools:
  - name: a
    backends: [{ name: b1, address: "127.0.0.1:1" }, { name: b2, address: "127.0.0.1:2" }]
  - { name: b, backends: ["127.0.0.1:3"] }
admin: { bind: "" }
workers: 1
"#;

/// A server that is steered by a text which a test changes.
struct Bench {
    text: Arc<Mutex<String>>,
    steering: Arc<Steering>,
    server: Arc<Server>,
    log: Log,
    file: PathBuf,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        let text = Arc::new(Mutex::new(FILE.to_owned()));
        let told = Arc::clone(&text);
        let read_file = move || {
            let text = told.lock().expect("a text").clone();
            let source = Source { name: "c.yaml".to_owned(), text, format: Format::Yaml };
            Ok(Written { source: Some(source), overrides: Overrides::default() })
        };
        let draft = Draft::read(Box::new(read_file), None).expect("valid");
        let logging = &draft.plan.logging;
        let (format, level) = (logging.format, logging.level);
        let log = Log::start(LogOptions { format, level, file: Some(file.clone()) });
        let log = log.expect("a log");
        let server = Arc::new(Server::start(&draft.plan, &log).expect("free ports"));
        let steering = draft.steer(Arc::clone(&server), log.events());
        Bench { text, steering, server, log, file, _folder: folder }
    }

    fn write(&self, from: &str, to: &str) {
        let mut text = self.text.lock().expect("a text");
        assert!(text.contains(from), "{from}");
        *text = text.replace(from, to);
    }

    fn reload(&self) -> Result<Applied, Rejected> {
        self.steering.reload(&Author::named("test"), None)
    }

    fn edit(&self, edit: Edit) -> Result<Revision, EditError> {
        self.steering.edit(&[edit], &Author::named("ana"), None)
    }

    /// Pool `a` as it is served.
    fn backends(&self) -> Vec<(String, u32, AdminState)> {
        let snapshot = self.server.state().snapshot();
        let backends = snapshot.pools[0].backends.iter();
        backends.map(|it| (it.plan.name.to_string(), it.plan.weight, it.plan.admin)).collect()
    }

    /// The lines of the log with this event; ends the log.
    fn told(self, event: &str) -> Vec<serde_json::Value> {
        self.server.stop();
        self.log.finish();
        let text = std::fs::read_to_string(&self.file).expect("a log");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.filter(|line: &serde_json::Value| line["event"] == event).collect()
    }
}

fn weight(backend: &str, weight: u32) -> Edit {
    Edit::Weight { pool: "a".into(), backend: backend.into(), weight }
}

#[test]
fn a_reload_is_all_or_nothing_and_is_counted() {
    let bench = Bench::new();
    assert!(!bench.reload().expect("the same").changed);
    bench.write("b1, address", "b1, weight: 7, address");
    let applied = bench.reload().expect("valid");
    assert_eq!(applied.changes, ["pools[a].backends[b1].weight: 1 -> 7"]);
    assert_eq!(applied.generation, 2);
    bench.write("weight: 7", "weigth: 8");
    let rejected = bench.reload().expect_err("a typo");
    assert!(rejected.to_string().starts_with("c.yaml:6:"), "{rejected}");
    assert_eq!(bench.backends()[0].1, 7, "what was in force stays");
    let wanted = Reloads { applied: 1, unchanged: 1, rejected: 1, failing: true };
    assert_eq!(bench.steering.reloads(), wanted);
    bench.write("weigth: 8", "weight: 7");
    assert!(!bench.reload().expect("as before").changed);
    assert!(!bench.steering.reloads().failing);
    let revisions = bench.steering.revisions();
    let authors: Vec<_> = revisions.iter().map(|it| (it.id, it.author.as_str())).collect();
    assert_eq!(authors, [(1, "start"), (2, "test")]);
    let told = bench.told("config_rejected");
    assert!(told[0]["error"].as_str().expect("a text").contains("c.yaml:6:"), "{told:?}");
}

#[test]
fn a_port_that_is_taken_changes_nothing() {
    let bench = Bench::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let more = format!("{{ name: more, bind: \"{}\" }}", taken.local_addr().expect("bound"));
    bench.write(
        "[{ name: web, bind: \"127.0.0.1:0\" }]",
        &format!("[{{ bind: \"127.0.0.1:0\" }}, {more}]"),
    );
    let before = bench.server.addresses();
    assert!(matches!(bench.reload(), Err(Rejected::Refused(_))));
    assert_eq!(bench.server.addresses(), before);
    assert_eq!(bench.server.state().generation(), 1);
    drop(taken);
    assert!(bench.reload().expect("free now").changed);
    assert_eq!(bench.server.addresses().len(), 2);
    bench.server.stop();
}

#[test]
fn edits_lie_over_the_file_and_can_be_taken_back() {
    let bench = Bench::new();
    let first = bench.edit(weight("b1", 3)).expect("it is there");
    assert_eq!((first.id, first.author.as_str()), (2, "ana"));
    assert_eq!(first.diff, "pools[a].backends[b1].weight: 1 -> 3");
    bench.edit(weight("b1", 9)).expect("it is there");
    bench.write("workers: 1", "workers: 1\nmetrics: { families: [native] }");
    bench.reload().expect("valid");
    assert_eq!(bench.backends()[0].1, 9, "edits outlive reloads");
    let back = bench.steering.rollback(2, &Author::named("ben"), None).expect("there is one");
    assert_eq!((back.id, back.reason.as_str()), (4, "back to revision 2"));
    assert_eq!(bench.backends()[0].1, 3);
    let again = bench.steering.rollback(2, &Author::named("ben"), None).expect("there is one");
    assert_eq!((again.id, again.diff.as_str()), (5, ""), "the same state is a revision too");
    bench.steering.rollback(1, &Author::named("ben"), None).expect("there is one");
    assert_eq!(bench.backends()[0].1, 1);
    let missing = bench.steering.rollback(77, &Author::named("ben"), None);
    assert_eq!(missing, Err(EditError::NotFound("no revision 77".to_owned())));
    bench.server.stop();
}

#[test]
fn an_edit_that_does_not_hold_changes_nothing() {
    let bench = Bench::new();
    let missing = bench.edit(weight("b7", 3));
    assert_eq!(missing, Err(EditError::NotFound("no backend \"b7\"".to_owned())));
    let wrong = bench.edit(Edit::Strategy { pool: "a".into(), strategy: "nonsense".into() });
    assert!(matches!(wrong, Err(EditError::Invalid(_))), "{wrong:?}");
    let again = NewBackend {
        name: Some("b1".into()),
        address: "127.0.0.1:9".into(),
        weight: None,
        admin: None,
    };
    let again = bench.edit(Edit::AddBackend { pool: "a".into(), backend: again });
    assert!(matches!(again, Err(EditError::Exists(_))), "{again:?}");
    assert_eq!(bench.steering.revisions().len(), 1);
    assert_eq!(bench.server.state().generation(), 1);
    bench.server.stop();
}

#[test]
fn of_two_who_looked_at_the_same_state_one_changes_it() {
    let bench = Bench::new();
    let seen = bench.steering.etag_of_pool("a").expect("a pool");
    let all = bench.steering.configuration().etag().to_owned();
    let by = Author::named("ana");
    let edit = |edit: Edit, etag: &str| bench.steering.edit(&[edit], &by, Some(etag));
    edit(Edit::Strategy { pool: "b".into(), strategy: "random".into() }, &all).expect("fresh");
    edit(weight("b1", 2), &format!("\"{seen}\"")).expect("the other pool is another matter");
    let current = bench.steering.etag_of_pool("a").expect("a pool");
    assert_eq!(edit(weight("b1", 5), &seen), Err(EditError::Stale { current: current.clone() }));
    assert!(matches!(edit(weight("b1", 5), &all), Err(EditError::Stale { .. })));
    edit(weight("b1", 5), &format!("\"{seen}\", \"{current}\"")).expect("one of them is of now");
    assert_eq!(bench.backends()[0].1, 5);
    let back = |etag: &str| bench.steering.rollback(1, &by, Some(etag));
    assert!(matches!(back(&all), Err(EditError::Stale { .. })));
    assert_eq!(bench.backends()[0].1, 5);
    back(bench.steering.configuration().etag()).expect("looked again");
    assert_eq!(bench.backends()[0].1, 1);
    bench.server.stop();
}

#[test]
fn what_vanished_from_the_file_is_a_conflict_that_is_told() {
    let bench = Bench::new();
    bench.edit(weight("b2", 4)).expect("it is there");
    bench.write(", { name: b2, address: \"127.0.0.1:2\" }", "");
    let preview = bench.steering.preview(None).expect("valid");
    assert_eq!(preview.conflicts.len(), 1);
    assert_eq!(preview.touched.backends, ["a/b2"]);
    let applied = bench.reload().expect("valid all the same");
    assert_eq!(applied.conflicts.len(), 1);
    assert_eq!(bench.steering.configuration().conflicts, applied.conflicts);
    let told = bench.told("config_conflict");
    assert_eq!(told[0]["conflict"], "weight of a/b2 is 4: no backend \"b2\"");
}

#[test]
fn adjustments_are_no_revisions_and_end_with_an_edit_by_hand() {
    let bench = Bench::new();
    let split = |n: u32| Edit::Split {
        route: "r".into(),
        arms: vec![("a".into(), 100 - n), ("b".into(), n)],
    };
    let arms = || bench.server.state().snapshot().plan.routes[0].split.clone();
    bench.steering.adjust(&[split(5)]).expect("both are there");
    bench.steering.adjust(&[split(25)]).expect("both are there");
    assert_eq!(arms(), [(0, 75), (1, 25)]);
    assert_eq!(bench.steering.revisions().len(), 1);
    bench.edit(Edit::RoutePool { route: "r".into(), pool: "b".into() }).expect("it is there");
    assert_eq!(arms(), [(1, 1)]);
    bench.server.stop();
}

#[test]
fn going_back_keeps_what_an_autoscaler_has_added_and_lets_drain_what_it_removed() {
    use crate::autoscalers::Grows;
    let bench = Bench::new();
    let names = || bench.backends().into_iter().map(|it| (it.0, it.2)).collect::<Vec<_>>();
    let served = |names: &[(&str, AdminState)]| -> Vec<(String, AdminState)> {
        names.iter().map(|(name, admin)| ((*name).to_owned(), *admin)).collect()
    };
    let (on, off) = (AdminState::Enabled, AdminState::Draining);
    bench.edit(weight("b1", 3)).expect("it is there");
    bench.steering.add("a", "a-auto-1", "127.0.0.1:7").expect("new");
    bench.steering.add("a", "a-auto-2", "127.0.0.1:8").expect("new");
    let drain = Duration::from_secs(30);
    bench.steering.remove("a", "a-auto-2", drain).expect("it is there");
    let all = [("b1", on), ("b2", on), ("a-auto-1", on), ("a-auto-2", off)];
    assert_eq!(names(), served(&all));
    bench.steering.rollback(1, &Author::named("ben"), None).expect("there is one");
    assert_eq!(names(), served(&all));
    assert_eq!(bench.backends()[0].1, 1, "it went back");
    let mut grown = bench.steering.grown("a");
    grown.sort();
    assert_eq!(grown, ["a-auto-1", "a-auto-2"]);
    bench.steering.tick(Instant::now());
    assert_eq!(names(), served(&all[..3]), "it has drained");
    // What a person had removed comes back for good, whatever still drained.
    let remove = Edit::RemoveBackend { pool: "a".into(), backend: "b2".into(), drain };
    bench.edit(remove).expect("it is there");
    bench.steering.rollback(1, &Author::named("ben"), None).expect("there is one");
    bench.steering.tick(Instant::now());
    assert_eq!(names(), served(&all[..3]));
    bench.server.stop();
}

#[test]
fn a_removed_backend_is_there_until_nothing_runs_on_it() {
    let bench = Bench::new();
    let (at_once, in_time) = (Duration::ZERO, Duration::from_secs(30));
    let remove = |backend: &str, drain| {
        bench.edit(Edit::RemoveBackend { pool: "a".into(), backend: backend.into(), drain })
    };
    remove("b1", in_time).expect("it is there");
    assert_eq!(bench.backends()[0].2, AdminState::Draining);
    for ticks in 0..2 {
        for drain in [at_once, in_time] {
            let last = remove("b2", drain);
            assert!(matches!(last, Err(EditError::Invalid(_))), "{ticks} {drain:?}: {last:?}");
        }
        let kept = |it: &(String, u32, AdminState)| it.2 == AdminState::Enabled && it.0 == "b2";
        assert_eq!(bench.backends().iter().filter(|it| kept(it)).count(), 1);
        bench.steering.tick(Instant::now());
        let names: Vec<_> = bench.backends().into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["b2"]);
    }
    assert_eq!(bench.steering.revisions().len(), 2);
    bench.edit(weight("b2", 3)).expect("it is there");
    bench.server.stop();
}

#[test]
fn backends_that_come_and_go_leave_no_edits_and_no_claim_on_their_name() {
    use crate::autoscalers::Grows;
    let bench = Bench::new();
    let names = || bench.backends().into_iter().map(|it| it.0).collect::<Vec<_>>();
    let remove = |drain| Edit::RemoveBackend { pool: "a".into(), backend: "b3".into(), drain };
    let backend = NewBackend {
        name: Some("b3".into()),
        address: "127.0.0.1:9".into(),
        weight: None,
        admin: None,
    };
    let add = Edit::AddBackend { pool: "a".into(), backend };
    let drain = Duration::from_secs(30);
    for drain in [Duration::ZERO, drain] {
        bench.edit(add.clone()).expect("it is new");
        bench.edit(weight("b3", 7)).expect("it is there");
        bench.edit(remove(drain)).expect("it is there");
        bench.steering.tick(Instant::now());
        assert_eq!(names(), ["b1", "b2"]);
        assert_eq!(bench.steering.configuration().edits, 0);
    }
    bench.edit(add.clone()).expect("it is new");
    bench.edit(remove(drain)).expect("it is there");
    bench.edit(remove(Duration::ZERO)).expect("it drains");
    assert_eq!(names(), ["b1", "b2"], "it goes at once");
    for round in 0..3 {
        bench.steering.add("a", "a-auto-1", "127.0.0.1:7").expect("new");
        bench.steering.remove("a", "a-auto-1", drain).expect("it is there");
        bench.steering.tick(Instant::now());
        assert_eq!(bench.steering.lock_course().state.adjusted, [], "{round}");
    }
    bench.write("127.0.0.1:2\" }", "127.0.0.1:2\" }, { name: b3, address: \"127.0.0.1:9\" }");
    let applied = bench.reload().expect("valid");
    assert_eq!(
        (names(), applied.conflicts.len()),
        (vec!["b1".into(), "b2".into(), "b3".into()], 0)
    );
    bench.write(", { name: b3, address: \"127.0.0.1:9\" }", "");
    bench.reload().expect("valid");
    bench.edit(add.clone()).expect("it is new");
    bench.write("127.0.0.1:2\" }", "127.0.0.1:2\" }, { name: b3, address: \"127.0.0.1:9\" }");
    bench.reload().expect("the file has taken it up");
    assert!(matches!(bench.edit(add), Err(EditError::Exists(_))));
    bench.edit(remove(Duration::ZERO)).expect("it is there");
    assert_eq!(names(), ["b1", "b2"], "that of the file goes too");
    assert!(bench.told("config_conflict").is_empty());
}

#[test]
fn what_an_autoscaler_added_can_be_edited_while_it_is_there() {
    use crate::autoscalers::Grows;
    let bench = Bench::new();
    bench.steering.add("a", "a-auto-1", "127.0.0.1:7").expect("new");
    let admin = AdminState::Draining;
    let drain = Edit::Admin { pool: "a".into(), backend: "a-auto-1".into(), admin };
    bench.edit(weight("a-auto-1", 4)).expect("it is there");
    bench.edit(drain).expect("it is there");
    assert_eq!(bench.backends()[2], ("a-auto-1".into(), 4, AdminState::Draining));
    let remove =
        Edit::RemoveBackend { pool: "a".into(), backend: "a-auto-1".into(), drain: Duration::ZERO };
    let refused = bench.edit(remove).expect_err("it answers for it").to_string();
    assert!(refused.contains("drain or disable it instead"), "{refused}");
    bench.steering.remove("a", "a-auto-1", Duration::from_secs(30)).expect("it is there");
    bench.steering.tick(Instant::now());
    bench.steering.add("a", "a-auto-1", "127.0.0.1:8").expect("another one");
    assert_eq!(bench.backends()[2], ("a-auto-1".into(), 1, AdminState::Enabled));
    assert_eq!(bench.steering.configuration().edits, 0);
    bench.server.stop();
}

#[test]
fn a_preview_changes_nothing_and_counts_what_goes() {
    let bench = Bench::new();
    let text =
        FILE.replace("name: web, bind: \"127.0.0.1:0\"", "name: other, bind: \"127.0.0.1:0\"");
    let source = Source { name: "new.yaml".into(), text, format: Format::Yaml };
    let preview = bench.steering.preview(Some(source)).expect("valid");
    let lines: Vec<String> = preview.changes.iter().map(ToString::to_string).collect();
    assert!(lines.iter().any(|line| line.starts_with("+ listeners[other]: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("- listeners[web]: ")), "{lines:?}");
    assert_eq!(preview.touched.listeners, ["web"]);
    assert_eq!(bench.server.state().generation(), 1);
    let source = Source { name: "bad.yaml".into(), text: "nonsense".into(), format: Format::Yaml };
    assert!(matches!(bench.steering.preview(Some(source)), Err(Rejected::Invalid(_))));
    bench.server.stop();
}

/// The bench with a pool that discovers; what it has of that pool.
fn discovering() -> Bench {
    let bench = Bench::new();
    let pool = "{ name: b, backends: [\"127.0.0.1:3\"] }";
    let discovers = "{ name: b, backends: [\"127.0.0.1:3\"], discovery: { type: file, path: t } }";
    bench.write(pool, discovers);
    bench.reload().expect("valid");
    bench
}

impl Bench {
    fn find(&self, addresses: &[&str]) -> Vec<Settled> {
        let found = addresses.iter().map(|it| Found::at(it, Scheme::Http).expect(it)).collect();
        self.steering.settle(&Finds::from([("b".to_owned(), found)])).expect("valid")
    }

    /// Pool `b` as it is served.
    fn found(&self) -> Vec<String> {
        let snapshot = self.server.state().snapshot();
        let backends = snapshot.pools[1].backends.iter();
        let show =
            |it: &Arc<Backend>| format!("{} {} {:?}", it.plan.name, it.plan.weight, it.plan.admin);
        backends.map(show).collect()
    }
}

#[test]
fn what_is_found_is_a_layer_of_its_own_and_no_revision() {
    let bench = discovering();
    let revisions = bench.steering.revisions().len();
    let settled = bench.find(&["127.0.0.1:4", "127.0.0.1:5"]);
    assert_eq!(settled[0].added, ["127.0.0.1:4", "127.0.0.1:5"]);
    let on = |port: u16| format!("127.0.0.1:{port} 1 Enabled");
    assert_eq!(bench.found(), [on(3), on(4), on(5)]);
    assert_eq!(bench.steering.revisions().len(), revisions);
    let sources = bench.steering.sources();
    let source = |name: &str| sources.of(&("b".to_owned(), name.to_owned()));
    assert_eq!(source("127.0.0.1:4"), evenkeel_api::Source::Discovery);
    assert_eq!(source("127.0.0.1:3"), evenkeel_api::Source::Config);
    let shown = bench.steering.configuration();
    assert_eq!(shown.json()["pools"][1]["backends"][2]["name"], "127.0.0.1:5");
    bench.write("workers: 1", "workers: 1\nmetrics: { families: [native] }");
    bench.reload().expect("valid");
    assert_eq!(bench.found(), [on(3), on(4), on(5)], "a reload keeps it");
    bench.steering.rollback(1, &Author::named("ben"), None).expect("there is one");
    assert_eq!(bench.found(), [on(3)], "that pool discovered nothing");
    bench.reload().expect("valid");
    assert_eq!(bench.found(), [on(3), on(4), on(5)]);
    bench.server.stop();
}

#[test]
fn edits_of_what_is_found_last_while_it_is_there() {
    let bench = discovering();
    bench.find(&["127.0.0.1:4", "127.0.0.1:5"]);
    let (pool, backend) = ("b".to_owned(), "127.0.0.1:4".to_owned());
    let weight = Edit::Weight { pool: pool.clone(), backend: backend.clone(), weight: 7 };
    bench.edit(weight).expect("it is there");
    bench.find(&["127.0.0.1:4", "127.0.0.1:6"]);
    assert_eq!(
        bench.found()[1..],
        ["127.0.0.1:4 7 Enabled", "127.0.0.1:6 1 Enabled", "127.0.0.1:5 1 Draining"]
    );
    let remove = Edit::RemoveBackend { pool, backend, drain: Duration::ZERO };
    let refused = bench.edit(remove).expect_err("it would come back").to_string();
    assert!(refused.contains("disable it instead"), "{refused}");
    bench.steering.tick(Instant::now());
    assert_eq!(bench.found()[1..], ["127.0.0.1:4 7 Enabled", "127.0.0.1:6 1 Enabled"]);
    bench.find(&["127.0.0.1:6"]);
    bench.find(&["127.0.0.1:4", "127.0.0.1:6"]);
    assert_eq!(bench.found()[1], "127.0.0.1:4 1 Enabled", "the same address is another backend");
    bench.steering.tick(Instant::now());
    assert_eq!(bench.found().len(), 3, "who is back does not leave");
    bench.server.stop();
}

#[test]
fn what_was_found_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = FILE.replace(
        "- { name: b, backends: [\"127.0.0.1:3\"] }",
        "- { name: b, backends: [], discovery: { type: file, path: t } }",
    );
    let text = format!("{text}state_dir: {}\n", folder.path().display());
    let draft = || {
        let source = Source { name: "c.yaml".to_owned(), text: text.clone(), format: Format::Yaml };
        let written = Written { source: Some(source), overrides: Overrides::default() };
        Draft::read(Box::new(move || Ok(written.clone())), None).expect("valid")
    };
    let first = draft();
    let log = folder.path().join("log");
    let (format, level) = (first.plan.logging.format, first.plan.logging.level);
    let log = Log::start(LogOptions { format, level, file: Some(log) }).expect("a log");
    let server = Arc::new(Server::start(&first.plan, &log).expect("free ports"));
    let steering = first.steer(Arc::clone(&server), log.events());
    let found = vec![Found::at("127.0.0.1:4", Scheme::Http).expect("one").named("pod")];
    steering.settle(&Finds::from([("b".to_owned(), found.clone())])).expect("valid");
    let backends = |draft: &Draft| draft.plan.pools[1].backends.clone();
    let again = backends(&draft());
    assert_eq!((again.len(), &*again[0].name), (1, "pod"));
    steering.retire();
    let late = steering.settle(&Finds::from([("b".to_owned(), Vec::new())]));
    assert!(late.is_err() && backends(&draft()).len() == 1, "another process finds now");
    std::fs::write(folder.path().join("discovery.json"), "{").expect("written");
    assert_eq!(backends(&draft()).len(), 0, "and nothing stops a start");
    assert!(folder.path().join("discovery.json.unreadable").exists());
    server.stop();
}

#[test]
fn while_another_program_starts_nothing_is_taken_that_it_might_not_see() {
    let bench = Bench::new();
    bench.steering.hold(true);
    bench.write("127.0.0.1:3", "127.0.0.1:4");
    let weight = || Edit::Weight { pool: "a".into(), backend: "b1".into(), weight: 9 };
    let refused = |outcome: Result<Revision, EditError>| {
        let Err(EditError::Refused(why)) = outcome else { return false };
        why.contains("a new program")
    };
    assert!(refused(bench.edit(weight())));
    assert!(refused(bench.steering.rollback(1, &Author::named("ana"), None)));
    assert!(matches!(bench.reload(), Err(Rejected::Refused(_))));
    assert_eq!(bench.steering.reloads().rejected, 0, "it is not the file's fault");
    bench.steering.hold(false);
    assert!(bench.edit(weight()).is_ok());
    assert!(bench.reload().expect("valid").changed);
    assert!(bench.told("config_rejected").is_empty());
}
