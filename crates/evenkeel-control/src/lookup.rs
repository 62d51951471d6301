//! Asks the system's hosts file and name servers for one name.

use crate::limits::{HOSTS_TTL, MAX_TTL};
use crate::schedule::Answer;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// One look-up of A and AAAA records; a trait so that tests need no name server.
pub(crate) trait Lookup: Send + Sync + 'static {
    /// The addresses of a name, or why there are none.
    fn look_up(&self, name: &str) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// The files that say how names are resolved (hosts(5), resolv.conf(5)).
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// When each of the files was changed last; `None` for a missing one.
type Stamps = [Option<SystemTime>; 2];

/// Resolves as the system is configured to, also after that configuration has changed.
#[derive(Default)]
pub(crate) struct SystemLookup {
    read: Mutex<Option<(Stamps, Arc<Sources>)>>,
}

/// The files as read at one time.
pub(crate) struct Sources {
    hosts: Hosts,
    resolver: TokioResolver,
}

impl Lookup for SystemLookup {
    async fn look_up(&self, name: &str) -> Result<Answer, String> {
        let sources = self.sources().map_err(|error| error.to_string())?;
        sources.look_up(name).await
    }
}

impl SystemLookup {
    /// What the files say now; they are read again only if one of them has changed.
    fn sources(&self) -> Result<Arc<Sources>, NetError> {
        let changed = |path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let stamps = FILES.map(changed);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((known, sources)) if *known == stamps => Ok(Arc::clone(sources)),
            Some(_) | None => {
                let hosts = Hosts::from_system().unwrap_or_default();
                let sources = Arc::new(Sources { hosts, resolver: system_resolver()? });
                *read = Some((stamps, Arc::clone(&sources)));
                Ok(sources)
            }
        }
    }
}

/// Who is asked for records: the servers of the system, or one.
pub(crate) enum NameServers {
    /// As the files say.
    System(SystemLookup),
    /// This one alone, without a hosts file.
    One(Arc<Sources>),
}

impl NameServers {
    /// # Errors
    /// No resolver can be made.
    pub(crate) fn new(one: Option<SocketAddr>) -> Result<NameServers, String> {
        let Some(address) = one else {
            return Ok(NameServers::System(SystemLookup::default()));
        };
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|it| it.port = address.port());
        let resolver = tune(asking(server)).map_err(|error| error.to_string())?;
        Ok(NameServers::One(Arc::new(Sources { hosts: Hosts::default(), resolver })))
    }

    fn sources(&self) -> Result<Arc<Sources>, String> {
        match self {
            NameServers::System(lookup) => lookup.sources().map_err(|error| error.to_string()),
            NameServers::One(sources) => Ok(Arc::clone(sources)),
        }
    }

    /// The addresses of a name; none if it has none, or does not exist.
    ///
    /// # Errors
    /// In words: nobody knows.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Answer, String> {
        match self.sources()?.ask(name).await {
            Err(error) if error.is_no_records_found() => Ok(NOBODY),
            answer => answer.map_err(|error| error.to_string()),
        }
    }

    /// The SRV records of a name, with the TTL of all; none as with addresses.
    ///
    /// # Errors
    /// In words: nobody knows.
    pub(crate) async fn srv(&self, name: &str) -> Result<(Vec<Srv>, Duration), String> {
        let parsed = Name::from_str_relaxed(name).map_err(|error| error.to_string())?;
        let found = match self.sources()?.resolver.lookup(parsed, RecordType::SRV).await {
            Err(error) if error.is_no_records_found() => return Ok((Vec::new(), Duration::ZERO)),
            found => found.map_err(|error| error.to_string())?,
        };
        let mut records = Vec::new();
        let mut ttl = MAX_TTL;
        for record in found.answers() {
            ttl = ttl.min(Duration::from_secs(record.ttl.into()));
            if let RData::SRV(srv) = &record.data {
                let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
                let target = srv.target.to_utf8();
                records.push(Srv { priority, weight, port, target });
            }
        }
        Ok((records, ttl))
    }
}

/// An answer that there is nobody.
const NOBODY: Answer = Answer { addresses: Vec::new(), ttl: Duration::ZERO };

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Srv {
    /// The least goes first.
    pub(crate) priority: u16,
    /// Share within a priority.
    pub(crate) weight: u16,
    pub(crate) port: u16,
    /// A host; `.` = nobody offers this.
    pub(crate) target: String,
}

impl Sources {
    async fn look_up(&self, name: &str) -> Result<Answer, String> {
        self.ask(name).await.map_err(|error| error.to_string())
    }

    async fn ask(&self, name: &str) -> Result<Answer, NetError> {
        let parsed = Name::from_str_relaxed(name)?;
        let addresses = self.in_hosts(&parsed);
        if !addresses.is_empty() {
            return Ok(Answer { addresses, ttl: HOSTS_TTL });
        }
        if is_localhost(name) {
            let addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(Answer { addresses, ttl: HOSTS_TTL });
        }
        let found = self.resolver.lookup_ip(parsed).await?;
        let ttls = found.as_lookup().answers().iter().map(|record| record.ttl);
        let ttl = ttls.min().map_or(MAX_TTL, |seconds| Duration::from_secs(seconds.into()));
        let addresses: Vec<_> = found.iter().filter(is_of_a_host).collect();
        if addresses.is_empty() && found.iter().next().is_some() {
            return Err(NetError::from("none of its addresses is that of a host"));
        }
        Ok(Answer { addresses, ttl })
    }

