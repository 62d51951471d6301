//! The namespace: three backends' addresses, each of which can vanish or lose its packets.
//!
//! The addresses are local routes on `lo`. The network they belong to is routed to a device behind
//! which nothing is: when the local route of a backend goes, packets to it get lost on the way, as
//! they do when a machine is unplugged, and nobody says so.

use super::tool;
use anyhow::{Result, bail};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Backends behind the balancer.
pub(super) const BACKENDS: usize = 3;
/// The one that breaks: the last.
pub(super) const BAD: usize = BACKENDS - 1;
/// Where clients find the balancer under test.
pub(super) const BALANCER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The group under which the kernel reports requests to backends.
pub(super) const REPORT_GROUP: u16 = 77;
/// The port of every backend.
pub(super) const PORT: u16 = 8000;

const NETWORK: &str = "10.77.0.0/24";
/// What the balancer's connections come from.
const OWN_ADDRESS: &str = "10.77.0.254";
/// How long the connect to a vanished address is watched before the first run.
const HANG_WATCH: Duration = Duration::from_millis(300);

/// Where a backend listens.
pub(super) fn address(backend: usize) -> SocketAddr {
    let last = u8::try_from(backend + 1).unwrap_or(u8::MAX);
    SocketAddr::from((Ipv4Addr::new(10, 77, 0, last), PORT))
}

/// Sets the namespace up and makes sure that a vanished address hangs and does not refuse.
pub(super) fn prepare() -> Result<()> {
    tool("ip", "link set lo up")?;
    // A dummy device is what is meant; `ifb` drops what it is not told to redirect, and is there
    // where `dummy` is not built.
    if tool("ip", "link add void type dummy").is_err() {
        tool("ip", "link add void type ifb")?;
    }
    tool("ip", "link set void up")?;
    tool("ip", &format!("address add {OWN_ADDRESS}/32 dev lo"))?;
    tool("ip", &format!("route add {NETWORK} dev void src {OWN_ADDRESS}"))?;
    let to_backends = format!("-p tcp -d {NETWORK} --dport {PORT}");
    let requests = "-m string --algo bm --string /r/";
    let report = format!("-j NFLOG --nflog-group {REPORT_GROUP} --nflog-size 256");
    let rule = format!("-w -t mangle -A OUTPUT {to_backends} {requests} {report}");
    tool("iptables", &rule)?;
    restore()?;
    check()
}

/// Undoes every fault of the network.
pub(super) fn restore() -> Result<()> {
    tool("iptables", "-w -F OUTPUT")?;
    (0..BACKENDS).try_for_each(appear)
}

/// The backend's address is there.
pub(super) fn appear(backend: usize) -> Result<()> {
    let ip = address(backend).ip();
    tool("ip", &format!("route replace table local local {ip} dev lo src {OWN_ADDRESS}"))
}

/// The backend's address is gone: what is sent to it gets lost.
pub(super) fn vanish(backend: usize) -> Result<()> {
    tool("ip", &format!("route del table local local {} dev lo", address(backend).ip()))
}

/// Packets to and from the backend are dropped.
pub(super) fn cut(backend: usize) -> Result<()> {
    let ip = address(backend).ip();
    tool("iptables", &format!("-w -A OUTPUT -d {ip} -j DROP"))?;
    tool("iptables", &format!("-w -A OUTPUT -s {ip} -j DROP"))
}

/// One packet in a hundred between balancer and backends is dropped, in either direction.
pub(super) fn lose() -> Result<()> {
    let one_in_100 = "-m statistic --mode random --probability 0.01";
    tool("iptables", &format!("-w -A OUTPUT -p tcp -s {NETWORK} -d {NETWORK} {one_in_100} -j DROP"))
}

/// No packet is dropped any more.
pub(super) fn pass_all() -> Result<()> {
    tool("iptables", "-w -F OUTPUT")
}

fn check() -> Result<()> {
    let connect = || match TcpStream::connect_timeout(&address(BAD), HANG_WATCH) {
        Ok(_) => None,
        Err(error) => Some(error.kind()),
    };
    let there = connect();
    if there != Some(ErrorKind::ConnectionRefused) {
        bail!("an address without a listener should refuse; got {there:?}");
    }
    vanish(BAD)?;
    let gone = connect();
    appear(BAD)?;
    if gone != Some(ErrorKind::TimedOut) {
        bail!("a vanished address should hang; got {gone:?}");
    }
    Ok(())
}
