//! Every key of the native form, one line each, with its type, default and doc.

mod autoscale;
mod discovery;
mod listener;
mod policy;
mod pool;
mod process;
mod route;

pub(crate) use autoscale::*;
pub(crate) use discovery::*;
pub(crate) use listener::*;
pub(crate) use policy::*;
pub(crate) use pool::*;
pub(crate) use process::*;
pub(crate) use route::*;

use crate::scalar::{Bind, Strategy, Whole};
use crate::section::section;

section! {
    /// The whole configuration. The short form has `listen`, `backends` and `strategy` in place of
    /// `listeners`, `routes` and `pools`.
    Root {
        /// Version of this format.
        version: Whole<1, 1> = Whole(1);
        /// Short form: where the only listener binds; `:8080` if left out.
        listen: Option<Bind> = None;
        /// Short form: the backends of the only pool.
        backends: Option<Vec<BackendEntry>> = None;
        /// Short form: the strategy of the only pool.
        strategy: Option<Strategy> = None;
        /// Where requests come in.
        listeners: Vec<Listener> = Vec::new();
        /// Where requests go; the first match wins, none is a 404. May be left out if there is
        /// one pool.
        routes: Vec<Route> = Vec::new();
        /// Named sets of backends with their policy.
        pools: Vec<Pool> = Vec::new();
        /// The operator's listener.
        admin: Admin = Admin::default();
        /// Access records and events.
        logging: Logging = Logging::default();
        /// What `/metrics` shows.
        metrics: Metrics = Metrics::default();
        /// Spans of exchanges.
        tracing: Tracing = Tracing::default();
        /// Failed and slow exchanges kept in memory.
        recorder: Recorder = Recorder::default();
        /// Aids for development.
        debug: Debugging = Debugging::default();
        /// Serving threads; 0 = one per core.
        workers: Whole<0, 1024> = Whole(0);
        /// Directory where API edits, revisions and migrations outlive the process; empty = none.
        state_dir: crate::scalar::Text = crate::scalar::Text::default();
        /// How a stop drains.
        shutdown: Shutdown = Shutdown::default();
        /// Play every backend on loopback that nobody serves at start: mocks, to try things out.
        mocks: bool = false;
    }
}
