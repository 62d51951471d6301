//! Migrations divide the requests of a route, and at the end move it to another pool.

use super::{Author, Edit, Rejected, Steering};
use crate::migrations::{Divides, Division};
use evenkeel_core::migration::ArmRule;
use evenkeel_core::plan::Plan;
use std::collections::BTreeMap;

/// Lays the divisions of running migrations over a plan; one whose route or pools are not there any
/// more divides nothing.
pub(super) fn lay_over(plan: &mut Plan, divisions: &BTreeMap<String, Division>) {
    for (name, division) in divisions {
        let pool = |name: &str| plan.pools.iter().position(|pool| *pool.name == *name);
        let (Some(from), Some(to)) = (pool(&division.from), pool(&division.to)) else { continue };
        let Division { key, seed, traffic, .. } = division.clone();
        if let Some(route) = plan.routes.iter_mut().find(|route| *route.name == **name) {
            route.arms = Some(ArmRule { from, to, key, seed, traffic });
        }
    }
}

impl Divides for Steering {
    fn divide(&self, route: &str, division: Option<&Division>) -> Result<(), String> {
        let mut course = self.lock_course();
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
        self.change_quietly(&mut course, next).map(|_| ()).map_err(told)
    }

    fn promote(&self, route: &str, pool: &str, reason: &str) -> Result<(), String> {
        let edit = Edit::RoutePool { route: route.to_owned(), pool: pool.to_owned() };
        let by = Author { name: "migration".to_owned(), reason: reason.to_owned() };
        self.edit(&[edit], &by, None).map(|_| ()).map_err(|error| error.to_string())
    }
}
