//! What a script reads: messages out of a stream, byte by byte as they come, as strict as RFC 9112
//! allows. What is not exactly one message is a fault.

use crate::memory::ScriptStream;

/// Longest head or chunk-size line.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ended between two messages.
    Ended,
    /// It ended in the middle of one.
    Cut,
    /// It broke, or our own side left.
    Reset,
    /// These bytes are no message.
    Malformed(String),
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    Fixed(usize),
    Chunked,
    UntilClose,
}

/// Start line and fields.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Result<Head, Fault> {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
        let controls = |text: &str| text.chars().any(char::is_control);
        if controls(&start) || fields.iter().any(|(_, value)| controls(value)) {
            return malformed("control byte", text);
        }
        Ok(Head { start, fields })
    }

    /// Fields that came in another form.
    pub(super) fn of(fields: Vec<(String, String)>) -> Head {
        Head { start: String::new(), fields }
    }

    /// The only value of a field; two are told as one that no test expects.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let own = self.fields.iter().filter(|(given, _)| given == name);
        let values: Vec<_> = own.map(|(_, value)| value.as_str()).collect();
        if values.is_empty() { None } else { Some(values.join(" | ")) }
    }

    /// A value as a whole number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name).and_then(|text| text.parse().ok())
    }

    /// The one framing; `None` if the head states none.
    pub(super) fn framing(&self) -> Result<Option<Framing>, Fault> {
        match (self.value("content-length"), self.value("transfer-encoding")) {
            (None, None) => Ok(None),
            (None, Some(coding)) if coding == "chunked" => Ok(Some(Framing::Chunked)),
            (Some(length), None) if length.bytes().all(|b| b.is_ascii_digit()) => {
                match length.parse() {
                    Ok(length) => Ok(Some(Framing::Fixed(length))),
                    Err(_) => malformed("length", &length),
                }
            }
            framing => malformed("framing", &format!("{framing:?}")),
        }
    }

    /// Status of a response's start line.
    pub(super) fn status(&self) -> Result<u16, Fault> {
        let code = self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_at_checked(3));
        match code {
            Some((code, rest)) if rest.starts_with(' ') => match code.parse() {
                Ok(code @ 100..=599) => Ok(code),
                _ => malformed("status", &self.start),
            },
            _ => malformed("status line", &self.start),
        }
    }

    /// Method and target of a request's start line.
    pub(super) fn method_and_target(&self) -> Result<(&str, &str), Fault> {
        let mut words = self.start.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some("HTTP/1.1"), None) => Ok((method, target)),
            _ => malformed("request line", &self.start),
        }
    }
}

fn malformed<T>(what: &str, text: &str) -> Result<T, Fault> {
    let shown: String = text.chars().take(120).collect();
    Err(Fault::Malformed(format!("{what}: {shown:?}")))
}

fn parse_field(line: &str) -> Result<(String, String), Fault> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(token) => {
            Ok((name.to_ascii_lowercase(), value.trim_matches(' ').to_owned()))
        }
        _ => malformed("field", line),
    }
}

/// Bytes that came and were not read as a message yet.
pub(super) struct Inbox {
    stream: ScriptStream,
    bytes: Vec<u8>,
}

impl Inbox {
    pub(super) fn new(stream: ScriptStream) -> Inbox {
        Inbox { stream, bytes: Vec::new() }
    }

    /// Bytes of no message yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// Waits for more bytes.
    pub(super) async fn fill(&mut self) -> Result<(), Fault> {
        match self.stream.read(&mut self.bytes).await {
            Ok(0) if self.bytes.is_empty() => Err(Fault::Ended),
            Ok(0) => Err(Fault::Cut),
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::Reset),
        }
    }

    /// The next head. May be dropped and called again.
    pub(super) async fn head(&mut self) -> Result<Head, Fault> {
        let text = self.until(b"\r\n\r\n").await?;
        Head::parse(&text)
    }

    /// The body behind the head; its end is the end of the message.
    pub(super) async fn body(&mut self, framing: Framing) -> Result<Vec<u8>, Fault> {
        let body = match framing {
            Framing::Nothing => Ok(Vec::new()),
            Framing::Fixed(length) => self.exactly(length).await,
            Framing::Chunked => self.chunked().await,
            Framing::UntilClose => self.until_close().await,
        };
        body.map_err(|fault| if fault == Fault::Ended { Fault::Cut } else { fault })
    }

    async fn until(&mut self, mark: &[u8]) -> Result<String, Fault> {
        let mut seen = 0;
        loop {
            let from = self.bytes.get(seen..).unwrap_or_default();
            if let Some(at) = from.windows(mark.len()).position(|window| window == mark) {
                let text = self.bytes[..seen + at].iter().map(|b| char::from(*b)).collect();
                self.bytes.drain(..seen + at + mark.len());
                return Ok(text);
            }
            if self.bytes.len() > MAX_HEAD_BYTES {
                let start: String = self.bytes.iter().take(60).map(|b| char::from(*b)).collect();
                return malformed("endless head", &start);
            }
            seen = self.bytes.len().saturating_sub(mark.len() - 1);
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.bytes.len() < length {
            self.fill().await?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            let digits =
                (1..=16).contains(&line.len()) && line.bytes().all(|b| b.is_ascii_hexdigit());
            let size = usize::from_str_radix(&line, 16).ok().filter(|_| digits);
            let Some(size) = size else { return malformed("chunk size", &line) };
            body.extend(self.exactly(size).await?);
            let end = self.until(b"\r\n").await?;
            if !end.is_empty() {
                return malformed("end of chunk", &end);
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn until_close(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            match self.stream.read(&mut self.bytes).await {
                Ok(0) => return Ok(std::mem::take(&mut self.bytes)),
                Ok(_) => {}
                Err(_) => return Err(Fault::Reset),
            }
        }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): tells bodies apart.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Text that would be obeyed if a body were ever read as a head.
const BAIT: &[u8] = b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
    GET /p0/bait HTTP/1.1\r\nHost: bait\r\nX-Sim-Id: bait\r\n\r\n";

/// A body of the wanted length that begins with `id`; different for every id.
pub(super) fn body_of(id: &str, length: usize) -> Vec<u8> {
    let start = format!("{id}\r\n").into_bytes();
    let turn = usize::try_from(hash(id.as_bytes()) % 97).unwrap_or(0);
    start.into_iter().chain(BAIT.iter().copied().cycle().skip(turn)).take(length).collect()
}
