//! Drivers that start no single backends: they are told how many there should be, and asked if they
//! know.

use super::super::super::driver::{self, Names};
use super::Work;
use crate::documents::time_text;
use crate::numbers::unix_nanos;
use evenkeel_api::Telling;
use evenkeel_core::autoscale::AutoscalePlan;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// How often a driver that knows the count is asked for it.
pub(super) const RECOUNT: Duration = Duration::from_secs(10);

impl Work {
    /// Asks a driver that knows it how many there should be: somebody else may have said so.
    pub(super) async fn recount(&mut self, plan: &AutoscalePlan) {
        self.recount_at = Instant::now() + RECOUNT;
        match driver::count(&plan.driver).await {
            None => {}
            Some(Ok(count)) => {
                if self.said.is_some_and(|said| said != count) {
                    self.told.lock().unwrap_or_else(PoisonError::into_inner).recounted =
                        Some(count);
                }
                self.said = Some(count);
                if std::mem::take(&mut self.is_uncounted) {
                    self.failures = 0;
                    self.rest_until = Instant::now();
                    self.trouble(None);
                }
            }
            Some(Err(why)) => {
                self.is_uncounted = true;
                self.fail(why);
            }
        }
    }

    /// Tells a driver that starts no single backends how many there should be.
    pub(super) async fn say(&mut self, plan: &AutoscalePlan, count: u32) {
        if self.said == Some(count) || Instant::now() < self.rest_until {
            return;
        }
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).recounted.is_some() {
            // Somebody else has told it: what is wanted was decided before that.
            return;
        }
        let names = Names { pool: &self.pool, name: "", port: 0, count };
        self.telling(Some(Telling {
            count,
            driver: plan.driver.kind().to_owned(),
            since: time_text(unix_nanos()),
        }));
        let taken = driver::set(&plan.driver, names).await;
        self.telling(None);
        match taken {
            Ok(()) => {
                self.said = Some(count);
                self.failures = 0;
                self.trouble(None);
            }
            Err(why) => self.fail(why),
        }
    }

    /// It may take long: whoever looks sees that it is under way.
    fn telling(&self, what: Option<Telling>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).telling = what;
    }
}
