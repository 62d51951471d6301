//! The server name that a TLS client asks for, read from its first bytes without opening TLS
//! (RFC 8446 4.1.2, RFC 6066 3). The message may come in any number of records and pieces.
//!
//! *Architecture invariant:* this decides where a connection is carried to, never what is in it:
//! every byte that was looked at is carried through as it came.

/// Longest beginning of a connection that is looked at.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest payload of a plaintext record.
const MAX_RECORD_BYTES: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a ClientHello, so far.
    Partial,
    /// A whole one, with the name that it asks for in lower case; `None` if it asks for none.
    Whole(Option<String>),
    /// Something else, or too long.
    Foreign,
}

/// Looks at the first bytes of a connection.
pub fn look(bytes: &[u8]) -> Hello {
    if bytes.len() > MAX_HELLO_BYTES {
        return Hello::Foreign;
    }
    match message(bytes) {
        Ok(Some(message)) => hello_name(&message).map_or(Hello::Foreign, Hello::Whole),
        Ok(None) if bytes.len() == MAX_HELLO_BYTES => Hello::Foreign,
        Ok(None) => Hello::Partial,
        Err(Foreign) => Hello::Foreign,
    }
}

struct Foreign;

/// The body of the handshake message, put together from its records; `None` if it is not whole.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Foreign> {
    let mut message = Vec::new();
    while !bytes.is_empty() {
        if bytes[0] != HANDSHAKE_RECORD || bytes.get(1).is_some_and(|major| *major != 3) {
            return Err(Foreign);
        }
        let Some(head) = bytes.first_chunk::<5>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > MAX_RECORD_BYTES {
            return Err(Foreign);
        }
        let rest = &bytes[5..];
        message.extend_from_slice(&rest[..length.min(rest.len())]);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Foreign);
        }
        if let Some([_, high, middle, low]) = message.first_chunk() {
            let wanted = 4 + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if wanted > MAX_HELLO_BYTES {
                return Err(Foreign);
            }
            if message.len() >= wanted {
                return Ok(Some(message[4..wanted].to_vec()));
            }
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    Ok(None)
}

/// Takes parts off the front of a message.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn number(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// A part with its length in one byte before it.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(usize::from(length))
    }

    /// A part with its length in two bytes before it.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::from(length))
    }
}

/// The name that a ClientHello asks for; the outer `None` if it is not legal.
fn hello_name(body: &[u8]) -> Option<Option<String>> {
    let mut parts = Parts(body);
    // Version and random.
    parts.take(2 + 32)?;
    let session = parts.short()?;
    let suites = parts.long()?;
    let compressions = parts.short()?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 == 1 || compressions.is_empty() {
        return None;
    }
    if parts.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Parts(parts.long()?);
    if !parts.0.is_empty() {
        return None;
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.number()?, extensions.long()?);
        if kind == SERVER_NAME {
            if name.is_some() {
                return None;
            }
            name = Some(host_name(value)?);
        }
    }
    Some(name)
}

/// The one name of the list; others have never been defined.
fn host_name(value: &[u8]) -> Option<String> {
    let mut whole = Parts(value);
    let mut list = Parts(whole.long()?);
    let kind = *list.take(1)?.first()?;
    let name = list.long()?;
    // As a whole name of DNS ends.
    let name = name.strip_suffix(b".").unwrap_or(name);
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let ours = kind == HOST_NAME && whole.0.is_empty() && list.0.is_empty();
    if !ours || name.is_empty() || name.len() > 255 || !name.iter().all(legal) {
        return None;
    }
    Some(String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// True if one of the patterns, exact names or `*.suffix`, covers the name.
pub fn covers(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
        Some(suffix) => name.strip_suffix(suffix).is_some_and(|left| left.ends_with('.')),
        None => pattern == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        [&length, bytes].concat()
    }

    /// A ClientHello with these extensions, in records of `size` bytes.
    fn hello(extensions: Option<&[u8]>, size: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend_from_slice(&long(&[0x13, 0x01]));
        body.extend_from_slice(&[1, 0]);
        body.extend(extensions.map(long).unwrap_or_default());
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let message = [&[CLIENT_HELLO, length[1], length[2], length[3]], &body[..]].concat();
        let record = |piece: &[u8]| [&[HANDSHAKE_RECORD, 3, 1], &long(piece)[..]].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn name(name: &str) -> Vec<u8> {
        let entry = [&[HOST_NAME], &long(name.as_bytes())[..]].concat();
        [&[0, 0], &long(&long(&entry))[..]].concat()
    }

    #[test]
    fn the_name_is_found_however_it_is_cut() {
        let wanted = Hello::Whole(Some("a.example.com".to_owned()));
        for size in [1, 5, 64, 16_384] {
            let other = [0, 10, 0, 4, 0, 2, 0, 29];
            let bytes = hello(Some(&[&other[..], &name("A.Example.com.")].concat()), size);
            assert_eq!(look(&bytes), wanted);
            for cut in 0..bytes.len() {
                assert_eq!(look(&bytes[..cut]), Hello::Partial, "{size} {cut}");
            }
            assert_eq!(look(&[&bytes[..], b"more"].concat()), wanted);
        }
    }

    #[test]
    fn without_a_name() {
        assert_eq!(look(&hello(None, 999)), Hello::Whole(None));
        assert_eq!(look(&hello(Some(&[]), 999)), Hello::Whole(None));
    }

    #[test]
    fn what_is_no_hello() {
        let twice = [name("a"), name("b")].concat();
        let mut server_hello = hello(None, 999);
        server_hello[5] = 2;
        for (bytes, why) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), "HTTP"),
            (b"SSH-2.0".to_vec(), "SSH"),
            (vec![22, 2], "version 2"),
            (vec![22, 3, 1, 0, 0], "an empty record"),
            (vec![22, 3, 1, 255, 255], "a record too long"),
            (server_hello, "ServerHello"),
            (hello(Some(&twice), 999), "two names"),
            (hello(Some(&name("a b")), 999), "a name with a space"),
            (hello(Some(&name("a\0.test")), 999), "a name with a NUL"),
            (hello(Some(&name("")), 999), "an empty name"),
            (hello(Some(&name(".")), 999), "a name that is a dot"),
            (hello(Some(&[0, 0, 0, 9, 1]), 999), "an extension too long"),
        ] {
            assert_eq!(look(&bytes), Hello::Foreign, "{why}");
        }
        let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0][..], &[0; MAX_HELLO_BYTES]].concat();
        assert_eq!(look(&endless), Hello::Foreign, "too long");
    }

    #[test]
    fn patterns_cover_names() {
        let patterns = ["a.test".to_owned(), "*.b.test".to_owned()];
        for (name, covered) in
            [("a.test", true), ("x.b.test", true), ("y.x.b.test", true), ("b.test", false)]
        {
            assert_eq!(covers(&patterns, name), covered, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_verdict(rest in any::<Vec<u8>>(), cut in any::<usize>()) {
            let whole = hello(Some(&name("a.test")), 16);
            let bytes = [&whole[..cut % whole.len()], &rest].concat();
            let seen = look(&bytes);
            if let Hello::Whole(Some(name)) = &seen {
                prop_assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            if seen == Hello::Foreign {
                prop_assert_eq!(look(&[&bytes[..], b"x"].concat()), Hello::Foreign);
            }
        }
    }
}
