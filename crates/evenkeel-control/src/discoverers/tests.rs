use super::*;
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::gone;
use std::path::Path;
use std::sync::Mutex;
use tempfile::TempDir;

/// A configuration that a test changes.
#[derive(Default)]
struct World {
    plans: Mutex<Vec<(Arc<str>, DiscoveryPlan)>>,
    finds: Mutex<Finds>,
    /// Why nothing can be put in force.
    broken: Mutex<Option<String>>,
    /// Times that something was to be put in force.
    tries: Mutex<usize>,
    news: Notify,
}

impl Settles for World {
    fn wanted(&self) -> Vec<(Arc<str>, DiscoveryPlan)> {
        self.plans.lock().unwrap().clone()
    }

    fn known(&self, pool: &str) -> Vec<Found> {
        self.finds.lock().unwrap().get(pool).cloned().unwrap_or_default()
    }

    fn settle(&self, sets: &Finds) -> Result<Vec<Settled>, String> {
        *self.tries.lock().unwrap() += 1;
        self.news.notify_waiters();
        if let Some(why) = &*self.broken.lock().unwrap() {
            return Err(why.clone());
        }
        let mut finds = self.finds.lock().unwrap();
        let names = |all: &[&Found]| all.iter().map(|it| it.name.clone()).collect();
        let settle = |(pool, set): (&String, &Vec<Found>)| {
            let before = finds.insert(pool.clone(), set.clone()).unwrap_or_default();
            let (added, removed) = (names(&gone(set, &before)), names(&gone(&before, set)));
            Settled { pool: pool.clone(), added, removed }
        };
        Ok(sets.iter().map(settle).collect())
    }
}

impl World {
    fn names(&self, pool: &str) -> Vec<String> {
        self.known(pool).into_iter().map(|it| it.name).collect()
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let news = self.news.notified();
            if holds() {
                return;
            }
            news.await;
        }
    }
}

fn plan(path: &Path) -> DiscoveryPlan {
    DiscoveryPlan {
        source: DiscoverySource::File { path: path.to_owned() },
        interval: Duration::from_secs(1),
        allow_empty: false,
        max: 100,
        scheme: Scheme::Http,
        drain_timeout: Duration::from_secs(30),
    }
}

/// Time goes by when nobody has anything to do.
struct Stage {
    world: Arc<World>,
    discoverers: Arc<Discoverers>,
    folder: TempDir,
    running: JoinHandle<()>,
}

impl Stage {
    fn new(files: &[(&str, &str)]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let world = Arc::new(World::default());
        for (pool, text) in files {
            let path = folder.path().join(pool);
            std::fs::write(&path, text).unwrap();
            world.plans.lock().unwrap().push(((*pool).into(), plan(&path)));
        }
        let discoverers = Discoverers::new(Arc::<World>::clone(&world), None);
        let running = tokio::spawn(Arc::clone(&discoverers).run());
        Stage { world, discoverers, folder, running }
    }

    fn write(&self, pool: &str, text: &str) {
        std::fs::write(self.folder.path().join(pool), text).unwrap();
    }

    fn standing(&self, pool: &str) -> Search {
        let all = self.discoverers.standings();
        all.into_iter().find(|(name, _)| **name == *pool).unwrap().1
    }

    async fn has(&self, pool: &str, wanted: &[&str]) {
        self.world.until(|| self.world.names(pool) == wanted).await;
    }

