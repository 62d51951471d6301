//! Which backend each request was sent to first, as seen on the wire.
//!
//! The kernel reports the first bytes of every packet to a backend that has the path of a measured
//! request in it, before any rule may drop it. So a request that nobody can answer is seen as well;
//! one whose connect hangs or is refused is not, and shows in the balancer's own log as retried.

use super::network::{BACKENDS, REPORT_GROUP, address};
use super::process::Process;
use anyhow::{Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Until tcpdump listens, and between two looks whether it does.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const START_LOOK: Duration = Duration::from_millis(10);
/// What tcpdump may still have to write.
const SETTLE: Duration = Duration::from_millis(200);

/// A running tcpdump.
pub(super) struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts to listen.
    pub(super) async fn start(folder: &Path) -> Result<Capture> {
        let file = folder.join("capture");
        fs::write(&file, "")?;
        let group = format!("nflog:{REPORT_GROUP}");
        // A process that changes its user no longer ends with the rig.
        let arguments = ["-Z", "root", "-i", &group, "-n", "-l", "-A", "--immediate-mode"];
        let process = Process::start(Path::new("tcpdump"), &arguments, file.clone())?;
        let mut capture = Capture { process, file };
        let since = Instant::now();
        while !fs::read_to_string(&capture.file).unwrap_or_default().contains("listening on") {
            capture.process.check_running()?;
            if since.elapsed() > START_TIMEOUT {
                bail!("tcpdump does not listen");
            }
            sleep(START_LOOK).await;
        }
        Ok(capture)
    }

    /// Stops; tells the backend that each request was sent to first, by the request's number.
    pub(super) async fn stop(self) -> Result<HashMap<u64, usize>> {
        sleep(SETTLE).await;
        drop(self.process);
        let text = fs::read(&self.file)?;
        Ok(first_backends(&String::from_utf8_lossy(&text)))
    }
}

/// A packet is a line with its addresses, then lines with its bytes. One that repeats an earlier
/// one (a retransmission, or a retry) changes nothing.
fn first_backends(text: &str) -> HashMap<u64, usize> {
    let marks: Vec<String> = (0..BACKENDS)
        .map(|n| format!(" > {}.{}: Flags", address(n).ip(), address(n).port()))
        .collect();
    let mut first = HashMap::new();
    let mut backend = None;
    for line in text.lines() {
        if let Some(found) = marks.iter().position(|mark| line.contains(mark)) {
            backend = Some(found);
        } else if let (Some(backend), Some((_, rest))) = (backend, line.split_once("GET /r/")) {
            let digits = rest.split(' ').next().unwrap_or_default();
            if let Ok(seq) = digits.parse() {
                first.entry(seq).or_insert(backend);
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_of_a_request_counts() {
        let text = "tcpdump: listening on nflog:77\n\
            10:00:00.1 IP 10.77.0.254.5 > 10.77.0.3.8000: Flags [P.], seq 1:2, length 82\n\
            E..4.@....GET /r/7 HTTP/1.1\nHost: a\n\n\
            10:00:00.2 IP 10.77.0.254.6 > 10.77.0.1.8000: Flags [P.], seq 1:2, length 82\n\
            E..4.@....GET /r/7 HTTP/1.1\n\n\
            10:00:00.3 IP 10.77.0.254.6 > 10.77.0.1.8000: Flags [P.], seq 2:3, length 82\n\
            E..4.@....GET /r/8 HTTP/1.1\n\n";
        assert_eq!(first_backends(text), HashMap::from([(7, 2), (8, 0)]));
    }
}
