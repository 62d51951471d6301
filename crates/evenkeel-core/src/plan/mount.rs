//! Read-only endpoints of ours on a traffic listener.

use crate::route::host_matches;

/// One endpoint: which requests it takes, and what answers them. It takes GET and HEAD of exactly
/// its path; other methods, hosts and clients go on to the next mount and then to the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPlan {
    /// Compared with the path view, query ignored.
    pub path: String,
    /// Exact names, or `*.suffix`, as in `RouteMatch`; empty = every host.
    pub hosts: Vec<String>,
    /// Which clients it answers.
    pub accept: MountAccept,
    /// What answers.
    pub serve: Mounted,
}

/// Which clients a mount answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountAccept {
    /// All of them.
    #[default]
    Any,
    /// Those whose `Accept` names `text/html`: browsers, not `*/*`.
    Html,
}

/// What a mount serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// Health of the backends.
    Health {
        /// Status while no backend is healthy.
        down_status: u16,
    },
    /// The counters.
    Metrics {
        /// Format if the client asks for none.
        default_format: MetricsFormat,
    },
    /// Hosts with their backends and whether each is healthy.
    Report,
    /// The page for people.
    Dashboard,
}

/// A rendering of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    Openmetrics,
    /// One JSON document.
    Json,
}

/// Where the files of a dashboard are if the page itself is the root: no application has it.
const ROOT_BASE: &str = "/.evenkeel/";

impl MountPlan {
    /// What the files and documents of a dashboard's page begin with; `None` for what is one
    /// document.
    pub fn base(&self) -> Option<String> {
        match (self.serve, self.path.as_str()) {
            (Mounted::Health { .. } | Mounted::Metrics { .. } | Mounted::Report, _) => None,
            (Mounted::Dashboard, "/") => Some(ROOT_BASE.to_owned()),
            (Mounted::Dashboard, path) => Some(format!("{path}/")),
        }
    }

    /// True if a GET or HEAD is for it. `path` is the matching side of the path view, `host` lower
    /// case and without port; `wants_html` says whether `Accept` names `text/html`.
    pub fn takes(&self, path: &[u8], host: &[u8], wants_html: bool) -> bool {
        let mut hosts = self.hosts.iter();
        if !self.hosts.is_empty() && !hosts.any(|pattern| host_matches(pattern, host)) {
            return false;
        }
        if path == self.path.as_bytes() {
            return wants_html || self.accept == MountAccept::Any;
        }
        self.base().is_some_and(|base| {
            let rest = path.strip_prefix(base.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"assets/") || rest.starts_with(b"api/"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_takes_its_path_and_a_dashboard_its_files() {
        let health = Mounted::Health { down_status: 503 };
        let mount = |path: &str, serve, accept| MountPlan {
            path: path.to_owned(),
            hosts: vec!["a.test".to_owned(), "*.b.test".to_owned()],
            accept,
            serve,
        };
        let (any, html) = (MountAccept::Any, MountAccept::Html);
        let cases = [
            (mount("/health", health, any), "/health", "a.test", false, true),
            (mount("/health", health, any), "/health", "x.b.test", true, true),
            (mount("/health", health, any), "/health", "b.test", true, false),
            (mount("/health", health, any), "/health/", "a.test", true, false),
            (mount("/health", health, any), "/health/assets/x", "a.test", true, false),
            (mount("/", Mounted::Dashboard, html), "/", "a.test", true, true),
            (mount("/", Mounted::Dashboard, html), "/", "a.test", false, false),
            (mount("/", Mounted::Dashboard, html), "/.evenkeel/api/v1/x", "a.test", false, true),
            (mount("/", Mounted::Dashboard, html), "/assets/main.js", "a.test", true, false),
            (mount("/", Mounted::Dashboard, html), "/api/v1/pools", "a.test", true, false),
            (mount("/board", Mounted::Dashboard, any), "/board/assets/x", "a.test", false, true),
            (mount("/board", Mounted::Dashboard, any), "/board/x", "a.test", true, false),
        ];
        for (mount, path, host, wants_html, wanted) in cases {
            let taken = mount.takes(path.as_bytes(), host.as_bytes(), wants_html);
            assert_eq!(taken, wanted, "{mount:?} {path} {host} {wants_html}");
        }
    }
}
