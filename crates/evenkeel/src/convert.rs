//! `convert`: any accepted configuration file in the native form.

use crate::arguments::{ConvertArguments, TextForm};
use crate::load;
use crate::output::{self, Tone, print};
use crate::trouble::Trouble;
use evenkeel_config::Format;

/// Prints the native form; what is to be known about the way there goes to stderr.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<(), Trouble> {
    let source = load::read(&arguments.file)?;
    let to = match arguments.to {
        TextForm::Yaml => Format::Yaml,
        TextForm::Toml => Format::Toml,
    };
    let converted =
        evenkeel_config::convert(&source, arguments.from, to).map_err(Trouble::Invalid)?;
    converted.notes.iter().for_each(|note| output::say(Tone::Warning, note));
    print(converted.text)
}
