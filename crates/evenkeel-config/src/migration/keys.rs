//! Keys of a migration plan.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar, Table};
use crate::scalar::{
    CookieName, HeaderName, HeaderValue, Name, Ratio, SentPath, Text, Time, Whole,
};
use crate::section::{choice, section};
use serde_json::{Value as Json, json};

/// Requests of a stage if it does not say.
pub(super) const MIN_REQUESTS: u64 = 100;

section! {
    /// The staged move of one route's traffic from a pool to another.
    MigrationKeys {
        /// Also its id; left out, the route and the time.
        name: Name = Name::default();
        /// Whose traffic moves; its `pool` is `from`.
        route: Name = Name::default(), required;
        /// The pool that serves all of it now.
        from: Name = Name::default(), required;
        /// The pool that shall serve it.
        to: Name = Name::default(), required;
        /// Who moves together: `client_ip`, `header:NAME`, `cookie:NAME` or `request`.
        cohort: Cohort = Cohort::ClientIp;
        /// Between two checks.
        interval: Time = Time::secs(60);
        /// What must hold in every stage.
        gates: GateKeys = GateKeys::default();
        /// The rule that is looked at every second.
        abort: AbortKeys = AbortKeys::default();
        /// Before the first stage.
        preflight: PreflightKeys = PreflightKeys::default();
        /// In order; left out: 25, 50 and 100 per cent.
        stages: Vec<StageKeys> = Vec::new();
        /// How long `from` stays ready after the last stage.
        watch: Time = Time::secs(600);
        /// Who is asked or told.
        webhooks: Vec<HookKeys> = Vec::new();
    }
}

section! {
    /// What must hold.
    GateKeys {
        /// Least share of successes; 0 = not looked at.
        success_rate: Option<Ratio> = None;
        /// Longest median; 0s = not looked at.
        p50: Option<Time> = None;
        /// Longest 95th percentile; 0s = not looked at.
        p95: Option<Time> = None;
        /// Longest 99th percentile; 0s = not looked at.
        p99: Option<Time> = None;
        /// Most that the share of successes may be below that of `from`; 0 = not looked at.
        max_success_drop: Option<Ratio> = None;
        /// Median as a multiple of that of `from`; 0 = not looked at.
        max_p50_ratio: Option<Multiple> = None;
        /// The same of the 95th percentile.
        max_p95_ratio: Option<Multiple> = None;
        /// The same of the 99th percentile.
        max_p99_ratio: Option<Multiple> = None;
        /// Most of the answers to copies that may differ from those that clients get; looked at in
        /// `mirror` stages, with 0 too.
        max_differences: Option<Ratio> = None;
        /// Of what compares with `from`: 50% to 99.9999999%.
        confidence: Option<Ratio> = None;
    }
}

section! {
    /// The rule that is looked at every second.
    AbortKeys {
        /// Errors in a row; 0 = not looked at.
        consecutive_errors: Whole = Whole(5);
        /// Rate of errors as a multiple of that of `from`; 0 = not looked at.
        error_ratio: Multiple = Multiple(10.0);
        /// Requests before the rate counts.
        min_requests: Whole = Whole(50);
    }
}

section! {
    /// Before the first stage; the backends of `to` must be healthy in any case.
    PreflightKeys {
        /// Synthetic requests to `to`.
        requests: Whole<0, 1000> = Whole(0);
        /// Their path.
        path: SentPath = SentPath("/".to_owned());
    }
}

choice! {
    /// What happens to a stage that has not passed in its time.
    TimeOver ("an answer to `max_duration`") {
        /// It goes on, and can still pass.
        Hold = "hold",
        /// The migration ends.
        Abort = "abort",
        /// It gets the same time again.
        Extend = "extend",
    }
}

choice! {
    /// Whether a person has to agree.
    Agreement ("an approval") {
        /// No.
        Auto = "auto",
        /// Yes.
        Manual = "manual",
    }
}

