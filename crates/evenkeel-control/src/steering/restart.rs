//! What of a configuration the running process cannot take up by reading the file again, and how
//! the admin listener moves.

use super::{Rejected, Steering};
use crate::control::{NextPlace, Seat};
use evenkeel_core::plan::Plan;
use std::io;
use std::sync::Arc;

impl Steering {
    /// The admin listener sits there, and moves with the configuration from now on.
    pub fn seat_admin(&self, seat: Arc<Seat>) {
        // There is one for the life of a control plane.
        let _ = self.seat.set(seat);
    }

    /// Binds where the plan wants the admin listener; `None` if it stays.
    pub(super) fn next_admin(&self, plan: &Plan) -> Result<Option<NextPlace>, Rejected> {
        let Some(seat) = self.seat.get().filter(|_| self.knows_tokens_of(plan)) else {
            return Ok(None);
        };
        match seat.prepare(plan.admin.bind.as_ref()) {
            // The start would go without it as well; `needs_restart` says so.
            Err(error) if !plan.admin.required && error.kind() == io::ErrorKind::AddrInUse => {
                Ok(None)
            }
            Err(error) => {
                let bind = plan.admin.bind.as_ref().map_or_else(String::new, ToString::to_string);
                Err(Rejected::Refused(format!("admin.bind: cannot listen on {bind}: {error}")))
            }
            Ok(next) => Ok(next),
        }
    }

    /// Answers there from now on.
    pub(super) fn move_admin(&self, next: Option<NextPlace>) -> Option<String> {
        self.seat.get()?.take(next?).err()
    }

    /// Where the admin listener is; empty if it is off.
    pub(super) fn admin_address(&self) -> String {
        self.seat.get().map_or_else(String::new, |seat| seat.address())
    }

    /// Nobody may come in at another place by tokens that were never read.
    fn knows_tokens_of(&self, plan: &Plan) -> bool {
        self.began.admin.tokens_file == plan.admin.tokens_file
    }

    /// What of a plan does not take effect while this process runs, a line for each key: it differs
    /// from what the process began with, or what it needs is not there.
    pub(super) fn needs_restart(&self, plan: &Plan) -> Vec<String> {
        let began = &self.began;
        let mut notes = Vec::new();
        if let Some(wanted) = self.server.other_workers(plan) {
            let running = self.server.worker_count();
            notes.push(format!("workers: {running} run {UNTIL}, not {wanted}"));
        }
        if !self.knows_tokens_of(plan) {
            notes.push(format!("admin.tokens_file: the tokens of the file before count {UNTIL}"));
            if began.admin.bind != plan.admin.bind {
                let why = "when it knows the tokens of the other file";
                notes.push(format!("admin.bind: the admin listener stays {UNTIL}, {why}"));
            }
        }
        if began.state_dir != plan.state_dir {
            notes.push(format!("state_dir: the directory before is used {UNTIL}"));
        }
        if began.pprof != plan.pprof {
            notes.push(format!("debug.pprof: profiles stay where they are {UNTIL}"));
        }
        if began.logging.greeting != plan.logging.greeting {
            notes.push(format!("logging.greeting: not said {UNTIL}"));
        }
        if began.mocks != plan.mocks {
            notes.push(format!("mocks: nothing else is played {UNTIL}"));
        }
        notes
    }

    /// That the admin listener is not where the plan wants it, though it could have moved.
    pub(super) fn misses_admin(&self, plan: &Plan) -> Option<String> {
        let seat = self.seat.get().filter(|_| self.knows_tokens_of(plan))?;
        let wanted = plan.admin.bind.as_ref().filter(|wanted| !seat.is_at(Some(*wanted)))?;
        let why = "it is in use, and admin.required is false: the admin listener stays";
        Some(format!("admin.bind: not {wanted}; {why}"))
    }
}

/// How long what cannot change stays as it is.
const UNTIL: &str = "until a restart or `evenkeel upgrade`";
