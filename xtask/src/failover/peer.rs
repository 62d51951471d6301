//! The balancers under test: each with the best configuration that we know for it.

use super::backend;
use super::network::{BACKENDS, BALANCER, address};
use super::process::Process;
use crate::peer::Peer;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// From its start to the first answer through it.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks, and of one.
const START_LOOK: Duration = Duration::from_millis(50);

/// How backends are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// In turn.
    InTurn,
    /// Whichever seems quickest: response time or connections, what the balancer has.
    Quickest,
}

impl Peer {
    /// Starts it in `folder` and waits for an answer through it; `bin` is evenkeel.
    pub(super) async fn start(self, choice: Choice, folder: &Path, bin: &Path) -> Result<Process> {
        let config = folder.join(format!("{}.conf", self.name()));
        fs::write(&config, self.config(choice, folder))?;
        let log = self.log(folder);
        for old in [&log, &folder.join("error.log")] {
            fs::write(old, "")?;
        }
        let config = config.to_str().context("a temporary folder with a readable name")?;
        let mut process = match self {
            Peer::Evenkeel => {
                let said = folder.join("evenkeel.out");
                Process::start(bin, &["run", "-c", config], said)?
            }
            Peer::Haproxy => Process::start(Path::new("haproxy"), &["-db", "-f", config], log)?,
            Peer::Nginx => {
                let said = folder.join("nginx.out");
                Process::start_family(Path::new("nginx"), &["-c", config, "-p", "/"], said)?
            }
        };
        let since = Instant::now();
        while !answers() {
            process.check_running().with_context(|| self.name())?;
            if since.elapsed() > START_TIMEOUT {
                bail!("{} does not answer", self.name());
            }
            sleep(START_LOOK).await;
        }
        Ok(process)
    }

    /// Where it writes a line for each request.
    fn log(self, folder: &Path) -> std::path::PathBuf {
        folder.join(format!("{}.access", self.name()))
    }

    fn config(self, choice: Choice, folder: &Path) -> String {
        match self {
            Peer::Evenkeel => evenkeel(choice, &self.log(folder)),
            Peer::Haproxy => haproxy(choice),
            Peer::Nginx => nginx(choice, folder, &self.log(folder)),
        }
    }

    /// What its log tells, once it has ended.
    pub(super) fn read_log(self, folder: &Path) -> Result<Told> {
        let mut text = fs::read_to_string(self.log(folder)).context("the log of the balancer")?;
        if self == Peer::Nginx {
            text += &fs::read_to_string(folder.join("error.log"))?;
        }
        let mut told = Told::default();
        for line in text.lines() {
            if let Some((seq, tries)) = self.tries(line) {
                told.tries.insert(seq, tries);
            } else if self.is_removal(line) {
                told.removals += 1;
            }
        }
        Ok(told)
    }

    /// Number of the request and of its tries, if the line is of a request.
    fn tries(self, line: &str) -> Option<(u64, u64)> {
        match self {
            Peer::Evenkeel => {
                let record: Value = serde_json::from_str(line).ok()?;
                Some((seq(record["path"].as_str()?)?, record["tries"].as_u64()?))
            }
            // `/r/SEQ RETRIES SERVER`, with a `+` before the retries if the server changed.
            Peer::Haproxy => {
                let (path, rest) = line.split_once(' ')?;
                let retries: u64 = rest.split(' ').next()?.trim_start_matches('+').parse().ok()?;
                Some((seq(path)?, retries + 1))
            }
            // `/r/SEQ ADDRESS, ADDRESS`, an address for each try.
            Peer::Nginx => {
                let (path, tried) = line.split_once(' ')?;
                Some((seq(path)?, tried.split(',').count() as u64))
            }
        }
    }

    /// True if the line says that a backend was taken out.
    fn is_removal(self, line: &str) -> bool {
        match self {
            Peer::Evenkeel => ["\"backend_unhealthy\"", "\"breaker_opened\""]
                .iter()
                .any(|event| line.contains(event)),
            Peer::Haproxy => line.starts_with("Server ") && line.contains(" is DOWN"),
            Peer::Nginx => line.contains("upstream server temporarily disabled"),
        }
    }
}

/// What a balancer's log tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Tries of each request, by its number.
    pub(super) tries: HashMap<u64, u64>,
    /// How often a backend was taken out.
    pub(super) removals: usize,
}

