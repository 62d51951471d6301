//! The native families, and what each of their samples is labelled with.

use super::text::{Described, Kind, Metric, Unit};

const SECONDS: Kind = Kind::Histogram(Unit::Seconds);

pub(super) const BUILD: Metric = Metric {
    name: "evenkeel_build_info",
    kind: Kind::Constant,
    help: "The program that runs; always 1.",
};
pub(super) const GENERATION: Metric = Metric {
    name: "evenkeel_config_generation",
    kind: Kind::Gauge,
    help: "Configurations put in force since the start.",
};
pub(super) const RELOADS: Metric = Metric {
    name: "evenkeel_reloads_total",
    kind: Kind::Counter,
    help: "Reloads of the configuration by result.",
};
pub(super) const RELOAD_SUCCESSFUL: Metric = Metric {
    name: "evenkeel_config_last_reload_successful",
    kind: Kind::Gauge,
    help: "0 if the last reload was rejected, else 1.",
};
pub(super) const PROBES: Metric = Metric {
    name: "evenkeel_probes_total",
    kind: Kind::Counter,
    help: "Health check probes by result.",
};
pub(super) const DROPPED: Metric = Metric {
    name: "evenkeel_dropped_total",
    kind: Kind::Counter,
    help: "Records, events and spans that were lost because nobody took them in time, by kind.",
};

pub(super) const REQUESTS: Metric = Metric {
    name: "evenkeel_requests_total",
    kind: Kind::Counter,
    help: "Exchanges that ended; code 0 if the client got no status. Empty labels: none reached.",
};
pub(super) const DURATION: Metric = Metric {
    name: "evenkeel_request_duration_seconds",
    kind: SECONDS,
    help: "From the end of the request head to the end of the exchange.",
};
pub(super) const GRPC_CALLS: Metric = Metric {
    name: "evenkeel_grpc_calls_total",
    kind: Kind::Counter,
    help: "gRPC calls that ended, by grpc-status; those that clients gave up are 1.",
};
pub(super) const BYTES_IN: Metric = Metric {
    name: "evenkeel_request_bytes_total",
    kind: Kind::Counter,
    help: "Bytes received from clients.",
};
pub(super) const BYTES_OUT: Metric = Metric {
    name: "evenkeel_response_bytes_total",
    kind: Kind::Counter,
    help: "Bytes sent to clients.",
};
pub(super) const TRIES: Metric = Metric {
    name: "evenkeel_tries_total",
    kind: Kind::Counter,
    help: "Tries to send a request to a backend, retries included.",
};
pub(super) const RETRIES: Metric = Metric {
    name: "evenkeel_retries_total",
    kind: Kind::Counter,
    help: "Requests sent again, by what was wrong with the try before.",
};
pub(super) const BUDGET_EXHAUSTED: Metric = Metric {
    name: "evenkeel_retry_budget_exhausted_total",
    kind: Kind::Counter,
    help: "Retries not made because the retry budget had none left.",
};
pub(super) const FAILURES: Metric = Metric {
    name: "evenkeel_failures_total",
    kind: Kind::Counter,
    help: "Exchanges that failed, by failure and by whose side it was on.",
};
pub(super) const QUEUE_REJECTED: Metric = Metric {
    name: "evenkeel_queue_rejected_total",
    kind: Kind::Counter,
    help: "Requests that found the queue full or waited in it too long.",
};
pub(super) const CLIENT_CONNECTIONS: Metric = Metric {
    name: "evenkeel_client_connections",
    kind: Kind::Gauge,
    help: "Open client connections.",
};
pub(super) const ACCEPTED: Metric = Metric {
    name: "evenkeel_client_connections_accepted_total",
    kind: Kind::Counter,
    help: "Client connections accepted.",
};
pub(super) const FLOWS_DROPPED: Metric = Metric {
    name: "evenkeel_udp_flows_dropped_total",
    kind: Kind::Counter,
    help: "Datagrams dropped because no flow could begin for them.",
};

pub(super) const FIRST_BYTE: Metric = Metric {
    name: "evenkeel_first_byte_duration_seconds",
    kind: SECONDS,
    help: "From the start of the last try to the first byte of its answer.",
};
pub(super) const CONNECT: Metric = Metric {
    name: "evenkeel_connect_duration_seconds",
    kind: SECONDS,
    help: "To make a new connection to a backend.",
};
pub(super) const QUEUE_WAIT: Metric = Metric {
    name: "evenkeel_queue_wait_duration_seconds",
    kind: SECONDS,
    help: "Waiting for a backend to have room.",
};
pub(super) const QUEUE_WAITING: Metric = Metric {
    name: "evenkeel_queue_waiting",
    kind: Kind::Gauge,
    help: "Requests that wait for a backend to have room.",
};
pub(super) const POOL_MODE: Metric = Metric {
    name: "evenkeel_pool_mode",
    kind: Kind::Gauge,
    help: "How the pool chooses: 0 normal, 1 doubtful, 2 fail open, 3 empty and not asleep.",
};
pub(super) const FAIL_OPEN: Metric = Metric {
    name: "evenkeel_fail_open",
    kind: Kind::Gauge,
    help: "1 while open breakers are ignored because nobody else is left.",
};

