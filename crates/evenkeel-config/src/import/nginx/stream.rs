//! `stream`: listeners of bytes and datagrams, each with its pool.

use super::Nginx;
use super::parse::Directive;
use super::policy::Scope;
use super::values::time;
use crate::import::draft::Draft;

/// Where the connections of a server go.
enum Target {
    Pool(String),
    /// By TLS server name, and where all others go.
    Names(Vec<Draft>, Option<String>),
}

impl Target {
    fn shown(&self) -> String {
        match self {
            Target::Pool(name) => format!("pool {name}"),
            Target::Names(..) => "sni_routes".to_owned(),
        }
    }

    fn pools(&self) -> Vec<String> {
        match self {
            Target::Pool(name) => vec![name.clone()],
            Target::Names(routes, default) => {
                let named = routes.iter().filter_map(|route| route.get("pool"));
                let mut pools: Vec<String> =
                    named.map(str::to_owned).chain(default.clone()).collect();
                pools.sort_unstable();
                pools.dedup();
                pools
            }
        }
    }
}

impl Nginx<'_> {
    pub(super) fn stream(&mut self, block: &[Directive]) {
        self.http_pools = self.pools.iter().map(|(name, _)| name.clone()).collect();
        for directive in block.iter().filter(|directive| directive.name == "upstream") {
            let name = self.stream_name(directive.argument(0));
            self.read_pool(directive, &name, "tcp");
        }
        let scope = Scope::default().with(block);
        let mut maps = Vec::new();
        for directive in block.iter().filter(|directive| self.server_names(directive)) {
            maps.push(directive);
        }
        for directive in block {
            match (directive.name.as_str(), directive.block.as_deref()) {
                ("upstream", Some(_)) => {}
                ("map", _) if maps.iter().any(|map| std::ptr::eq(*map, directive)) => {}
                ("server", Some(inner)) => self.stream_server(directive.line, inner, &scope),
                _ => self.stream_policy(directive),
            }
        }
    }

    fn stream_server(&mut self, line: usize, block: &[Directive], outer: &Scope<'_>) {
        let scope = outer.with(block);
        let pass = block.iter().find(|directive| directive.name == "proxy_pass");
        let target = pass.and_then(|pass| self.stream_target(pass, &scope));
        let (Some(pass), Some(target)) = (pass, target) else {
            let why = "server: where it goes is not known before a connection; it is left out";
            self.report.lost(line, why);
            return block.iter().for_each(|inner| self.lose(inner));
        };
        self.report.exact(line, "server: a listener");
        self.report.exact(pass.line, format!("{}: {}", pass.shown(), target.shown()));
        for name in target.pools() {
            self.apply_to_pool(&scope, &name);
            let sends = scope.one("proxy_protocol").filter(|it| it.argument(0) == "on");
            let secure = scope.one("proxy_ssl").filter(|it| it.argument(0) == "on");
            if let Some(secure) = secure {
                self.secure(&name, secure.line);
            }
            let verifies = scope.one("proxy_ssl_verify").is_some_and(|it| it.argument(0) == "on");
            let Some(pool) = self.pool(&name) else { continue };
            if let Some(secure) = secure.filter(|_| !verifies) {
                // Unless told so, nginx verifies no certificate.
                pool.flag("tls.insecure_skip_verify", secure.line, true);
            }
            if let Some(sends) = sends {
                pool.text("proxy_protocol", sends.line, "v1");
            }
        }
        for directive in block.iter().filter(|directive| directive.name != "proxy_pass") {
            match directive.name.as_str() {
                "listen" => self.stream_listen(directive, &target, &scope),
                "ssl_preread" if matches!(target, Target::Names(..)) => {
                    let text = format!("{}: sni_routes", directive.shown());
                    self.report.exact(directive.line, text);
                }
                _ => self.stream_policy(directive),
            }
        }
    }

    /// Where the connections of a server go; `None` if that is decided in a way of its own.
    fn stream_target(&mut self, pass: &Directive, scope: &Scope<'_>) -> Option<Target> {
        let name = pass.argument(0);
        if !name.contains('$') {
            return Some(Target::Pool(self.stream_pool(name, pass.line)));
        }
        let preread = scope.one("ssl_preread").is_some_and(|it| it.argument(0) == "on");
        let (routes, default) = self.sni_routes(name).filter(|_| preread)?;
        Some(Target::Names(routes, default))
    }

    /// Bytes have no statuses or resets to be tried again.
    pub(super) fn only_connects(&mut self, name: &str, line: usize) {
        if let Some(pool) = self.pool(name) {
            pool.texts("retry.on", line, ["connect_failure"]);
        }
    }

    fn stream_listen(&mut self, directive: &Directive, target: &Target, scope: &Scope<'_>) {
        let (line, shown) = (directive.line, directive.shown());
        let address = directive.argument(0);
        let bind = match address.parse::<u16>() {
            Ok(port) => format!("0.0.0.0:{port}"),
            Err(_) => address.replacen("*:", "0.0.0.0:", 1),
        };
        let has = |word: &str| directive.arguments.iter().any(|argument| argument == word);
        if has("ssl") || evenkeel_core::address::BindAddress::parse(&bind).is_err() {
            return self.report.lost(line, format!("{shown}: not kept"));
        }
        let place = self.listener(&bind, line);
        let listener = &mut self.listeners[place].1;
        listener.text("protocol", line, if has("udp") { "udp" } else { "tcp" });
        match target {
            Target::Pool(pool) => listener.text("pool", line, pool),
            Target::Names(routes, default) => {
                listener.list("sni_routes", line, routes.clone());
                if let Some(pool) = default {
                    listener.text("pool", line, pool);
                }
            }
        }
        if let Some(idle) = scope.one("proxy_timeout")
            && let Some(time) = time(&idle.arguments)
        {
            let path = if has("udp") { "udp.idle_timeout" } else { "limits.idle_timeout" };
            listener.text(path, idle.line, time);
        }
        let proxied = has("proxy_protocol") && !has("udp") && !bind.starts_with("unix:");
        if proxied {
            listener.text("proxy_protocol", line, "required");
            listener.texts("trusted_proxies", line, ["0.0.0.0/0", "::/0"]);
        }
        let rest = directive.arguments.get(1..).unwrap_or_default();
        let kept = |word: &&String| {
            matches!(word.as_str(), "udp" | "reuseport")
                || word.as_str() == "proxy_protocol" && proxied
        };
        let odd: Vec<&str> = rest.iter().filter(|word| !kept(word)).map(String::as_str).collect();
        match odd.as_slice() {
            [] => self.report.exact(line, format!("{shown}: listeners[].bind")),
            odd => {
                let text = format!("{shown}: listeners[].bind, without {}", odd.join(" "));
                self.report.near(line, text);
            }
        }
    }

    fn stream_policy(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        match directive.name.as_str() {
            "proxy_timeout" => self.report.exact(line, format!("{shown}: idle timeouts")),
            "proxy_connect_timeout" => {
                self.report.exact(line, format!("{shown}: timeouts.connect"));
            }
            "proxy_protocol" => self.report.exact(line, format!("{shown}: proxy_protocol: v1")),
            "proxy_ssl"
            | "proxy_ssl_verify"
            | "proxy_ssl_trusted_certificate"
            | "proxy_ssl_name"
            | "proxy_ssl_certificate"
            | "proxy_ssl_certificate_key"
                if !directive.argument(0).contains('$') =>
            {
                self.report.exact(line, format!("{shown}: tls of the pool"));
            }
            "proxy_ssl_server_name" => {
                self.report.near(line, format!("{shown}: the name is always sent"));
            }
            _ => self.lose(directive),
        }
    }
}