section! {
    /// One step: `weight`, `match` or `mirror`.
    StageKeys {
        /// Per cent of cohorts sent to `to`; above 100, load on top.
        weight: Option<Percent> = None;
        /// Requests sent to `to`, by field or cookie.
        r#match: Option<MatchKeys> = None;
        /// Per cent of requests copied to `to`.
        mirror: Option<Percent> = None;
        /// Least time in it.
        min_duration: Time = Time::secs(600);
        /// Fewest requests of `to` in it.
        min_requests: Whole = Whole(MIN_REQUESTS);
        /// When `on_max_duration` applies; left out, twice `min_duration`.
        max_duration: Option<Time> = None;
        /// What happens if it has not passed by then.
        on_max_duration: TimeOver = TimeOver::Hold;
        /// Whether a person has to agree.
        approval: Agreement = Agreement::Auto;
        /// What must hold here, over what must hold everywhere.
        gates: GateKeys = GateKeys::default();
    }
}

section! {
    /// Requests with all of these.
    MatchKeys {
        /// Fields with their values.
        headers: Table<HeaderName, HeaderValue> = Table::default();
        /// Cookies with their values.
        cookies: Table<CookieName, HeaderValue> = Table::default();
    }
}

choice! {
    /// When a webhook is called.
    HookTime ("a time of a webhook") {
        /// Before a stage moves traffic.
        BeforeStage = "before_stage",
        /// After a stage has passed.
        AfterStage = "after_stage",
        /// At the end of a migration that went through.
        Done = "done",
        /// At the end of one that did not.
        Aborted = "aborted",
    }
}

section! {
    /// A URL that is called; what is not 2xx holds the stage, until its time is over.
    HookKeys {
        /// Where; http or https.
        url: Text = Text::default(), required;
        /// When.
        on: Vec<HookTime> = vec![HookTime::BeforeStage, HookTime::AfterStage];
        /// How long an answer is awaited.
        timeout: Time = Time::secs(10);
    }
}

/// Who moves together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cohort {
    ClientIp,
    Header(HeaderName),
    Cookie(CookieName),
    Request,
}

impl Scalar for Cohort {
    const WORD: &'static str = "a cohort";

    fn parse(atom: Atom<'_>) -> Result<Cohort, Fault> {
        let text = atom.text();
        match text.split_once(':') {
            None if matches!(text, "client_ip" | "ip") => Ok(Cohort::ClientIp),
            None if text == "request" => Ok(Cohort::Request),
            Some(("header", name)) => HeaderName::parse(Atom::Str(name)).map(Cohort::Header),
            Some(("cookie", name)) => CookieName::parse(Atom::Str(name)).map(Cohort::Cookie),
            _ => Err(Fault::new(format!("{text:?} is not known here"))
                .hint("one of: client_ip, header:NAME, cookie:NAME, request")),
        }
    }

    fn json(&self) -> Json {
        Json::String(match self {
            Cohort::ClientIp => "client_ip".to_owned(),
            Cohort::Request => "request".to_owned(),
            Cohort::Header(name) => format!("header:{}", name.0),
            Cohort::Cookie(name) => format!("cookie:{}", name.0),
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(client_ip|ip|request|header:.+|cookie:.+)$" })
    }
}

/// Per cent, 0 to 1000; with or without its sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

/// A multiple, 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Multiple(pub(crate) f64);

fn number(text: &str, word: &str) -> Result<f64, Fault> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1000.0).contains(&value) => Ok(value),
        Ok(_) | Err(_) => {
            Err(Fault::new(format!("{text:?} is not {word}")).hint("a number from 0 to 1000"))
        }
    }
}

impl Scalar for Percent {
    const WORD: &'static str = "per cent";

    fn parse(atom: Atom<'_>) -> Result<Percent, Fault> {
        let text = atom.text().trim();
        number(text.strip_suffix('%').unwrap_or(text).trim(), Self::WORD).map(Percent)
    }

    fn json(&self) -> Json {
        json!(self.0)
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1000 },
            { "type": "string", "pattern": "^[0-9.]+ *%$" },
        ] })
    }
}

impl Scalar for Multiple {
    const WORD: &'static str = "a multiple";

    fn parse(atom: Atom<'_>) -> Result<Multiple, Fault> {
        number(atom.text().trim(), Self::WORD).map(Multiple)
    }

    fn json(&self) -> Json {
        json!(self.0)
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 1000 })
    }
}
