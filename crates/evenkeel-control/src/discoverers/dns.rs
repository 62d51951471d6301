//! Records of a name: addresses with one port, or SRV records with ports, priorities and weights of
//! their own (RFC 2782). A name is looked up again when its records have outlived their TTL, and
//! not more often than every `interval`.

use super::Teller;
use crate::limits::{LOOKUP_TIMEOUT, MAX_SRV_TARGETS, MAX_TTL};
use crate::lookup::{NameServers, Srv};
use crate::schedule::Answer;
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::{DiscoveryPlan, DnsRecord};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Share of new traffic, by address; in order, however the servers turn their answers.
type Targets = BTreeMap<SocketAddr, u32>;

/// Tells what the name stands for, at once and whenever that may have changed.
pub(super) async fn ask(
    plan: &DiscoveryPlan,
    (name, record, resolver): (&str, DnsRecord, Option<SocketAddr>),
    teller: &Teller,
) {
    let servers = NameServers::new(resolver);
    loop {
        let looking = async {
            let servers = servers.as_ref().map_err(Clone::clone)?;
            look_up(servers, name, record).await
        };
        let late = |_| Err(format!("no answer within {LOOKUP_TIMEOUT:?}"));
        let answer = timeout(LOOKUP_TIMEOUT, looking).await.unwrap_or_else(late);
        let wait = answer.as_ref().map_or(plan.interval, |(_, ttl)| pause(plan.interval, *ttl));
        let said = answer.map(|(targets, _)| found(&targets, plan.scheme));
        teller.tell(said.map_err(|why| format!("{name}: {why}"))).await;
        sleep(wait).await;
    }
}

/// Until the next look.
fn pause(interval: Duration, ttl: Duration) -> Duration {
    interval.max(ttl.min(MAX_TTL))
}

async fn look_up(
    servers: &NameServers,
    name: &str,
    record: DnsRecord,
) -> Result<(Targets, Duration), String> {
    match record {
        DnsRecord::Address(port) => {
            let Answer { addresses, ttl } = servers.addresses(name).await?;
            let target = |ip| (SocketAddr::new(ip, port), 1);
            Ok((addresses.into_iter().map(target).collect(), ttl))
        }
        DnsRecord::Srv => {
            let (records, mut ttl) = servers.srv(name).await?;
            let records = offers(records);
            let mut known: HashMap<String, Vec<IpAddr>> = HashMap::new();
            for target in records.iter().map(|it| &it.target) {
                if known.contains_key(target) {
                    continue;
                }
                if known.len() == MAX_SRV_TARGETS {
                    return Err(format!("more than {MAX_SRV_TARGETS} hosts in SRV records"));
                }
                // One of them that cannot be asked for now may be there: then nothing is known.
                let answer = servers.addresses(target).await;
                let answer = answer.map_err(|why| format!("{target}: {why}"))?;
                ttl = ttl.min(answer.ttl);
                known.insert(target.clone(), answer.addresses);
            }
            Ok((weigh(&records, &known), ttl))
        }
    }
}

/// The records that offer something (a target of `.` says that nobody does).
fn offers(records: Vec<Srv>) -> Vec<Srv> {
    records.into_iter().filter(|it| it.target != "." && it.port > 0).collect()
}

/// Those of the first priority that has anybody take traffic, by weight; the others stand by with
/// weight 0. Within a priority, a weight of 0 is a small one.
fn weigh(records: &[Srv], known: &HashMap<String, Vec<IpAddr>>) -> Targets {
    let addresses = |it: &Srv| known.get(&it.target).map_or(&[][..], Vec::as_slice);
    let first = records.iter().filter(|it| !addresses(it).is_empty()).map(|it| it.priority).min();
    let mut targets = Targets::new();
    for record in records {
        let weight = match first == Some(record.priority) {
            true => u32::from(record.weight).max(1),
            false => 0,
        };
        for ip in addresses(record) {
            let share = targets.entry(SocketAddr::new(*ip, record.port)).or_default();
            *share = weight.max(*share);
        }
    }
    targets
}

fn found(targets: &Targets, scheme: Scheme) -> Vec<Found> {
    let one = |(address, weight): (&SocketAddr, &u32)| {
        // An address with its port is one of a backend, unless the port is 0.
        Some(Found::at(&address.to_string(), scheme).ok()?.weighing(*weight))
    };
    targets.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests;
