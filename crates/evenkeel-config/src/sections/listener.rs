//! Keys of a listener.

use crate::scalar::{Bind, Cidr, ExactPath, Host, Name, Size, Text, Time, Whole};
use crate::section::{choice, section};

/// Fields that the parser has room for.
const MAX_FIELDS: u64 = evenkeel_core::request::MAX_FIELDS as u64;

section! {
    /// One socket that accepts clients.
    Listener {
        /// Unique name; `listener-N` (from 0) if left out.
        name: Name = Name::default();
        /// Where it binds: `:8080` is IPv4 and IPv6; also `127.0.0.1:8080`, `unix:/run/x.sock`.
        bind: Bind = Bind::stand_in(), required;
        /// What is spoken.
        protocol: ListenerProtocol = ListenerProtocol::Http;
        /// Terminate TLS.
        tls: Option<ListenerTls> = None;
        /// Whether clients send a PROXY header; believed only from `trusted_proxies`.
        proxy_protocol: AcceptProxy = AcceptProxy::Off;
        /// Whose forwarding fields and PROXY headers are believed.
        trusted_proxies: Vec<Cidr> = Vec::new();
        /// Bounds of one connection and of all.
        limits: Limits = Limits::default();
        /// `strict` refuses every encoded `/` and `\` in a path.
        paths: Paths = Paths::Lenient;
        /// Read-only endpoints on this listener.
        mounts: Vec<Mount> = Vec::new();
        /// Answer every request with a redirect.
        redirect: Option<Redirect> = None;
        /// Pool of a tcp or udp listener.
        pool: Option<Name> = None;
        /// Pools of a tcp listener by TLS server name, TLS unopened.
        sni_routes: Vec<SniRoute> = Vec::new();
        /// Bounds of a udp listener.
        udp: UdpLimits = UdpLimits::default();
    }
}

