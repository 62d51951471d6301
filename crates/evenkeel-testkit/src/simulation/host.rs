//! Where a scripted backend listens, and how its mood changes.

use super::backend::Connection;
use super::journal::Stage;
use super::mood::{Temper, maybe};
use super::world::{Backend, Mood};
use crate::memory::{DialShape, MemoryListener, ScriptStream};
use fastrand::Rng;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

/// Serves one backend for as long as the world lasts.
pub(super) async fn play(stage: Rc<Stage>, plan: Backend, listener: MemoryListener, mut rng: Rng) {
    let plan = Rc::new(plan);
    let temper = Rc::new(Temper::default());
    let mut listener = Some(listener);
    let mut moods = plan.moods.iter().copied().peekable();
    loop {
        let change = moods
            .peek()
            .map(|(at, _)| sleep(Duration::from_millis(*at).saturating_sub(stage.net.elapsed())));
        let accepted = listener.as_mut().map(MemoryListener::accept);
        let stream = tokio::select! {
            biased;
            () = maybe(change) => None,
            stream = maybe(accepted) => Some(stream),
        };
        let Some(stream) = stream else {
            let Some((_, mood)) = moods.next() else { continue };
            stage.note(&format!("backend {}: {mood:?}", plan.address));
            drop(listener.take());
            let bind = |dial| stage.net.bind(plan.address, dial);
            listener = dial(&plan, mood).map(bind);
            temper.set(mood);
            continue;
        };
        let Ok(stream) = stream else { return };
        let stream = ScriptStream::new(stream);
        let ends = (stream.clone(), rng.fork());
        let connection = Connection::new(&stage, &plan, &temper, ends);
        let temper = Rc::clone(&temper);
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                () = temper.death() => stream.reset(),
                () = connection.serve() => {}
            }
        });
    }
}

/// What connecting comes to in a mood; `None` = nobody listens.
fn dial(plan: &Backend, mood: Mood) -> Option<DialShape> {
    match mood {
        Mood::Dead => None,
        Mood::Gone => Some(DialShape { hang_percent: 100, ..DialShape::smooth() }),
        Mood::Well | Mood::Frozen | Mood::Unavailable | Mood::Sick | Mood::Slow => {
            Some(plan.dial.clone())
        }
    }
}
