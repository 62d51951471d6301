//! Values as HAProxy writes them.

use crate::import::draft::duration;

/// `5000`, `5s`, `1m`, `100us` as a duration of the native form; a bare number is milliseconds.
pub(super) fn time(text: &str) -> Option<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "us" => return Some(format!("{number}us")),
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    };
    millis.map(duration)
}

/// Addresses of a `bind`, as the native form binds them.
pub(super) fn binds(word: &str, line_has_v4v6: Ipv6) -> Vec<String> {
    let one = |address: &str| {
        let address = address.trim_start_matches("ipv4@").trim_start_matches("ipv6@");
        match address.rsplit_once(':') {
            Some(("" | "*", port)) => format!("0.0.0.0:{port}"),
            Some(("[::]" | "::", port)) if line_has_v4v6 == Ipv6::Both => format!(":{port}"),
            Some(("::", port)) => format!("[::]:{port}"),
            Some(_) | None if address.starts_with('/') => format!("unix:{address}"),
            Some(_) | None => address.replacen("unix@", "unix:", 1),
        }
    };
    let is_ours = |address: &&str| !is_foreign(address);
    word.split(',').filter(is_ours).flat_map(ports).map(|address| one(&address)).collect()
}

/// True of what no listener of ours can bind: QUIC, sockets passed by number, abstract ones.
pub(super) fn is_foreign(address: &str) -> bool {
    ["quic", "fd@", "sockpair@", "abns@", "abnsz@"].iter().any(|kind| address.starts_with(kind))
}

/// Most addresses that a range of ports is written out as.
const MAX_PORTS: usize = 64;

/// `host:8000-8002` as each of its addresses.
fn ports(address: &str) -> Vec<String> {
    let range = address.rsplit_once(':').and_then(|(host, ports)| {
        let (first, last) = ports.split_once('-')?;
        let ports = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
        (ports.len() <= MAX_PORTS).then_some((host, ports))
    });
    match range {
        Some((host, ports)) => ports.map(|port| format!("{host}:{port}")).collect(),
        None => vec![address.to_owned()],
    }
}

/// Whether an IPv6 bind takes IPv4 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv6 {
    Only,
    Both,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_binds() {
        for (text, wanted) in [
            ("5000", Some("5s")),
            ("1500", Some("1500ms")),
            ("5s", Some("5s")),
            ("2m", Some("120s")),
            ("x", None),
            ("", None),
            ("5y", None),
        ] {
            assert_eq!(time(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(binds("*:80,:81", Ipv6::Only), ["0.0.0.0:80", "0.0.0.0:81"]);
        assert_eq!(binds("*:80-82", Ipv6::Only), ["0.0.0.0:80", "0.0.0.0:81", "0.0.0.0:82"]);
        assert_eq!(binds("quic4@:443", Ipv6::Only), [""; 0]);
        assert_eq!(binds("[::]:80", Ipv6::Both), [":80"]);
        assert_eq!(binds("/run/x.sock", Ipv6::Only), ["unix:/run/x.sock"]);
    }
}
