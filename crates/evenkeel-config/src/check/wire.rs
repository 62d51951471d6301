//! What listeners and pools say about what lies below HTTP, and whether that goes together.

use super::Check;
use crate::diagnostic::Fault;
use crate::scalar::{HashKey, Name, RetryOn};
use crate::section::Section;
use crate::sections::{
    AcceptProxy, AffinityType, BackendEntry, ClientAuth, HealthType, Limits, Listener,
    ListenerProtocol, ListenerTls, Paths, Pool, PoolProtocol, PoolTls, Retry, Root, SendProxy,
    UdpLimits,
};
use crate::suggest::closest;
use crate::tree::{Node, Value};
use evenkeel_core::address::{BindAddress, Endpoint, Scheme};

/// Statuses whose `Location` clients follow (RFC 9110 section 15.4).
const REDIRECTS: [u64; 5] = [301, 302, 303, 307, 308];

/// Statuses of answers without a body, which whatever follows would be taken for the next answer
/// (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
const BODILESS: [u64; 3] = [204, 205, 304];

/// True if some request could need a route.
pub(super) fn needs_routes(root: &Root) -> bool {
    let routes = |listener: &Listener| {
        listener.protocol == ListenerProtocol::Http && listener.redirect.is_none()
    };
    root.listeners.is_empty() || root.listeners.iter().any(routes)
}

/// True if something could need a pool.
pub(super) fn needs_pools(root: &Root) -> bool {
    root.listeners.is_empty() || root.listeners.iter().any(|one| one.redirect.is_none())
}

