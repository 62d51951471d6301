//! Keys of the process as a whole.

use crate::key::Table;
use crate::scalar::{BindOrOff, HeaderName, Ratio, Secret, Size, Text, Time, Whole};
use crate::section::{choice, section};
use evenkeel_core::address::BindAddress;
use std::net::Ipv4Addr;

/// Where the admin listener binds unless told otherwise.
fn admin_bind() -> BindOrOff {
    BindOrOff(Some(BindAddress::Ip((Ipv4Addr::LOCALHOST, 9900).into())))
}

section! {
    /// The operator's listener.
    Admin {
        /// Where it binds; `""` turns it off.
        bind: BindOrOff = admin_bind();
        /// File with tokens; demanded if `bind` is not loopback.
        tokens_file: Text = Text::default();
        /// Serve a bind that is not loopback without tokens.
        insecure: bool = false;
        /// Whether a bind that is taken stops the start; `false`: a warning says so, and there is
        /// no admin listener.
        required: bool = true;
    }
}

choice! {
    /// Severity of an event.
    Level ("a log level") {
        /// Details of decisions.
        Debug = "debug",
        /// What happens.
        Info = "info",
        /// What should be looked at.
        Warn = "warn",
        /// What failed.
        Error = "error",
    }
}

choice! {
    /// Shape of a log line.
    LineFormat ("a log format") {
        /// One JSON object.
        Json = "json",
        /// Human words.
        Text = "text",
        /// `[INFO] …`.
        Bracket = "bracket",
        /// `key=value` pairs.
        Logfmt = "logfmt",
    }
}

section! {
    /// Access records and events.
    Logging {
        /// Least severe event that is written; access records are not affected.
        level: Level = Level::Info;
        /// Shape of a line.
        format: LineFormat = LineFormat::Json;
        /// File to append to, reopened on SIGUSR1; empty = standard output.
        file: Text = Text::default();
        /// One record per exchange.
        access: Access = Access::default();
        /// Name in lines that greet at start: `Starting NAME`, one per backend, and when it is
        /// ready; empty = no such lines.
        greeting: Text = Text::default();
    }
}

section! {
    /// Access records.
    Access {
        /// Whether they are written.
        enabled: bool = true;
        /// Share of exchanges recorded.
        sample: Ratio = Ratio(1.0);
    }
}

choice! {
    /// A rendering of the counters.
    Family ("a metric family") {
        /// `evenkeel_*`.
        Native = "native",
        /// `gobalance_*`.
        Gobalance = "gobalance",
        /// `loadbalancer_*`.
        Loadbalancer = "loadbalancer",
    }
}

section! {
    /// What `/metrics` shows.
    Metrics {
        /// Renderings of the same counters.
        families: Vec<Family> = vec![Family::Native];
    }
}

section! {
    /// Spans of exchanges.
    Tracing {
        /// Export by OTLP over HTTP.
        otlp: Otlp = Otlp::default();
    }
}

section! {
    /// Export by OTLP over HTTP.
    Otlp {
        /// Base URL; `/v1/traces` is appended. Empty = off.
        endpoint: Text = Text::default();
        /// Sent with every message, as `authorization: Bearer …`.
        headers: Table<HeaderName, Secret> = Table::default();
        /// Authorities that a collector behind `https://` is verified by; empty = the system's.
        ca_file: Text = Text::default();
        /// Share of exchanges traced.
        sample: Ratio = Ratio(0.01);
    }
}

section! {
    /// The flight recorder.
    Recorder {
        /// Exchanges kept.
        size: Whole<0, 1_000_000> = Whole(1000);
        /// An exchange that takes longer is slow.
        slow: Time = Time::secs(1);
        /// Requests kept with what they said.
        capture: Capture = Capture::default();
    }
}

section! {
    /// Requests kept with what they said: their head, and the beginning of their body.
    Capture {
        /// Share of exchanges; 0 = off.
        sample: Ratio = Ratio(0.0);
        /// Bytes of a body that are kept, of bodies up to 64 KiB.
        max_body: Size<0, 65_536> = Size(4096);
        /// Fields whose values are not kept, besides `Authorization`, `Cookie` and their like.
        redact: Vec<HeaderName> = Vec::new();
    }
}

section! {
    /// Aids for development.
    Debugging {
        /// Where profiles are served, such as `127.0.0.1:6060`; empty = off.
        pprof: BindOrOff = BindOrOff(None);
    }
}

section! {
    /// How a stop drains.
    Shutdown {
        /// Not ready, but still accepting, before the drain begins.
        grace: Time = Time::secs(0);
        /// Bound on finishing what is in flight; 0s = stop at once.
        drain_timeout: Time = Time::secs(30);
    }
}
