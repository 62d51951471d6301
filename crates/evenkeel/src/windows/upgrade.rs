//! `upgrade`: sockets are not handed over here.

use crate::arguments::UpgradeArguments;
use crate::trouble::Trouble;
use std::process::ExitCode;

/// Says why not.
pub(crate) fn run(arguments: &UpgradeArguments) -> Result<ExitCode, Trouble> {
    let UpgradeArguments { look, pid_file, timeout } = arguments;
    // Whichever process is meant, and however long there is.
    let _ = (look.json, pid_file, timeout);
    let why = "sockets are not handed over on Windows; stop evenkeel and start the new program";
    Err(Trouble::CannotStart(why.to_owned()))
}
