//! Reads a migration plan: YAML, TOML or JSON with keys of its own, checked like a configuration.

mod keys;

use crate::diagnostic::{Diagnostics, Fault, Problem, SourceLines};
use crate::key::Key;
use crate::reader::Reader;
use crate::scalar::uncallable;
use crate::schema::document;
use crate::section;
use crate::tree::{Node, Value};
use crate::{Source, parse};
use evenkeel_core::migration::{
    AbortRule, Approval, CohortKey, Gates, HookPoint, MigrationPlan, OnMaxDuration, PERCENTILES,
    Preflight, Stage, StageTraffic, Webhook,
};
use keys::{Agreement, Cohort, GateKeys, HookTime, MigrationKeys, StageKeys, TimeOver};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What `gates.confidence` may be: below it a comparison says nothing, and counts never give all.
const CONFIDENCES: RangeInclusive<f64> = 0.5..=0.999_999_999;
/// What `max_duration` is of `min_duration` if it is left out.
const MAX_DURATION_FACTOR: u32 = 2;
/// Stages of a plan without any, per cent.
const DEFAULT_STAGES: [f64; 3] = [25.0, 50.0, 100.0];
/// Least time of such a stage.
const DEFAULT_STAGE_TIME: Duration = Duration::from_secs(600);
/// Stages that a plan may have.
const MAX_STAGES: usize = 100;

/// Reads a migration plan; `unix_seconds` gives a name to one that has none.
///
/// # Errors
/// Everything that is wrong, sorted by position.
pub fn read_migration(source: &Source, unix_seconds: u64) -> Result<MigrationPlan, Diagnostics> {
    let lines = SourceLines::new(&source.name, source.text.clone());
    let tree = match parse(Some(source), &lines) {
        Ok(tree) => tree,
        Err(problem) => return Err(lines.diagnostics(vec![problem])),
    };
    let mut reader = Reader::default();
    let keys: Option<MigrationKeys> = section::read(&tree, &mut reader);
    let mut problems = reader.problems;
    if let Some(keys) = keys {
        check(&keys, &tree, &mut problems);
        if problems.is_empty() {
            return Ok(plan(&keys, unix_seconds));
        }
    }
    Err(lines.diagnostics(problems))
}

/// What a plan calls its route, `from` and `to`, whatever else is wrong with it; `None` if one of
/// them is not told.
pub fn migration_names(source: &Source) -> Option<[String; 3]> {
    let lines = SourceLines::new(&source.name, source.text.clone());
    let tree = parse(Some(source), &lines).ok()?;
    let name = |key: &str| match &tree.at(key)?.value {
        // Blanks around a name are no part of it.
        Value::Str(text) | Value::Number(text) => Some(text.trim().to_owned()),
        Value::Null | Value::Bool(_) | Value::Seq(_) | Value::Map(_) => None,
    };
    Some([name("route")?, name("from")?, name("to")?])
}

/// The JSON Schema of a migration plan.
pub fn migration_schema() -> serde_json::Value {
    document("evenkeel migration plan", MigrationKeys::shape())
}

/// What a stage has one of.
const KINDS: [&str; 3] = ["weight", "match", "mirror"];

