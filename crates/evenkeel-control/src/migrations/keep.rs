//! What outlives the process: the plans as they were given, where they are, and every check.

use super::{Entry, Migrations, complain, report, unix_ms};
use crate::ledger::TimesForm;
use crate::state_file;
use evenkeel_api::MigrationCheck;
use evenkeel_config::{Diagnostics, Format, Source, read_migration};
use evenkeel_core::migration::{Arm, Leg, Migration, Resumed, State, Traffic};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Of the file's form; another one is not read.
const VERSION: u32 = 1;
/// Time that a crash may lose of what a stage has spent.
const EVERY_MS: u64 = 10_000;
/// Checks of before a restart that are kept; of more, the oldest go.
const MAX_CHECKS_BEFORE: usize = 5_000;

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    migrations: Vec<KeptMigration>,
}

#[derive(Serialize, Deserialize)]
struct KeptMigration {
    file: String,
    text: String,
    is_toml: bool,
    name: String,
    state: String,
    stage: usize,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    leg: String,
    elapsed_ms: u64,
    #[serde(default)]
    looks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<ArmForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    started_unix_ms: u64,
    ended_unix_ms: Option<u64>,
    reason: String,
    checks: Vec<MigrationCheck>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_unpromoted: bool,
}

/// What a pool has answered.
#[derive(Serialize, Deserialize)]
struct ArmForm {
    requests: u64,
    errors: u64,
    durations: TimesForm,
}

impl ArmForm {
    fn of(arm: &Arm) -> Option<ArmForm> {
        let Arm { requests, errors, .. } = *arm;
        let durations = TimesForm::of(&arm.durations);
        (requests > 0).then_some(ArmForm { requests, errors, durations })
    }

    fn read(self) -> Option<Arm> {
        let ArmForm { requests, errors, durations } = self;
        let durations = durations.read()?;
        (errors <= requests).then_some(Arm { requests, errors, durations })
    }
}

impl Kept {
    fn check(&self) -> Result<(), String> {
        match self.version {
            VERSION => Ok(()),
            other => Err(format!("written in form {other}, not {VERSION}")),
        }
    }
}

impl Migrations {
    /// True if it is time to write down how long stages have lasted.
    pub(super) fn is_due(&self) -> bool {
        // A clock that was put back must not stop it.
        unix_ms().abs_diff(self.saved_ms.load(Ordering::Relaxed)) >= EVERY_MS
    }

    /// Has everything written down. A disk that refuses is told once for each time.
    pub(crate) fn save(&self) {
        self.saved_ms.store(unix_ms(), Ordering::Relaxed);
        let Some(scribe) = &self.scribe else { return };
        let entries = self.lock();
        // Strings and numbers only: it cannot fail. Handed over before anybody else can say more.
        scribe.write(serde_json::to_vec(&self.to_keep(&entries)).unwrap_or_default());
    }

    /// Writes everything down for the process after this one.
    pub(crate) fn save_last(&self) {
        self.save();
        if let Some(scribe) = &self.scribe {
            scribe.finish();
        }
    }

    /// Everything, for the process after this one.
    pub(crate) fn to_json(&self) -> Value {
        // Strings and numbers only: it cannot fail.
        serde_json::to_value(self.to_keep(&self.lock())).unwrap_or_default()
    }

    fn to_keep(&self, entries: &[Entry]) -> Kept {
        let now = self.numbers.now();
        let kept = |entry: &Entry| {
            let was = entry.machine.to_resume(now);
            KeptMigration {
                file: entry.text.name.clone(),
                text: entry.text.text.clone(),
                is_toml: entry.text.format == Format::Toml,
                name: entry.name().to_owned(),
                state: was.state.as_str().to_owned(),
                stage: was.stage,
                leg: was.leg.as_str().to_owned(),
                looks: was.looks,
                reference: ArmForm::of(&was.reference),
                approved_by: was.approved_by,
                elapsed_ms: u64::try_from(was.elapsed.as_millis()).unwrap_or(u64::MAX),
                started_unix_ms: was.started_unix_ms,
                ended_unix_ms: was.ended_unix_ms,
                reason: was.reason,
                checks: report::checks(entry),
                is_unpromoted: entry.is_unpromoted,
            }
        };
        Kept { version: VERSION, migrations: entries.iter().map(kept).collect() }
    }