    /// Waits until the discovery of a pool is in trouble that says so.
    async fn is_in_trouble(&self, pool: &str, why: &str) {
        loop {
            let all = self.discoverers.standings();
            let own = all.into_iter().find(|(name, _)| **name == *pool);
            if own.and_then(|(_, it)| it.trouble).is_some_and(|trouble| trouble.contains(why)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_file_names_is_there_and_nonsense_changes_nothing() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\", \"10.0.0.2:1\"]")]);
    let both = ["10.0.0.1:1", "10.0.0.2:1"];
    stage.has("a", &both).await;
    stage.write("a", "[\"10.0.0.2:1\", \"10.0.0.3:1\"]");
    let others = ["10.0.0.2:1", "10.0.0.3:1"];
    stage.has("a", &others).await;
    for (text, why) in [
        ("[\"10.0.0.1:1\", \"10.0.", "a:1:"),
        ("", "is empty"),
        ("[]", "names no backends"),
        ("[\"10.0.0.1\"]", "has no port"),
    ] {
        stage.write("a", text);
        stage.is_in_trouble("a", why).await;
        assert_eq!(stage.world.names("a"), others, "{text}");
        assert!(!stage.standing("a").up);
    }
    std::fs::remove_file(stage.folder.path().join("a")).unwrap();
    stage.is_in_trouble("a", "No such file").await;
    std::fs::create_dir(stage.folder.path().join("a")).unwrap();
    stage.is_in_trouble("a", "is no file").await;
    std::fs::remove_dir(stage.folder.path().join("a")).unwrap();
    assert_eq!(stage.world.names("a"), others);
    stage.write("a", "[\"10.0.0.3:1\"]");
    stage.has("a", &["10.0.0.3:1"]).await;
    let standing = stage.standing("a");
    assert!(standing.trouble.is_none() && standing.confirmed.is_some() && standing.up);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_empties_the_pool_if_it_may() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\"]")]);
    stage.has("a", &["10.0.0.1:1"]).await;
    stage.world.plans.lock().unwrap()[0].1.allow_empty = true;
    stage.discoverers.look_again();
    stage.write("a", "[]");
    stage.has("a", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_is_put_in_force_together() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\"]"), ("b", "[\"10.0.0.2:1\"]")]);
    stage.has("a", &["10.0.0.1:1"]).await;
    assert_eq!(stage.world.names("b"), ["10.0.0.2:1"]);
    assert_eq!(*stage.world.tries.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_in_force_is_tried_again() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\"]")]);
    *stage.world.broken.lock().unwrap() = Some("a certificate is missing".to_owned());
    stage.is_in_trouble("a", "a certificate is missing").await;
    *stage.world.broken.lock().unwrap() = None;
    stage.has("a", &["10.0.0.1:1"]).await;
}

#[tokio::test(start_paused = true)]
async fn another_plan_asks_somebody_else_and_keeps_what_is_known_until_then() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\"]")]);
    stage.has("a", &["10.0.0.1:1"]).await;
    let other = stage.folder.path().join("other");
    stage.world.plans.lock().unwrap()[0].1 = plan(&other);
    stage.discoverers.look_again();
    stage.is_in_trouble("a", "No such file").await;
    assert_eq!(stage.world.names("a"), ["10.0.0.1:1"]);
    assert_eq!(stage.standing("a").backends, 1);
    std::fs::write(other, "[\"10.0.0.9:1\"]").unwrap();
    stage.has("a", &["10.0.0.9:1"]).await;
    stage.world.plans.lock().unwrap().clear();
    stage.discoverers.look_again();
    while !stage.discoverers.standings().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_taken_than_the_plan_allows() {
    let stage = Stage::new(&[("a", "[\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"]")]);
    stage.world.plans.lock().unwrap()[0].1.max = 2;
    stage.has("a", &["10.0.0.1:1", "10.0.0.2:1"]).await;
    assert_eq!(stage.standing("a").left_out, 1);
}

#[test]
fn a_start_waits_for_the_first_answers_but_not_for_ever() {
    let board = Board::new(None);
    let pool: Arc<str> = "a".into();
    board.begin(&pool, "dns", 0);
    board.await_first(["a"].into_iter(), Duration::from_millis(1));
    board.tell(&pool, Told::Failed("nobody".to_owned()));
    board.await_first(["a"].into_iter(), Duration::from_secs(3600));
    board.await_first(std::iter::empty(), Duration::from_secs(3600));
}
