//! The process as the admin API tells it, from what is read at one moment.

mod backend;

pub(crate) use backend::url;

use crate::metrics::{Traffic, View};
use crate::steering::Sources;
use evenkeel_api as api;
use evenkeel_core::plan::{
    ListenerPlan, ListenerProtocol, MountPlan, Mounted, PathMatch, PoolPlan, RateKey, RoutePlan,
};
use evenkeel_core::pool::{Mode, Pool};
use std::time::Duration;

/// One moment, with its traffic sorted by backend.
pub(crate) struct Portrait<'a> {
    view: &'a View<'a>,
    traffic: Traffic<'a>,
    sources: Sources,
}

impl<'a> Portrait<'a> {
    pub(crate) fn of(view: &'a View<'a>) -> Portrait<'a> {
        Portrait { view, traffic: Traffic::of(view.totals), sources: Sources::default() }
    }

    /// Knows where backends come from that no file names.
    pub(crate) fn with(self, sources: Sources) -> Portrait<'a> {
        Portrait { sources, ..self }
    }

    /// Everything in a few lines.
    pub(crate) fn status(&self, state: api::State, workers: usize) -> api::Status {
        let view = self.view;
        let listeners = self.listeners();
        api::Status {
            version: view.version.to_owned(),
            role: None,
            pid: Some(std::process::id()),
            handover: None,
            uptime_seconds: view.uptime.as_secs(),
            state,
            generation: view.generation,
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            client_connections: listeners.iter().map(|it| it.client_connections).sum(),
            listeners,
            pools: view.snapshot.pools.iter().map(|pool| self.summary(pool)).collect(),
            conflicts: Vec::new(),
            edits: 0,
            rejected: None,
        }
    }

    fn summary(&self, pool: &Pool) -> api::PoolSummary {
        let is_eligible = |at: &usize| pool.backends[*at].barred(self.view.now).is_none();
        let eligible = (0..pool.backends.len()).filter(is_eligible).count();
        let count = |length| u32::try_from(length).unwrap_or(u32::MAX);
        api::PoolSummary {
            name: pool.plan.name.to_string(),
            mode: mode(pool),
            backends: count(pool.backends.len()),
            eligible: count(eligible),
        }
    }

    pub(crate) fn pools(&self) -> Vec<api::Pool> {
        self.view.snapshot.pools.iter().map(|pool| self.draw(pool)).collect()
    }

    pub(crate) fn pool(&self, name: &str) -> Option<api::Pool> {
        self.find(name).map(|pool| self.draw(pool))
    }

    pub(crate) fn backends(&self, pool: &str) -> Option<Vec<api::Backend>> {
        self.find(pool).map(|pool| self.backends_of(pool))
    }

    fn find(&self, name: &str) -> Option<&'a Pool> {
        self.view.snapshot.pools.iter().map(|pool| &**pool).find(|pool| &*pool.plan.name == name)
    }

    fn draw(&self, pool: &Pool) -> api::Pool {
        let retry = &pool.plan.retry;
        api::Pool {
            name: pool.plan.name.to_string(),
            strategy: pool.plan.strategy_text.to_string(),
            mode: mode(pool),
            backends: self.backends_of(pool),
            waiting: pool.waiting.len() as u64,
            retry_budget: api::RetryBudget {
                ratio: retry.budget,
                floor: retry.budget_floor,
                refused: pool.budget.refused(),
            },
            discovery: self.discovery(&pool.plan.name),
        }
    }

    fn discovery(&self, pool: &str) -> Option<api::PoolDiscovery> {
        let (_, it) = self.view.discovery.iter().find(|(name, _)| **name == *pool)?;
        let count = |length| u32::try_from(length).unwrap_or(u32::MAX);
        Some(api::PoolDiscovery {
            r#type: it.kind.to_owned(),
            up: it.up,
            trouble: it.trouble.clone(),
            backends: count(it.backends),
            left_out: count(it.left_out),
            age_seconds: it.confirmed.map(|at| at.elapsed().as_secs_f64()),
        })
    }

    fn backends_of(&self, pool: &Pool) -> Vec<api::Backend> {
        pool.backends.iter().map(|it| self.backend(pool, it)).collect()
    }

    pub(crate) fn listeners(&self) -> Vec<api::Listener> {
        self.view.snapshot.plan.listeners.iter().map(|it| self.listener(it)).collect()
    }

    fn listener(&self, plan: &ListenerPlan) -> api::Listener {
        let counted = self.view.totals.listeners.iter().find(|(name, _)| *name == plan.name);
        let max = plan.limits.max_connections;
        api::Listener {
            name: plan.name.to_string(),
            bind: plan.bind.to_string(),
            protocol: protocol(&plan.protocol).to_owned(),
            client_connections: counted.map_or(0, |(_, totals)| totals.open()),
            max_connections: (max > 0).then_some(max as u64),
            mounts: plan.mounts.iter().map(mount).collect(),
        }
    }

    pub(crate) fn routes(&self) -> Vec<api::Route> {
        self.view.snapshot.plan.routes.iter().map(|it| self.route(it)).collect()
    }

    fn route(&self, plan: &RoutePlan) -> api::Route {
        let pools = &self.view.snapshot.plan.pools;
        let share = |(pool, weight): &(usize, u32)| {
            let pool = pools.get(*pool)?.name.to_string();
            Some(api::Share { pool, weight: *weight })
        };
        api::Route {
            name: plan.name.to_string(),
            matches: route_match(plan),
            split: plan.split.iter().filter_map(share).collect(),
            strip_prefix: plan.strip_prefix,
            timeout_ms: (!plan.timeout.is_zero()).then(|| millis(plan.timeout)),
            filters: filters(plan, pools),
            requests: self.view.totals.merged(|series| series.route == plan.name).exchanges(),
        }
    }
}