impl Check<'_> {
    /// Every listener that a route names must exist, and ask routes.
    pub(super) fn listeners_of_routes(&mut self, root: &Root) {
        for (index, route) in root.routes.iter().enumerate() {
            for (at, name) in route.r#match.listeners.iter().enumerate() {
                let path = format!("routes[{index}].match.listeners[{at}]");
                match root.listeners.iter().find(|listener| listener.name == *name) {
                    Some(found) if found.protocol == ListenerProtocol::Http => {}
                    Some(_) => {
                        let message = format!("listener {:?} is no http listener", name.0);
                        self.report(&path, Fault::new(message).hint("routes are for http"));
                    }
                    None => {
                        let names = root.listeners.iter().map(|it| it.name.0.as_str());
                        let meant = closest(&name.0, names);
                        let meant = meant.map(|it| format!("; did you mean `{it}`?"));
                        let message = format!("unknown listener {:?}", name.0);
                        let fault = Fault::new(message + &meant.unwrap_or_default());
                        self.report(&path, fault.hint("its `name`, or listener-N (from 0)"));
                    }
                }
            }
        }
    }

    pub(super) fn wire(&mut self, root: &Root) {
        for (index, listener) in root.listeners.iter().enumerate() {
            let path = format!("listeners[{index}]");
            match listener.protocol {
                ListenerProtocol::Http => self.http_listener(listener, &path),
                ListenerProtocol::Tcp | ListenerProtocol::Udp => {
                    self.bare_listener(listener, &path);
                }
            }
            self.listener_tls(listener, &path);
        }
        for (index, pool) in root.pools.iter().enumerate() {
            let path = format!("pools[{index}]");
            let user = |protocol: ListenerProtocol| {
                let named = |listener: &&Listener| names(listener, &pool.name);
                let mut users = root.listeners.iter().filter(named);
                users.any(|listener| listener.protocol == protocol)
            };
            let (tcp, udp) = (user(ListenerProtocol::Tcp), user(ListenerProtocol::Udp));
            if tcp || udp {
                self.bare_pool(pool, &path, if udp { "udp" } else { "tcp" });
            }
            if udp {
                self.udp_pool(pool, &path);
            }
            self.pool_tls(pool, &path);
        }
    }

    fn is_written(&self, path: &str) -> bool {
        self.tree.at(path).is_some()
    }

    /// Refuses those of the keys that say something, where they stand.
    fn refuse(&mut self, path: &str, keys: &[(&str, bool)], why: &str) {
        for (key, _) in keys.iter().filter(|(_, says)| *says) {
            let full = format!("{path}.{key}");
            let place = self.tree.key_place_at(&full).clone();
            let name = key.rsplit('.').next().unwrap_or(key);
            self.report_at(place, &full, Fault::new(format!("`{name}` {why}")));
        }
    }

    fn http_listener(&mut self, listener: &Listener, path: &str) {
        let keys =
            [("pool", listener.pool.is_some()), ("sni_routes", !listener.sni_routes.is_empty())];
        self.refuse(path, &keys, "is for tcp listeners; here routes name the pools");
        let udp = listener.udp != UdpLimits::default();
        self.refuse(path, &[("udp", udp)], "is for udp listeners");
        let proxied = listener.proxy_protocol != AcceptProxy::Off;
        self.trusted(listener, path, proxied);
        self.own_answers(listener, path);
    }

    /// Statuses of answers of ours that no client could make sense of.
    fn own_answers(&mut self, listener: &Listener, path: &str) {
        if let Some(redirect) = &listener.redirect
            && !REDIRECTS.contains(&redirect.status.0)
        {
            let message = format!("no client goes elsewhere for a {}", redirect.status.0);
            let fault = Fault::new(message).hint("one of: 301, 302, 303, 307, 308");
            self.report(&format!("{path}.redirect.status"), fault);
        }
        for (index, mount) in listener.mounts.iter().enumerate() {
            let status = mount.down_status.0;
            if BODILESS.contains(&status) {
                let message = format!("an answer with {status} has no body, and this one has");
                let path = format!("{path}.mounts[{index}].down_status");
                self.report(&path, Fault::new(message).hint("200, 503 or another with a body"));
            }
        }
    }

    fn trusted(&mut self, listener: &Listener, path: &str, proxied: bool) {
        if proxied
            && listener.trusted_proxies.is_empty()
            && listener.proxy_protocol == AcceptProxy::Required
        {
            let message = "without `trusted_proxies` every connection would be closed";
            let fault = Fault::new(message).hint(r#"trusted_proxies: ["10.0.0.0/8"]"#);
            self.report(&format!("{path}.proxy_protocol"), fault);
        }
    }

    fn bare_listener(&mut self, listener: &Listener, path: &str) {
        let udp = listener.protocol == ListenerProtocol::Udp;
        let kind = if udp { "udp" } else { "tcp" };
        let (limits, usual) = (&listener.limits, Limits::default());
        let keys = [
            ("mounts", !listener.mounts.is_empty()),
            ("redirect", listener.redirect.is_some()),
            ("paths", listener.paths != Paths::Lenient),
            ("limits.max_request_head", limits.max_request_head != usual.max_request_head),
            ("limits.max_request_fields", limits.max_request_fields != usual.max_request_fields),
            ("limits.max_request_body", limits.max_request_body != usual.max_request_body),
        ];
        self.refuse(path, &keys, &format!("is for http, not {kind}"));
        if udp {
            let keys = [
                ("tls", listener.tls.is_some()),
                ("proxy_protocol", listener.proxy_protocol != AcceptProxy::Off),
                ("sni_routes", !listener.sni_routes.is_empty()),
            ];
            self.refuse(path, &keys, "is for connections, and udp has none");
            let connections = limits.max_connections != usual.max_connections;
            let keys = [("limits.max_connections", connections)];
            self.refuse(path, &keys, "is for connections; flows are bounded by `udp.max_flows`");
            let keys = [
                ("limits.max_connections_per_ip", limits.max_connections_per_ip.0 != 0),
                ("limits.idle_timeout", limits.idle_timeout != usual.idle_timeout),
            ];
            self.refuse(path, &keys, "is for connections; see `udp`");
            if matches!(listener.bind.0, BindAddress::Unix(_)) {
                self.report(&format!("{path}.bind"), "udp has no unix sockets; write host:port");
            }
        } else {
            let own = listener.udp != UdpLimits::default();
            self.refuse(path, &[("udp", own)], "is for udp listeners");
            self.trusted(listener, path, listener.proxy_protocol != AcceptProxy::Off);
        }
        if listener.pool.is_none() && (udp || listener.sni_routes.is_empty()) {
            let fault = Fault::new(format!("a {kind} listener names its pool"));
            self.report(&format!("{path}.pool"), fault.hint("pool: NAME"));
        }
        for (index, route) in listener.sni_routes.iter().enumerate() {
            let hosts = format!("{path}.sni_routes[{index}].hosts");
            if route.hosts.is_empty() && self.is_written(&hosts) && self.is_empty(&hosts) {
                let fault = Fault::new("names no server, so that this is never taken");
                self.report(&hosts, fault.hint(r#"hosts: ["a.example.com"]"#));
            }
        }
        if listener.tls.is_some() && !listener.sni_routes.is_empty() {
            let message =
                "`tls` opens TLS, `sni_routes` passes it through: they exclude each other";
            self.report(&format!("{path}.sni_routes"), message);
        }
    }

    fn listener_tls(&mut self, listener: &Listener, path: &str) {
        let Some(tls) = &listener.tls else { return };
        let certificates = format!("{path}.tls.certificates");
        let written = self.is_written(&certificates);
        if tls.certificates.is_empty() && written && self.is_empty(&certificates) {
            let fault = Fault::new("needs at least one certificate");
            self.report(&certificates, fault.hint("[{ cert: c.pem, key: k.pem }]"));
        }
        if tls.client_ca.0.is_empty() {
            self.no_client_ca(tls, path);
        }
    }

    /// Whoever writes of client certificates means that somebody is kept out: then it is said who
    /// is let in.
    fn no_client_ca(&mut self, tls: &ListenerTls, path: &str) {
        let written = |key: &str| self.is_written(&format!("{path}.tls.{key}"));
        // `evenkeel config` prints every key of a section; what somebody wrote is less.
        let by_hand = !<ListenerTls as Section>::NAMES.iter().all(|(key, _)| written(key));
        let demanded = tls.client_auth != ClientAuth::Required || written("client_auth") && by_hand;
        let fault = if demanded {
            ("client_auth", "means nothing without `client_ca`: everybody would be let in")
        } else if written("client_ca") && by_hand {
            ("client_ca", "is empty: no certificate would be demanded, and everybody let in")
        } else {
            return;
        };
        let (key, message) = fault;
        self.report(&format!("{path}.tls.{key}"), Fault::new(message).hint("client_ca: ca.pem"));
    }

    fn pool_tls(&mut self, pool: &Pool, path: &str) {
        let (cert, key) = (&pool.tls.client_cert.0, &pool.tls.client_key.0);
        if cert.is_empty() != key.is_empty() {
            let missing = if cert.is_empty() { "client_cert" } else { "client_key" };
            let fault = Fault::new(format!("`{missing}` is missing: a certificate needs its key"));
            self.report(&format!("{path}.tls"), fault);
        }
    }

    /// Whoever writes how to trust backends hardly means to reach them without TLS.
    pub(super) fn unused_tls(&mut self, root: &Root) {
        for (index, pool) in root.pools.iter().enumerate() {
            let secure = |backend: &BackendEntry| backend.0.address.0.scheme == Scheme::Https;
            let fixed = pool.discovery.0.is_none() && !pool.backends.is_empty();
            if pool.tls != PoolTls::default() && fixed && !pool.backends.iter().any(secure) {
                let message = "is for `https://` backends, and this pool has none";
                let fault = Fault::new(message).hint(r#"backends: ["https://10.0.0.1:8443"]"#);
                self.report(&format!("pools[{index}].tls"), fault);
            }
        }
    }

    /// A pool whose connections carry bytes, not requests.
    fn bare_pool(&mut self, pool: &Pool, path: &str, kind: &str) {
        let why = |key: &str| {
            Fault::new(format!("`{key}` is for http, and a {kind} listener uses this pool"))
        };
        if pool.affinity.r#type == AffinityType::Cookie {
            let fault = why("type: cookie").hint("type: client_ip");
            self.report(&format!("{path}.affinity.type"), fault);
        }
        let written = |key: &str| self.tree.at(&format!("{path}.retry.{key}")).is_some();
        // `evenkeel config` prints every key of a section; what somebody wrote is less.
        let by_hand = !<Retry as Section>::NAMES.iter().all(|(key, _)| written(key));
        let usual = Retry::default();
        let says = |key: &str, differs: bool| written(key) && (differs || by_hand);
        let keys = [
            ("retry.methods", says("methods", pool.retry.methods != usual.methods)),
            ("retry.buffer", says("buffer", pool.retry.buffer != usual.buffer)),
        ];
        let statuses = says("on", pool.retry.on != usual.on);
        self.refuse(path, &keys, &format!("is for http, and a {kind} listener uses this pool"));
        for (index, reason) in pool.retry.on.iter().enumerate().filter(|_| statuses) {
            if let RetryOn::Status(status) = reason {
                let at = format!("{path}.retry.on[{index}]");
                self.report(&at, why(&status.to_string()));
            }
        }
        let health = format!("{path}.health");
        let http = pool.health.r#type == HealthType::Http && self.is_written(&health);
        if http && !self.is_written(&format!("{health}.path")) {
            let typed = self.is_written(&format!("{health}.type"));
            if typed {
                let fault =
                    why("type: http").hint("type: tcp; or name the `path` of a page to ask");
                self.report(&format!("{health}.type"), fault);
            }
        }
        if pool.health.r#type == HealthType::Grpc {
            self.report(&format!("{health}.type"), why("type: grpc").hint("type: tcp"));
        }
        if pool.protocol != PoolProtocol::Http1 {
            self.report(&format!("{path}.protocol"), why("protocol"));
        }
        for (index, backend) in pool.backends.iter().enumerate() {
            let prefix = &backend.0.address.0.prefix;
            if !prefix.is_empty() {
                self.report(&format!("{path}.backends[{index}]"), why(prefix));
            }
        }
        if pool.hash.key != HashKey::ClientIp {
            self.report(&format!("{path}.hash.key"), why("key").hint("key: client_ip"));
        }
    }

    fn udp_pool(&mut self, pool: &Pool, path: &str) {
        if pool.proxy_protocol != SendProxy::Off {
            let message = "`proxy_protocol` is for connections, and udp has none";
            self.report(&format!("{path}.proxy_protocol"), message);
        }
        if pool.autoscale.0.as_ref().is_some_and(|scale| scale.min.0 == 0) {
            let message = "a udp listener uses this pool: datagrams do not wait for a backend";
            let fault = Fault::new(message).hint("min: 1");
            self.report(&format!("{path}.autoscale.min"), fault);
        }
        for (index, backend) in pool.backends.iter().enumerate() {
            let address = &backend.0.address.0;
            let plain = address.scheme == Scheme::Http;
            if !plain || matches!(address.endpoint, Endpoint::Unix(_)) {
                let path = format!("{path}.backends[{index}]");
                let fault = Fault::new("a udp listener uses this pool: its backends are host:port");
                let whole = self.tree.at(&path).is_some_and(is_text);
                let path = if whole { path } else { format!("{path}.address") };
                self.report(&path, fault);
            }
        }
    }
}

fn is_text(node: &Node) -> bool {
    matches!(node.value, Value::Str(_))
}

/// True if the listener names the pool itself.
pub(super) fn names(listener: &Listener, pool: &Name) -> bool {
    let by_name = || listener.sni_routes.iter().any(|route| route.pool == *pool);
    listener.protocol != ListenerProtocol::Http
        && (listener.pool.as_ref() == Some(pool) || by_name())
}
