//! A balancer under a file of its own, and the commands that look at it.

use crate::program::{Program, Shell, get};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what takes a few of the loops' seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// A balancer with one listener.
pub(crate) struct World {
    pub(crate) balancer: Program,
    /// Whose commands ask that balancer.
    pub(crate) shell: Shell,
    /// Of the listener.
    pub(crate) address: String,
    /// Of the admin listener.
    pub(crate) admin: String,
}

impl World {
    pub(crate) fn new(file: &str) -> World {
        World::again(Shell::new(), file)
    }

    /// In a folder where something may have been left.
    pub(crate) fn again(shell: Shell, file: &str) -> World {
        shell.write("config.yaml", file);
        World::start(shell)
    }

    /// As the folder has it.
    pub(crate) fn start(shell: Shell) -> World {
        let mut balancer = shell.start(&["run", "--no-watch"]);
        let event = balancer.event("started");
        let text = |key: &str| event[key].as_str().expect("a text").to_owned();
        let (address, admin) = (text("listeners"), text("admin"));
        let address = address.split_once('=').expect("NAME=ADDRESS").1.to_owned();
        let shell = shell.set("EVENKEEL_ADMIN", &format!("http://{admin}"));
        World { balancer, shell, address, admin }
    }

    /// Killed, and started once more in the same folder.
    pub(crate) fn restarted(self) -> World {
        drop(self.balancer);
        World::start(self.shell)
    }

    /// What a command answers.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let answer = self.shell.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
        answer.json()
    }

    /// Asks until the answer says so.
    pub(crate) fn wait_for(&self, words: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        self.repeat(words, holds, || thread::park_timeout(POLL))
    }

    /// Sends requests until the answer says so.
    pub(crate) fn load_until(&self, words: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        self.repeat(words, holds, || (0..100).for_each(|_| drop(get(&self.address, "/"))))
    }

    fn repeat(
        &self,
        words: &[&str],
        holds: impl Fn(&Value) -> bool,
        meanwhile: impl Fn(),
    ) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            meanwhile();
            let document = self.json(words);
            if holds(&document) {
                return document;
            }
            assert!(Instant::now() < until, "{document:#}");
        }
    }
}
