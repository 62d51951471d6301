//! The balancers: how each is configured, told to read its configuration again, replaced by a new
//! program on the same sockets, and ended, each in the way that its own manual recommends.

use super::{LOOK, Setup, free_address};
use crate::peer::Peer;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For a new program to take over, and for one that was asked to end.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a log is shown.
const SHOWN_BYTES: usize = 2000;

/// nginx takes no new program while it is the child of whoever started it, so it goes into the
/// background; this stays until it has ended. By its whole path: it starts itself anew by that.
const NGINX: &str = "/usr/sbin/nginx -p . -c nginx.conf && \
    while [ -e run.pid ] || [ -e run.pid.oldbin ]; do sleep 0.05; done";

impl Peer {
    fn file(self) -> &'static str {
        match self {
            Peer::Evenkeel => "evenkeel.yaml",
            Peer::Haproxy => "haproxy.cfg",
            Peer::Nginx => "nginx.conf",
        }
    }
}

/// Places of one balancer.
struct Places {
    folder: PathBuf,
    address: SocketAddr,
    /// Of evenkeel's admin listener.
    admin: SocketAddr,
    backends: Vec<SocketAddr>,
}

/// The configuration; `number` changes a timeout, so that each one is another.
fn configuration(peer: Peer, places: &Places, number: u32) -> String {
    let Places { folder, address, admin, backends } = places;
    let folder = folder.display();
    let timeout = 60 + number;
    let mut text = match peer {
        Peer::Evenkeel => {
            let all: Vec<String> = backends.iter().map(|at| format!("\"{at}\"")).collect();
            format!(
                "listeners: [{{ name: web, bind: \"{address}\" }}]\nroutes: [{{ pool: web }}]\n\
                 pools:\n- name: web\n  backends: [{}]\n\
                 \x20 timeouts: {{ response_head: {timeout}s }}\n\
                 admin: {{ bind: \"{admin}\" }}\n\
                 logging: {{ access: {{ enabled: false }} }}\nshutdown: {{ drain_timeout: 90s }}\n",
                all.join(", ")
            )
        }
        Peer::Haproxy => format!(
            "global\n  maxconn 4000\n  stats socket {folder}/haproxy.sock expose-fd listeners\n\
             defaults\n  mode http\n  timeout connect 3s\n  timeout client 90s\n\
             \x20 timeout server {timeout}s\n  timeout tunnel 1h\n\
             \x20 retries 3\n  option redispatch\n\
             frontend web\n  bind {address}\n  default_backend web\nbackend web\n\
             \x20 balance roundrobin\n"
        ),
        Peer::Nginx => format!(
            "user root;\nworker_processes 2;\n\
             pid {folder}/run.pid;\nerror_log {folder}/error.log;\n\
             events {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n\
             \x20 map $http_upgrade $kind {{ default upgrade; '' ''; }}\n\
             \x20 proxy_read_timeout {timeout}s;\n  proxy_http_version 1.1;\n\
             \x20 proxy_set_header Upgrade $http_upgrade;\n  proxy_set_header Connection $kind;\n\
             \x20 server {{\n    listen {address} backlog=4096;\n\
             \x20   location / {{ proxy_pass http://web; }}\n  }}\n\
             \x20 upstream web {{\n    keepalive 64;\n"
        ),
    };
    for (number, at) in backends.iter().enumerate() {
        // To memory: it cannot fail.
        let _ = match peer {
            Peer::Evenkeel => Ok(()),
            Peer::Haproxy => writeln!(text, "  server b{number} {at} check"),
            Peer::Nginx => writeln!(text, "    server {at};"),
        };
    }
    if peer == Peer::Nginx {
        text.push_str("  }\n}\n");
    }
    text
}

