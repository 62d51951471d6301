//! Divisions of migrations, when something is in their way.

use super::*;
use crate::migrations::{Divides, Division, Migrations};
use crate::numbers::Numbers;
use evenkeel_core::migration::{CohortKey, Traffic, Wish};
use std::fs;
use std::sync::atomic::AtomicBool;

fn half() -> Division {
    Division {
        from: "a".to_owned(),
        to: "b".to_owned(),
        key: CohortKey::Request,
        seed: 1,
        traffic: Traffic { moved: 5_000, ..Traffic::default() },
        unanswered: Default::default(),
    }
}

impl Bench {
    fn is_divided(&self) -> bool {
        self.server.state().snapshot().plan.routes[0].arms.is_some()
    }
}

#[test]
fn files_that_cannot_be_read_hold_up_nothing_that_leaves_them_alone() {
    let bench = discovering();
    let folder = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("signed");
    let files = [("cert", own.cert.pem()), ("key", own.signing_key.serialize_pem())];
    let files = files.map(|(name, text)| (folder.path().join(name), text));
    let write = || files.iter().for_each(|(file, text)| fs::write(file, text).expect("written"));
    write();
    let [cert, key] = files.each_ref().map(|(file, _)| file.display());
    let secure = format!(
        "[{{ name: s, bind: \"127.0.0.1:0\", \
         tls: {{ certificates: [{{ cert: {cert:?}, key: {key:?} }}] }} }}, {{ name: web"
    );
    bench.write("[{ name: web", &secure);
    bench.reload().expect("files that can be read");
    fs::remove_file(&files[1].0).expect("it is there");
    bench.reload().expect_err("nothing to read");
    bench.steering.divide("r", Some(&half())).expect("it has nothing to do with the key");
    assert!(bench.is_divided());
    bench.edit(weight("b2", 7)).expect("nor has this");
    assert_eq!(bench.find(&["127.0.0.1:8"])[0].added.len(), 1);
    bench.steering.divide("r", None).expect("nor has going back");
    assert!(!bench.is_divided() && bench.backends()[1].1 == 7);
    let back = bench.steering.rollback(3, &Author::named("ben"), None);
    back.expect_err("a text that is read anew needs its files");
    write();
    bench.reload().expect("files that can be read");
    bench.server.stop();
}

/// A road that is blocked for a while.
struct Blocked(Arc<Steering>, AtomicBool);

impl Divides for Blocked {
    fn divide(&self, route: &str, division: Option<&Division>) -> Result<(), String> {
        match self.1.load(Ordering::Relaxed) {
            true => Err("blocked".to_owned()),
            false => self.0.divide(route, division),
        }
    }

    fn promote(&self, route: &str, pool: &str, reason: &str) -> Result<(), String> {
        self.0.promote(route, pool, reason)
    }
}

#[tokio::test]
async fn who_could_not_go_back_tries_again() {
    let bench = Bench::new();
    bench.write(
        "backends: [\"127.0.0.1:3\"]",
        "backends: [\"127.0.0.1:3\"], health: { type: none }",
    );
    bench.reload().expect("valid");
    let road = Arc::new(Blocked(Arc::clone(&bench.steering), AtomicBool::new(false)));
    let numbers = Arc::new(Numbers::new(bench.server.state(), "0"));
    let divides = Arc::<Blocked>::clone(&road);
    let migrations = Migrations::new(numbers, divides, (None, None));
    let text = "name: m\nroute: r\nfrom: a\nto: b\nstages: [{ weight: 50 }]\n".to_owned();
    let plan = Source { name: "plan.yaml".to_owned(), text, format: Format::Yaml };
    migrations.start(plan, "ana").expect("a plan that holds");
    migrations.tick();
    assert!(bench.is_divided());
    road.1.store(true, Ordering::Relaxed);
    migrations.wish("m", Wish::Abort("ana".to_owned())).expect("it is under way");
    assert!(bench.is_divided(), "nothing can be done");
    road.1.store(false, Ordering::Relaxed);
    migrations.tick();
    assert!(!bench.is_divided());
    bench.server.stop();
}
