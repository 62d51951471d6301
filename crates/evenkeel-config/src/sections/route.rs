//! Keys of a route.

use crate::key::Table;
use crate::scalar::{
    Cidr, ExactPath, HeaderName, HeaderValue, Host, JsonPath, Method, Name, PathPrefix, RateKey,
    RuleHeaderName, SetHeaderName, Size, Time, Whole,
};
use crate::section::{choice, section};

section! {
    /// A test and where requests that pass it go.
    Route {
        /// Unique name; `route-N` (from 0) if left out.
        name: Name = Name::default();
        /// What a request must be; left out, every request matches.
        r#match: Match = Match::default();
        /// Where requests go; or `split`.
        pool: Option<Name> = None;
        /// Several pools by share.
        split: Vec<SplitArm> = Vec::new();
        /// Removes the matched `path_prefix` before forwarding.
        strip_prefix: bool = false;
        /// Changes to the request's fields.
        request_headers: HeaderChanges = HeaderChanges::default();
        /// Changes to the response's fields.
        response_headers: HeaderChanges = HeaderChanges::default();
        /// Bound on requests per time.
        rate_limit: Option<RateLimit> = None;
        /// Client networks let in; empty = all.
        allow: Vec<Cidr> = Vec::new();
        /// Client networks refused; wins over `allow`.
        deny: Vec<Cidr> = Vec::new();
        /// Bound of the whole exchange; 0s = none.
        timeout: Time = Time::secs(0);
        /// Copies of requests to another pool, whose answers nobody sees.
        mirror: Option<Mirror> = None;
    }
}

section! {
    /// The test of a route; every part that is given must hold.
    Match {
        /// Names of listeners by which the request came in; left out, any.
        listeners: Vec<Name> = Vec::new();
        /// Exact names, or `*.suffix`; port and case do not matter.
        hosts: Vec<Host> = Vec::new();
        /// Exactly this path, query ignored; shown as requests are compared: dot segments resolved,
        /// escapes decoded where that changes nothing, `//` and `%2F` as `/`.
        path: Option<ExactPath> = None;
        /// Whole segments at the start: `/v1` covers `/v1/x`, not `/v10`; shown as `path` is.
        path_prefix: Option<PathPrefix> = None;
        /// Any of these methods.
        methods: Vec<Method> = Vec::new();
        /// Field names with the exact value each must have.
        headers: Table<HeaderName, HeaderValue> = Table::default();
    }
}

section! {
    /// One share of a split.
    SplitArm {
        /// Where its requests go.
        pool: Name = Name::default(), required;
        /// Its share of the sum of weights.
        weight: Whole<0, 65535> = Whole(1);
    }
}

section! {
    /// Changes to a message's fields: remove, then set, then add.
    HeaderChanges {
        /// Replaces every field of the name.
        set: Table<SetHeaderName, HeaderValue> = Table::default();
        /// Appends a field.
        add: Table<RuleHeaderName, HeaderValue> = Table::default();
        /// Drops every field of the name.
        remove: Vec<RuleHeaderName> = Vec::new();
    }
}

section! {
    /// A token bucket per key.
    RateLimit {
        /// Requests per `per`.
        requests: Whole<1> = Whole(1), required;
        /// The time they are counted over.
        per: Time = Time::secs(1);
        /// Size of the bucket; `requests` if left out.
        burst: Option<Whole<1>> = None;
        /// What is counted: `client_ip`, `header:NAME` or `route`.
        key: RateKey = RateKey::ClientIp;
    }
}

section! {
    /// Copies of requests to another pool.
    Mirror {
        /// Where copies go.
        pool: Name = Name::default(), required;
        /// Share of requests copied, per cent.
        percent: Whole<0, 100> = Whole(100);
        /// Requests with a longer body are not copied.
        max_body: Size<0, { 16 * 1024 * 1024 }> = Size(64 * 1024);
        /// Compare the answers.
        diff: Option<MirrorDiff> = None;
    }
}

choice! {
    /// How bodies are compared.
    BodyDiff ("a body comparison") {
        /// Not.
        None = "none",
        /// By hash.
        Hash = "hash",
        /// As JSON, member by member.
        Json = "json",
    }
}

section! {
    /// What is compared between the answer and the copy's answer.
    MirrorDiff {
        /// Status codes.
        status: bool = true;
        /// These fields.
        headers: Vec<HeaderName> = Vec::new();
        /// Bodies.
        body: BodyDiff = BodyDiff::None;
        /// JSON paths left out of the comparison.
        ignore: Vec<JsonPath> = Vec::new();
        /// Differences kept.
        samples: Whole<0, 10_000> = Whole(100);
    }
}