    /// The hosts file's addresses of either family: if it has any, name servers are not asked.
    fn in_hosts(&self, name: &Name) -> Vec<IpAddr> {
        let families = [RecordType::A, RecordType::AAAA];
        let queries = families.map(|family| Query::query(name.clone(), family));
        let found = queries.iter().filter_map(|query| self.hosts.lookup_static_host(query));
        let records = found.flat_map(|found| found.answers().to_vec());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    tune(TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // resolv.conf(5): "if no nameserver entries are present, the default is to use the name
        // server on the local machine".
        asking(NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into()))
    }))
}

fn asking(server: NameServerConfig) -> ResolverBuilder<TokioRuntimeProvider> {
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn tune(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    // The schedule honours TTLs; a cache below it would only hide changes.
    options.cache_size = 0;
    builder.build()
}

/// False for what nobody can be reached by: multicast, broadcast, and the unspecified address, by
/// which filtering name servers say that they will not tell, and which would be this machine.
fn is_of_a_host(address: &IpAddr) -> bool {
    let broadcast = *address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

/// RFC 6761, section 6.3: these names never leave the machine.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let lookup = SystemLookup::default();
        for name in ["localhost", "LocalHost.", "app.localhost"] {
            let answer = lookup.look_up(name).await.expect(name);
            assert!(!answer.addresses.is_empty());
            assert!(answer.addresses.iter().all(IpAddr::is_loopback), "{answer:?}");
        }
    }

    #[test]
    fn a_hosts_file_entry_is_the_whole_answer() {
        let mut hosts = Hosts::default();
        let text = "10.0.0.1 a.test\n10.0.0.2 a.test\nfd00::1 A.test b.test\n";
        hosts.read_hosts_conf(text.as_bytes()).expect("hosts");
        let sources = Sources { hosts, resolver: system_resolver().expect("resolver") };
        let cases: [(&str, &[&str]); 4] = [
            ("a.test", &["10.0.0.1", "10.0.0.2", "fd00::1"]),
            ("a.test.", &["10.0.0.1", "10.0.0.2", "fd00::1"]),
            ("b.test", &["fd00::1"]),
            ("c.test", &[]),
        ];
        for (name, wanted) in cases {
            let found = sources.in_hosts(&Name::from_str_relaxed(name).expect(name));
            let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
            assert_eq!(found, wanted, "{name}");
        }
    }

    /// The reply to one query: an A record, or an AAAA record (RFC 1035, 4).
    fn reply(query: &[u8], (v4, v6): (Ipv4Addr, Ipv6Addr)) -> Vec<u8> {
        let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a root");
        let question = &query[12..name_end + 5];
        let is_ipv4 = question[question.len() - 3] == 1;
        let mut reply = query[..2].to_vec();
        reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        reply.extend(question);
        reply.extend([0xc0, 12]);
        if is_ipv4 {
            reply.extend([0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
            reply.extend(v4.octets());
        } else {
            reply.extend([0, 28, 0, 1, 0, 0, 0, 90, 0, 16]);
            reply.extend(v6.octets());
        }
        reply
    }

    /// A name server that answers each look-up, of both families, with the next of these.
    async fn answering<const N: usize>(
        answers: [(&str, &str); N],
    ) -> (Sources, tokio::task::JoinHandle<()>) {
        let answers = answers
            .map(|(v4, v6)| (v4.parse().expect("an IPv4 address"), v6.parse().expect("IPv6")));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections[0].port = socket.local_addr().expect("address").port();
        let name_server = tokio::spawn(async move {
            let mut query = [0; 512];
            for answer in answers.iter().flat_map(|answer| [answer, answer]) {
                let (bytes, client) = socket.recv_from(&mut query).await.expect("a query");
                let reply = reply(&query[..bytes], *answer);
                socket.send_to(&reply, client).await.expect("sent");
            }
        });
        let resolver = tune(asking(server)).expect("resolver");
        (Sources { hosts: Hosts::default(), resolver }, name_server)
    }

    #[tokio::test]
    async fn name_servers_are_asked_each_time_for_both_families() {
        let answers = [("10.0.0.0", "fd00::1"), ("10.0.0.1", "fd00::1")];
        let (sources, name_server) = answering(answers).await;
        for (v4, v6) in answers {
            let mut answer = sources.look_up("a_b_.example.com").await.expect("an answer");
            answer.addresses.sort();
            let found = answer.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
            assert_eq!(found, [v4, v6]);
            assert_eq!(answer.ttl, Duration::from_secs(30));
        }
        name_server.await.expect("four queries");
    }

    #[tokio::test]
    async fn addresses_of_no_host_are_no_answer() {
        let (sources, name_server) = answering([
            ("0.0.0.0", "fd00::1"),
            ("224.0.0.1", "::"),
            ("255.255.255.255", "ff02::1"),
        ])
        .await;
        let answer = sources.look_up("app.example.com").await.expect("one of a host");
        assert_eq!(answer.addresses, ["fd00::1".parse::<IpAddr>().expect("address")]);
        for _ in 0..2 {
            let error = sources.look_up("app.example.com").await.expect_err("nobody");
            assert_eq!(error, "none of its addresses is that of a host");
        }
        name_server.await.expect("six queries");
    }

    #[test]
    fn names_with_underscores_are_names() {
        assert!(Name::from_str_relaxed("no_such.invalid").is_ok());
        assert!(!is_localhost("notlocalhost") && !is_localhost("localhost.example.com"));
    }
}
