//! Starts the binary, bounded in time, and ends what it started.

use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that may wait to be looked at; a command that says more than that waits.
const MAX_LINES: usize = 10_000;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A folder of its own to type commands in.
pub(crate) struct Shell {
    folder: TempDir,
    environment: Vec<(String, String)>,
    stdin: String,
}

impl Shell {
    pub(crate) fn new() -> Shell {
        let folder = TempDir::new().expect("a temporary folder");
        Shell { folder, environment: Vec::new(), stdin: String::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Shell {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value that it was set to last; empty if it was not.
    pub(crate) fn variable(&self, name: &str) -> String {
        let mut values = self.environment.iter().rev();
        values.find(|(known, _)| known == name).map_or_else(String::new, |it| it.1.clone())
    }

    pub(crate) fn typing(mut self, text: &str) -> Shell {
        self.stdin = text.to_owned();
        self
    }

    /// Starts a command that goes on.
    pub(crate) fn start(&self, words: &[&str]) -> Program {
        self.start_at(Path::new(env!("CARGO_BIN_EXE_evenkeel")), words)
    }

    /// The same by another path to the binary.
    pub(crate) fn start_at(&self, binary: &Path, words: &[&str]) -> Program {
        let mut command = Command::new(binary);
        command.args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
        self.launch(command)
    }

    /// Starts this command in the folder and the environment; its stdin and stderr may be its own.
    pub(crate) fn launch(&self, mut command: Command) -> Program {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EVENKEEL") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder()).env_remove("NO_COLOR");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its stdin closes it.
            let _ = stdin.write_all(self.stdin.as_bytes());
        }
        let (to, lines) = sync_channel(MAX_LINES);
        read_lines(child.stdout.take().expect("piped"), to.clone(), Line::Stdout);
        if let Some(stderr) = child.stderr.take() {
            read_lines(stderr, to, Line::Stderr);
        }
        Program { child, lines, deadline: Instant::now() + PATIENCE, seen: String::new() }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Answer {
        self.start(words).end()
    }
}

enum Line {
    Stdout(String),
    Stderr(String),
}

fn read_lines(from: impl Read + Send + 'static, to: SyncSender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let line = line.expect("UTF-8");
            if to.send(kind(line)).is_err() {
                return;
            }
        }
    });
}

/// A command that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<Line>,
    deadline: Instant,
    seen: String,
}

impl Program {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line, on stdout or stderr, with `word` in it.
    pub(crate) fn line_with(&mut self, word: &str) -> String {
        loop {
            let line = match self.next_line() {
                Some(Line::Stdout(line) | Line::Stderr(line)) => line,
                None => panic!("ended without {word:?}; it said:\n{}", self.seen),
            };
            writeln!(self.seen, "{line}").expect("to memory");
            if line.contains(word) {
                return line;
            }
        }
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> serde_json::Value {
        let line = self.line_with(&format!("\"event\":\"{name}\""));
        serde_json::from_str(&line).expect("a JSON line")
    }

    /// Where the first listener is, from the event that tells it.
    pub(crate) fn address(&mut self) -> String {
        let started = self.event("started");
        let listeners = started["listeners"].as_str().expect("a text");
        let first = listeners.split(' ').next().expect("one listener");
        first.split_once('=').expect("NAME=ADDRESS").1.to_owned()
    }

    /// It may take so long from now on.
    pub(crate) fn may_take(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(self) -> Answer {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Answer {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        while let Some(line) = self.next_line() {
            let (to, line) = match line {
                Line::Stdout(line) => (&mut stdout, line),
                Line::Stderr(line) => (&mut stderr, line),
            };
            writeln!(to, "{line}").expect("to memory");
        }
        let status = self.child.wait().expect("our child");
        let code = status.code().unwrap_or_else(|| panic!("{status}: {stdout}{stderr}"));
        Answer { code, stdout, stderr }
    }

    /// Waits until it is gone, whoever else holds on to its output; the code it ended with.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("our child").code()
    }

    /// `None` once stdout and stderr have ended.
    fn next_line(&mut self) -> Option<Line> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing for {PATIENCE:?}; it said:\n{}", self.seen)
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one GET on a connection of its own and reads to its end.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = send_get(address, path);
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a whole response");
    response
}

/// Sends one GET; the response is to be read.
pub(crate) fn send_get(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect(address);
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    stream
}

/// Who answered: the value of X-Backend.
pub(crate) fn backend_of(response: &str) -> &str {
    let fields = response.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(name, _)| name.eq_ignore_ascii_case("x-backend"));
    values.next().unwrap_or_else(|| panic!("no X-Backend: {response}")).1.trim()
}

/// A test backend of this name, as a process of its own, and where it listens.
pub(crate) fn backend(name: &str) -> (Program, String) {
    testserver(&["--name", name])
}

/// The same with other words.
pub(crate) fn testserver(words: &[&str]) -> (Program, String) {
    let all = [&["testserver", "--listen", "127.0.0.1:0"], words].concat();
    let mut server = Shell::new().start(&all);
    let line = server.line_with("listens on");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    (server, address.to_owned())
}