    /// Takes up what the process before this one has written down when it went, unless it has said
    /// that itself.
    pub fn restore_again(&self) {
        if self.scribe.is_some() && !self.is_told.load(Ordering::Relaxed) {
            self.lock().clear();
            self.restore();
        }
    }

    /// Takes up what the process before this one says, in place of what it has written down.
    ///
    /// # Errors
    /// It makes no sense.
    pub(crate) fn take_over(&self, said: &Value) -> Result<(), String> {
        let kept = Kept::deserialize(said).map_err(|error| error.to_string())?;
        kept.check()?;
        self.is_told.store(true, Ordering::Relaxed);
        let mut entries = self.lock();
        entries.clear();
        // It has written them down as well: there what cannot be read is told and set aside.
        entries.extend(kept.migrations.into_iter().filter_map(|it| self.taken_up(it).ok()));
        Ok(())
    }

    /// Takes up what is there; what cannot be read is told and set aside.
    pub(super) fn restore(&self) {
        let Some(file) = self.scribe.as_ref().map(|scribe| scribe.file()) else { return };
        let text = match state_file::read(file) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => return self.set_aside(file, &error.to_string()),
        };
        let kept = serde_json::from_slice::<Kept>(&text).map_err(|error| error.to_string());
        let kept = match kept.and_then(|kept| kept.check().map(|()| kept)) {
            Ok(kept) => kept,
            Err(why) => return self.set_aside(file, &why),
        };
        let mut wrong = Vec::new();
        for it in kept.migrations {
            let name = it.name.clone();
            match self.taken_up(it) {
                Ok(entry) => self.lock().push(entry),
                Err(why) => wrong.push(format!("the migration {name:?}: {why}")),
            }
        }
        if !wrong.is_empty() {
            // The others are written down anew, so that nothing is lost.
            self.set_aside(file, &wrong.join("; "));
            self.save();
        }
    }

    fn set_aside(&self, file: &Path, why: &str) {
        let told = (&*file.display().to_string(), &*state_file::fate(file, why));
        complain(self.events.as_ref(), "state_unreadable", told);
    }

    fn taken_up(&self, kept: KeptMigration) -> Result<Entry, String> {
        let format = if kept.is_toml { Format::Toml } else { Format::Yaml };
        let text = Source { name: kept.file, text: kept.text, format };
        let plan = read_migration(&text, kept.started_unix_ms / 1_000);
        let mut plan = plan.map_err(|Diagnostics(wrong)| {
            wrong.first().map_or_else(|| "the plan does not hold".to_owned(), ToString::to_string)
        })?;
        plan.name = kept.name.as_str().into();
        let was = Resumed {
            state: State::parse(&kept.state)
                .ok_or_else(|| format!("there is no state {:?}", kept.state))?,
            stage: kept.stage,
            leg: Leg::parse(&kept.leg).unwrap_or_default(),
            looks: kept.looks,
            // What makes no sense is as if nothing were known.
            reference: kept.reference.and_then(ArmForm::read).unwrap_or_default(),
            approved_by: kept.approved_by,
            elapsed: Duration::from_millis(kept.elapsed_ms),
            started_unix_ms: kept.started_unix_ms,
            ended_unix_ms: kept.ended_unix_ms,
            reason: kept.reason,
        };
        let machine = Migration::resume(plan, was, self.numbers.now());
        let (mut before, is_unpromoted) = (kept.checks, kept.is_unpromoted);
        before.drain(..before.len().saturating_sub(MAX_CHECKS_BEFORE));
        let (division, unanswered) = (Traffic::default(), Default::default());
        let question = None;
        Ok(Entry { text, machine, before, division, unanswered, is_unpromoted, question })
    }
}
