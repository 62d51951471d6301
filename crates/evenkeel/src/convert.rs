//! `convert`: any accepted configuration file in the native form.

mod included;

use crate::arguments::{ConvertArguments, Form, TextForm};
use crate::load;
use crate::output::{self, Tone, print};
use crate::trouble::Trouble;
use evenkeel_config::{Format, Overrides, Product, Source};
use std::path::Path;

/// Prints the native form; what is to be known about the way there goes to stderr.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<(), Trouble> {
    let source = load::read(&arguments.file)?;
    let to = match arguments.to {
        TextForm::Yaml => Format::Yaml,
        TextForm::Toml => Format::Toml,
    };
    let dialect = match arguments.from {
        Some(Form::Product(_)) if arguments.with_env => {
            let text = "--with-env: files of nginx and HAProxy are read without variables";
            return Err(Trouble::Mistake(text.to_owned()));
        }
        Some(Form::Product(product)) => return import(&source, product, to),
        Some(Form::Dialect(dialect)) => Some(dialect),
        None => None,
    };
    let environment = if arguments.with_env { load::environment()? } else { Vec::new() };
    convert(&source, &Overrides { environment, dialect, ..Overrides::default() }, to)
}

fn convert(source: &Source, overrides: &Overrides, to: Format) -> Result<(), Trouble> {
    let converted =
        evenkeel_config::convert_with(source, overrides, to).map_err(Trouble::Invalid)?;
    converted.notes.iter().for_each(|note| output::say(Tone::Warning, note));
    print(converted.text)
}

/// The report has one line for every directive: `FILE:LINE: exact|approximated|unsupported: TEXT`.
fn import(source: &Source, product: Product, to: Format) -> Result<(), Trouble> {
    let included = |pattern: &str| included::find(Path::new(&source.name), pattern);
    let imported = evenkeel_config::import_with(source, product, to, &included);
    let imported = imported.map_err(Trouble::Invalid)?;
    for remark in &imported.report {
        let (name, line, text) = (&remark.file, remark.line, &remark.text);
        output::report(format_args!("{name}:{line}: {}: {text}", remark.fidelity));
    }
    print(imported.text)
}
