//! The collector of a program without the feature `otlp`: `vet` refuses a configuration that names
//! one.

use evenkeel_core::plan::TracingPlan;
use evenkeel_proxy::detail::Finished;
use std::convert::Infallible;
use std::time::Duration;

/// A collector; there is none.
#[derive(Debug)]
pub(super) struct Collector(Infallible);

impl Collector {
    /// # Errors
    /// Always.
    pub(super) fn of(_plan: &TracingPlan) -> Result<Collector, String> {
        Err(crate::vet::WITHOUT_OTLP.to_owned())
    }

    pub(super) fn is_of(&self, _plan: &TracingPlan) -> bool {
        match self.0 {}
    }

    pub(super) async fn send(
        &self,
        _batch: &[Box<Finished>],
        _patience: Duration,
    ) -> Result<(), super::Loss> {
        match self.0 {}
    }
}
