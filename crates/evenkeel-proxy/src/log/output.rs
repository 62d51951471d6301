//! Where lines end up: stdout, or a file that can be opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
#[cfg(windows)]
use std::os::windows::io::AsHandle;
#[cfg(unix)]
use std::os::{fd::AsFd, unix::fs::OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of a log file: requests are nobody else's business.
#[cfg(unix)]
const FILE_MODE: u32 = 0o640;

pub(super) struct Output {
    file: File,
    /// `None` if there is nothing to open anew.
    path: Option<PathBuf>,
}

impl Output {
    /// A file, or stdout if there is none.
    pub(super) fn to(file: Option<PathBuf>) -> io::Result<Output> {
        match file {
            Some(path) => Output::file(path),
            None => Output::stdout(),
        }
    }

    /// Appends to the file at `path`, which is made if need be; errors name it.
    pub(super) fn file(path: PathBuf) -> io::Result<Output> {
        Ok(Output { file: open(&path)?, path: Some(path) })
    }

    /// Stdout past the buffer and the lock of the standard library: a reader that stands still must
    /// not stop others who print.
    pub(super) fn stdout() -> io::Result<Output> {
        #[cfg(unix)]
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        #[cfg(windows)]
        let stdout = io::stdout().as_handle().try_clone_to_owned();
        let unnamed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot log to standard output: {error}"))
        };
        Ok(Output { file: stdout.map_err(unnamed)?.into(), path: None })
    }

    /// After the file was renamed or removed: makes a new one in its place. The old one stays in
    /// use if that fails.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open(path)?;
        }
        Ok(())
    }

    /// Waits until a non-blocking reader may have room, or `timeout` has passed.
    #[cfg(unix)]
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&timeout))?;
        Ok(())
    }

    /// Nothing that is written to here has a non-blocking reader.
    #[cfg(windows)]
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<()> {
        std::thread::park_timeout(timeout);
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(all(test, unix))]
impl From<std::os::fd::OwnedFd> for Output {
    fn from(fd: std::os::fd::OwnedFd) -> Output {
        Output { file: fd.into(), path: None }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    options.mode(FILE_MODE);
    options.open(path).map_err(|error| {
        let message = format!("cannot open the log file {}: {error}", path.display());
        io::Error::new(error.kind(), message)
    })
}
