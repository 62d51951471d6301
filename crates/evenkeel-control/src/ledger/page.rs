//! One file of `state_dir`: read once, then kept up to date.

use crate::state_file;
use evenkeel_core::strategy::hash::hash;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A file that outlives the process.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// `None` without `state_dir`, if what is there must not be overwritten, and once another
    /// process writes it.
    file: Option<PathBuf>,
    /// What it was called, for people.
    name: String,
    /// What it means that there is none, in words.
    without: &'static str,
    /// Stands for what is in the file.
    written: Option<u64>,
    /// The last attempt to write failed, and that was told.
    failing: bool,
}

impl Page {
    pub(super) fn of(file: Option<PathBuf>, without: &'static str) -> Page {
        let name = file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        Page { file, name, without, ..Page::default() }
    }

    /// Its place, for people.
    pub(super) fn place(&self) -> String {
        self.name.clone()
    }

    /// True if this process writes it.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Another process writes it from now on.
    pub(super) fn leave(&mut self) {
        self.file = None;
    }

    /// What is there; `None` if nothing is. One that cannot be read is set aside.
    pub(super) fn read<T>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        let text = state_file::read(file).map_err(|error| error.to_string());
        let error = match text.and_then(|text| text.map(|text| parse(&text)).transpose()) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        Err(match state_file::set_aside(file) {
            Ok(aside) => format!("{error}; kept as {}; {}", aside.display(), self.without),
            Err(problem) => {
                self.file = None;
                format!("{error}; left alone, and nothing is kept from now on: {problem}")
            }
        })
    }

    /// True if it was written, or found to be true still, so short a time ago.
    pub(super) fn is_younger_than(&self, bound: Duration) -> bool {
        let age = || {
            let written = fs::metadata(self.file.as_ref()?).and_then(|it| it.modified()).ok()?;
            // One from the future says nothing.
            SystemTime::now().duration_since(written).ok()
        };
        age().is_some_and(|age| age < bound)
    }

    /// Writes a text if what stands for it has changed; otherwise only says that it still holds.
    pub(super) fn write(&mut self, mark: &[u8], text: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let own = hash(mark);
        if self.written == Some(own) {
            // Somebody may have removed it: then it is written again.
            if state_file::touch(file).is_ok() {
                return Ok(());
            }
        }
        state_file::write(file, &text())?;
        self.written = Some(own);
        Ok(())
    }

    /// Why writing failed, if that is new.
    pub(super) fn news_of(&mut self, written: io::Result<()>) -> Option<String> {
        let error = written.err();
        let was_failing = std::mem::replace(&mut self.failing, error.is_some());
        error.filter(|_| !was_failing).map(|error| error.to_string())
    }
}
