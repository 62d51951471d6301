//! EndpointSlices (discovery.k8s.io/v1), and which backends they name. No network.

use crate::kubernetes::WatchEvent;
use crate::limits::MAX_SLICES;
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The slices of one `Service`, by name.
#[derive(Debug)]
pub(super) struct Slices {
    port: String,
    scheme: Scheme,
    slices: BTreeMap<String, Slice>,
}

/// What one slice says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Slice {
    /// Endpoints that are ready and not about to end, with the names of their pods.
    ready: Vec<(SocketAddr, Option<String>)>,
    /// Ports that are not meant, if the one that is meant is not there.
    others: Vec<String>,
}

impl Slices {
    /// None yet. `port`: its name or number; empty = the only one.
    pub(super) fn new(port: &str, scheme: Scheme) -> Slices {
        Slices { port: port.to_owned(), scheme, slices: BTreeMap::new() }
    }

    /// The whole list, in the place of what is known.
    pub(super) fn replace(&mut self, items: &[Value]) -> Result<(), String> {
        self.slices.clear();
        items.iter().try_for_each(|item| self.put(item))
    }

    pub(super) fn apply(&mut self, event: &WatchEvent) -> Result<(), String> {
        match event {
            WatchEvent::Present(slice) => self.put(slice),
            WatchEvent::Absent(slice) => {
                self.slices.remove(name(slice)?);
                Ok(())
            }
            WatchEvent::Bookmark(_) => Ok(()),
        }
    }

    fn put(&mut self, slice: &Value) -> Result<(), String> {
        let read = read(slice, &self.port);
        self.slices.insert(name(slice)?.to_owned(), read);
        if self.slices.len() > MAX_SLICES {
            return Err(format!("more than {MAX_SLICES} slices"));
        }
        Ok(())
    }

    /// The backends, in the order of their addresses; of IPv6 only if there are none of IPv4,
    /// because a pod with both would be there twice.
    ///
    /// # Errors
    /// There are endpoints, but none has the port.
    pub(super) fn found(&self) -> Result<Vec<Found>, String> {
        let ready: BTreeMap<SocketAddr, Option<&String>> = self
            .slices
            .values()
            .flat_map(|slice| slice.ready.iter().map(|(at, name)| (*at, name.as_ref())))
            .collect();
        let others = self.slices.values().find(|slice| !slice.others.is_empty());
        if let (true, Some(slice)) = (ready.is_empty(), others) {
            let wanted = if self.port.is_empty() { "only one" } else { &self.port };
            return Err(format!("no port {wanted:?}: there are {}", slice.others.join(", ")));
        }
        let has_ipv4 = ready.keys().any(SocketAddr::is_ipv4);
        let wanted = ready.into_iter().filter(|(at, _)| at.is_ipv4() == has_ipv4);
        let one = |(at, name): (SocketAddr, Option<&String>)| {
            // An address with its port is one of a backend.
            let found = Found::at(&at.to_string(), self.scheme).ok()?;
            Some(match name {
                Some(name) => found.named(name),
                None => found,
            })
        };
        Ok(wanted.filter_map(one).collect())
    }
}

fn name(slice: &Value) -> Result<&str, String> {
    slice["metadata"]["name"].as_str().ok_or_else(|| "a slice has no name".to_owned())
}

fn read(slice: &Value, wanted: &str) -> Slice {
    let list = |key: &str| slice[key].as_array().map_or(&[][..], Vec::as_slice);
    let ready: Vec<&Value> = list("endpoints").iter().filter(|it| is_ready(it)).collect();
    let Some(port) = port(&slice["ports"], wanted) else {
        let spell = |port: &Value| {
            format!("{} ({})", port["name"].as_str().unwrap_or_default(), port["port"])
        };
        let others = list("ports").iter().filter(|_| !ready.is_empty()).map(spell).collect();
        return Slice { ready: Vec::new(), others };
    };
    let of = |endpoint: &&Value| {
        // Of several addresses all lead to the same pod.
        let ip: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
        let target = &endpoint["targetRef"];
        let name = target["name"].as_str().filter(|_| target["kind"] == "Pod");
        Some((SocketAddr::new(ip, port), name.map(str::to_owned)))
    };
    Slice { ready: ready.iter().filter_map(of).collect(), others: Vec::new() }
}

/// What is not said counts as ready; who is about to end is not.
fn is_ready(endpoint: &Value) -> bool {
    let conditions = &endpoint["conditions"];
    conditions["ready"].as_bool() != Some(false)
        && conditions["terminating"].as_bool() != Some(true)
}

