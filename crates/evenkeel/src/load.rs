//! From arguments to a checked plan: which file, which text, what goes over it.

use crate::arguments::RunArguments;
use crate::lookup;
use crate::output::{self, Tone};
use crate::trouble::Trouble;
use evenkeel_config::{Configuration, Detected, Diagnostic, Format, Overrides, Source};
use evenkeel_control::steering::{Draft, Rejected, Written, handed_text};
use evenkeel_core::plan::Plan;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A configuration larger than this is a mistake, e.g. a device or a log file.
const MAX_CONFIGURATION_BYTES: u64 = 64 << 20;
/// How stdin is named on the command line and in messages.
const STDIN_ARGUMENT: &str = "-";
const STDIN_NAME: &str = "<stdin>";
/// How the configuration is named that serves when there is no other.
const DEMO_NAME: &str = "<demo>";
const DEMO_TEXT: &str = "preset: go-loadbalancer\n";
const DEMO: &str = "\
no configuration file and no backends: serving mocks on 127.0.0.1:8081 to 8083
  name a file:            evenkeel run -c FILE
  or backends:            evenkeel run --listen :8080 --to 127.0.0.1:9001
  to forbid this:         EVENKEEL_REQUIRE_CONFIG=1";
/// The prefix of environment variables that stand for configuration keys.
const KEY_PREFIX: &str = "EVENKEEL__";

/// Why nothing is loaded when no file was named and none is found.
pub(crate) const NO_FILE: &str = "\
no configuration file found: looked for config.yaml|yml|toml and evenkeel.yaml|yml|toml here, in \
config/, configs/, /etc/evenkeel/ and beside the program
  name one:           -c FILE
  start without one:  evenkeel run --listen :8080 --to 127.0.0.1:8081 --to 127.0.0.1:8082
  look around:        evenkeel demo";

/// A configuration that holds.
pub(crate) struct Loaded {
    /// What it means.
    pub(crate) plan: Plan,
    /// What holds but should be looked at.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The name of the file; `None` if there is none.
    pub(crate) file: Option<String>,
    /// Whose form it has.
    pub(crate) detected: Detected,
}

/// Finds, reads and checks the configuration that the arguments ask for.
pub(crate) fn load(arguments: &RunArguments) -> Result<Loaded, Trouble> {
    let (source, overrides) = written(arguments)?;
    check(source, &overrides)
}

/// Finds and reads the configuration without asking whether this version can serve it.
pub(crate) fn effective(arguments: &RunArguments) -> Result<Configuration, Trouble> {
    let (source, overrides) = written(arguments)?;
    evenkeel_config::read(source.as_ref(), &overrides).map_err(Trouble::Invalid)
}

/// Checks a text with what goes over it.
pub(crate) fn check(source: Option<Source>, overrides: &Overrides) -> Result<Loaded, Trouble> {
    let configuration =
        evenkeel_config::read(source.as_ref(), overrides).map_err(Trouble::Invalid)?;
    let (plan, warnings) = evenkeel_control::vet(&configuration).map_err(Trouble::Invalid)?;
    let file = source.map(|source| source.name);
    let detected = configuration.detected().clone();
    Ok(Loaded { plan, warnings, file, detected })
}

/// Finds, reads and checks the configuration to serve, so that it can be read again. Where nothing
/// says what to serve, that is the demo. `state` is what the process before this one has handed
/// over.
pub(crate) fn draft(arguments: &RunArguments, state: Option<&[u8]>) -> Result<Draft, Trouble> {
    let (source, overrides) = match written_before(arguments, state) {
        Err(Trouble::Mistake(why)) if why == NO_FILE && !file_required() => {
            return demo(arguments, state);
        }
        written => written?,
    };
    let is_stdin = source.as_ref().is_some_and(|source| source.name == STDIN_NAME);
    let file = source.as_ref().map(|source| PathBuf::from(&source.name));
    let text = Mutex::new(source);
    let read_again = move || {
        let mut first = text.lock().unwrap_or_else(PoisonError::into_inner);
        let source = match (first.take(), &file) {
            // It was read a moment ago.
            (Some(source), _) => Some(source),
            (None, Some(file)) => Some(read_once_more(file).map_err(unreadable)?),
            (None, None) => None,
        };
        if is_stdin {
            first.clone_from(&source);
        }
        Ok(Written { source, overrides: overrides.clone() })
    };
    Draft::read(Box::new(read_again), state).map_err(Trouble::from)
}

