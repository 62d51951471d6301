//! One try: a connection to the backend that was picked, the request sent over it, and what the
//! pool learns from the outcome.

use crate::connect::{self, Beginning};
use crate::exchange::{Exchange, Next};
use crate::forward::{self, Try};
use crate::http1::Client;
use crate::idle::BackendConnection;
use crate::net::Net;
use crate::try_failure::{Retriable, TryError, TryFailure};
use crate::worker::Worker;
use evenkeel_core::pool::{Outcome, Pick, Pool};
use evenkeel_core::suspicion::Doubt;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::timeout;

/// What a dial led to.
enum Dialled<S> {
    Connection(BackendConnection<S>),
    /// Another backend is tried while this one goes on; the guards went with it.
    Left,
    Failed,
    /// This machine has no descriptor or port left: nothing is known about the backend.
    Starved,
}

/// Makes one try. On failure, says whether another one was granted.
pub(crate) async fn run<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    pool: &Arc<Pool>,
    mut pick: Pick,
) -> Result<Next, TryFailure> {
    let snapshot = exchange.record.snapshot();
    let beginning = Beginning::of(snapshot, (pool, &pick), (&client.peer, &client.stream));
    let Some(connection) = worker.ready_connection(&pick, &beginning) else {
        let dialling = dial_and_forward(worker, client, exchange, (pool, pick), beginning);
        return Box::pin(dialling).await;
    };
    let this = Try::new(pool, &mut pick, connection);
    let mut outcome = forward::run(worker, client, exchange, this).await;
    if let Err(failed) = &outcome
        && failed.stale
        && !pick.is_forsaken()
        && exchange.may_repeat(failed.sent, pool)
    {
        // The idle connection had died: that says nothing about the backend.
        exchange.upload.rewind();
        let dialling = dial_and_forward(worker, client, exchange, (pool, pick), beginning);
        return Box::pin(dialling).await;
    }
    settle(worker, exchange, (pool, &mut pick), &mut outcome);
    outcome
}

/// Boxed by its callers: it is what a connection would else keep room for.
async fn dial_and_forward<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    (pool, pick): (&Arc<Pool>, Pick),
    beginning: Beginning,
) -> Result<Next, TryFailure> {
    let (mut pick, dialled) = dial(worker, exchange, (pool, pick), beginning).await;
    worker.now();
    let mut outcome = match (dialled, &mut pick) {
        (Dialled::Connection(connection), Some(pick)) => {
            forward::run(worker, client, exchange, Try::new(pool, pick, connection)).await
        }
        (Dialled::Left, _) => {
            let slow = TryFailure::unsent(TryError::SlowConnect);
            return Err(TryFailure { again: true, ..slow });
        }
        (Dialled::Starved, _) => Err(TryFailure::unsent(TryError::Starved)),
        (Dialled::Failed, _) if exchange.is_past_call(worker.recent()) => {
            // The call's own time was too short even for this.
            Err(TryFailure { provoked: true, ..TryFailure::unsent(TryError::Timeout) })
        }
        (Dialled::Connection(_) | Dialled::Failed, _) => Err(TryFailure::unsent(TryError::Connect)),
    };
    if let Some(pick) = &mut pick {
        settle(worker, exchange, (pool, pick), &mut outcome);
    }
    outcome
}

/// Tells the pool what came of a try, and asks for another one if it failed.
fn settle<N: Net>(
    worker: &Worker<N>,
    exchange: &Exchange<N>,
    (pool, pick): (&Arc<Pool>, &mut Pick),
    outcome: &mut Result<Next, TryFailure>,
) {
    let Err(failed) = outcome else { return };
    if failed.error.is_backends() && !failed.stale {
        if !failed.provoked {
            worker.report(pool, pick, Outcome::Failed);
        }
        match failed.error {
            TryError::Connect => drop(worker.doubt(pool, pick.index, Doubt::ConnectFailure)),
            TryError::Reset => drop(worker.doubt(pool, pick.index, Doubt::Reset)),
            TryError::SlowConnect
            | TryError::Starved
            | TryError::Forsaken
            | TryError::BadResponse
            | TryError::NoTrailers
            | TryError::HeadTooLarge
            | TryError::Unavailable
            | TryError::Status(_)
            | TryError::Timeout
            | TryError::PerTryTimeout
            | TryError::ClientGone
            | TryError::BadRequestBody
            | TryError::BodyTooLarge
            | TryError::BodyTimeout => {}
        }
    }
    if let Some(why) = failed.error.retriable() {
        failed.again = failed.again || exchange.wants_another(pool, why, failed.sent);
    }
}

/// Makes a connection. If it takes much longer than usual and somebody else can be tried, it is
/// left to itself: it then becomes an idle connection, or a failure of its backend.
async fn dial<N: Net>(
    worker: &Rc<Worker<N>>,
    exchange: &mut Exchange<N>,
    (pool, pick): (&Arc<Pool>, Pick),
    beginning: Beginning,
) -> (Option<Pick>, Dialled<N::Stream>) {
    let began = worker.now();
    exchange.record.times.pick = Some(began.since(pick.at));
    let per_try = pool.plan.retry.per_try_timeout;
    let patience = pool.plan.timeouts.connect;
    let patience = if per_try.is_zero() { patience } else { patience.min(per_try) };
    let patience = exchange.until(patience).duration_since(began);
    let usual = pick.connect_times.patience();
    let (on, to) = (Rc::clone(worker), Arc::clone(&pick));
    let max_connecting = pool.plan.connections.max_connecting;
    let idle = pool.plan.connections.idle_timeout;
    let mut dialling = Box::pin(async move {
        let _counted = to.connecting(max_connecting);
        connect::connect(&on, (&to, &beginning), (patience, idle)).await
    });
    let dialled = match timeout(usual.min(patience), &mut dialling).await {
        Ok(dialled) => dialled,
        Err(_) => {
            worker.now();
            if usual <= patience {
                worker.doubt(pool, pick.index, Doubt::SlowConnect);
            }
            if exchange.wants_another(pool, Retriable::Connect, 0) {
                let (on, pool) = (Rc::clone(worker), Arc::clone(pool));
                tokio::task::spawn_local(async move {
                    let dialled = dialling.await;
                    on.keep_late(&pool, pick, began, dialled);
                });
                return (None, Dialled::Left);
            }
            dialling.await
        }
    };
    pool.waiting.call_next();
    let dialled = match dialled {
        Ok(connection) => {
            let took = worker.now().duration_since(began);
            pick.connect_times.observe(took);
            exchange.record.times.connect = u64::try_from(took.as_nanos()).ok();
            Dialled::Connection(connection)
        }
        Err(error) if connect::is_ours(&error) => Dialled::Starved,
        Err(_) => Dialled::Failed,
    };
    (Some(pick), dialled)
}
