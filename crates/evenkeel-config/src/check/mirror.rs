//! Where copies of requests may go.

use super::Check;
use super::wire::names;
use crate::diagnostic::Fault;
use crate::sections::Root;

impl Check<'_> {
    pub(super) fn mirrors(&mut self, root: &Root) {
        for (index, route) in root.routes.iter().enumerate() {
            let Some(mirror) = &route.mirror else { continue };
            let path = format!("routes[{index}].mirror.pool");
            let mut own = route.pool.iter().chain(route.split.iter().map(|arm| &arm.pool));
            if !mirror.pool.0.is_empty() && own.any(|pool| *pool == mirror.pool) {
                let fault = Fault::new("copies would go to the route's own pool");
                self.report(&path, fault.hint("a pool of its own, whose answers nobody sees"));
            }
            if root.listeners.iter().any(|listener| names(listener, &mirror.pool)) {
                let message = format!("the pool {:?} is not for http", mirror.pool.0);
                let hint = "a tcp or udp listener uses it; copies need a pool for http";
                self.report(&path, Fault::new(message).hint(hint));
            }
        }
    }
}