/// A balancer that runs.
pub(super) struct Running {
    /// Where it listens.
    pub(super) address: SocketAddr,
    peer: Peer,
    places: Places,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, in a folder of its own.
    pub(super) fn start(peer: Peer, setup: &Setup<'_>) -> Result<Running> {
        let address = free_address()?;
        let folder = setup.folder.join(format!("{}-{}", peer.name(), address.port()));
        fs::create_dir(&folder)?;
        let backends = setup.backends.to_vec();
        let admin = free_address()?;
        let places = Places { folder: folder.clone(), address, admin, backends };
        fs::write(folder.join(peer.file()), configuration(peer, &places, 0))?;
        let log = folder.join("log");
        let out = File::create(&log)?;
        let mut command = match peer {
            Peer::Evenkeel => {
                let mut command = Command::new(fs::canonicalize(&setup.options.bin)?);
                command.args(["run", "--no-watch", "--pid-file", "run.pid", "-c", peer.file()]);
                command
            }
            Peer::Haproxy => {
                let mut command = Command::new("haproxy");
                command.args(["-W", "-p", "run.pid", "-f", peer.file()]);
                command
            }
            Peer::Nginx => {
                let mut command = Command::new("sh");
                command.args(["-c", NGINX]);
                command
            }
        };
        command.current_dir(&folder).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {}", peer.name()))?;
        Ok(Running { address, peer, places, child, log })
    }

    /// Fails if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.peer.name(), self.said());
        }
        Ok(())
    }

    fn said(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN_BYTES)..]).into_owned()
    }

    /// Has it read another configuration.
    pub(super) fn reload(&mut self, number: u32) -> Result<()> {
        let file = self.places.folder.join(self.peer.file());
        fs::write(file, configuration(self.peer, &self.places, number))?;
        let signal = match self.peer {
            Peer::Evenkeel | Peer::Nginx => Signal::HUP,
            Peer::Haproxy => Signal::USR2,
        };
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Has a new program take over, and waits until it has.
    pub(super) fn upgrade(&mut self) -> Result<()> {
        let before = self.pid()?;
        if self.peer == Peer::Nginx && self.places.folder.join("run.pid.oldbin").exists() {
            bail!("nginx takes no new program while the old one still ends its connections");
        }
        kill_process(before, Signal::USR2)?;
        if self.peer == Peer::Haproxy {
            // The master becomes the new program under its own id.
            return Ok(());
        }
        let until = Instant::now() + CHANGE_TIMEOUT;
        while self.pid().map_or(true, |now| now == before) {
            if Instant::now() > until {
                bail!("no new program has taken over: {}", self.said());
            }
            std::thread::park_timeout(LOOK);
        }
        if self.peer == Peer::Nginx {
            kill_process(before, Signal::QUIT)?;
        }
        Ok(())
    }

    /// Asks it to finish what runs, and end.
    pub(super) fn ask_to_end(&self) -> Result<()> {
        let signal = match self.peer {
            Peer::Evenkeel => Signal::TERM,
            Peer::Haproxy => Signal::USR1,
            Peer::Nginx => Signal::QUIT,
        };
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Waits for its end.
    pub(super) fn await_end(&mut self) -> Result<()> {
        let until = Instant::now() + CHANGE_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("{} does not end: {}", self.peer.name(), self.said());
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn stop(&mut self) -> Result<()> {
        let now = self.pid();
        self.end_all();
        let until = Instant::now() + CHANGE_TIMEOUT;
        while now.as_ref().is_ok_and(|pid| lives(*pid)) {
            if Instant::now() > until {
                bail!("{} does not end", self.peer.name());
            }
            // Our own child leaves only when it is waited for.
            self.child.try_wait()?;
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }

    fn end_all(&mut self) {
        if let Ok(pid) = self.pid() {
            // Twice: at once. It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Who serves now.
    fn pid(&self) -> Result<Pid> {
        pid_in(&self.places.folder.join("run.pid"))
    }
}

/// True unless it has ended; one whose parent does not ask for its end has ended too.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn pid_in(file: &Path) -> Result<Pid> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.with_context(|| format!("no process id in {}", file.display()))
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_all();
    }
}
