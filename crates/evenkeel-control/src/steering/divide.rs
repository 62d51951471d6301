//! Migrations divide the requests of a route, and at the end move it to another pool.

use super::{Author, Edit, Rejected, Steering};
use crate::migrations::{Divides, Division};
use evenkeel_core::migration::{ArmRule, Traffic};
use evenkeel_core::mirror::{BodyDiff, DiffPlan, MirrorPlan};
use evenkeel_core::plan::{Plan, RoutePlan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest body that is copied if the route does not say.
const MAX_COPIED_BODY: u64 = 64 * 1024;
/// Differences that are kept if the route does not say.
const DIFFERENCES_KEPT: usize = 100;

/// Lays the divisions of running migrations over a plan; one whose route or pools are not there any
/// more divides nothing.
pub(super) fn lay_over(plan: &mut Plan, divisions: &BTreeMap<String, Division>) {
    for (name, division) in divisions {
        let pool = |name: &str| plan.pools.iter().position(|pool| *pool.name == *name);
        let (Some(from), Some(to)) = (pool(&division.from), pool(&division.to)) else { continue };
        let Division { key, seed, traffic, unanswered, .. } = division.clone();
        if let Some(route) = plan.routes.iter_mut().find(|route| *route.name == **name) {
            copy(route, to, &traffic);
            route.arms = Some(ArmRule { from, to, key, seed, traffic, unanswered });
        }
    }
}

/// Copies for the new pool. If the route copies to it anyway, it copies as many as the migration
/// says, and compares what it compares.
fn copy(route: &mut RoutePlan, to: usize, traffic: &Traffic) {
    let known = route.mirrors.iter().position(|mirror| mirror.pool == to);
    let own = known.map(|at| route.mirrors.remove(at));
    if traffic.copies <= 0.0 {
        return;
    }
    // Who has moved is answered by the new pool itself: there is nothing to compare with.
    let compares = traffic.moved == 0;
    let max_body_bytes = own.as_ref().map_or(MAX_COPIED_BODY, |own| own.max_body_bytes);
    let diff = own.and_then(|own| own.diff).unwrap_or_else(|| Arc::new(usual_diff()));
    let diff = compares.then_some(diff);
    let percent = traffic.copies;
    route.mirrors.push(MirrorPlan { pool: to, percent, max_body_bytes, diff });
}

/// What is compared if the route does not say.
fn usual_diff() -> DiffPlan {
    DiffPlan {
        status: true,
        headers: vec!["content-type".to_owned()],
        body: BodyDiff::None,
        ignore: Vec::new(),
        samples: DIFFERENCES_KEPT,
    }
}

impl Divides for Steering {
    fn divide(&self, route: &str, division: Option<&Division>) -> Result<(), String> {
        self.steer(|course| {
            let mut next = course.state.clone();
            match division {
                Some(division) => {
                    next.divisions.insert(route.to_owned(), division.clone());
                }
                None => {
                    next.divisions.remove(route);
                }
            }
            let told = |rejected: Rejected| rejected.to_string();
            self.change_quietly(course, next).map(|_| ()).map_err(told)
        })
    }

    fn promote(&self, route: &str, pool: &str, reason: &str) -> Result<(), String> {
        let edit = Edit::RoutePool { route: route.to_owned(), pool: pool.to_owned() };
        let by = Author { name: "migration".to_owned(), reason: reason.to_owned() };
        self.edit(&[edit], &by, None).map(|_| ()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_config::{Format, Overrides, Source, read};

    fn route(mirrors: Vec<MirrorPlan>) -> RoutePlan {
        let text = "listen: \":80\"\nbackends: [\"127.0.0.1:1\"]\n".to_owned();
        let source = Source { name: "c.yaml".to_owned(), text, format: Format::Yaml };
        let read = read(Some(&source), &Overrides::default()).expect("valid");
        let (mut plan, _) = read.plan();
        let mut route = plan.routes.remove(0);
        route.mirrors = mirrors;
        route
    }

    fn mirror(pool: usize, percent: f64) -> MirrorPlan {
        MirrorPlan { pool, percent, max_body_bytes: 7, diff: None }
    }

    #[test]
    fn copies_of_a_migration_take_the_place_of_the_routes_own() {
        let traffic = |copies, moved| Traffic { copies, moved, ..Traffic::default() };
        let cases = [
            (vec![], traffic(10.0, 0), vec![(1, 10.0, MAX_COPIED_BODY, true)]),
            (vec![mirror(1, 5.0)], traffic(10.0, 0), vec![(1, 10.0, 7, true)]),
            (
                vec![mirror(2, 5.0)],
                traffic(50.0, 10_000),
                vec![(2, 5.0, 7, false), (1, 50.0, MAX_COPIED_BODY, false)],
            ),
            // Who is moved is not copied to where he is.
            (vec![mirror(1, 5.0)], traffic(0.0, 2_500), vec![]),
        ];
        for (own, traffic, expected) in cases {
            let mut route = route(own);
            copy(&mut route, 1, &traffic);
            let found: Vec<_> = route
                .mirrors
                .iter()
                .map(|it| (it.pool, it.percent, it.max_body_bytes, it.diff.is_some()))
                .collect();
            assert_eq!(found, expected, "{traffic:?}");
        }
    }
}
