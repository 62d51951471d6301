//! What discovery finds: a layer between file and edits, which is no revision and is written down
//! by itself, so that a start need not wait for those who are asked.

use super::keep::Worry;
use super::{Course, Edit, EditError, InForce, Leaving, State, Steering};
use crate::discoverers::{Settled, Settles};
use crate::state_file;
use evenkeel_config::Configuration;
use evenkeel_core::address::BackendAddress;
use evenkeel_core::discovery::{Finds, Found, gone};
use evenkeel_core::plan::{AdminState, DiscoveryPlan};
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const FILE: &str = "discovery.json";
/// Of the file's form; another one is not read.
const VERSION: u64 = 1;
/// Backends of all pools that are read from the file.
const MAX_KEPT: usize = 100_000;

/// What was found, with those who leave: they are there, and drain.
pub(super) fn with_leaving<'a>(found: &'a Arc<Finds>, leaving: &[Leaving]) -> Cow<'a, Finds> {
    let mut all = Cow::Borrowed(&**found);
    for it in leaving {
        if let Some(one) = &it.found {
            let one = Found { admin: AdminState::Draining, ..one.clone() };
            all.to_mut().entry(it.pool.clone()).or_default().push(one);
        }
    }
    all
}

/// Where what was found is kept.
pub(super) struct KeptFinds {
    /// `None` without `state_dir`, or if what is there must not be overwritten.
    file: Option<PathBuf>,
}

impl KeptFinds {
    pub(super) fn of(configuration: &Configuration) -> KeptFinds {
        let json = configuration.to_json();
        let folder = json["state_dir"].as_str().filter(|folder| !folder.is_empty());
        let file = folder.map(|folder| PathBuf::from(folder).join(FILE));
        KeptFinds { file }
    }

    fn worry(&self, event: &'static str, error: String) -> Worry {
        let file = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        Worry { event, file, error }
    }

    /// What the process before this one has handed over, or else what is in the file; one that
    /// cannot be read is set aside.
    pub(super) fn take_up(&mut self, handed: Option<Json>) -> (Finds, Vec<Worry>) {
        let mut worries = Vec::new();
        match handed.map(|json| from_json(&json)) {
            Some(Ok(finds)) => return (finds, worries),
            Some(Err(error)) => {
                let error = format!("what was handed over is not taken up: {error}");
                worries.push(self.worry("state_unreadable", error));
            }
            None => {}
        }
        let (finds, worry) = self.read();
        worries.extend(worry);
        (finds, worries)
    }

    fn read(&mut self) -> (Finds, Option<Worry>) {
        let Some(file) = &self.file else { return (Finds::new(), None) };
        let read = state_file::read(file).map_err(|error| error.to_string());
        let error = match read.map(|text| text.map(|text| parse(&text))) {
            Ok(None) => return (Finds::new(), None),
            Ok(Some(Ok(finds))) => return (finds, None),
            Ok(Some(Err(error))) | Err(error) => error,
        };
        let aside = state_file::set_aside(file);
        let fate = match &aside {
            Ok(aside) => format!("kept as {}", aside.display()),
            Err(problem) => format!("left alone, and nothing is kept from now on: {problem}"),
        };
        let worry = self.worry("state_unreadable", format!("{error}; {fate}"));
        if aside.is_err() {
            self.file = None;
        }
        (Finds::new(), Some(worry))
    }

    fn write(&self, finds: &Finds) -> Result<(), Worry> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = state_file::write(file, to_json(finds).to_string().as_bytes());
        written.map_err(|error| self.worry("state_not_kept", error.to_string()))
    }
}

pub(super) fn to_json(finds: &Finds) -> Json {
    let backend = |it: &Found| {
        let admin = it.admin == AdminState::Enabled;
        json!({
            "name": it.name,
            "address": &*it.address.text,
            "weight": it.weight,
            "enabled": admin,
        })
    };
    let pool = |(name, found): (&String, &Vec<Found>)| {
        (name.clone(), Json::Array(found.iter().map(backend).collect()))
    };
    let pools: serde_json::Map<String, Json> = finds.iter().map(pool).collect();
    json!({ "version": VERSION, "pools": pools })
}

fn parse(text: &[u8]) -> Result<Finds, String> {
    let json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    from_json(&json)
}

fn from_json(json: &Json) -> Result<Finds, String> {
    match json["version"].as_u64() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("written in form {other}, not {VERSION}")),
        None => return Err("it has no `version`".to_owned()),
    }
    let pools = json["pools"].as_object().ok_or("it has no `pools`")?;
    let mut finds = Finds::new();
    let mut count = 0;
    for (pool, backends) in pools {
        let mut found = Vec::new();
        for it in backends.as_array().ok_or_else(|| format!("{pool}: no list"))? {
            count += 1;
            if count > MAX_KEPT {
                return Err(format!("more than {MAX_KEPT} backends"));
            }
            let text = it["address"].as_str().unwrap_or_default();
            let address = BackendAddress::parse(text).map_err(|why| format!("{pool}: {why}"))?;
            let weight = it["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok());
            let enabled = it["enabled"].as_bool() != Some(false);
            let admin = if enabled { AdminState::Enabled } else { AdminState::Disabled };
            let (name, weight) = (address.default_name(), weight.unwrap_or(1));
            let one = Found { name, address, weight: 1, admin };
            found.push(one.named(it["name"].as_str().unwrap_or_default()).weighing(weight));
        }
        finds.insert(pool.clone(), found);
    }
    Ok(finds)
}