/// As `written`; stdin, which can be read once, was read by the process before this one.
fn written_before(
    arguments: &RunArguments,
    state: Option<&[u8]>,
) -> Result<(Option<Source>, Overrides), Trouble> {
    let text = state.and_then(handed_text).filter(|source| source.name == STDIN_NAME);
    match text.filter(|_| arguments.config.as_deref() == Some(Path::new(STDIN_ARGUMENT))) {
        Some(text) => Ok((Some(text), overrides(arguments)?)),
        None => written(arguments),
    }
}

/// True if this is the name of a file, and not of a text that came from elsewhere.
pub(crate) fn is_file(name: &str) -> bool {
    ![STDIN_NAME, DEMO_NAME].contains(&name)
}

/// What serves when nothing says what to serve: mocks, told loudly.
fn demo(arguments: &RunArguments, state: Option<&[u8]>) -> Result<Draft, Trouble> {
    output::say(Tone::Warning, DEMO);
    let (name, text) = (DEMO_NAME.to_owned(), DEMO_TEXT.to_owned());
    let source = Source { name, text, format: Format::Yaml };
    draft_of(source, overrides(arguments)?, state)
}

/// A text that is always the same, to serve.
pub(crate) fn draft_of(
    source: Source,
    overrides: Overrides,
    state: Option<&[u8]>,
) -> Result<Draft, Trouble> {
    let written = Written { source: Some(source), overrides };
    let read = Draft::read(Box::new(move || Ok(written.clone())), state);
    read.map_err(Trouble::from)
}

fn unreadable(trouble: Trouble) -> Rejected {
    match trouble {
        Trouble::Invalid(problems) => Rejected::Invalid(problems),
        Trouble::Mistake(why) | Trouble::CannotStart(why) => Rejected::Unreadable(why),
        Trouble::Unwritable(error) => Rejected::Unreadable(error.to_string()),
    }
}

impl From<Rejected> for Trouble {
    fn from(rejected: Rejected) -> Trouble {
        match rejected {
            Rejected::Invalid(problems) => Trouble::Invalid(problems),
            Rejected::Unreadable(why) => Trouble::Mistake(why),
            Rejected::Refused(_) | Rejected::Stale { .. } => {
                Trouble::CannotStart(rejected.to_string())
            }
        }
    }
}

/// The text that the arguments ask for, and what goes over it.
fn written(arguments: &RunArguments) -> Result<(Option<Source>, Overrides), Trouble> {
    let source = match chosen_file(arguments)? {
        Some(file) => Some(read(&file)?),
        None => None,
    };
    Ok((source, overrides(arguments)?))
}

fn overrides(arguments: &RunArguments) -> Result<Overrides, Trouble> {
    Ok(Overrides {
        environment: environment()?,
        listen: arguments.listen.clone(),
        port: arguments.port,
        to: arguments.to.clone(),
        strategy: arguments.strategy.clone(),
        dialect: arguments.dialect,
    })
}

/// The variables that stand for configuration keys, of ours and of other products.
pub(crate) fn environment() -> Result<Vec<(String, String)>, Trouble> {
    let keys = std::env::vars_os().filter(|(name, _)| {
        let is_ours = name.as_encoded_bytes().starts_with(KEY_PREFIX.as_bytes());
        is_ours || name.to_str().is_some_and(evenkeel_config::is_variable)
    });
    keys.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(Trouble::Mistake(format!("{name} is not valid UTF-8"))),
        (Err(name), _) => {
            Err(Trouble::Mistake(format!("{} is not valid UTF-8", name.to_string_lossy())))
        }
    })
    .collect()
}

