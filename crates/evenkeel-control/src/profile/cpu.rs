//! Where CPU time goes: every thread is interrupted now and then by SIGPROF, while it runs, and its
//! stack is walked. Names come from the binary's own symbols.

use super::message::{Function, Heading, Message};
use super::symbol;
use pprof::{Error, ProfilerGuard, ProfilerGuardBuilder, Report};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Samples per second of CPU time, as in Go.
const FREQUENCY: i32 = 100;
const NANOS_PER_SAMPLE: i64 = 1_000_000_000 / FREQUENCY as i64;
/// Libraries in which stacks are not walked where walking may wait for a lock that the interrupted
/// code holds. The GNU library walks without a lock since 2.35, and system calls are made there.
#[cfg(not(target_env = "gnu"))]
const NOT_WALKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];
#[cfg(target_env = "gnu")]
const NOT_WALKED: [&str; 0] = [];

/// Who walks a stack: how names of its functions begin, and where its source is.
const SAMPLER: [(&str, &str); 2] = [("backtrace::", "/backtrace-"), ("pprof::", "/pprof-")];

/// A folder in memory, which containers have and can write to also if nothing else is writable.
const IN_MEMORY: &str = "/dev/shm";

static TAKING: AtomicBool = AtomicBool::new(false);

/// Why there is no profile.
#[derive(Debug)]
pub(super) enum NoProfile {
    /// Another one is being taken.
    Busy,
    /// The system refused.
    Failed(String),
}

/// The one profile that is being taken, until dropped.
struct Turn;

impl Turn {
    fn take() -> Option<Turn> {
        (!TAKING.swap(true, Ordering::AcqRel)).then(|| Turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKING.store(false, Ordering::Release);
    }
}

/// Samples for so long; ends early, and leaves nothing behind, when it is given up.
pub(super) async fn sample(time: Duration) -> Result<Vec<u8>, NoProfile> {
    let turn = Turn::take().ok_or(NoProfile::Busy)?;
    make_room();
    let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_WALKED);
    let guard = builder.build().map_err(refused)?;
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    tokio::time::sleep(time).await;
    // To find the names takes a while: the admin listener answers meanwhile.
    let named = tokio::task::spawn_blocking(move || {
        let message = report_of(guard).map(|report| encode(&report, (began, time)));
        symbol::forget();
        drop(turn);
        message
    });
    named.await.map_err(|error| NoProfile::Failed(error.to_string()))?
}

fn report_of(guard: ProfilerGuard<'_>) -> Result<Report, NoProfile> {
    guard.report().build().map_err(refused)
}

fn refused(error: Error) -> NoProfile {
    if matches!(error, Error::Running) {
        return NoProfile::Busy;
    }
    let hint = if matches!(error, Error::CreatingError) {
        "; it needs a folder that can be written to: set TMPDIR and start again"
    } else {
        ""
    };
    NoProfile::Failed(format!("cannot sample: {error}{hint}"))
}

/// Samples for which the table has no room go to a file: it is made even if none does.
fn make_room() {
    let usual = std::env::temp_dir();
    match first_writable(&[&usual, Path::new(IN_MEMORY)]) {
        // Only the first choice counts, and nothing else in the process makes such files.
        Some(folder) if folder != usual => drop(tempfile::env::override_temp_dir(folder)),
        Some(_) | None => {}
    }
}

fn first_writable<'a>(folders: &[&'a Path]) -> Option<&'a Path> {
    folders.iter().copied().find(|folder| tempfile::tempfile_in(folder).is_ok())
}

fn encode(report: &Report, (began, time): (Duration, Duration)) -> Vec<u8> {
    let mut message = Message::new();
    for (frames, count) in &report.data {
        let function = |symbol: &pprof::Symbol| Function {
            name: symbol.name(),
            file: symbol.filename().into_owned(),
            line: i64::from(symbol.lineno()),
        };
        let stack: Vec<Vec<Function>> =
            frames.frames.iter().map(|frame| frame.iter().map(function).collect()).collect();
        let stack = interrupted(&stack);
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let values = [count, count.saturating_mul(NANOS_PER_SAMPLE)];
        message.sample(stack, &values, &frames.thread_name);
    }
    let cpu = ("cpu", "nanoseconds");
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    message.finish(&Heading {
        values: vec![("samples", "count"), cpu],
        default_value: "cpu",
        period: (cpu, NANOS_PER_SAMPLE),
        time: (nanos(began), nanos(time)),
        comment: "evenkeel",
    })
}

/// What was interrupted: without the frames that walk the stack, which are innermost.
fn interrupted(stack: &[Vec<Function>]) -> &[Vec<Function>] {
    let walks = |function: &Function| {
        let name = function.name.trim_start_matches('<');
        SAMPLER
            .iter()
            .any(|(module, folder)| name.starts_with(module) || function.file.contains(folder))
    };
    let begin = stack.iter().position(|frame| !frame.iter().any(walks));
    begin.map_or(&[], |begin| &stack[begin..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_that_can_be_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing");
        assert_eq!(first_writable(&[&missing, folder.path()]), Some(folder.path()));
        assert_eq!(first_writable(&[&missing]), None);
    }

    #[test]
    fn a_stack_begins_with_what_was_interrupted() {
        let frame = |all: &[(&str, &str)]| -> Vec<Function> {
            let function = |(name, file): &(&str, &str)| Function {
                name: (*name).to_owned(),
                file: (*file).to_owned(),
                line: 1,
            };
            all.iter().map(function).collect()
        };
        let shipped = frame(&[("backtrace::backtrace::trace_unsynchronized", "")]);
        let debug = frame(&[("trace", "/x/backtrace-0.3.75/src/backtrace/libunwind.rs")]);
        let trait_of = frame(&[("<pprof::backtrace::Trace as pprof::Trace>::trace", "")]);
        let own = frame(&[("evenkeel_proxy::pump::poll", "crates/evenkeel-proxy/src/pump.rs")]);
        let root = frame(&[("std::thread::start", "")]);
        let stack = [shipped, debug.clone(), trait_of, own.clone(), root.clone()];
        assert_eq!(interrupted(&stack), &[own.clone(), root.clone()]);
        assert_eq!(interrupted(&[own.clone(), root.clone()]), &[own, root]);
        assert!(interrupted(&[debug]).is_empty());
    }
}