/// What is wrong with what a stage has of its kinds.
fn kind_fault(stage: &StageKeys) -> Option<Fault> {
    let kinds = [stage.weight.is_some(), stage.r#match.is_some(), stage.mirror.is_some()];
    let text = match kinds.iter().filter(|kind| **kind).count() {
        1 => return None,
        0 => "one of `weight`, `match`, `mirror` is needed",
        _ => "only one of `weight`, `match`, `mirror` can be",
    };
    Some(Fault::new(text).hint("such as { weight: 25, min_duration: 10m }"))
}

fn check(keys: &MigrationKeys, tree: &Node, problems: &mut Vec<Problem>) {
    // What follows from a mistake that was told is not told as another one.
    let known: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
    let is_told = |path: String| known.iter().any(|it| it.starts_with(&path));
    let mut report = |path: &str, fault: Fault| {
        let place = tree.key_place_at(path).clone();
        problems.push(Problem { place, path: path.to_owned(), fault });
    };
    if keys.from == keys.to && !keys.to.0.is_empty() {
        report("to", Fault::new("`from` and `to` are the same pool"));
    }
    if keys.stages.len() > MAX_STAGES {
        report("stages", Fault::new(format!("more than {MAX_STAGES} stages")));
    }
    if keys.interval.0.is_zero() {
        report("interval", Fault::new("0s would check without end").hint("such as 60s"));
    }
    let of_stages = keys.stages.iter().enumerate();
    let of_stages = of_stages.map(|(index, stage)| (format!("stages[{index}]."), &stage.gates));
    for (path, gates) in std::iter::once((String::new(), &keys.gates)).chain(of_stages) {
        if let Some(confidence) = gates.confidence.filter(|it| !CONFIDENCES.contains(&it.0)) {
            let fault = Fault::new(format!("a confidence of {} is out of range", confidence.0));
            let fault = fault.hint("from 50% to 99.9999999%, such as 95%");
            report(&format!("{path}gates.confidence"), fault);
        }
    }
    let mut before = 0.0;
    for (index, stage) in keys.stages.iter().enumerate() {
        let path = format!("stages[{index}]");
        let told = KINDS.iter().any(|name| is_told(format!("{path}.{name}")));
        if let Some(fault) = kind_fault(stage).filter(|_| !told) {
            report(&path, fault);
        }
        if let Some(weight) = stage.weight {
            if weight.0 < before {
                let fault = format!("{} is less than the {before} of the stage before", weight.0);
                report(&format!("{path}.weight"), Fault::new(fault));
            }
            before = weight.0;
        }
        if let Some(matched) = &stage.r#match
            && matched.headers.0.is_empty()
            && matched.cookies.0.is_empty()
            && !is_told(format!("{path}.match."))
        {
            report(&format!("{path}.match"), Fault::new("names neither `headers` nor `cookies`"));
        }
        if stage.max_duration.is_some_and(|most| most.0 < stage.min_duration.0) {
            let fault = Fault::new("`max_duration` is less than `min_duration`");
            report(&format!("{path}.max_duration"), fault);
        }
    }
    for (index, hook) in keys.webhooks.iter().enumerate() {
        if let Some(why) = uncallable(&hook.url.0) {
            let fault = Fault::new(why);
            report(&format!("webhooks[{index}].url"), fault.hint("such as http://ci/hook"));
        }
        if hook.timeout.0.is_zero() {
            let fault = Fault::new("0s is no time to answer in").hint("such as 10s");
            report(&format!("webhooks[{index}].timeout"), fault);
        }
    }
}

fn plan(keys: &MigrationKeys, unix_seconds: u64) -> MigrationPlan {
    let gates = gates(&Gates::default(), &keys.gates);
    let name = match keys.name.0.as_str() {
        "" => format!("{}-{unix_seconds}", keys.route.0),
        name => name.to_owned(),
    };
    let stages: Vec<Stage> = if keys.stages.is_empty() {
        DEFAULT_STAGES.iter().map(|weight| default_stage(*weight, &gates)).collect()
    } else {
        keys.stages.iter().map(|keys| stage(keys, &gates)).collect()
    };
    MigrationPlan {
        name: name.as_str().into(),
        route: keys.route.0.as_str().into(),
        from: keys.from.0.as_str().into(),
        to: keys.to.0.as_str().into(),
        cohort: match &keys.cohort {
            Cohort::ClientIp => CohortKey::ClientIp,
            Cohort::Request => CohortKey::Request,
            Cohort::Header(name) => CohortKey::Header(name.0.clone()),
            Cohort::Cookie(name) => CohortKey::Cookie(name.0.clone()),
        },
        interval: keys.interval.0,
        abort: AbortRule {
            consecutive_errors: keys.abort.consecutive_errors.0,
            error_ratio: keys.abort.error_ratio.0,
            min_requests: keys.abort.min_requests.0,
        },
        preflight: Preflight {
            requests: keys.preflight.requests.as_u32(),
            path: keys.preflight.path.0.clone(),
        },
        stages,
        watch: keys.watch.0,
        webhooks: keys.webhooks.iter().map(webhook).collect(),
    }
}

fn default_stage(weight: f64, gates: &Gates) -> Stage {
    Stage {
        traffic: StageTraffic::Weight(weight),
        min_duration: DEFAULT_STAGE_TIME,
        min_requests: keys::MIN_REQUESTS,
        max_duration: DEFAULT_STAGE_TIME * MAX_DURATION_FACTOR,
        on_max_duration: OnMaxDuration::Hold,
        approval: Approval::Auto,
        gates: gates.clone(),
    }
}

fn stage(keys: &StageKeys, common: &Gates) -> Stage {
    let traffic = match (&keys.r#match, keys.mirror, keys.weight) {
        (Some(matched), _, _) => StageTraffic::Match {
            headers: matched.headers.0.iter().map(|(n, v)| (n.0.clone(), v.0.clone())).collect(),
            cookies: matched.cookies.0.iter().map(|(n, v)| (n.0.clone(), v.0.clone())).collect(),
        },
        (None, Some(copies), _) => StageTraffic::Mirror(copies.0),
        (None, None, weight) => StageTraffic::Weight(weight.map_or(0.0, |weight| weight.0)),
    };
    let least = keys.min_duration.0;
    Stage {
        traffic,
        min_duration: least,
        min_requests: keys.min_requests.0,
        max_duration: keys.max_duration.map_or(least * MAX_DURATION_FACTOR, |most| most.0),
        on_max_duration: match keys.on_max_duration {
            TimeOver::Hold => OnMaxDuration::Hold,
            TimeOver::Abort => OnMaxDuration::Abort,
            TimeOver::Extend => OnMaxDuration::Extend,
        },
        approval: match keys.approval {
            Agreement::Auto => Approval::Auto,
            Agreement::Manual => Approval::Manual,
        },
        gates: gates(common, &keys.gates),
    }
}

/// `keys` over what holds otherwise.
fn gates(otherwise: &Gates, keys: &GateKeys) -> Gates {
    let latency = [keys.p50, keys.p95, keys.p99];
    let ratio = [keys.max_p50_ratio, keys.max_p95_ratio, keys.max_p99_ratio];
    let mut gates = otherwise.clone();
    for index in 0..PERCENTILES.len() {
        if let Some(most) = latency[index] {
            gates.latency[index] = (!most.0.is_zero()).then_some(most.0);
        }
        if let Some(most) = ratio[index] {
            gates.latency_ratio[index] = (most.0 > 0.0).then_some(most.0);
        }
    }
    if let Some(least) = keys.success_rate {
        gates.success_rate = (least.0 > 0.0).then_some(least.0);
    }
    if let Some(most) = keys.max_success_drop {
        gates.max_success_drop = (most.0 > 0.0).then_some(most.0);
    }
    if let Some(most) = keys.max_differences {
        gates.max_differences = Some(most.0);
    }
    if let Some(confidence) = keys.confidence {
        gates.confidence = confidence.0;
    }
    gates
}

fn webhook(keys: &keys::HookKeys) -> Webhook {
    let point = |on: &HookTime| match on {
        HookTime::BeforeStage => HookPoint::BeforeStage,
        HookTime::AfterStage => HookPoint::AfterStage,
        HookTime::Done => HookPoint::Done,
        HookTime::Aborted => HookPoint::Aborted,
    };
    Webhook {
        url: keys.url.0.clone(),
        on: keys.on.iter().map(point).collect(),
        timeout: keys.timeout.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn read(text: &str) -> Result<MigrationPlan, String> {
        let source =
            Source { name: "plan.yaml".into(), text: text.to_owned(), format: Format::Yaml };
        read_migration(&source, 1_700_000_000).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn the_least_plan_has_every_default() {
        let plan = read("route: web\nfrom: stable\nto: canary\n").expect("it is a plan");
        assert_eq!((&*plan.name, &*plan.to), ("web-1700000000", "canary"));
        let weights: Vec<f64> = plan.stages.iter().map(|it| it.traffic.weight()).collect();
        assert_eq!(weights, [25.0, 50.0, 100.0]);
        assert_eq!(plan.stages[0].gates, Gates::default());
        assert_eq!(plan.interval, Duration::from_secs(60));
        assert_eq!(plan.abort, AbortRule::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = "
name: web-v2
route: web
from: stable
to: canary
cohort: cookie:user
interval: 5s
gates: { success_rate: 99.9%, p99: 500ms, max_success_drop: 0.1%, max_p99_ratio: 1.2 }
abort: { consecutive_errors: 3, error_ratio: 4, min_requests: 7 }
preflight: { requests: 3, path: /ready }
stages:
  - { match: { headers: { X-Beta: '1' } }, min_duration: 10m }
  - { mirror: 10, min_duration: 10m }
  - weight: 25
    min_duration: 18h
    min_requests: 1000
    max_duration: 36h
    on_max_duration: abort
    approval: manual
    gates: { p99: 300ms }
  - { weight: 120, min_duration: 18h }
watch: 10m
webhooks: [{ url: 'http://ci/hook', on: [before_stage, done], timeout: 3s }]
";
        let plan = read(text).expect("it is a plan");
        assert_eq!(plan.cohort, CohortKey::Cookie("user".to_owned()));
        let named = vec![("x-beta".to_owned(), "1".to_owned())];
        let matched = StageTraffic::Match { headers: named, cookies: Vec::new() };
        assert_eq!(plan.stages[0].traffic, matched);
        assert_eq!(plan.stages[0].max_duration, Duration::from_secs(1_200));
        assert_eq!(plan.stages[1].traffic, StageTraffic::Mirror(10.0));
        let third = &plan.stages[2];
        assert_eq!(third.gates.latency[2], Some(Duration::from_millis(300)));
        assert_eq!(third.gates.success_rate, Some(0.999));
        assert_eq!((third.min_requests, third.approval), (1_000, Approval::Manual));
        assert_eq!(third.on_max_duration, OnMaxDuration::Abort);
        assert_eq!(plan.stages[3].gates.latency[2], Some(Duration::from_millis(500)));
        assert_eq!(plan.webhooks[0].on, [HookPoint::BeforeStage, HookPoint::Done]);
        assert_eq!(plan.preflight.path, "/ready");
    }

    #[test]
    fn nought_turns_a_gate_off_but_for_differences() {
        let gates = "success_rate: 0%, p50: 0s, p95: 0s, p99: 0s, max_success_drop: 0%, \
                     max_p50_ratio: 0, max_p95_ratio: 0, max_p99_ratio: 0, max_differences: 0%";
        let plan = read(&format!("route: w\nfrom: a\nto: b\ngates: {{ {gates} }}\n"));
        let none = Gates {
            success_rate: None,
            max_success_drop: None,
            latency_ratio: [None; 3],
            max_differences: Some(0.0),
            ..Gates::default()
        };
        assert_eq!(plan.expect("it is a plan").stages[0].gates, none);
    }

    #[test]
    fn every_confidence_that_means_something_is_taken() {
        for (text, wanted) in [("50%", 0.5), ("0.95", 0.95), ("99.9999999%", 0.999_999_999)] {
            let plan = format!("route: w\nfrom: a\nto: b\ngates: {{ confidence: {text} }}\n");
            let plan = read(&plan).expect("it is a plan");
            assert!((plan.stages[0].gates.confidence - wanted).abs() < 1e-12, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_told_once() {
        let base = "route: web\nfrom: stable\nto: canary\n";
        for (stage, expected) in [
            ("weight: -5", "\"-5\" is not per cent"),
            ("match: { headers: { \"a b\": 1 } }", "\"a b\" is not a header name"),
            ("weight: 5, mirror: 5", "only one of `weight`, `match`, `mirror` can be"),
        ] {
            let wrong = read(&format!("{base}stages: [{{ {stage} }}]\n")).unwrap_err();
            assert_eq!(wrong.matches("plan.yaml:").count(), 1, "{wrong}");
            assert!(wrong.contains(expected), "{wrong}");
        }
    }

    #[test]
    fn mistakes_name_their_place() {
        let base = "route: web\nfrom: stable\nto: canary\n";
        for (text, expected) in [
            ("route: web\nfrom: a\n", "plan.yaml:1:1: to: `to` is missing"),
            ("route: web\nfrom: a\nto: a\n", "plan.yaml:3:1: to: `from` and `to` are the same"),
            (&*format!("{base}stages: [{{ wieght: 5 }}]\n"), "did you mean `weight`?"),
            (&*format!("{base}stages: [{{ min_duration: 5s }}]\n"), "one of `weight`, `match`"),
            (
                &*format!("{base}stages: [{{ weight: 50 }}, {{ weight: 25 }}]\n"),
                "stages[1].weight: 25 is less than the 50",
            ),
            (&*format!("{base}cohort: user\n"), "one of: client_ip"),
            (&*format!("{base}gates: {{ confidence: 2 }}\n"), "out of range"),
            (
                &*format!("{base}gates: {{ confidence: 100% }}\n"),
                "plan.yaml:4:10: gates.confidence: a confidence of 1 is out of range",
            ),
            (
                &*format!("{base}stages: [{{ weight: 5, gates: {{ confidence: 49% }} }}]\n"),
                "from 50% to 99.9999999%, such as 95%",
            ),
            (&*format!("{base}webhooks: [{{ url: ci/hook }}]\n"), "webhooks[0].url: only http://"),
            (
                &*format!("{base}webhooks: [{{ url: 'https://u:p@ci/' }}]\n"),
                "webhooks[0].url: a login in the URL would not be sent",
            ),
            (
                &*format!("{base}webhooks: [{{ url: 'https://ci/', timeout: 0s }}]\n"),
                "webhooks[0].timeout: 0s is no time",
            ),
        ] {
            let wrong = read(text).expect_err(text);
            assert!(wrong.contains(expected), "{wrong}");
        }
        let nothing = read("name: x\n").expect_err("three keys are missing");
        assert!(!nothing.contains("the same pool"), "{nothing}");
    }
}
