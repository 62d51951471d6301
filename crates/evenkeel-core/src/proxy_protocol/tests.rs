use super::*;
use proptest::prelude::*;

fn client(source: &str, destination: &str) -> Told {
    let parse = |text: &str| text.parse().expect("an address");
    Told::Client { source: parse(source), destination: parse(destination) }
}

#[test]
fn version_1() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nGET /";
    let told = client("192.0.2.1:4711", "198.51.100.2:443");
    assert_eq!(parse(line), Ok(Opening::Header(told, line.len() - 5)));
    let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
    let told = client("[2001:db8::1]:1", "[::1]:65535");
    assert_eq!(parse(line), Ok(Opening::Header(told, line.len())));
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN 1 2 3 whatever\r\n"] {
        assert_eq!(parse(line.as_bytes()), Ok(Opening::Header(Told::Nothing, line.len())));
    }
}

#[test]
fn nearly_version_1() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443 \r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 04711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +4711 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 4711 443\r\n",
        "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 4711 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1_BYTES));
    assert_eq!(parse(long.as_bytes()), Err(Malformed));
    for absent in ["PROXX", "GET / HTTP/1.1\r\n", "proxy TCP4 "] {
        assert_eq!(parse(absent.as_bytes()), Ok(Opening::Absent));
    }
}

#[test]
fn version_2() {
    let told = client("192.0.2.1:4711", "198.51.100.2:443");
    let mut bytes = Vec::new();
    let tls = TlsTold { version: "TLSv1.3", authority: "a.test", alpn: b"h2", client_cert: true };
    write_v2(&told, &tls, &mut bytes);
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x2c\xc0\0\x02\x01\xc6\x33\x64\x02\x12\x67\x01\xbb";
    assert_eq!(&bytes[..head.len()], head);
    let extras = b"\x01\0\x02h2\x02\0\x06a.test\x20\0\x0f\x03\0\0\0\0\x21\0\x07TLSv1.3";
    assert_eq!(&bytes[head.len()..], extras);
    assert_eq!(parse(&bytes), Ok(Opening::Header(told, bytes.len())));
    let mut local = Vec::new();
    write_v2(&Told::Nothing, &TlsTold::default(), &mut local);
    assert_eq!(parse(&local), Ok(Opening::Header(Told::Nothing, FIXED_BYTES)));
}

/// A header of version 2 with these bytes behind its fixed part.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

#[test]
fn nearly_version_2() {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 0, 2];
    for (bytes, why) in [
        (v2(0x31, TCP4, &addresses), "version 3"),
        (v2(0x22, TCP4, &addresses), "command 2"),
        (v2(0x21, TCP4, &addresses[..11]), "a short address"),
        (v2(0x21, TCP6, &addresses), "a short address"),
        (v2(0x21, TCP4, &[&addresses[..], &[1, 0]].concat()), "half an extra"),
        (v2(0x21, TCP4, &[&addresses[..], &[1, 0, 9, 0]].concat()), "an extra too long"),
        (v2(0x21, TCP4, &[&addresses[..], &[3, 0, 4, 0, 0, 0, 0]].concat()), "a bad checksum"),
        (v2(0x21, TCP4, &vec![0; MAX_V2_BYTES]), "too long"),
        (v2(0x21, 0x41, &addresses), "a family that there is not"),
        (v2(0x21, 0x13, &addresses), "a kind that there is not"),
    ] {
        assert_eq!(parse(&bytes), Err(Malformed), "{why}");
    }
    for (command, family) in [(0x20, TCP4), (0x20, 0xff), (0x21, 0x00), (0x21, 0x12), (0x21, 0x31)]
    {
        let bytes = v2(command, family, &addresses);
        assert_eq!(parse(&bytes), Ok(Opening::Header(Told::Nothing, bytes.len())));
    }
}

#[test]
fn a_checksum_holds() {
    // RFC 3720 B.4: 32 bytes of zeroes.
    assert_eq!(crc32c(std::iter::repeat_n(0, 32)), 0x8a91_36aa);
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 0, 2];
    let mut bytes = v2(0x21, TCP4, &[&addresses[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
    let crc = crc32c(bytes.iter().copied()).to_be_bytes();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&crc);
    let told = client("192.0.2.1:1", "198.51.100.2:2");
    assert_eq!(parse(&bytes), Ok(Opening::Header(told, bytes.len())));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn what_is_written_is_read(from in address(), to in address(), tail in any::<Vec<u8>>()) {
        let (ip, other) = same_family(from.ip(), to.ip());
        let (source, destination) =
            (SocketAddr::new(ip, from.port()), SocketAddr::new(other, to.port()));
        for version in [1, 2] {
            let mut bytes = Vec::new();
            let told = Told::Client { source: from, destination: to };
            match version {
                1 => write_v1(&told, &mut bytes),
                _ => write_v2(&told, &TlsTold::default(), &mut bytes),
            }
            let length = bytes.len();
            for cut in 1..length {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(Opening::Partial));
            }
            bytes.extend_from_slice(&tail);
            let told = Told::Client { source, destination };
            prop_assert_eq!(parse(&bytes), Ok(Opening::Header(told, length)));
        }
    }

    #[test]
    fn any_bytes_end_in_a_verdict(begin in 0..3usize, rest in any::<Vec<u8>>()) {
        let begin = [&b""[..], V1_BEGIN, SIGNATURE][begin];
        let bytes = [begin, &rest].concat();
        if let Ok(Opening::Header(_, length)) = parse(&bytes) {
            prop_assert!(length <= bytes.len() && length <= MAX_V2_BYTES);
            // Whoever reads the header alone reads the same.
            prop_assert_eq!(parse(&bytes[..length]), parse(&bytes));
        }
        if bytes.len() > MAX_V2_BYTES {
            prop_assert_ne!(parse(&bytes), Ok(Opening::Partial));
        }
    }
}
