use super::*;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// The records of a name, or the code of a refusal.
#[derive(Clone)]
enum Zone {
    Records(Vec<(u16, u32, Vec<u8>)>),
    Refused(u8),
}

/// What each name is answered.
type Zones = Arc<Mutex<HashMap<String, Zone>>>;

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The reply to one query (RFC 1035, section 4).
fn reply(query: &[u8], zones: &HashMap<String, Zone>) -> Vec<u8> {
    let (mut at, mut name) = (12, String::new());
    while query[at] > 0 {
        let length = usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..=at + length]).unwrap());
        name.push('.');
        at += length + 1;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let zone = zones.get(&name).cloned().unwrap_or(Zone::Refused(NXDOMAIN));
    let (code, records) = match zone {
        Zone::Records(all) => (0, all.into_iter().filter(|it| it.0 == kind).collect()),
        Zone::Refused(code) => (code, Vec::new()),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1]);
    reply.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    reply.extend([0, 0, 0, 0]);
    reply.extend(&query[12..at + 5]);
    for (kind, ttl, bytes) in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(ttl.to_be_bytes());
        reply.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        reply.extend(bytes);
    }
    reply
}

/// A name server on loopback, and what it says.
async fn name_server() -> (NameServers, Zones) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let zones = Zones::default();
    let own = Arc::clone(&zones);
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            let reply = reply(&query[..length], &own.lock().unwrap());
            let _ = socket.send_to(&reply, client).await;
        }
    });
    (NameServers::new(Some(address)).unwrap(), zones)
}

fn say(zones: &Zones, name: &str, zone: Zone) {
    zones.lock().unwrap().insert(name.to_owned(), zone);
}

fn ipv4(ttl: u32, last: u8) -> (u16, u32, Vec<u8>) {
    (A, ttl, vec![10, 0, 0, last])
}

fn srv(priority: u16, weight: u16, (port, target): (u16, &str)) -> (u16, u32, Vec<u8>) {
    let numbers = [priority, weight, port].into_iter().flat_map(u16::to_be_bytes);
    (SRV, 60, numbers.chain(labels(target)).collect())
}

fn shown(targets: &Targets) -> Vec<String> {
    found(targets, Scheme::Http).iter().map(|it| format!("{} {}", it.name, it.weight)).collect()
}

#[tokio::test]
async fn addresses_of_both_families_are_backends_in_order() {
    let (servers, zones) = name_server().await;
    let mut six = vec![0; 16];
    (six[0], six[15]) = (0xfd, 1);
    let records = vec![ipv4(30, 2), ipv4(9, 1), ipv4(30, 2), (AAAA, 90, six)];
    say(&zones, "app.test.", Zone::Records(records));
    let record = DnsRecord::Address(8080);
    let (targets, ttl) = look_up(&servers, "app.test", record).await.unwrap();
    assert_eq!(shown(&targets), ["10.0.0.1:8080 1", "10.0.0.2:8080 1", "[fd00::1]:8080 1"]);
    assert_eq!(ttl, Duration::from_secs(9));
}

#[tokio::test]
async fn a_name_without_records_names_nobody_and_a_refusal_is_none() {
    let (servers, zones) = name_server().await;
    for record in [DnsRecord::Address(80), DnsRecord::Srv] {
        let none = look_up(&servers, "none.test", record).await;
        assert_eq!(none, Ok((Targets::new(), Duration::ZERO)));
        say(&zones, "broken.test.", Zone::Refused(SERVFAIL));
        let broken = look_up(&servers, "broken.test", record).await;
        assert!(broken.is_err(), "{broken:?}");
    }
}

#[tokio::test]
async fn srv_records_have_ports_weights_and_priorities() {
    let (servers, zones) = name_server().await;
    let records = vec![
        srv(10, 60, (8001, "one.test")),
        srv(10, 0, (8002, "two.test")),
        srv(20, 5, (8003, "two.test")),
        srv(5, 9, (8004, "gone.test")),
        srv(1, 9, (0, ".")),
    ];
    say(&zones, "_http._tcp.test.", Zone::Records(records));
    say(&zones, "one.test.", Zone::Records(vec![ipv4(30, 1), ipv4(40, 9)]));
    say(&zones, "two.test.", Zone::Records(vec![ipv4(20, 2)]));
    let (targets, ttl) = look_up(&servers, "_http._tcp.test", DnsRecord::Srv).await.unwrap();
    let wanted = ["10.0.0.1:8001 60", "10.0.0.2:8002 1", "10.0.0.2:8003 0", "10.0.0.9:8001 60"];
    assert_eq!(shown(&targets), wanted);
    assert_eq!(ttl, Duration::ZERO, "of the host that does not exist");
    say(&zones, "one.test.", Zone::Refused(SERVFAIL));
    let broken = look_up(&servers, "_http._tcp.test", DnsRecord::Srv).await;
    assert!(broken.is_err_and(|why| why.starts_with("one.test.")));
}

#[test]
fn a_ttl_is_waited_for_but_not_for_ever() {
    let seconds = Duration::from_secs;
    for (interval, ttl, wanted) in [(5, 1, 5), (5, 30, 30), (5, 100_000, 300), (600, 30, 600)] {
        assert_eq!(pause(seconds(interval), seconds(ttl)), seconds(wanted));
    }
}
