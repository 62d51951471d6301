//! Keys that hold and do nothing: whoever has written one means something by it, and is told. So
//! are places where something is to be written, and cannot be.

use super::Check;
use crate::diagnostic::Fault;
use crate::sections::DriverType::{Docker, Exec, Kubernetes, Process, Webhook};
use crate::sections::{
    AcceptProxy, Affinity, AffinityType, BodyDiff, Driver, DriverType, Listener, MetricsFormat,
    Mount, MountKind, Pool, Root, Route,
};
use evenkeel_core::retry::MAX_REPLAYED_BYTES;
use std::path::Path;

/// A key, whether it says something, and what it would be for.
type Said<'a> = (&'a str, bool, &'a str);

impl Check<'_> {
    pub(super) fn inert(&mut self, root: &Root) {
        self.places(root);
        for (index, listener) in root.listeners.iter().enumerate() {
            self.inert_of_listener(listener, &format!("listeners[{index}]"));
        }
        for (index, route) in root.routes.iter().enumerate() {
            self.inert_of_route(route, &format!("routes[{index}]"));
        }
        for (index, pool) in root.pools.iter().enumerate() {
            self.inert_of_pool(pool, &format!("pools[{index}]"));
        }
    }

    /// Where something is to be written, and nothing can be.
    fn places(&mut self, root: &Root) {
        let file = Path::new(&root.logging.file.0);
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if file.is_dir() {
            self.report("logging.file", "is a directory: no log can be opened");
        } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let fault = Fault::new(format!("there is no directory {}", folder.display()));
            self.report("logging.file", fault.hint("make it before the start, which needs it"));
        }
        let state = &root.state_dir.0;
        if Path::new(state).exists() && !Path::new(state).is_dir() {
            self.report("state_dir", format!("{state} is no directory: nothing would be kept"));
        }
    }

    fn inert_of_listener(&mut self, listener: &Listener, path: &str) {
        let optional = listener.proxy_protocol == AcceptProxy::Optional;
        if optional && listener.trusted_proxies.is_empty() {
            let message = "no header is ever read without `trusted_proxies`";
            let fault = Fault::new(message).hint(r#"trusted_proxies: ["10.0.0.0/8"]"#);
            self.report(&format!("{path}.proxy_protocol"), fault);
        }
        let usual = Mount::default();
        for (index, mount) in listener.mounts.iter().enumerate() {
            let health = mount.serve != MountKind::Health;
            let metrics = mount.serve != MountKind::Metrics;
            let format = mount.default_format != MetricsFormat::Prometheus;
            self.idle_keys(
                &format!("{path}.mounts[{index}]"),
                &[
                    ("down_status", health && mount.down_status != usual.down_status, "health"),
                    ("default_format", metrics && format, "metrics"),
                ],
                "serve",
            );
        }
    }

    fn inert_of_route(&mut self, route: &Route, path: &str) {
        let rules = &route.request_headers;
        let is_set = rules.set.0.iter().any(|(name, _)| name.0 == "via");
        let is_removed = rules.remove.iter().any(|name| name.0 == "via");
        for (key, _) in [("set", is_set), ("remove", is_removed)].iter().filter(|(_, on)| *on) {
            let fault = Fault::new("requests that go in a circle are known by `via` alone");
            let hint = "leave `via` out, or a circle ends only when connections or time do";
            self.report(&format!("{path}.request_headers.{key}"), fault.hint(hint));
        }
        let diff = route.mirror.as_ref().and_then(|mirror| mirror.diff.as_ref());
        if let Some(diff) = diff {
            let ignored = !diff.ignore.is_empty() && diff.body != BodyDiff::Json;
            let keys = [("ignore", ignored, "json")];
            self.idle_keys(&format!("{path}.mirror.diff"), &keys, "body");
        }
    }

    fn inert_of_pool(&mut self, pool: &Pool, path: &str) {
        if pool.retry.buffer.0 > MAX_REPLAYED_BYTES {
            let fault = Fault::new("64KiB of a body are kept at the most, whatever stands here");
            self.report(&format!("{path}.retry.buffer"), fault.hint("buffer: 64KiB"));
        }
        if pool.affinity.r#type != AffinityType::Cookie {
            let (own, usual) = (&pool.affinity, Affinity::default());
            let keys = [
                ("cookie_name", own.cookie_name != usual.cookie_name, "cookie"),
                ("ttl", own.ttl != usual.ttl, "cookie"),
                ("secret_file", own.secret_file != usual.secret_file, "cookie"),
            ];
            self.idle_keys(&format!("{path}.affinity"), &keys, "type");
        }
        if let Some(scale) = &pool.autoscale.0 {
            self.inert_of_driver(&scale.driver, &format!("{path}.autoscale.driver"));
        }
    }

    fn inert_of_driver(&mut self, driver: &Driver, path: &str) {
        for (key, _, kinds) in says(driver).into_iter().filter(|(_, says, _)| *says) {
            if !kinds.contains(&driver.r#type) {
                let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                self.idle_keys(path, &[(key, true, &words.join(" or "))], "type");
            }
        }
    }

    /// Tells of those keys that say something, where they stand; `by` is the key that decides.
    fn idle_keys(&mut self, path: &str, keys: &[Said<'_>], by: &str) {
        for (key, _, other) in keys.iter().filter(|(_, says, _)| *says) {
            let full = format!("{path}.{key}");
            let place = self.tree.key_place_at(&full).clone();
            let fault = Fault::new(format!("`{key}` does nothing without `{by}: {other}`"));
            self.report_at(place, &full, fault.hint(format!("{by}: {other}; or leave it out")));
        }
    }
}

/// Keys of a driver, whether each is given, and the kinds that it means something to.
fn says(driver: &Driver) -> [(&'static str, bool, &'static [DriverType]); 13] {
    let usual = Driver::default();
    [
        ("command", !driver.command.is_empty(), &[Process, Docker, Exec]),
        ("ports", driver.ports.is_some(), &[Process]),
        ("address", driver.address.is_some(), &[Process]),
        ("env", driver.env != usual.env, &[Process, Docker]),
        ("start_timeout", driver.start_timeout != usual.start_timeout, &[Process, Docker]),
        ("image", driver.image.is_some(), &[Docker]),
        ("port", driver.port.is_some(), &[Docker]),
        ("network", driver.network.is_some(), &[Docker]),
        ("labels", driver.labels != usual.labels, &[Docker]),
        ("socket", driver.socket.is_some(), &[Docker]),
        ("url", driver.url.is_some(), &[Webhook]),
        ("namespace", driver.namespace.is_some(), &[Kubernetes]),
        ("deployment", driver.deployment.is_some(), &[Kubernetes]),
    ]
}
