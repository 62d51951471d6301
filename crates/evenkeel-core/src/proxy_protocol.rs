//! The PROXY protocol, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`, 2020-03-05): who
//! the client of a connection is, told by the proxy before us, or by us to a backend.
//!
//! *Architecture invariant:* a header is whole and exact, or there is none: what is only nearly one
//! is refused, so that no two readers see it end at different bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, its line end included.
pub const MAX_V1_BYTES: usize = 107;
/// The longest header of version 2 that is read, its fixed part included.
pub const MAX_V2_BYTES: usize = FIXED_BYTES + 8 * 1024;

const V1_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
const VERSION_2: u8 = 0x20;
const COMMAND_PROXY: u8 = 1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const FAMILY_UNIX: u8 = 3;
const KIND_DATAGRAM: u8 = 2;
const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_SSL: u8 = 0x20;
const TYPE_SSL_VERSION: u8 = 0x21;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The proxy's own connection, or one of a kind that it cannot name: its own address stands.
    Nothing,
    /// A client's.
    Client {
        /// Where the client called from.
        source: SocketAddr,
        /// Where it called.
        destination: SocketAddr,
    },
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A header of so many bytes; what follows is the client's.
    Header(Told, usize),
    /// The beginning of one, so far.
    Partial,
    /// Something else.
    Absent,
}

/// It begins like a header, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the header that a connection begins with.
///
/// # Errors
/// It begins like one and is none, or is longer than any that is read.
pub fn parse(bytes: &[u8]) -> Result<Opening, Malformed> {
    let begins = |with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes[..common] == with[..common]
    };
    if begins(SIGNATURE) {
        return if bytes.len() < FIXED_BYTES { partial_v2(bytes) } else { parse_v2(bytes) };
    }
    if begins(V1_BEGIN) {
        return parse_v1(bytes);
    }
    Ok(Opening::Absent)
}

fn parse_v1(bytes: &[u8]) -> Result<Opening, Malformed> {
    let window = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_V1_BYTES { Ok(Opening::Partial) } else { Err(Malformed) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let told = match words.next() {
        Some("UNKNOWN") => Told::Nothing,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut ip = || words.next().and_then(|word| ip_of(family, word)).ok_or(Malformed);
            let (from, to) = (ip()?, ip()?);
            let mut port = || words.next().and_then(port_of).ok_or(Malformed);
            let source = SocketAddr::new(from, port()?);
            let destination = SocketAddr::new(to, port()?);
            if words.next().is_some() {
                return Err(Malformed);
            }
            Told::Client { source, destination }
        }
        Some(_) | None => return Err(Malformed),
    };
    Ok(Opening::Header(told, end + 1))
}

fn ip_of(family: &str, word: &str) -> Option<IpAddr> {
    if family == "TCP4" {
        word.parse::<Ipv4Addr>().ok().map(IpAddr::from)
    } else {
        word.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    }
}

fn port_of(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (word.len() == 1 || !word.starts_with('0'));
    canonical.then(|| word.parse().ok()).flatten()
}

