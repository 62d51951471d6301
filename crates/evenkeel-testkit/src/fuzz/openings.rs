//! What a connection begins with, before HTTP.

use evenkeel_core::client_hello::{self, Hello, MAX_HELLO_BYTES};
use evenkeel_core::proxy_protocol::{self, MAX_V2_BYTES, Opening, TlsTold, Told};

/// A PROXY header is read alike from the header alone and from all that follows it, every prefix of
/// it asks for more, and what it tells is read back from what we would write.
///
/// # Panics
/// If that does not hold.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Opening::Header(told, length)) = proxy_protocol::parse(bytes) else {
        let partial = proxy_protocol::parse(bytes) == Ok(Opening::Partial);
        assert!(!partial || bytes.len() < MAX_V2_BYTES, "asks for more without end");
        return;
    };
    let header = &bytes[..length];
    assert_eq!(proxy_protocol::parse(header), Ok(Opening::Header(told, length)));
    for cut in 0..length {
        assert_eq!(proxy_protocol::parse(&header[..cut]), Ok(Opening::Partial), "{cut}");
    }
    let mut again = Vec::new();
    proxy_protocol::write_v2(&told, &TlsTold::default(), &mut again);
    assert_eq!(proxy_protocol::parse(&again), Ok(Opening::Header(told, again.len())));
    if let Told::Client { source, destination } = told {
        assert_eq!(source.is_ipv4(), destination.is_ipv4());
    }
}

/// A server name is one, and the same however much follows; a verdict does not change with more.
///
/// # Panics
/// If that does not hold.
pub fn client_hello(bytes: &[u8]) {
    let seen = client_hello::look(bytes);
    let more = client_hello::look(&[bytes, b"x"].concat());
    match &seen {
        Hello::Partial => assert!(bytes.len() < MAX_HELLO_BYTES, "asks for more without end"),
        Hello::Foreign => assert_eq!(more, Hello::Foreign),
        Hello::Whole(name) => {
            let name = name.as_deref().unwrap_or("a");
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(name, name.to_ascii_lowercase());
            if bytes.len() < MAX_HELLO_BYTES {
                assert_eq!(more, seen);
            }
        }
    }
}