/// The number in the path of a measured request.
fn seq(path: &str) -> Option<u64> {
    path.strip_prefix("/r/")?.parse().ok()
}

fn answers() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&BALANCER, START_LOOK)?;
        stream.set_read_timeout(Some(START_LOOK))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn evenkeel(choice: Choice, log: &Path) -> String {
    let strategy = match choice {
        Choice::InTurn => "round_robin",
        Choice::Quickest => "least_response_time",
    };
    let backends: Vec<String> = (0..BACKENDS).map(|n| format!("\"{}\"", address(n))).collect();
    format!(
        "version: 1
listeners: [{{ bind: \"{BALANCER}\" }}]
routes: [{{ pool: web }}]
pools:
  - name: web
    strategy: {strategy}
    backends: [{}]
    health: {{ type: http, path: /health, interval: 500ms, timeout: 1s, healthy_threshold: 1, \
         unhealthy_threshold: 2 }}
logging: {{ level: info, format: json, file: \"{}\" }}
workers: 2
",
        backends.join(", "),
        log.display()
    )
}

fn haproxy(choice: Choice) -> String {
    let balance = match choice {
        Choice::InTurn => "roundrobin",
        Choice::Quickest => "leastconn",
    };
    let server = |n| format!(" server {} {}\n", backend::name(n), address(n));
    let servers: String = (0..BACKENDS).map(server).collect();
    format!(
        "global
 nbthread 2
 maxconn 8000
 log stdout format raw local0 info
defaults
 mode http
 log global
 log-format \"%HU %rc %s\"
 option http-keep-alive
 http-reuse always
 timeout connect 1s
 timeout client 60s
 timeout server 5s
 timeout check 1s
 retries 3
 option redispatch 1
 retry-on all-retryable-errors
frontend f
 bind {BALANCER} backlog 8192
 default_backend b
backend b
 balance {balance}
 option httpchk GET /health
 default-server check inter 500ms fall 2 rise 1 observe layer7 error-limit 3 on-error mark-down
{servers}"
    )
}

fn nginx(choice: Choice, folder: &Path, log: &Path) -> String {
    let balance = match choice {
        Choice::InTurn => "",
        Choice::Quickest => "least_conn;",
    };
    let server = |n| format!(" server {} max_fails=1 fail_timeout=5s;", address(n));
    let servers: String = (0..BACKENDS).map(server).collect();
    let (folder, log) = (folder.display(), log.display());
    format!(
        "user root; daemon off; worker_processes 2; pid {folder}/nginx.pid;
error_log {folder}/error.log warn; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
 log_format tries '$request_uri $upstream_addr';
 access_log {log} tries;
 tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s;
 client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
 uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
 upstream b {{ zone b 256k; {balance}{servers} keepalive 256; keepalive_requests 1000000000; }}
 server {{
  listen {BALANCER} backlog=8192;
  location / {{
   proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\";
   proxy_connect_timeout 1s; proxy_read_timeout 5s;
   proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
   proxy_next_upstream_tries 3;
  }}
 }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_tell_tries_and_removals() {
        let routed = r#"{"event":"request_routed","path":"/r/7","tries":2}"#;
        let cases = [
            (Peer::Evenkeel, routed, Some((7, 2)), false),
            (Peer::Evenkeel, r#"{"event":"breaker_opened"}"#, None, true),
            (Peer::Evenkeel, r#"{"event":"started"}"#, None, false),
            (Peer::Haproxy, "/r/7 0 b1", Some((7, 1)), false),
            (Peer::Haproxy, "/r/7 +1 b2", Some((7, 2)), false),
            (Peer::Haproxy, "/ 0 b1", None, false),
            (Peer::Haproxy, "Server b/b3 is DOWN, reason: Layer4 connection problem", None, true),
            (Peer::Nginx, "/r/7 10.77.0.1:8000", Some((7, 1)), false),
            (Peer::Nginx, "/r/7 10.77.0.3:8000, 10.77.0.1:8000", Some((7, 2)), false),
            (Peer::Nginx, "x [warn] 1#1: *1 upstream server temporarily disabled", None, true),
        ];
        for (peer, line, tries, removal) in cases {
            assert_eq!(peer.tries(line), tries, "{line}");
            assert_eq!(peer.is_removal(line), removal, "{line}");
        }
    }
}
