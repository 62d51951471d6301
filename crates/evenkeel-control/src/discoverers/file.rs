//! A file that somebody else writes, watched. One that is being written, or that holds nonsense,
//! changes nothing.

use super::Teller;
use crate::limits::{FILE_SETTLE, MAX_FILE_LOOKS, MAX_TARGETS_BYTES};
use evenkeel_config::read_targets;
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::DiscoveryPlan;
use notify::{RecursiveMode, Watcher};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Tells what is in the file, at once and whenever it changes.
pub(super) async fn ask(plan: &DiscoveryPlan, path: &Path, teller: &Teller) {
    let wake = Arc::new(Notify::new());
    // Where no folder can be watched, the file is looked at every `interval`.
    let _watcher = watcher(path, Arc::clone(&wake));
    let mut told: Option<Result<Vec<u8>, String>> = None;
    loop {
        let now = settled(path).await;
        let is_news = told.as_ref() != Some(&now);
        let said = now.clone().and_then(|bytes| parse(path, &bytes, plan.scheme));
        if is_news || said.is_ok() {
            teller.tell(said).await;
        }
        told = Some(now);
        // It is looked at either way; who wakes only makes that sooner.
        let _ = timeout(plan.interval, wake.notified()).await;
    }
}

/// The bytes of the file once they are the same twice; one that never rests is taken as it is.
async fn settled(path: &Path) -> Result<Vec<u8>, String> {
    let mut before = read(path);
    for _ in 0..MAX_FILE_LOOKS {
        sleep(FILE_SETTLE).await;
        let now = read(path);
        if now == before {
            break;
        }
        before = now;
    }
    before
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    // A pipe would wait for somebody who writes.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_TARGETS_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TARGETS_BYTES {
        return Err(format!("{} is longer than {MAX_TARGETS_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8], scheme: Scheme) -> Result<Vec<Found>, String> {
    let name = path.display().to_string();
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    read_targets(&name, text, scheme).map_err(|problems| {
        let first = problems.0.into_iter().next();
        first.map_or_else(String::new, |mut problem| {
            problem.snippet = None;
            problem.to_string()
        })
    })
}

fn watcher(path: &Path, wake: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Whoever only reads changes nothing; we do that ourselves.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        wake.notify_one();
    })?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
