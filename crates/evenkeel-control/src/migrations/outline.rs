//! What a plan will take, before it starts.

use evenkeel_api::{MigrationOutline, StageOutline};
use evenkeel_core::migration::{MigrationPlan, Stage, StageTraffic, samples_needed};

/// What a plan will take, where no rate is known.
pub fn outline_of(plan: &MigrationPlan) -> MigrationOutline {
    outline(plan, None)
}

/// `rate` is the route's requests per second, if it is known.
pub(super) fn outline(plan: &MigrationPlan, rate: Option<f64>) -> MigrationOutline {
    let stages: Vec<StageOutline> = plan.stages.iter().map(|it| stage(it, rate)).collect();
    let etas = stages.iter().map(|stage| stage.eta_s);
    let watch_s = plan.watch.as_secs_f64();
    MigrationOutline {
        id: plan.name.to_string(),
        route: plan.route.to_string(),
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        watch_s,
        least_s: plan.least_duration().as_secs_f64(),
        rate_rps: rate.map(|rate| (rate * 100.0).round() / 100.0),
        eta_s: etas.sum::<Option<f64>>().map(|stages| stages + watch_s),
        stages,
    }
}

fn stage(stage: &Stage, rate: Option<f64>) -> StageOutline {
    let samples_needed = stage.min_requests.max(samples_needed(&stage.gates));
    let weight = stage.traffic.weight();
    let traffic = match &stage.traffic {
        StageTraffic::Weight(weight) if *weight > 100.0 => {
            format!("all of it, and {}% on top as copies", weight - 100.0)
        }
        StageTraffic::Weight(weight) => format!("{weight}% of it"),
        StageTraffic::Mirror(weight) => format!("copies of {weight}%, no client affected"),
        StageTraffic::Match { headers, cookies } => {
            let headers = headers.iter().map(|(name, value)| format!("{name}: {value}"));
            let cookies = cookies.iter().map(|(name, value)| format!("cookie {name}={value}"));
            let named: Vec<String> = headers.chain(cookies).collect();
            format!("requests with {}", named.join(" and "))
        }
    };
    let share = match stage.traffic {
        StageTraffic::Match { .. } => None,
        StageTraffic::Weight(_) | StageTraffic::Mirror(_) => Some((weight / 100.0).min(1.0)),
    };
    let least = stage.min_duration.as_secs_f64();
    let own_rate = rate.zip(share).map(|(rate, share)| rate * share).filter(|rate| *rate > 0.0);
    StageOutline {
        traffic,
        weight,
        min_duration_s: least,
        samples_needed,
        eta_s: own_rate.map(|rate| (samples_needed as f64 / rate).max(least)),
    }
}
