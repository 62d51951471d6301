//! From one program to the next: this one as the new one, and as the old one.

use super::{Balancer, Stop, listed};
use crate::handover::{Bequest, Bygone, Inheritance, Leavings, Successor, hand_over};
use crate::signals::{Request, Signals};
use crate::system;
use crate::wiring;
use evenkeel_control::Heritage;
use evenkeel_control::steering::FileWatch;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::EventValue;
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::server::{InheritedSocket, Legacy};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a handover waits for those who wait for a first backend.
const WAKE_PATIENCE: Duration = Duration::from_secs(10);
const WAKE_POLL: Duration = Duration::from_millis(20);

/// What was asked for while a new program started.
#[derive(Default)]
struct Meanwhile {
    /// The new program is not waited for any more, unless it is ready.
    stop: Arc<AtomicBool>,
    /// The file is to be read again.
    reload: bool,
}

/// Closes the sockets that were passed to this process and fit no listener, and says so of each.
pub(super) fn close_unused(
    legacy: &mut Legacy,
    addresses: &[(Arc<str>, String)],
    events: &EventLog,
) {
    let listeners = listed(addresses);
    let mut told = HashSet::new();
    for InheritedSocket { name, socket, .. } in legacy.sockets.drain(..) {
        // One whose address cannot be told has none.
        let address = socket.address().unwrap_or_default();
        drop(socket);
        if !told.insert((name.clone(), address.clone())) {
            continue;
        }
        let fields = [
            ("address", EventValue::Text(&address)),
            ("name", EventValue::Text(&name)),
            ("listeners", EventValue::Text(&listeners)),
        ];
        let message = "a socket that was passed to this process fits no listener, and is closed";
        wiring::tell(events, (LogLevel::Warn, "socket_unused"), message, &fields);
    }
}

impl Balancer {
    /// Tells the process before this one that it may go, and takes its work over.
    pub(crate) fn relieve(&mut self, from: Inheritance) {
        if !from.is_handover() {
            return;
        }
        let events = self.log.events();
        let tell = move |why: &str| {
            let fields = [("error", EventValue::Text(why))];
            let message = "what the process before this one has left is not taken up";
            wiring::tell(&events, (LogLevel::Warn, "counters_lost"), message, &fields);
        };
        self.bygone = from.tell_ready(&self.ledger, tell);
        if !self.bygone.as_ref().is_some_and(Bygone::await_first) {
            self.ledger.restore();
        }
        // It went on deciding until a moment ago.
        self.migrations.restore_again();
        self.control.open();
        self.server.open();
    }

    /// Why serving is to end: a new program serves now, or a stop was asked for meanwhile.
    pub(super) async fn hand_over(&self, signals: &mut Signals) -> Option<Stop> {
        self.phase.begin_handover();
        let mut meanwhile = Meanwhile::default();
        self.serve_sleepers(signals, &mut meanwhile).await;
        self.steering.hold(true);
        self.tell((LogLevel::Info, "handover_begun"), "starting the new program", &[]);
        match self.start_new(signals, &mut meanwhile).await {
            Ok(successor) => {
                let pid = successor.pid;
                self.retire(successor);
                if meanwhile.reload {
                    // It may have read the file before that.
                    system::ask_to_reload(pid);
                }
                Some(Stop::Relieved)
            }
            Err(why) => {
                self.autoscalers.iter().for_each(|it| it.go_on());
                self.steering.hold(false);
                self.phase.fail_handover(&why);
                let fields = [("error", EventValue::Text(&why))];
                let message = "this program serves on";
                self.tell((LogLevel::Error, "handover_failed"), message, &fields);
                if meanwhile.reload {
                    self.reload();
                }
                meanwhile.stop.load(Ordering::Acquire).then_some(Stop::Asked)
            }
        }
    }

    /// Whoever waits for the first backend of a pool is served by this program: the new one starts
    /// that backend for others. Not for long: it may not come, or more may wait all the time.
    async fn serve_sleepers(&self, signals: &mut Signals, meanwhile: &mut Meanwhile) {
        let state = self.server.state();
        let sleeps = || state.snapshot().pools.iter().any(|pool| pool.waiting.starts() > 0);
        let until = Instant::now() + WAKE_PATIENCE;
        while sleeps() && Instant::now() < until && !meanwhile.stop.load(Ordering::Acquire) {
            tokio::select! {
                () = sleep(WAKE_POLL) => {}
                request = signals.next() => self.note(request, meanwhile),
            }
        }
    }

    /// What is asked for while a handover goes on.
    fn note(&self, request: Request, meanwhile: &mut Meanwhile) {
        match request {
            Request::Stop => meanwhile.stop.store(true, Ordering::Release),
            Request::ReopenLog => self.log.reopen(),
            Request::Reload => meanwhile.reload = true,
            Request::Handover => {
                let event = (LogLevel::Warn, "handover_refused");
                self.tell(event, "a handover goes on already", &[]);
            }
        }
    }

    /// Starts the new program and waits for it; notes what is asked for meanwhile.
    async fn start_new(
        &self,
        signals: &mut Signals,
        meanwhile: &mut Meanwhile,
    ) -> Result<Successor, String> {
        let scaled = || {
            self.autoscalers.as_ref().map_or_else(|| Ok(Heritage::default()), |it| it.bequeath())
        };
        let leavings = self.server.legacy().and_then(|legacy| {
            let (admin, scaled) = (self.control.sockets()?, scaled()?);
            Ok(Leavings { legacy, admin, scaled, state: self.steering.bequeath() })
        });
        let leavings = leavings.map_err(|error| format!("no descriptors to hand over: {error}"))?;
        let stop = Arc::clone(&meanwhile.stop);
        let start = move || hand_over(leavings, &stop);
        let mut starting = tokio::task::spawn_blocking(start);
        loop {
            tokio::select! {
                started = &mut starting => {
                    return started.unwrap_or_else(|error| Err(error.to_string()));
                }
                request = signals.next() => self.note(request, meanwhile),
            }
        }
    }

    /// Decides and answers nothing any more: the new program does.
    fn retire(&self, Successor { pid, bequest }: Successor) {
        *self.lock_watch() = None;
        self.steering.retire();
        self.control.release();
        self.autoscalers.iter().for_each(|it| it.leave());
        bequest.send(self.ledger.leave());
        *self.lock_bequest() = Some(bequest);
        system::notify_main_pid(pid);
        let fields = [("pid", EventValue::Number(pid.into()))];
        self.tell((LogLevel::Info, "handed_over"), "the new program serves", &fields);
    }

    /// Tells the new program what was counted since it was told last.
    pub(super) fn pass_counts_on(&self) {
        if let Some(bequest) = &*self.lock_bequest() {
            self.ledger.rest().into_iter().for_each(|rest| bequest.send(rest));
        }
    }

    /// True if nothing is left to wait for: no exchange here, and none that a process before this
    /// one still finishes: the next one should know its counts, and systemd ends it with this one.
    pub(super) fn is_done(&self) -> bool {
        let is_over = || self.bygone.as_ref().is_none_or(Bygone::is_over);
        self.server.drain(Duration::ZERO) && is_over()
    }

    pub(super) fn lock_watch(&self) -> MutexGuard<'_, Option<FileWatch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_bequest(&self) -> MutexGuard<'_, Option<Bequest>> {
        self.bequest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
