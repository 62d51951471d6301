//! The proxy under test: a real server in this process, on a free port, with its log in a file.

use crate::client::Client;
use crate::wire::PATIENCE;
use evenkeel_core::plan::Plan;
use evenkeel_core::pool::Pool;
use evenkeel_proxy::detail::Detail;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::server::{Server, StartError};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

/// Panics of any thread of this process that serves, until someone asks.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Pause between two looks at the log file.
const LOG_POLL: Duration = Duration::from_millis(5);

/// A running proxy; dropping it stops it and fails the test if a worker panicked.
pub struct Proxy {
    server: Option<Server>,
    log: Option<Log>,
    log_file: PathBuf,
    addresses: Vec<String>,
    _directory: TempDir,
}

impl Proxy {
    /// Starts serving.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(plan: &Plan) -> Proxy {
        Proxy::try_start(plan).expect("the proxy starts")
    }

    /// Why it does not start.
    ///
    /// # Panics
    /// If it does.
    pub fn refused(plan: &Plan) -> String {
        match Proxy::try_start(plan) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("the proxy starts"),
        }
    }

    fn try_start(plan: &Plan) -> Result<Proxy, StartError> {
        watch_for_panics();
        let directory = TempDir::new().expect("a temporary directory");
        let log_file = directory.path().join("access.log");
        let log = Log::start(LogOptions {
            format: plan.logging.format,
            level: plan.logging.level,
            file: Some(log_file.clone()),
        });
        let log = log.expect("a log file");
        let server = Server::start(plan, &log)?;
        let addresses = server.addresses().iter().map(|(_, address)| address.clone()).collect();
        let (server, log) = (Some(server), Some(log));
        Ok(Proxy { server, log, log_file, addresses, _directory: directory })
    }

    /// Where the first listener accepts: `host:port` or `unix:/path`.
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// A new client connection to the first listener.
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// The server itself.
    ///
    /// # Panics
    /// Never: it is there until the proxy is dropped.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("running until dropped")
    }

    /// What is told from now on; once only.
    ///
    /// # Panics
    /// If somebody watches already.
    pub fn watch(&self) -> Receiver<Detail> {
        let log = self.log.as_ref().expect("there until dropped");
        log.watch().expect("nobody watches yet")
    }

    /// Waits until no client is connected; false if some stay.
    pub fn wait_for_no_clients(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        while self.server().state().client_connections() > 0 {
            if Instant::now() > until {
                return false;
            }
            std::thread::park_timeout(LOG_POLL);
        }
        true
    }

    /// The first pool, as it serves.
    ///
    /// # Panics
    /// If the plan has none.
    pub fn pool(&self) -> Arc<Pool> {
        let snapshot = self.server().state().snapshot();
        Arc::clone(snapshot.pools.first().expect("a pool"))
    }

    /// The access records, once there are `count`.
    ///
    /// # Panics
    /// If they do not come, or a line is not JSON.
    pub fn wait_for_records(&self, count: usize) -> Vec<Value> {
        self.wait_for_events("request_routed", count)
    }

    /// The events of this name, once there are `count`.
    ///
    /// # Panics
    /// If they do not come, or a line is not JSON.
    pub fn wait_for_events(&self, name: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.log_file).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let line = |line: &str| serde_json::from_str::<Value>(line).expect("a JSON line");
            let events: Vec<_> = whole.lines().map(line).filter(|e| e["event"] == name).collect();
            if events.len() >= count {
                return events;
            }
            assert!(Instant::now() < until, "{} of {count} {name}: {text}", events.len());
            std::thread::park_timeout(LOG_POLL);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
        drop(self.log.take());
        let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
        if !std::thread::panicking() {
            assert!(panics.is_empty(), "a worker panicked: {panics:?}");
        }
    }
}

/// The runtime contains a panic within its task, so only a hook sees it.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("ek-worker")) {
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
            }
            usual(panic);
        }));
    });
}