choice! {
    /// What a listener speaks.
    ListenerProtocol ("a protocol") {
        /// HTTP/1.1, and h2 by ALPN or prior knowledge.
        Http = "http",
        /// Bytes.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }
}

choice! {
    /// Whether a PROXY header (v1 or v2) is expected.
    AcceptProxy ("off, optional or required") {
        /// Never parsed.
        Off = "off",
        /// Parsed if there.
        Optional = "optional",
        /// Demanded.
        Required = "required",
    }
}

choice! {
    /// How encoded separators in a path are treated.
    Paths ("a path policy") {
        /// Matched as `/`, forwarded as spelt.
        Lenient = "lenient",
        /// Refused.
        Strict = "strict",
    }
}

section! {
    /// Bounds of one connection and of all; 0 = unlimited where it says so.
    Limits {
        /// Open client connections; at the bound, new ones wait. 0 = unlimited.
        max_connections: Whole = Whole(10_000);
        /// Open connections per client address; more are closed at once. 0 = unlimited.
        max_connections_per_ip: Whole = Whole(0);
        /// From the first byte of a request, or from accept, to the end of its head; 0s = no bound.
        request_head_timeout: Time = Time::secs(10);
        /// Without a request on a connection that has served one, or without a byte of a body that
        /// the client is to send or take; 0s = no bound.
        idle_timeout: Time = Time::secs(75);
        /// Bytes of request line and fields.
        max_request_head: Size<1024, 1_048_576> = Size(32 * 1024);
        /// Number of fields.
        max_request_fields: Whole<1, MAX_FIELDS> = Whole(100);
        /// Bytes of a request body; 0 = unlimited.
        max_request_body: Size = Size(0);
    }
}

section! {
    /// Bounds of a udp listener.
    UdpLimits {
        /// A flow without a datagram ends.
        idle_timeout: Time = Time::secs(60);
        /// Flows at once; further ones are dropped.
        max_flows: Whole<1> = Whole(10_000);
    }
}

section! {
    /// TLS of a listener.
    ListenerTls {
        /// Picked by server name: exact, then wildcard, else the first.
        certificates: Vec<Certificate> = Vec::new(), required;
        /// CA file; if set, a client certificate is demanded.
        client_ca: Text = Text::default();
        /// Whether the client certificate may be missing; only with `client_ca`.
        client_auth: ClientAuth = ClientAuth::Required;
        /// Oldest version accepted.
        min_version: TlsVersion = TlsVersion::V12;
        /// Protocols offered; left out: both to http clients, none to those of a tcp listener.
        alpn: Option<Vec<Alpn>> = None;
        /// From accept to the end of the handshake.
        handshake_timeout: Time = Time::secs(10);
    }
}

section! {
    /// A certificate with its key.
    Certificate {
        /// PEM file of the chain.
        cert: Text = Text::default(), required;
        /// PEM file of the key.
        key: Text = Text::default(), required;
        /// DER file of a stapled OCSP response; empty = none.
        ocsp: Text = Text::default();
    }
}

choice! {
    /// Whether a client certificate is demanded.
    ClientAuth ("required or optional") {
        /// Handshakes without one fail.
        Required = "required",
        /// Verified if there.
        Optional = "optional",
    }
}

choice! {
    /// A TLS version.
    TlsVersion ("a TLS version") {
        /// TLS 1.2.
        V12 = "1.2",
        /// TLS 1.3.
        V13 = "1.3",
    }
}

choice! {
    /// A protocol offered in the handshake.
    Alpn ("a protocol") {
        /// HTTP/2.
        H2 = "h2",
        /// HTTP/1.1.
        Http11 = "http/1.1",
    }
}

choice! {
    /// What a mount serves.
    MountKind ("a mount") {
        /// Health of the backends.
        Health = "health",
        /// Counters.
        Metrics = "metrics",
        /// Hosts with their backends and whether each is healthy, as JSON.
        Report = "report",
        /// The dashboard.
        Dashboard = "dashboard",
    }
}

choice! {
    /// Which clients a mount answers.
    MountAccept ("any or html") {
        /// All of them.
        Any = "any",
        /// Those whose `Accept` names `text/html`.
        Html = "html",
    }
}

choice! {
    /// Format of `/metrics` if the client asks for none.
    MetricsFormat ("a metrics format") {
        /// Prometheus text.
        Prometheus = "prometheus",
        /// OpenMetrics text.
        Openmetrics = "openmetrics",
        /// JSON.
        Json = "json",
    }
}

section! {
    /// A read-only endpoint on a traffic port, asked before the routes. It takes GET and HEAD; what
    /// it does not take goes on to the routes.
    Mount {
        /// Exactly this path, query ignored.
        path: ExactPath = ExactPath("/".to_owned()), required;
        /// What.
        serve: MountKind = MountKind::Health, required;
        /// Status while no backend is healthy; for `health`. Not one without a body, such as 204.
        down_status: Whole<200, 599> = Whole(503);
        /// Format if the client asks for none; for `metrics`.
        default_format: MetricsFormat = MetricsFormat::Prometheus;
        /// Only for these hosts; empty = for every host.
        hosts: Vec<Host> = Vec::new();
        /// `html`: only for clients whose `Accept` names `text/html`, which browsers do and curl
        /// does not; the others go on to the routes.
        accept: MountAccept = MountAccept::Any;
    }
}

choice! {
    /// Scheme of a redirect.
    RedirectScheme ("a scheme") {
        /// TLS.
        Https = "https",
        /// Plain.
        Http = "http",
    }
}

section! {
    /// Answers every request with a redirect; host, path and query are kept.
    Redirect {
        /// Scheme to go to.
        scheme: RedirectScheme = RedirectScheme::Https;
        /// Port to go to; left out, that of the scheme, which the location does not name.
        port: Option<Whole<1, 65535>> = None;
        /// Status of the answer: 301, 302, 303, 307 or 308.
        status: Whole<300, 399> = Whole(308);
    }
}

section! {
    /// A pool by TLS server name.
    SniRoute {
        /// Server names, or `*.suffix`.
        hosts: Vec<Host> = Vec::new(), required;
        /// Where its connections go.
        pool: Name = Name::default(), required;
    }
}
