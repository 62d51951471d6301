//! `stream`: listeners of bytes and datagrams, each with its pool.

use super::Nginx;
use super::parse::Directive;
use super::policy::Scope;
use super::values::time;
use crate::import::draft::{Draft, with_port};

impl Nginx<'_> {
    pub(super) fn stream(&mut self, block: &[Directive]) {
        for directive in block.iter().filter(|directive| directive.name == "upstream") {
            self.read_pool(directive, "tcp");
        }
        let scope = Scope::default().with(block);
        for directive in block {
            match (directive.name.as_str(), directive.block.as_deref()) {
                ("upstream", Some(_)) => {}
                ("server", Some(inner)) => self.stream_server(directive.line, inner, &scope),
                _ => self.stream_policy(directive),
            }
        }
    }

    fn stream_server(&mut self, line: usize, block: &[Directive], outer: &Scope<'_>) {
        self.report.exact(line, "server: a listener");
        let scope = outer.with(block);
        let pass = block.iter().find(|directive| directive.name == "proxy_pass");
        let Some(pass) = pass.filter(|pass| !pass.argument(0).contains('$')) else {
            return block.iter().for_each(|inner| self.lose(inner));
        };
        let name = pass.argument(0).to_owned();
        if self.pool(&name).is_none() {
            let mut pool = self.new_pool(&name, pass.line);
            let mut backend = Draft::at(pass.line);
            backend.text("address", pass.line, with_port(&name, 80));
            pool.push("backends", backend);
            self.pools.push((name.clone(), pool));
        }
        self.only_connects(&name, pass.line);
        self.report.exact(pass.line, format!("{}: pool {name}", pass.shown()));
        self.apply_to_pool(&scope, &name);
        for directive in block.iter().filter(|directive| directive.name != "proxy_pass") {
            match directive.name.as_str() {
                "listen" => self.stream_listen(directive, &name, &scope),
                _ => self.stream_policy(directive),
            }
        }
        let sends = scope.one("proxy_protocol").filter(|it| it.argument(0) == "on");
        if let (Some(sends), Some(pool)) = (sends, self.pool(&name)) {
            pool.text("proxy_protocol", sends.line, "v1");
        }
    }

    /// Bytes have no statuses or resets to be tried again.
    fn only_connects(&mut self, name: &str, line: usize) {
        if let Some(pool) = self.pool(name) {
            pool.texts("retry.on", line, ["connect_failure"]);
        }
    }

    fn stream_listen(&mut self, directive: &Directive, pool: &str, scope: &Scope<'_>) {
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
        listener.text("pool", line, pool);
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
            _ => self.lose(directive),
        }
    }
}