/// The port by its name or number. A slice without ports has every port.
fn port(ports: &Value, wanted: &str) -> Option<u16> {
    let number = wanted.parse::<u16>().ok().filter(|number| *number > 0);
    let Some(ports) = ports.as_array().filter(|ports| !ports.is_empty()) else { return number };
    let value = |port: &Value| {
        let value = port["port"].as_u64().and_then(|value| u16::try_from(value).ok());
        value.filter(|value| *value > 0)
    };
    match (wanted, ports.as_slice()) {
        ("", [only]) => value(only),
        ("", _) => None,
        (name, all) => {
            let named = all.iter().find(|port| port["name"] == name).and_then(value);
            named.or_else(|| all.iter().filter_map(value).find(|value| Some(*value) == number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(name: &str, addresses: &[&str], ports: &Value) -> Value {
        let endpoint = |address: &&str| json!({ "addresses": [address] });
        let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
        json!({ "metadata": { "name": name }, "endpoints": endpoints, "ports": ports })
    }

    fn names(port: &str, items: &[Value]) -> Result<Vec<String>, String> {
        let mut slices = Slices::new(port, Scheme::Http);
        slices.replace(items)?;
        Ok(slices
            .found()?
            .into_iter()
            .map(|it| format!("{}={}", it.name, it.address.text))
            .collect())
    }

    #[test]
    fn ready_endpoints_are_backends_and_pods_give_names() {
        let mut slice = slice("s", &["10.0.0.4"], &json!([{ "name": "http", "port": 8080 }]));
        let endpoint = |ip: &str, conditions: Value| {
            let pod = json!({ "kind": "Pod", "name": format!("app-{ip}") });
            json!({ "addresses": [ip], "conditions": conditions, "targetRef": pod })
        };
        slice["endpoints"].as_array_mut().unwrap().extend([
            endpoint("10.0.0.3", json!({ "ready": true, "serving": true, "terminating": false })),
            endpoint("10.0.0.1", json!({ "ready": null })),
            endpoint("10.0.0.5", json!({ "ready": false })),
            endpoint("10.0.0.6", json!({ "ready": true, "terminating": true })),
            endpoint("nonsense", json!({})),
        ]);
        let wanted = ["app-10.0.0.1=10.0.0.1:8080", "app-10.0.0.3=10.0.0.3:8080"];
        let found = names("http", &[slice]).unwrap();
        assert_eq!(found[..2], wanted);
        assert_eq!(found[2..], ["10.0.0.4:8080=10.0.0.4:8080"]);
    }

    #[test]
    fn a_port_is_meant_by_name_by_number_or_alone() {
        let one = json!([{ "name": "http", "port": 8080 }]);
        let named = |name: &str, port: u16| json!({ "name": name, "port": port });
        let two = json!([named("http", 8080), named("9090", 1), { "port": 9090 }]);
        for (ports, wanted, port) in [
            (&one, "", Ok("10.0.0.1:8080")),
            (&one, "http", Ok("10.0.0.1:8080")),
            (&one, "8080", Ok("10.0.0.1:8080")),
            (&two, "9090", Ok("10.0.0.1:1")),
            (&two, "", Err("there are http (8080), 9090 (1),  (9090)")),
            (&one, "grpc", Err("no port \"grpc\": there are http (8080)")),
            (&one, "81", Err("no port \"81\"")),
            (&Value::Null, "81", Ok("10.0.0.1:81")),
        ] {
            match (names(wanted, &[slice("s", &["10.0.0.1"], ports)]), port) {
                (Ok(found), Ok(port)) => assert_eq!(found, [format!("{port}={port}")]),
                (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
                (found, port) => panic!("{wanted}: {found:?}, not {port:?}"),
            }
        }
        assert_eq!(names("grpc", &[slice("s", &[], &one)]), Ok(Vec::new()));
    }

    #[test]
    fn slices_come_change_and_go() {
        let ports = json!([{ "port": 1 }]);
        let mut slices = Slices::new("", Scheme::Http);
        let at = |name: &str, address: &str| slice(name, &[address], &ports);
        let mut after = |event: WatchEvent| {
            slices.apply(&event).unwrap();
            let found = slices.found().unwrap();
            found.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let (a, b) = ("10.0.0.1", "10.0.0.2");
        assert_eq!(after(WatchEvent::Present(at("one", a))), ["10.0.0.1:1"]);
        // An endpoint may be in two slices for a while.
        assert_eq!(after(WatchEvent::Present(at("two", a))), ["10.0.0.1:1"]);
        assert_eq!(after(WatchEvent::Present(at("one", b))), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(after(WatchEvent::Present(at("six", "fd00::1"))).len(), 2);
        assert_eq!(after(WatchEvent::Absent(at("one", b))), ["10.0.0.1:1"]);
        assert_eq!(after(WatchEvent::Bookmark(json!({}))), ["10.0.0.1:1"]);
        assert_eq!(after(WatchEvent::Absent(at("two", a))), ["[fd00::1]:1"]);
        assert!(slices.apply(&WatchEvent::Present(json!({ "kind": "Pod" }))).is_err());
    }

    #[test]
    fn slices_are_bounded() {
        let ports = json!([{ "port": 1 }]);
        let many: Vec<Value> =
            (0..=MAX_SLICES).map(|n| slice(&format!("s{n}"), &["10.0.0.1"], &ports)).collect();
        assert_eq!(names("", &many[1..]).unwrap().len(), 1);
        assert!(names("", &many).unwrap_err().contains("more than 1000"));
    }
}
