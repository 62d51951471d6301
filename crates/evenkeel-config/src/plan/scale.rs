//! A checked autoscaler as a domain type.

use crate::key::REDACTED;
use crate::scalar::{Text, Whole};
use crate::sections::{Autoscale, Driver, DriverType, Lease};
use evenkeel_core::autoscale::{
    AutoscalePlan, DockerPlan, DriverPlan, LeasePlan, ProcessPlan, RedisPlan, ScaleDownPlan,
    ScaleUpPlan,
};
use std::ops::RangeInclusive;

/// Where the engine of containers listens if nothing else is said.
pub(super) const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where a Redis listens if nothing else is said.
const REDIS_PORT: u16 = 6379;

pub(super) fn autoscale(keys: &Autoscale) -> AutoscalePlan {
    AutoscalePlan {
        min: keys.min.as_u32(),
        max: keys.max.as_u32(),
        interval: keys.interval.0,
        requests_per_interval: keys.requests_per_interval.map_or(0, Whole::as_u32),
        in_flight: keys.in_flight.as_u32(),
        queue_wait: keys.queue_wait.0,
        rps: keys.rps.as_u32(),
        p95: keys.p95.0,
        up: ScaleUpPlan { step: keys.scale_up.step.as_u32(), window: keys.scale_up.window.0 },
        down: ScaleDownPlan {
            step: keys.scale_down.step.as_u32(),
            after: keys.scale_down.after.0,
            every: keys.scale_down.every.0,
            drain_timeout: keys.scale_down.drain_timeout.0,
        },
        max_error_rate: keys.max_error_rate.0,
        dry_run: keys.dry_run,
        buffer_requests: keys.buffer.requests.as_count(),
        buffer_timeout: keys.buffer.timeout.0,
        lease: lease(&keys.lease),
        driver: driver(&keys.driver),
    }
}

fn lease(lease: &Lease) -> LeasePlan {
    if !lease.file.0.is_empty() {
        LeasePlan::File(lease.file.0.clone().into())
    } else if !lease.redis.0.is_empty() {
        // The check has found it to be one.
        redis(&lease.redis.0).map_or(LeasePlan::Alone, LeasePlan::Redis)
    } else {
        LeasePlan::Alone
    }
}

/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`. A configuration that was shown reads back:
/// the host that stands for a redacted address is never found, so that nobody scales by it.
pub(crate) fn redis(url: &str) -> Option<RedisPlan> {
    let rest = if url == REDACTED { url } else { url.strip_prefix("redis://")? };
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = if database.is_empty() { 0 } else { database.parse().ok()? };
    let (login, place) = match place.rsplit_once('@') {
        Some((login, place)) => (Some(login.split_once(':').unwrap_or(("", login))), place),
        None => (None, place),
    };
    let (user, password) = match login {
        Some((user, password)) => (Some(unescaped(user)?), Some(unescaped(password)?)),
        None => (None, None),
    };
    let (host, port) = match place.rsplit_once(':') {
        // An IPv6 address stands in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        Some(_) | None => (place, REDIS_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let user = user.filter(|user| !user.is_empty());
    (!host.is_empty()).then_some(RedisPlan { host, port, user, password, database })
}

/// Of a part of a URL in which some bytes stand as `%` and two digits.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The check has found what each kind needs.
fn driver(keys: &Driver) -> DriverPlan {
    let text = |text: &Option<Text>| text.as_ref().map(|it| it.0.clone()).unwrap_or_default();
    let command: Vec<String> = keys.command.iter().map(|word| word.0.clone()).collect();
    let env = || keys.env.0.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect();
    match keys.r#type {
        DriverType::Process => DriverPlan::Process(ProcessPlan {
            command,
            ports: ports(&text(&keys.ports)).unwrap_or(DEFAULT_PORTS),
            address: match text(&keys.address).as_str() {
                "" => DEFAULT_ADDRESS.to_owned(),
                address => address.to_owned(),
            },
            env: env(),
            start_timeout: keys.start_timeout.0,
        }),
        DriverType::Docker => DriverPlan::Docker(DockerPlan {
            image: text(&keys.image),
            port: keys.port.map_or(80, |port| u16::try_from(port.0).unwrap_or(u16::MAX)),
            command,
            env: env(),
            network: text(&keys.network),
            labels: keys.labels.0.iter().map(|(n, v)| (n.0.clone(), v.0.clone())).collect(),
            socket: match text(&keys.socket).as_str() {
                "" => DOCKER_SOCKET.into(),
                socket => socket.into(),
            },
            start_timeout: keys.start_timeout.0,
        }),
        DriverType::Exec => DriverPlan::Exec(command),
        DriverType::Webhook => {
            let url = keys.url.as_ref().map_or_else(String::new, |url| url.0.clone());
            DriverPlan::Webhook { url, timeout: keys.timeout.0 }
        }
        DriverType::Kubernetes => DriverPlan::Kubernetes {
            namespace: match text(&keys.namespace).as_str() {
                "" => "default".to_owned(),
                namespace => namespace.to_owned(),
            },
            deployment: text(&keys.deployment),
        },
    }
}

/// Ports of processes if nothing else is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:{port}";
const DEFAULT_PORTS: RangeInclusive<u16> = 20_000..=20_999;

/// `FROM-TO`, both included.
pub(crate) fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from > 0 && from <= to).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_redis_is_read_and_shown_without_its_password() {
        for (url, shown) in [
            ("redis://r", "redis://r:6379/0"),
            ("redis://r:7000/2", "redis://r:7000/2"),
            ("redis://:secret@r", "redis://r:6379/0"),
            ("redis://me:se%40cret@[::1]:7000", "redis://[::1]:7000/0"),
            ("redis://[::1]/1", "redis://[::1]:6379/1"),
        ] {
            assert_eq!(redis(url).expect(url).to_string(), shown, "{url}");
        }
        assert_eq!(redis(REDACTED).expect("shown").host, REDACTED);
        let login = redis("redis://me:se%40cret@r").expect("an address");
        assert_eq!(login.user.as_deref(), Some("me"));
        assert_eq!(login.password.as_deref(), Some("se@cret"));
        for wrong in [
            "",
            "r",
            "http://r",
            "redis://",
            "redis://r:x",
            "redis://r/x",
            "rediss://r",
            "redis://a%4@r",
        ] {
            assert!(redis(wrong).is_none(), "{wrong}");
        }
    }
}
