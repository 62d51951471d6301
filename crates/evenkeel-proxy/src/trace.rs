//! The spans of an exchange: which trace it belongs to, and a span of its own for each try. Made
//! only where tracing is configured, and then only for what is recorded.

use crate::admit::Asked;
use crate::exchange::Exchange;
use crate::net::Net;
use crate::verdict::chance;
use evenkeel_core::plan::TracingPlan;
use evenkeel_core::trace::{TraceParent, adopt, renew};

/// The trace of an exchange.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its id.
    pub trace: u128,
    /// The span of the exchange.
    pub span: u64,
    /// The client's span, if it sent one.
    pub parent: Option<u64>,
    /// The spans of the tries, in order.
    pub tries: Vec<u64>,
}

/// Decides whether the exchange is recorded: as the client says, if it says so; else by a draw.
pub(crate) fn begin<N: Net>(net: &N, asked: Asked<'_>, plan: &TracingPlan) -> Option<Box<Traced>> {
    let is_parent = |name: &[u8]| name.eq_ignore_ascii_case(b"traceparent");
    let mut lines = asked.head.fields.iter();
    let mut lines = lines.by_ref().filter(|field| is_parent(field.name.of_buf(asked.bytes)));
    let parent = match (lines.next(), lines.next()) {
        (Some(only), None) => TraceParent::parse(only.value.of_buf(asked.bytes)),
        (Some(_), Some(_)) | (None, _) => None,
    };
    let sampled = parent.map_or_else(|| chance(net) < plan.sample, |parent| parent.sampled);
    sampled.then(|| {
        Box::new(Traced {
            trace: parent.map_or_else(|| new_trace(net), |parent| parent.trace),
            span: new_span(net),
            parent: parent.map(|parent| parent.span),
            tries: Vec::new(),
        })
    })
}

fn new_trace<N: Net>(net: &N) -> u128 {
    // Not 0, which stands for none.
    u128::from(net.random()) << 64 | u128::from(net.random()) | 1
}

fn new_span<N: Net>(net: &N) -> u64 {
    net.random() | 1
}

impl<N: Net> Exchange<N> {
    /// Tells the backend which trace the request belongs to.
    pub(crate) fn pass_trace(&mut self) {
        if let Some(traced) = &self.record.traced {
            let parent = TraceParent { trace: traced.trace, span: traced.span, sampled: true };
            adopt(&mut self.upload.kept.bytes, &parent, traced.parent.is_some());
        }
    }

    /// Gives a try its own span.
    #[inline]
    pub(crate) fn begin_span(&mut self) {
        if self.record.traced.is_some() {
            let span = new_span(&self.worker().net);
            renew(&mut self.upload.kept.bytes, span);
            self.record.traced.iter_mut().for_each(|traced| traced.tries.push(span));
        }
    }
}