pub(super) const BACKEND_UP: Metric = Metric {
    name: "evenkeel_backend_up",
    kind: Kind::Gauge,
    help: "1 unless probes failed, the breaker is not closed, or the backend seems to be dead.",
};
pub(super) const ELIGIBLE: Metric = Metric {
    name: "evenkeel_backend_eligible",
    kind: Kind::Gauge,
    help: "1 if the backend takes new traffic.",
};
pub(super) const WEIGHT: Metric = Metric {
    name: "evenkeel_backend_weight",
    kind: Kind::Gauge,
    help: "Configured share of new traffic.",
};
pub(super) const IN_FLIGHT: Metric = Metric {
    name: "evenkeel_backend_in_flight",
    kind: Kind::Gauge,
    help: "Requests sent and not finished.",
};
pub(super) const CONNECTIONS: Metric = Metric {
    name: "evenkeel_backend_connections",
    kind: Kind::Gauge,
    help: "Connections to the backend: active carry a request, idle are kept for the next.",
};
pub(super) const BREAKER: Metric = Metric {
    name: "evenkeel_breaker_state",
    kind: Kind::Gauge,
    help: "Circuit breaker: 0 closed (traffic flows), 1 open, 2 half-open (one trial).",
};

pub(super) const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    help: "Total user and system CPU time spent in seconds.",
};
pub(super) const OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    help: "Number of open file descriptors.",
};
pub(super) const MAX_FDS: Metric = Metric {
    name: "process_max_fds",
    kind: Kind::Gauge,
    help: "Maximum number of open file descriptors.",
};
pub(super) const RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    help: "Resident memory size in bytes.",
};
pub(super) const VIRTUAL: Metric = Metric {
    name: "process_virtual_memory_bytes",
    kind: Kind::Gauge,
    help: "Virtual memory size in bytes.",
};
pub(super) const THREADS: Metric = Metric {
    name: "process_threads",
    kind: Kind::Gauge,
    help: "Number of OS threads in the process.",
};
pub(super) const START: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    help: "Start time of the process since unix epoch in seconds.",
};

/// In the order of rendering.
pub(super) const DESCRIBED: &[Described] = &[
    (&BUILD, &["version"]),
    (&GENERATION, &[]),
    (&RELOADS, &["result"]),
    (&RELOAD_SUCCESSFUL, &[]),
    (&PROBES, &["result"]),
    (&DROPPED, &["kind"]),
    (&REQUESTS, &["listener", "route", "pool", "backend", "code", "method"]),
    (&DURATION, &["listener", "route", "pool", "backend"]),
    (&GRPC_CALLS, &["route", "pool", "code"]),
    (&BYTES_IN, &["listener", "route", "pool", "backend"]),
    (&BYTES_OUT, &["listener", "route", "pool", "backend"]),
    (&TRIES, &["listener", "route", "pool", "backend"]),
    (&RETRIES, &["reason"]),
    (&BUDGET_EXHAUSTED, &[]),
    (&FAILURES, &["failure", "side"]),
    (&QUEUE_REJECTED, &["failure"]),
    (&CLIENT_CONNECTIONS, &["listener"]),
    (&ACCEPTED, &["listener"]),
    (&FLOWS_DROPPED, &["listener"]),
    (&FIRST_BYTE, &["pool"]),
    (&CONNECT, &["pool"]),
    (&QUEUE_WAIT, &["pool"]),
    (&QUEUE_WAITING, &["pool"]),
    (&POOL_MODE, &["pool"]),
    (&FAIL_OPEN, &["pool"]),
    (&BACKEND_UP, &["pool", "backend"]),
    (&ELIGIBLE, &["pool", "backend"]),
    (&WEIGHT, &["pool", "backend"]),
    (&IN_FLIGHT, &["pool", "backend"]),
    (&CONNECTIONS, &["pool", "backend", "state"]),
    (&BREAKER, &["pool", "backend"]),
    (&CPU, &[]),
    (&OPEN_FDS, &[]),
    (&MAX_FDS, &[]),
    (&RESIDENT, &[]),
    (&VIRTUAL, &[]),
    (&THREADS, &[]),
    (&START, &[]),
];
