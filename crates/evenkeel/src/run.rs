//! `run`: the balancer in the foreground.

use crate::arguments::RunArguments;
use crate::balancer::Balancer;
use crate::handover::Inheritance;
use crate::load::draft;
use crate::output::{self, Tone};
use crate::pid_file::PidFile;
use crate::signals::Signals;
use crate::system::runtime;
use crate::trouble::Trouble;

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), Trouble> {
    let mut inheritance = Inheritance::take()?;
    let draft = draft(arguments, inheritance.state.take().as_deref())?;
    draft.warnings.iter().for_each(|warning| output::say(Tone::Warning, warning));
    runtime()?.block_on(async {
        let mut signals = Signals::install()?;
        let mut balancer = Balancer::start(draft, &mut inheritance)?;
        // Before the process before this one is told, so that there is no moment without one.
        let _pid_file = arguments.pid_file.as_deref().map(PidFile::write).transpose()?;
        balancer.relieve(inheritance);
        if !arguments.no_watch {
            balancer.watch_file()?;
        }
        if output::someone_reads() {
            output::say(Tone::Ready, invitation(&balancer));
        }
        balancer.serve(&mut signals).await;
        Ok(())
    })
}

fn invitation(balancer: &Balancer) -> String {
    let addresses: Vec<String> =
        balancer.addresses().into_iter().map(|(_, address)| address).collect();
    let admin = balancer.admin_address().map(|address| format!("; admin on http://{address}/"));
    let admin = admin.unwrap_or_default();
    format!("serving on {}{admin}; Ctrl-C to stop", addresses.join(", "))
}
