//! `convert`: any accepted configuration file in the native form.

use crate::arguments::{ConvertArguments, Form, TextForm};
use crate::load;
use crate::output::{self, Tone, print};
use crate::trouble::Trouble;
use evenkeel_config::{Dialect, Format, Product, Source};

/// Prints the native form; what is to be known about the way there goes to stderr.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<(), Trouble> {
    let source = load::read(&arguments.file)?;
    let to = match arguments.to {
        TextForm::Yaml => Format::Yaml,
        TextForm::Toml => Format::Toml,
    };
    match arguments.from {
        Some(Form::Product(product)) => import(&source, product, to),
        Some(Form::Dialect(dialect)) => convert(&source, Some(dialect), to),
        None => convert(&source, None, to),
    }
}

fn convert(source: &Source, dialect: Option<Dialect>, to: Format) -> Result<(), Trouble> {
    let converted = evenkeel_config::convert(source, dialect, to).map_err(Trouble::Invalid)?;
    converted.notes.iter().for_each(|note| output::say(Tone::Warning, note));
    print(converted.text)
}

/// The report has one line for every directive: `FILE:LINE: exact|approximated|unsupported: TEXT`.
fn import(source: &Source, product: Product, to: Format) -> Result<(), Trouble> {
    let imported = evenkeel_config::import(source, product, to).map_err(Trouble::Invalid)?;
    for remark in &imported.report {
        let (name, line, text) = (&source.name, remark.line, &remark.text);
        output::report(format_args!("{name}:{line}: {}: {text}", remark.fidelity));
    }
    print(imported.text)
}
