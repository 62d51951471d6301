//! What ties processes to this one: a pipe whose writing end only evenkeel holds. The guard of a
//! process reads from it, and ends the process when nobody can write any more, however we ended.
//! In a handover the end goes to the next evenkeel, with the list of what runs.

use super::keep::KeptProcess;
use evenkeel_api::ScaleDecision;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(windows)]
use std::os::windows::io::OwnedHandle as OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What another evenkeel has left of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) pool: String,
    pub(super) processes: Vec<KeptProcess>,
    /// Backends that take traffic: name and address.
    pub(super) backends: Vec<(String, String)>,
    pub(super) course: Course,
}

/// How the scaling of a pool has gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Course {
    /// A person has stopped it.
    pub(super) paused: bool,
    /// The newest last.
    pub(super) decisions: VecDeque<ScaleDecision>,
    /// Decisions by direction, for metrics: up, down.
    pub(super) counts: [u64; 2],
}

/// What ties processes to this one, and what another one has left to it.
#[derive(Default)]
pub struct Ties {
    /// Of guards that we have started ourselves.
    own: Mutex<Option<(PipeReader, PipeWriter)>>,
    /// Of those that were handed over.
    older: Vec<OwnedFd>,
    left: Mutex<Vec<Left>>,
}

/// What the next evenkeel gets.
#[derive(Default)]
pub struct Heritage {
    /// What runs, as a text to be passed on.
    pub processes: Vec<u8>,
    /// What it is tied to.
    pub ties: Vec<OwnedFd>,
}

impl Ties {
    /// What was handed over to this process.
    pub fn inherited(bequest: Heritage) -> Ties {
        // What cannot be read is not ours.
        let left = serde_json::from_slice(&bequest.processes).unwrap_or_default();
        Ties { own: Mutex::default(), older: bequest.ties, left: Mutex::new(left) }
    }

    /// The end that a guard reads from.
    #[cfg_attr(windows, expect(dead_code, reason = "processes are not started there"))]
    pub(super) fn reader(&self) -> io::Result<PipeReader> {
        let mut own = lock(&self.own);
        let pipe = match own.take() {
            Some(pipe) => pipe,
            None => io::pipe()?,
        };
        own.insert(pipe).0.try_clone()
    }

    /// Backends of a pool that another process has left serving; `None` if it has left nothing.
    pub(super) fn serving(&self, pool: &str) -> Option<Vec<(String, String)>> {
        let left = lock(&self.left);
        left.iter().find(|left| left.pool == pool).map(|left| left.backends.clone())
    }

    /// How far another process was with this pool, unless `take_left` was asked before.
    pub(super) fn course(&self, pool: &str) -> Option<Course> {
        let left = lock(&self.left);
        left.iter().find(|left| left.pool == pool).map(|left| left.course.clone())
    }

    /// What another process has left for this pool, once.
    pub(super) fn take_left(&self, pool: &str) -> Option<Vec<KeptProcess>> {
        let mut left = lock(&self.left);
        let at = left.iter().position(|left| left.pool == pool)?;
        Some(left.swap_remove(at).processes)
    }

    /// What another process has left for all other pools than these, once.
    pub(super) fn take_strays(&self, pools: &[&str]) -> Vec<KeptProcess> {
        let mut left = lock(&self.left);
        let strays = left.extract_if(.., |left| !pools.contains(&&*left.pool));
        strays.flat_map(|left| left.processes).collect()
    }

    /// What the next process needs, so that these processes of pools are its own.
    pub(super) fn bequeath(&self, all: &[Left]) -> io::Result<Heritage> {
        let processes = serde_json::to_vec(all)?;
        let own = lock(&self.own);
        let own = own.iter().map(|(_, writer)| writer.try_clone().map(OwnedFd::from));
        let all = own.chain(self.older.iter().map(OwnedFd::try_clone));
        let ties = all.collect::<io::Result<_>>()?;
        Ok(Heritage { processes, ties })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_tie_holds_until_the_last_of_those_who_have_it_is_gone() {
        let ties = Ties::default();
        let mut reader = ties.reader().unwrap();
        let name = "web-auto-1".to_owned();
        let backends = vec![(name.clone(), "127.0.0.1:20001".to_owned())];
        let address = Some("127.0.0.1:20001".to_owned());
        let kept =
            vec![KeptProcess { name, pid: 7, port: 20_001, address, began: 9, serving: true }];
        let course = Course { paused: true, counts: [3, 1], ..Course::default() };
        let left = Left {
            pool: "web".to_owned(),
            processes: kept.clone(),
            backends,
            course: course.clone(),
        };
        let bequest = ties.bequeath(std::slice::from_ref(&left)).unwrap();
        let next = Ties::inherited(bequest);
        let last = Ties::inherited(next.bequeath(&[]).unwrap());
        assert_eq!(next.serving("web"), Some(left.backends));
        assert_eq!(next.take_left("other"), None);
        assert_eq!(next.take_strays(&["web"]), []);
        assert_eq!(next.course("web"), Some(course));
        assert_eq!(next.take_left("web"), Some(kept));
        assert_eq!(next.take_left("web"), None, "once");
        drop((ties, next));
        let (said, heard) = std::sync::mpsc::sync_channel(1);
        let reading = std::thread::spawn(move || {
            let read = reader.read(&mut [0]);
            said.send(()).unwrap();
            read.unwrap()
        });
        assert!(heard.try_recv().is_err(), "one still has it");
        drop(last);
        assert_eq!(reading.join().unwrap(), 0, "the end");
    }
}
