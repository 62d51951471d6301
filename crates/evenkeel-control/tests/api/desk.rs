//! A control plane over a server that does not serve: all of its state, none of its traffic.

use evenkeel_api::{Client, ENDPOINTS, Endpoint};
use evenkeel_config::{Format, Overrides, Source};
use evenkeel_control::steering::{Draft, Written};
use evenkeel_control::{Control, Desk, Numbers, Readiness, Tokens};
use evenkeel_core::address::BindAddress;
use evenkeel_core::plan::{LogFormat, LogLevel};
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::server::Server;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Two pools; the second has nobody who takes traffic.
pub(crate) const TWO_POOLS: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0", limits: { max_connections: 7 } }]
workers: 2
routes:
  - name: api
    match: { hosts: [api.test], path_prefix: /v1, methods: [GET], headers: { x-beta: "1" } }
    split: [{ pool: web, weight: 95 }, { pool: spare, weight: 5 }]
    timeout: 3s
    deny: ["10.0.0.0/8"]
    strip_prefix: true
  - pool: web
pools:
  - name: web
    strategy: Round-Robin
    backends:
      - { name: b1, address: "127.0.0.1:8081", weight: 3 }
      - { name: b2, address: "http://127.0.0.1:8082", admin: draining }
    health: { type: none }
  - name: spare
    backends: [{ name: s1, address: "unix:/run/s1", admin: disabled }]
"#;

struct Ready;

impl Readiness for Ready {
    fn not_ready(&self) -> Option<String> {
        None
    }
}

/// A running admin listener.
pub(crate) struct Stage {
    control: Option<Control>,
    log: Option<Log>,
    server: Arc<Server>,
    text: Arc<Mutex<String>>,
    pub(crate) folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn open(text: &str) -> Stage {
        Stage::start(text, false)
    }

    /// With a token of each role, named as the role.
    pub(crate) fn guarded(text: &str) -> Stage {
        Stage::start(text, true)
    }

    fn start(text: &str, guarded: bool) -> Stage {
        let folder = tempfile::tempdir().expect("folder");
        let text = Arc::new(Mutex::new(text.to_owned()));
        let told = Arc::clone(&text);
        let read_file = move || {
            let text = told.lock().expect("a text").clone();
            let source = Source { name: "test".to_owned(), text, format: Format::Yaml };
            Ok(Written { source: Some(source), overrides: Overrides::default() })
        };
        let draft = Draft::read(Box::new(read_file), None).expect("valid");
        let file = Some(folder.path().join("log"));
        let options = LogOptions { format: LogFormat::Json, level: LogLevel::Info, file };
        let log = Log::start(options).expect("a log");
        let server = Arc::new(Server::start(&draft.plan, &log).expect("free ports"));
        let numbers = Arc::new(Numbers::new(server.state(), "1.2.3"));
        let steering = draft.steer(Arc::clone(&server), log.events());
        let tokens = guarded.then(|| {
            let file = folder.path().join("tokens.yaml");
            fs::write(&file, tokens_file()).expect("write");
            Arc::new(Tokens::load(&file).expect("tokens"))
        });
        let desk = Desk {
            numbers: Some(numbers),
            steering: Some(steering),
            log: Some(log.events()),
            tokens,
            ..Desk::new(Arc::new(Ready))
        };
        let bind = BindAddress::parse("127.0.0.1:0").expect("address");
        let control = Control::start(Some(&bind), desk).expect("start");
        Stage { control: Some(control), log: Some(log), server, text, folder }
    }

    /// What the file says from now on, if somebody reads it.
    pub(crate) fn write(&self, text: &str) {
        text.clone_into(&mut self.text.lock().expect("a text"));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.control.as_ref().and_then(Control::local_addr).expect("a TCP address")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address())).expect("an address")
    }

    /// Sends a request with further fields and a body; gives status, head in lower case, body.
    pub(crate) fn ask(&self, line: &str, fields: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address()).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let host = if fields.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address())
        };
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let request =
            format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{length}{fields}\r\n{body}");
        // A refusal may come before the body has been taken.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        (head[9..12].parse().expect("status"), head.to_ascii_lowercase(), body.to_owned())
    }

    /// Stops everything and reads the log.
    pub(crate) fn end(mut self) -> String {
        self.control.take().expect("running").stop();
        self.server.stop();
        self.log.take().expect("running").close();
        fs::read_to_string(self.folder.path().join("log")).expect("log")
    }
}

/// The token of a role is its name.
pub(crate) fn tokens_file() -> String {
    let line = |(role, digest): &(&str, &str)| {
        format!("  - {{ name: {role}-1, role: {role}, sha256: \"{digest}\" }}\n")
    };
    format!("tokens:\n{}", DIGESTS.iter().map(line).collect::<String>())
}

/// `printf NAME | sha256sum`.
const DIGESTS: [(&str, &str); 3] = [
    ("viewer", "d35ca5051b82ffc326a3b0b6574a9a3161dee16b9478a199ee39cd803ce5b799"),
    ("operator", "06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"),
    ("admin", "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918"),
];

/// The path of an endpoint with its segments filled in.
pub(crate) fn filled(endpoint: &Endpoint) -> String {
    let path = endpoint.path.replace("/routes/{name}", "/routes/api");
    path.replace("{pool}", "web").replace("{name}", "b1").replace("{n}", "1")
}

/// The row of the table with this name.
pub(crate) fn row(operation: &str) -> &'static Endpoint {
    ENDPOINTS.iter().find(|it| it.operation == operation).expect(operation)
}
