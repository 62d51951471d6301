//! Who is asking: the address behind trusted proxies, and whether it may use a route.

use crate::http1::Peer;
use evenkeel_core::field::Known;
use evenkeel_core::plan::RoutePlan;
use evenkeel_core::request::RequestHead;
use std::net::IpAddr;

/// The client behind trusted proxies: the last address in X-Forwarded-For that is not trusted
/// itself (RFC 7239 7.4 for why not the first). `None` if a trusted proxy wrote what is no address:
/// who cannot be named is not let in.
pub(crate) fn client_ip(
    peer: &Peer,
    trusted: &[ipnet::IpNet],
    head: &RequestHead,
    bytes: &[u8],
) -> Option<IpAddr> {
    let mut ip = peer.ip;
    if peer.trusted {
        let lines: Vec<_> = head.values(bytes, Known::XForwardedFor).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b','));
        // An empty element of a list is none (RFC 9110 5.6.1).
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
            let hop = parse_hop(hop)?;
            ip = Some(hop);
            if !trusted.iter().any(|net| net.contains(&hop)) {
                break;
            }
        }
    }
    ip
}

/// `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => text.parse::<std::net::SocketAddr>().ok()?.ip(),
    };
    Some(ip.to_canonical())
}

/// True if the route's `allow` and `deny` let the client in.
pub(crate) fn may_use(route: &RoutePlan, ip: impl FnOnce() -> Option<IpAddr>) -> bool {
    if route.allow.is_empty() && route.deny.is_empty() {
        return true;
    }
    let Some(ip) = ip() else { return false };
    let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&ip));
    !within(&route.deny) && (route.allow.is_empty() || within(&route.allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_in_every_spelling() {
        let cases = [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
        ];
        for (hop, ip) in cases {
            assert_eq!(parse_hop(hop.as_bytes()), ip.parse().ok(), "{hop}");
        }
        for hop in ["", "unknown", "_hidden", "1.2.3", "1.2.3.4:x"] {
            assert_eq!(parse_hop(hop.as_bytes()), None, "{hop}");
        }
    }
}
