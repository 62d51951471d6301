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

    /// Where the admin listener is; empty if that is no TCP address.
    pub(super) fn admin_address(&self) -> String {
        self.seat.get().map_or_else(String::new, |seat| seat.address())
    }

    /// Nobody may come in at another place by tokens that were never read.
    fn knows_tokens_of(&self, plan: &Plan) -> bool {
        self.began.admin.tokens_file == plan.admin.tokens_file
    }

    /// What cannot change while the process runs, and differs from what it began with.
    pub(super) fn needs_restart(&self, plan: &Plan) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.knows_tokens_of(plan) {
            notes.push("admin.tokens_file: another file is read at the next restart".to_owned());
            if self.began.admin.bind != plan.admin.bind {
                let why = "admin.bind: the admin listener moves at the next restart, when it knows \
                           the tokens of the other file";
                notes.push(why.to_owned());
            }
        }
        if self.began.state_dir != plan.state_dir {
            notes.push("state_dir: another directory is used from the next restart on".to_owned());
        }
        if self.began.pprof != plan.pprof {
            notes.push("debug.pprof: profiles move at the next restart".to_owned());
        }
        notes
    }
}
