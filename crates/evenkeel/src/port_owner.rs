//! Who holds a port that we wanted: `/proc/net/tcp` names the socket, `/proc/PID/fd` who has it.

use evenkeel_core::address::BindAddress;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The state that `/proc/net/tcp` prints for a listening socket (TCP_LISTEN of net/tcp_states.h).
const LISTEN_STATE: &str = "0A";
/// Processes looked at before giving up.
const MAX_PROCESSES: usize = 100_000;

/// The process that holds a port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its process id.
    pub(crate) pid: u32,
    /// The name of its program.
    pub(crate) program: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// A listening socket, as the kernel lists it.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    inode: u64,
}

impl Listening {
    /// Nobody else can listen on `wanted`: same port, and the same address or one that covers it.
    fn blocks(&self, wanted: SocketAddr) -> bool {
        let (held, wanted_ip) = (self.address.ip().to_canonical(), wanted.ip().to_canonical());
        let covered = held == wanted_ip || held.is_unspecified() || wanted_ip.is_unspecified();
        self.address.port() == wanted.port() && covered
    }
}

/// Who listens where `address` would; `None` if it cannot be told (another user's process, or not
/// Linux).
pub(crate) fn owner_of(address: &str) -> Option<Owner> {
    let wanted = BindAddress::parse(address).ok()?.socket_addrs();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let sockets = tables.iter().flatten().flat_map(|text| listening(text));
    let in_the_way = sockets.filter(|s| wanted.iter().any(|wanted| s.blocks(*wanted)));
    let names: Vec<String> = in_the_way.map(|s| format!("socket:[{}]", s.inode)).collect();
    if names.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    processes.into_iter().find_map(|process| owner_in(&process.path(), &names))
}

fn owner_in(process: &Path, sockets: &[String]) -> Option<Owner> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let mut open = fs::read_dir(process.join("fd")).ok()?.flatten();
    let holds = open.any(|fd| {
        fs::read_link(fd.path()).is_ok_and(|to| sockets.iter().any(|s| to == Path::new(s)))
    });
    let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
    holds.then(|| Owner { pid, program: program.trim().to_owned() })
}

/// The listening sockets of `/proc/net/tcp` or `tcp6` (proc(5)); lines of another form are skipped.
fn listening(table: &str) -> Vec<Listening> {
    table.lines().filter_map(listening_line).collect()
}

fn listening_line(line: &str) -> Option<Listening> {
    let mut columns = line.split_ascii_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    (state == LISTEN_STATE).then_some(())?;
    Some(Listening { address: kernel_address(local)?, inode })
}

/// `0100007F:1F90`: 32-bit words as the machine stores them, then the port.
fn kernel_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|n| u32::from_str_radix(ip.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let ip = match words?.as_slice() {
        [word] => IpAddr::from(*word),
        [a, b, c, d] => {
            let octets: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
   1000 0 4711 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
   0 0 4712 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000 \
   1000 0 4713 1 0 20 4 30 10 -1
   3: nonsense";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st \
   tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F91 \
   00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 \
   0 0 815 1 0 100 0 0 10 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_read() {
        let at = |text: &str, inode| Listening { address: text.parse().expect(text), inode };
        assert_eq!(listening(TCP), [at("127.0.0.1:8080", 4711), at("0.0.0.0:80", 4712)]);
        assert_eq!(listening(TCP6), [at("[::1]:8081", 815)]);
        assert_eq!(listening(""), []);
    }

    #[test]
    fn who_blocks_whom() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
        ];
        for (held, wanted, blocked) in cases {
            let socket = Listening { address: held.parse().expect(held), inode: 1 };
            assert_eq!(socket.blocks(wanted.parse().expect(wanted)), blocked, "{held} {wanted}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let owner = owner_of(&address.to_string()).expect("we hold it");
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.program.is_empty());
        drop(listener);
        assert_eq!(owner_of(&address.to_string()), None);
    }
}
