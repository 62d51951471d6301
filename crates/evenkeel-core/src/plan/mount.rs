//! Read-only endpoints of ours on a traffic listener.

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