/// The fixed part is not whole: what is there of it must be right.
fn partial_v2(bytes: &[u8]) -> Result<Opening, Malformed> {
    match bytes.get(SIGNATURE.len()) {
        Some(version) if version & 0xf0 != VERSION_2 => Err(Malformed),
        Some(_) | None => Ok(Opening::Partial),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Opening, Malformed> {
    let (command, family) = (bytes[12], bytes[13]);
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if command & 0xf0 != VERSION_2 || command & 0x0f > COMMAND_PROXY || end > MAX_V2_BYTES {
        return Err(Malformed);
    }
    let Some(header) = bytes.get(..end) else { return Ok(Opening::Partial) };
    let rest = &header[FIXED_BYTES..];
    if command & 0x0f != COMMAND_PROXY {
        return Ok(Opening::Header(Told::Nothing, end));
    }
    let (told, used) = match family {
        TCP4 => {
            let part: &[u8; 12] = rest.first_chunk().ok_or(Malformed)?;
            let ip = |at: usize| Ipv4Addr::new(part[at], part[at + 1], part[at + 2], part[at + 3]);
            let port = |at: usize| u16::from_be_bytes([part[at], part[at + 1]]);
            let source = SocketAddr::new(ip(0).into(), port(8));
            let destination = SocketAddr::new(ip(4).into(), port(10));
            (Told::Client { source, destination }, part.len())
        }
        TCP6 => {
            let part: &[u8; 36] = rest.first_chunk().ok_or(Malformed)?;
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&part[at..at + 16]);
                IpAddr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([part[at], part[at + 1]]);
            let source = SocketAddr::new(ip(0), port(32));
            let destination = SocketAddr::new(ip(16), port(34));
            (Told::Client { source, destination }, part.len())
        }
        // What no family or no kind of socket has been given to yet.
        _ if family >> 4 > FAMILY_UNIX || family & 0x0f > KIND_DATAGRAM => return Err(Malformed),
        // Datagrams, unix sockets, nothing: none of them is a TCP client.
        _ => return Ok(Opening::Header(Told::Nothing, end)),
    };
    check_extras(header, FIXED_BYTES + used)?;
    Ok(Opening::Header(told, end))
}

/// The type-length-values behind the addresses are whole, and the checksum, if there is one, holds.
fn check_extras(header: &[u8], mut at: usize) -> Result<(), Malformed> {
    while at < header.len() {
        let [kind, high, low] = *header[at..].first_chunk().ok_or(Malformed)?;
        let value = at + 3;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let found = header.get(value..value + length).ok_or(Malformed)?;
        if kind == TYPE_CRC32C {
            let stated = <[u8; 4]>::try_from(found).map_err(|_| Malformed)?;
            let zeroed = |(index, byte): (usize, &u8)| {
                if (value..value + 4).contains(&index) { 0 } else { *byte }
            };
            let computed = crc32c(header.iter().enumerate().map(zeroed));
            if computed != u32::from_be_bytes(stated) {
                return Err(Malformed);
            }
        }
        at = value + length;
    }
    Ok(())
}

/// CRC32c (RFC 3720 appendix B.4).
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

/// What a backend is told of TLS between the client and us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsTold<'a> {
    /// Such as `TLSv1.3`; empty = no TLS.
    pub version: &'a str,
    /// The server name that the client asked for; empty = none.
    pub authority: &'a str,
    /// The protocol that was agreed on; empty = none.
    pub alpn: &'a [u8],
    /// The client showed a certificate that we accept.
    pub client_cert: bool,
}

/// Writes a header of version 1.
pub fn write_v1(told: &Told, out: &mut Vec<u8>) {
    let line = match told {
        Told::Nothing => "PROXY UNKNOWN\r\n".to_owned(),
        Told::Client { source, destination } => {
            let (from, to) = same_family(source.ip(), destination.ip());
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let ports = format!("{} {}", source.port(), destination.port());
            format!("PROXY {family} {from} {to} {ports}\r\n")
        }
    };
    out.extend_from_slice(line.as_bytes());
}

/// Writes a header of version 2.
pub fn write_v2(told: &Told, tls: &TlsTold<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Told::Client { source, destination } = told else {
        out.extend_from_slice(&[VERSION_2, 0, 0, 0]);
        return;
    };
    let (from, to) = same_family(source.ip(), destination.ip());
    let mut rest = Vec::with_capacity(128);
    let family = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            rest.extend_from_slice(&from.octets());
            rest.extend_from_slice(&to.octets());
            TCP4
        }
        (from, to) => {
            rest.extend_from_slice(&octets(from));
            rest.extend_from_slice(&octets(to));
            TCP6
        }
    };
    rest.extend_from_slice(&source.port().to_be_bytes());
    rest.extend_from_slice(&destination.port().to_be_bytes());
    write_extra(TYPE_ALPN, tls.alpn, &mut rest);
    write_extra(TYPE_AUTHORITY, tls.authority.as_bytes(), &mut rest);
    if !tls.version.is_empty() {
        let shown = if tls.client_cert { CLIENT_CERT_CONN } else { 0 };
        // Verify is 0 for a certificate that was accepted, and else not.
        let verify = u8::from(!tls.client_cert);
        let mut ssl = vec![CLIENT_SSL | shown, 0, 0, 0, verify];
        write_extra(TYPE_SSL_VERSION, tls.version.as_bytes(), &mut ssl);
        write_extra(TYPE_SSL, &ssl, &mut rest);
    }
    let length = u16::try_from(rest.len()).unwrap_or(0);
    out.extend_from_slice(&[VERSION_2 | COMMAND_PROXY, family]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&rest);
}

/// Longest value that is told; longer ones are left out.
const MAX_EXTRA_BYTES: usize = 1024;

fn write_extra(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    if value.is_empty() || value.len() > MAX_EXTRA_BYTES {
        return;
    }
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

/// Two addresses that one header can hold.
fn same_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (from, to),
        (from, to) => (octets(from).into(), octets(to).into()),
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests;