fn protocol(protocol: &ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "http",
        ListenerProtocol::Tcp(_) => "tcp",
        ListenerProtocol::Udp(_) => "udp",
    }
}

fn mount(plan: &MountPlan) -> api::Mount {
    let serve = match plan.serve {
        Mounted::Health { .. } => "health",
        Mounted::Metrics { .. } => "metrics",
        Mounted::Report => "report",
        Mounted::Dashboard => "dashboard",
    };
    api::Mount { path: plan.path.clone(), serve: serve.to_owned() }
}

fn mode(pool: &Pool) -> api::PoolMode {
    match pool.told_mode() {
        Mode::Normal => api::PoolMode::Normal,
        Mode::Doubtful => api::PoolMode::Doubtful,
        Mode::FailOpen => api::PoolMode::FailingOpen,
        Mode::Empty => api::PoolMode::Down,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn route_match(plan: &RoutePlan) -> api::RouteMatch {
    let test = &plan.matches;
    let (path, path_prefix) = match &test.path {
        PathMatch::Any => (None, None),
        PathMatch::Exact(path) => (Some(path.clone()), None),
        PathMatch::Prefix(prefix) => (None, Some(prefix.clone())),
    };
    let shown = |(name, value): &(String, String)| {
        (name.clone(), evenkeel_config::shown_value(name, value).to_owned())
    };
    api::RouteMatch {
        listeners: test.listeners.clone(),
        hosts: test.hosts.clone(),
        path,
        path_prefix,
        methods: test.methods.clone(),
        headers: test.headers.iter().map(shown).collect(),
    }
}

/// In the order in which they act.
fn filters(plan: &RoutePlan, pools: &[PoolPlan]) -> Vec<String> {
    let mut filters = Vec::new();
    for (verb, networks) in [("deny", &plan.deny), ("allow", &plan.allow)] {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        if !networks.is_empty() {
            filters.push(format!("{verb} {}", networks.join(", ")));
        }
    }
    if let Some(limit) = &plan.rate_limit {
        let key = match &limit.key {
            RateKey::ClientIp => "client_ip".to_owned(),
            RateKey::Header(name) => format!("header {name}"),
            RateKey::Route => "route".to_owned(),
        };
        let (requests, per, burst) = (limit.requests, limit.per, limit.burst);
        filters.push(format!("at most {requests} requests per {per:?} by {key}, burst {burst}"));
    }
    if plan.strip_prefix {
        filters.push("strip the prefix".to_owned());
    }
    if !plan.request_headers.is_empty() {
        filters.push("change request headers".to_owned());
    }
    if !plan.response_headers.is_empty() {
        filters.push("change response headers".to_owned());
    }
    for mirror in &plan.mirrors {
        let pool = pools.get(mirror.pool).map_or("", |pool| &pool.name);
        filters.push(format!("copy {} % to {pool}", mirror.percent));
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_config::{Format, Overrides, Source, read};

    #[test]
    fn secrets_that_a_route_asks_for_are_not_shown() {
        let text = "listeners: [{ bind: ':80' }]\npools: [{ name: a, backends: ['127.0.0.1:1'] }]\n\
            routes: [{ pool: a, match: { headers: { X-Api-Key: hush, x-a: seen } } }]\n";
        let source = Source { name: "c".to_owned(), text: text.to_owned(), format: Format::Yaml };
        let plan = read(Some(&source), &Overrides::default()).expect("valid").plan().0;
        let headers = route_match(&plan.routes[0]).headers;
        assert_eq!(headers["x-api-key"], "<redacted>");
        assert_eq!(headers["x-a"], "seen");
    }
}
