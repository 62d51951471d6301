//! Doubt about one backend: something happened that a dead backend would cause, and a probe is on
//! its way to find out. It is quick to come and quick to go, and costs nobody a state: a backend in
//! doubt gets no new traffic while others exist, nothing more.

use crate::time::Nanos;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// After a doubt was cleared, weak ones are not raised again for so long.
const CALM_AFTER_CLEAR: Duration = Duration::from_secs(1);
/// And strong ones, so that who can make a backend break connections cannot make it be probed all
/// the time. Its breaker counts them meanwhile.
const SHORT_CALM_AFTER_CLEAR: Duration = Duration::from_millis(100);

/// What gave rise to doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doubt {
    /// A connection was refused, or not made in time.
    ConnectFailure,
    /// A connection takes much longer than usual.
    SlowConnect,
    /// A connection broke under a request.
    Reset,
    /// An idle connection was closed, and not by an idle timer.
    IdleClosed,
    /// Requests are out, and nothing has come back for much longer than usual.
    Silence,
    /// Probes get no answer.
    Unprobed,
}

impl Doubt {
    /// One that a healthy backend can cause as well.
    pub fn is_weak(self) -> bool {
        match self {
            Doubt::ConnectFailure | Doubt::Reset | Doubt::Unprobed => false,
            Doubt::SlowConnect | Doubt::IdleClosed | Doubt::Silence => true,
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Doubt::ConnectFailure => "a connection failed",
            Doubt::SlowConnect => "a connection takes unusually long",
            Doubt::Reset => "a connection broke under a request",
            Doubt::IdleClosed => "an idle connection was closed",
            Doubt::Silence => "nothing comes back",
            Doubt::Unprobed => "probes get no answer",
        }
    }

    const ALL: [Doubt; 6] = [
        Doubt::ConnectFailure,
        Doubt::SlowConnect,
        Doubt::Reset,
        Doubt::IdleClosed,
        Doubt::Silence,
        Doubt::Unprobed,
    ];
}

/// How far doubt has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trust {
    /// None.
    Trusted = 0,
    /// A probe will tell; no new traffic while others exist.
    Suspected = 1,
    /// The probe has no answer either: what waits there may go elsewhere.
    Forsaken = 2,
}

/// The doubt about one backend.
#[derive(Debug, Default)]
pub struct Suspicion {
    trust: AtomicU8,
    doubt: AtomicU8,
    since: AtomicU64,
    cleared_at: AtomicU64,
}

impl Suspicion {
    /// How far it has gone.
    #[inline]
    pub fn trust(&self) -> Trust {
        match self.trust.load(Ordering::Acquire) {
            0 => Trust::Trusted,
            1 => Trust::Suspected,
            _ => Trust::Forsaken,
        }
    }

    /// What gave rise to it, and when; `None` while there is none.
    pub fn cause(&self) -> Option<(Doubt, Nanos)> {
        let doubt = Doubt::ALL.get(usize::from(self.doubt.load(Ordering::Relaxed)))?;
        let since = Nanos(self.since.load(Ordering::Relaxed));
        (self.trust() != Trust::Trusted).then_some((*doubt, since))
    }

    /// True while there is a doubt, and one that a healthy backend can cause as well.
    pub fn is_slight(&self) -> bool {
        self.trust() == Trust::Suspected && self.cause().is_some_and(|(doubt, _)| doubt.is_weak())
    }

    /// True if this is new: then a probe has to find out.
    pub fn raise(&self, doubt: Doubt, now: Nanos) -> bool {
        let calm = if doubt.is_weak() { CALM_AFTER_CLEAR } else { SHORT_CALM_AFTER_CLEAR };
        let cleared_at = self.cleared_at.load(Ordering::Relaxed);
        if cleared_at > 0 && now < Nanos(cleared_at).after(calm) {
            return false;
        }
        let (from, to) = (Trust::Trusted as u8, Trust::Suspected as u8);
        let raised =
            self.trust.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if raised {
            self.doubt.store(doubt as u8, Ordering::Relaxed);
            self.since.store(now.0, Ordering::Relaxed);
        }
        raised
    }

    /// The probe found nothing alive. True if that is new.
    pub fn confirm(&self) -> bool {
        let (from, to) = (Trust::Suspected as u8, Trust::Forsaken as u8);
        self.trust.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The backend is alive. True if there was a doubt.
    pub fn clear(&self, now: Nanos) -> bool {
        if self.trust.swap(Trust::Trusted as u8, Ordering::AcqRel) == Trust::Trusted as u8 {
            return false;
        }
        self.cleared_at.store(now.0.max(1), Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos(1_000_000_000);

    #[test]
    fn doubts_order_is_their_number() {
        for (index, doubt) in Doubt::ALL.into_iter().enumerate() {
            assert_eq!(doubt as usize, index);
        }
    }

    #[test]
    fn raised_once_confirmed_once_cleared_once() {
        let suspicion = Suspicion::default();
        assert!(!suspicion.confirm() && !suspicion.clear(SECOND), "nothing is in doubt");
        assert!(suspicion.raise(Doubt::Reset, SECOND));
        assert!(!suspicion.raise(Doubt::Silence, SECOND), "known already");
        assert_eq!(suspicion.cause(), Some((Doubt::Reset, SECOND)));
        assert!(suspicion.confirm() && !suspicion.confirm());
        assert_eq!(suspicion.trust(), Trust::Forsaken);
        assert!(suspicion.clear(SECOND) && !suspicion.clear(SECOND));
        assert_eq!(suspicion.cause(), None);
    }

    #[test]
    fn after_a_false_alarm_only_strong_doubts_count_for_a_while() {
        let suspicion = Suspicion::default();
        let at = |ms: u64| Nanos(ms * 1_000_000);
        assert!(suspicion.raise(Doubt::Silence, at(1)));
        assert!(suspicion.clear(at(1)));
        assert!(!suspicion.raise(Doubt::ConnectFailure, at(100)), "the breaker counts these");
        assert!(!suspicion.raise(Doubt::Silence, at(1000)));
        assert!(suspicion.raise(Doubt::ConnectFailure, at(101)));
        assert!(suspicion.clear(at(101)));
        assert!(suspicion.raise(Doubt::IdleClosed, at(1101)));
    }
}
