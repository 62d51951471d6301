//! A second, independent reading of HTTP/1.1 messages, as strict as RFC 9112 allows: the oracle
//! that tests hold the proxy's output against.

/// What a message is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// A response.
    Response,
    /// The response to HEAD: no body, whatever it announces.
    ResponseToHead,
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line, without CRLF.
    pub start_line: String,
    /// In the order received, values as Latin-1 text without surrounding space.
    pub fields: Vec<(String, String)>,
    /// Decoded.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// The body came chunked.
    pub chunked: bool,
}

/// What the bytes at hand amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A message, and how many bytes it took.
    Whole(Message, usize),
    /// More bytes are needed.
    Partial,
    /// More bytes are needed, and the end of the connection would complete it.
    UntilClose(Message),
}

impl Message {
    /// Values of a field, whatever its case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let own = self.fields.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field; `None` if there is none.
    ///
    /// # Panics
    /// If the field stands twice.
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} stands {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Status code of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.start_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Target of a request.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or("")
    }

    /// Method of a request.
    pub fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or("")
    }

    /// Start line and fields in one comparable form: names in lower case, sorted, and what a proxy
    /// makes up anew for each request (`x-request-id`, `via`) as `*`.
    pub fn shape(&self) -> Vec<String> {
        let line = |(name, value): &(String, String)| {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "x-request-id" | "via" => format!("{name}: *"),
                _ => format!("{name}: {value}"),
            }
        };
        let mut lines: Vec<_> = self.fields.iter().map(line).collect();
        lines.sort_unstable();
        lines.insert(0, self.start_line.clone());
        lines
    }
}

/// Reads the message at the start of `bytes`; the error says which rule it breaks.
pub fn read(bytes: &[u8], kind: Kind) -> Result<Reading, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(Reading::Partial);
    };
    let mut message = read_head(&bytes[..end], kind)?;
    let rest = &bytes[end + 4..];
    let codings = message.values("transfer-encoding").join(",");
    let lengths = message.values("content-length").join(",");
    if !codings.is_empty() && !lengths.is_empty() {
        return Err(format!("both framings: {:?}", message.fields));
    }
    if kind == Kind::ResponseToHead || matches!(message.status(), 100..=199 | 204 | 304) {
        return Ok(Reading::Whole(message, end + 4));
    }
    if !codings.is_empty() {
        if codings != "chunked" {
            return Err(format!("coding {codings:?}"));
        }
        message.chunked = true;
        return Ok(match read_chunked(rest, &mut message)? {
            Some(used) => Reading::Whole(message, end + 4 + used),
            None => Reading::Partial,
        });
    }
    if lengths.is_empty() {
        if kind == Kind::Request {
            return Ok(Reading::Whole(message, end + 4));
        }
        message.body = rest.to_vec();
        return Ok(Reading::UntilClose(message));
    }
    let length = decimal(&lengths)?;
    match rest.get(..length) {
        Some(body) => message.body = body.to_vec(),
        None => return Ok(Reading::Partial),
    }
    Ok(Reading::Whole(message, end + 4 + length))
}

fn read_head(head: &[u8], kind: Kind) -> Result<Message, String> {
    let text = latin1(head);
    let mut lines = text.split("\r\n");
    let start_line = lines.next().unwrap_or_default().to_owned();
    if text.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t') {
        return Err(format!("control byte in head {text:?}"));
    }
    let well_formed = match kind {
        Kind::Request => start_line.ends_with(" HTTP/1.1") && start_line.split(' ').count() == 3,
        Kind::Response | Kind::ResponseToHead => is_status_line(&start_line),
    };
    if !well_formed {
        return Err(format!("start line {start_line:?}"));
    }
    let fields = lines.map(read_field).collect::<Result<_, _>>()?;
    Ok(Message { start_line, fields, body: Vec::new(), trailers: Vec::new(), chunked: false })
}

fn is_status_line(line: &str) -> bool {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_at_checked(3));
    code.is_some_and(|(code, rest)| {
        code.bytes().all(|b| b.is_ascii_digit()) && (rest.is_empty() || rest.starts_with(' '))
    })
}

fn read_field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!("field name {name:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Bytes used, or `None` if the last chunk has not come.
fn read_chunked(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let digits = latin1(&bytes[at..at + line]);
        let is_size = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| is_size);
        let size = size.ok_or_else(|| format!("chunk size {digits:?}"))?;
        at += line + 2;
        if size == 0 {
            return read_trailers(bytes, at, message);
        }
        let Some(piece) = bytes.get(at..at + size + 2) else { return Ok(None) };
        let data = piece.strip_suffix(b"\r\n").ok_or("no CRLF after a chunk")?;
        message.body.extend_from_slice(data);
        at += size + 2;
    }
}

fn read_trailers(
    bytes: &[u8],
    mut at: usize,
    message: &mut Message,
) -> Result<Option<usize>, String> {
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let text = latin1(&bytes[at..at + line]);
        at += line + 2;
        if text.is_empty() {
            return Ok(Some(at));
        }
        message.trailers.push(read_field(&text)?);
    }
}

fn decimal(text: &str) -> Result<usize, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| format!("length {text:?}"))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages() {
        let cases: [(&[u8], Kind, &[u8], usize); 4] = [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore", Kind::Request, b"", 27),
            (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok", Kind::Request, b"ok", 40),
            (
                b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                Kind::Response,
                b"ok",
                57,
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Kind::ResponseToHead, b"", 38),
        ];
        for (bytes, kind, body, length) in cases {
            let Ok(Reading::Whole(message, used)) = read(bytes, kind) else {
                panic!("{}", latin1(bytes));
            };
            assert_eq!((message.body.as_slice(), used), (body, length), "{}", latin1(bytes));
        }
    }

    #[test]
    fn broken_messages() {
        let cases: [&[u8]; 6] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\n",
        ];
        for bytes in cases {
            assert!(read(bytes, Kind::Response).is_err(), "{}", latin1(bytes));
        }
    }
}