/// The file to read: the one named, none if `--to` says it all, or the first one found.
fn chosen_file(arguments: &RunArguments) -> Result<Option<PathBuf>, Trouble> {
    if let Some(file) = &arguments.config {
        return Ok(Some(file.clone()));
    }
    let named = std::env::var_os("EVENKEEL_CONFIG").filter(|name| !name.is_empty());
    if !arguments.to.is_empty() {
        return without_file(named.as_deref()).map(|()| None);
    }
    if let Some(named) = named {
        return Ok(Some(named.into()));
    }
    let Some(found) = lookup::find() else {
        let complete = !file_required() && environment()?.iter().any(|(name, _)| is_backend(name));
        return if complete { Ok(None) } else { Err(Trouble::Mistake(NO_FILE.to_owned())) };
    };
    if !found.passed_over.is_empty() {
        let rest: Vec<_> =
            found.passed_over.iter().map(|file| file.display().to_string()).collect();
        let (file, rest) = (found.file.display(), rest.join(", "));
        output::say(Tone::Warning, format_args!("reading {file}; not read: {rest}"));
    }
    Ok(Some(found.file))
}

fn without_file(named: Option<&OsStr>) -> Result<(), Trouble> {
    if file_required() {
        let text = "EVENKEEL_REQUIRE_CONFIG=1 and --to without a file: name one with -c FILE";
        return Err(Trouble::Mistake(text.to_owned()));
    }
    if let Some(named) = named {
        let named = named.to_string_lossy();
        let text = format!("EVENKEEL_CONFIG ({named}) is not read: --to without -c needs no file");
        output::say(Tone::Warning, text);
    }
    Ok(())
}

/// Whoever sets the variable means it, however they spell yes.
fn file_required() -> bool {
    let is_no = |value: &OsStr| {
        ["", "0", "false", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no))
    };
    std::env::var_os("EVENKEEL_REQUIRE_CONFIG").is_some_and(|value| !is_no(&value))
}

/// A variable that names backends makes a configuration without a file.
fn is_backend(name: &str) -> bool {
    ["EVENKEEL__BACKENDS", "EVENKEEL__POOLS"].iter().any(|key| name.starts_with(key))
}

pub(crate) fn read(file: &Path) -> Result<Source, Trouble> {
    let stdin = file == Path::new(STDIN_ARGUMENT);
    let name = if stdin { STDIN_NAME.to_owned() } else { file.display().to_string() };
    let bytes = if stdin { read_bytes(io::stdin()) } else { File::open(file).and_then(read_bytes) };
    let unread = |error| Trouble::Mistake(format!("cannot read the configuration {name}: {error}"));
    let text = String::from_utf8(bytes.map_err(unread)?).map_err(|error| {
        let (line, column) = place_after(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        Trouble::Mistake(format!("{name}:{line}:{column}: is no text in UTF-8: save it as such"))
    })?;
    let format = Format::of_file_name(&name).unwrap_or(Format::Yaml);
    Ok(Source { name, text, format })
}

/// Reads a file that was read before. Whoever reads a pipe again may wait forever.
fn read_once_more(file: &Path) -> Result<Source, Trouble> {
    let is_other = |it: std::fs::Metadata| !it.is_file() && !it.is_dir();
    if std::fs::metadata(file).is_ok_and(is_other) {
        let name = file.display();
        let text = format!("{name} is a pipe or a device, which can be read once: name a file");
        return Err(Trouble::Mistake(text));
    }
    read(file)
}

/// Line and column, from 1, of what follows a text.
fn place_after(text: &[u8]) -> (usize, usize) {
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    (lines + 1, String::from_utf8_lossy(line).chars().count() + 1)
}

fn read_bytes(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_CONFIGURATION_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_CONFIGURATION_BYTES) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("longer than {MAX_CONFIGURATION_BYTES} bytes")))
}