/// Changes of weight and wish are for a backend for as long as it is there.
fn is_about(edit: &Edit, of: &str, gone: &[&Found]) -> bool {
    match edit {
        Edit::Weight { pool, backend, .. } | Edit::Admin { pool, backend, .. } => {
            pool == of && gone.iter().any(|it| it.name == *backend)
        }
        Edit::Strategy { .. }
        | Edit::AddBackend { .. }
        | Edit::RemoveBackend { .. }
        | Edit::Split { .. }
        | Edit::RoutePool { .. } => false,
    }
}

impl Settles for Steering {
    fn wanted(&self) -> Vec<(Arc<str>, DiscoveryPlan)> {
        let plan = Arc::clone(&self.in_force.load().plan);
        let wanted = |pool: &evenkeel_core::plan::PoolPlan| {
            Some((Arc::clone(&pool.name), pool.discovery.clone()?))
        };
        plan.pools.iter().filter_map(wanted).collect()
    }

    fn known(&self, pool: &str) -> Vec<Found> {
        self.lock_course().state.found.get(pool).cloned().unwrap_or_default()
    }

    fn settle(&self, sets: &Finds) -> Result<Vec<Settled>, String> {
        self.steer(|course| self.settle_in(course, sets))
    }
}

impl Steering {
    fn settle_in(&self, course: &mut Course, sets: &Finds) -> Result<Vec<Settled>, String> {
        let wanted = self.wanted();
        let mut next = course.state.clone();
        let mut found = Finds::clone(&next.found);
        // What a pool had that discovers no more is of no use to anybody.
        found.retain(|pool, _| wanted.iter().any(|(name, _)| **name == **pool));
        let leaving_before = course.leaving.clone();
        let (now, mut settled) = (Instant::now(), Vec::new());
        for (pool, set) in sets {
            let Some((_, plan)) = wanted.iter().find(|(name, _)| **name == **pool) else {
                continue;
            };
            let before = found.insert(pool.clone(), set.clone()).unwrap_or_default();
            let removed = gone(&before, set);
            next.overlay.retain(|edit| !is_about(edit, pool, &removed));
            let is_back = |it: &Leaving| {
                let there = |one: &Found| set.iter().any(|it| it.address == one.address);
                it.pool == *pool && it.found.as_ref().is_some_and(there)
            };
            course.leaving.retain(|it| !is_back(it));
            course.leaving.extend(removed.iter().map(|it| Leaving {
                pool: pool.clone(),
                backend: it.name.clone(),
                until: now + plan.drain_timeout.min(super::MAX_DRAIN),
                found: Some(Found::clone(it)),
            }));
            let names = |all: &[&Found]| all.iter().map(|it| it.name.clone()).collect();
            settled.push(Settled {
                pool: pool.clone(),
                added: names(&gone(set, &before)),
                removed: names(&removed),
            });
        }
        next.found = Arc::new(found);
        if let Err(rejected) = self.change_quietly(course, next) {
            course.leaving = leaving_before;
            return Err(rejected.to_string());
        }
        if let Err(worry) = self.kept_finds.write(&course.state.found) {
            self.tell_worry(&worry);
        }
        Ok(settled)
    }

    /// Nobody can take away what is found again at once, or what an autoscaler answers for.
    pub(super) fn refuse_removal(&self, state: &State, edits: &[Edit]) -> Result<(), EditError> {
        let in_force = self.in_force.load();
        for edit in edits {
            let Edit::RemoveBackend { pool, backend, .. } = edit else { continue };
            let what = if in_force.is_found(pool, backend) {
                "was found by discovery and would come back: disable it instead (admin: disabled), \
                 or take it away where it is found"
            } else if state.has_grown(pool, backend) {
                "belongs to the pool's autoscaler: drain or disable it instead, and lower \
                 `autoscale.min` or `autoscale.max` to have fewer"
            } else {
                continue;
            };
            return Err(EditError::Refused(format!("{pool}/{backend} {what}")));
        }
        Ok(())
    }
}

impl InForce {
    /// True of a backend that is there because it was found.
    pub(crate) fn is_found(&self, pool: &str, backend: &str) -> bool {
        self.found.iter().any(|(of, name)| of == pool && name == backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::address::Scheme;

    #[test]
    fn what_is_written_is_read_again() {
        let one = Found::at("https://10.0.0.1:1", Scheme::Http).unwrap().named("pod").weighing(7);
        let other =
            Found { admin: AdminState::Disabled, ..Found::at("b:1", Scheme::Http).unwrap() };
        let finds = Finds::from([("a".to_owned(), vec![one, other]), ("b".to_owned(), Vec::new())]);
        assert_eq!(parse(to_json(&finds).to_string().as_bytes()), Ok(finds));
    }

    #[test]
    fn what_makes_no_sense_is_refused_whole() {
        for (text, why) in [
            ("{", "EOF"),
            ("{}", "it has no `version`"),
            ("{\"version\": 2}", "written in form 2, not 1"),
            ("{\"version\": 1}", "it has no `pools`"),
            ("{\"version\": 1, \"pools\": {\"a\": 1}}", "a: no list"),
            ("{\"version\": 1, \"pools\": {\"a\": [{}]}}", "a: \"\" has no"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
