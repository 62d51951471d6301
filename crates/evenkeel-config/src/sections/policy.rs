//! Keys of what a pool does about failure and load.

use crate::scalar::{
    CookieName, Factor, Method, Ratio, RetryOn, SentPath, Size, StatusSet, Text, Time, Whole,
};
use crate::section::{choice, section};

/// Tries that one exchange may make.
const MAX_TRIES: u64 = evenkeel_core::snapshot::MAX_TRIES as u64;

choice! {
    /// How a backend is probed.
    HealthType ("a health check type") {
        /// A request and its status.
        Http = "http",
        /// A connection.
        Tcp = "tcp",
        /// `grpc.health.v1.Health/Check`.
        Grpc = "grpc",
        /// Not at all.
        None = "none",
    }
}

section! {
    /// Active checks of backends.
    Health {
        /// How a backend is probed.
        r#type: HealthType = HealthType::Http;
        /// Path of the request. With the defaults of `path`, `method`, `host` and `expect_*`, a
        /// backend whose very first answer is 404 has no such page: 404 is then fine.
        path: SentPath = SentPath("/health".to_owned());
        /// Method of the request.
        method: Method = Method("GET".to_owned());
        /// Host of the request; empty = the address.
        host: Text = Text::default();
        /// Status codes of a healthy backend.
        expect_status: StatusSet = StatusSet(vec![200..=399]);
        /// Text the body must hold; empty = any.
        expect_body: Text = Text::default();
        /// Name asked for by `grpc`; empty = the whole backend.
        service: Text = Text::default();
        /// Between probes.
        interval: Time = Time::secs(5);
        /// Bound of one probe.
        timeout: Time = Time::secs(2);
        /// Successes in a row until healthy.
        healthy_threshold: Whole<1, 1000> = Whole(2);
        /// Failures in a row until unhealthy.
        unhealthy_threshold: Whole<1, 1000> = Whole(3);
    }
}

section! {
    /// Takes a failing backend out for a while.
    CircuitBreaker {
        /// Whether it acts.
        enabled: bool = true;
        /// Failures in a row that trip it.
        failure_threshold: Whole<1> = Whole(5);
        /// Share of failures in `window` that trips it.
        failure_rate: Ratio = Ratio(0.5);
        /// Requests in `window` before the share counts.
        min_requests: Whole = Whole(20);
        /// Time the share is taken over.
        window: Time = Time::secs(10);
        /// First wait before a trial; doubles per trip.
        reset_timeout: Time = Time::secs(5);
        /// Longest wait.
        max_reset_timeout: Time = Time::secs(60);
    }
}

choice! {
    /// Which methods are tried again after the request may have reached a backend.
    RetryMethods ("idempotent or all") {
        /// GET, HEAD, PUT, DELETE, OPTIONS.
        Idempotent = "idempotent",
        /// Any; the backends must bear repeats.
        All = "all",
    }
}

/// The default of `retry.on`.
fn default_reasons() -> Vec<RetryOn> {
    vec![
        RetryOn::ConnectFailure,
        RetryOn::Reset,
        RetryOn::PerTryTimeout,
        RetryOn::Status(502),
        RetryOn::Status(503),
        RetryOn::Status(504),
        RetryOn::GrpcUnavailable,
    ]
}

section! {
    /// What is tried again, and how often.
    Retry {
        /// Tries in total, the first included.
        attempts: Whole<1, MAX_TRIES> = Whole(3);
        /// Retries as a share of requests.
        budget: Ratio = Ratio(0.2);
        /// Retries per second that the budget always allows.
        budget_floor: Whole = Whole(10);
        /// Reasons: `connect_failure`, `reset`, `per_try_timeout`, `grpc_unavailable`, a status.
        on: Vec<RetryOn> = default_reasons();
        /// Which methods are tried again once a backend may have seen the request.
        methods: RetryMethods = RetryMethods::Idempotent;
        /// Wait between tries.
        backoff: Backoff = Backoff::default();
        /// Bytes up to which a request body is kept for another try, 64KiB at most; a longer or
        /// chunked one is streamed, and sent once.
        buffer: Size = Size(64 * 1024);
        /// Bound of one try; 0s = none.
        per_try_timeout: Time = Time::secs(0);
    }
}

section! {
    /// Wait between tries, drawn between zero and the bound.
    Backoff {
        /// Bound before the second try.
        base: Time = Time::millis(25);
        /// Growth per try.
        multiplier: Factor = Factor(2.0);
        /// Largest bound.
        max: Time = Time::secs(1);
    }
}

choice! {
    /// How a client is kept on its backend.
    AffinityType ("an affinity type") {
        /// Not at all.
        None = "none",
        /// By a cookie of ours.
        Cookie = "cookie",
        /// By the client's address.
        ClientIp = "client_ip",
        /// Another name of `client_ip`.
        Ip = "ip",
    }
}

section! {
    /// Keeps a client on its backend.
    Affinity {
        /// How.
        r#type: AffinityType = AffinityType::None;
        /// Name of the cookie.
        cookie_name: CookieName = CookieName("evenkeel".to_owned());
        /// Life of the cookie.
        ttl: Time = Time::secs(3600);
        /// File with the keys that sign cookies, one a line: the first signs, all are accepted.
        /// Empty = one made at start, so that sessions end with the process.
        secret_file: Text = Text::default();
    }
}

section! {
    /// Connections to backends.
    Connections {
        /// Exchanges that one backend has at a time, each on its own connection; 0 = unlimited.
        max: Whole = Whole(0);
        /// Idle connections kept per backend, divided among the workers; more of them are kept for
        /// a second. 0 = none.
        max_idle: Whole = Whole(64);
        /// How long an idle connection is kept; 0s = not at all.
        idle_timeout: Time = Time::secs(30);
        /// Connections being made per backend; 0 = unlimited.
        max_connecting: Whole = Whole(0);
        /// Requests that wait while every backend has its `max`.
        queue: Queue = Queue::default();
    }
}

section! {
    /// Requests that wait while every backend has its `max`.
    Queue {
        /// How many may wait.
        max: Whole = Whole(1024);
        /// How long one waits.
        timeout: Time = Time::secs(5);
    }
}

section! {
    /// Deadlines towards backends.
    Timeouts {
        /// To make a connection; 0s = no bound.
        connect: Time = Time::secs(3);
        /// From the request sent to the response head; 0s = no bound.
        response_head: Time = Time::secs(60);
        /// Without a byte moving in a body or tunnel; 0s = no bound.
        idle: Time = Time::secs(300);
    }
}
