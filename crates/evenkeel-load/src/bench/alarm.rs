//! Waits until a request is due. The runtime's timers tick in milliseconds, which is more than many
//! an answer takes; the kernel's timers do not.

use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// Wakes one connection.
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<timer::Timer>,
}

impl Alarm {
    /// Without a timer of the kernel (none is left, or it has none) the runtime's ticks must do.
    pub(crate) fn new() -> Alarm {
        Alarm {
            #[cfg(target_os = "linux")]
            timer: timer::Timer::new().ok(),
        }
    }

    /// Returns when it is `then`, or soon after.
    pub(crate) async fn until(&mut self, then: Instant) {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.rest(left).await;
        }
    }

    #[cfg(target_os = "linux")]
    async fn rest(&mut self, left: Duration) {
        if let Some(timer) = &self.timer {
            if timer.rest(left).await.is_ok() {
                return;
            }
            self.timer = None;
        }
        sleep_until(tokio::time::Instant::now() + left).await;
    }

    #[cfg(not(target_os = "linux"))]
    async fn rest(&mut self, left: Duration) {
        sleep_until(tokio::time::Instant::now() + left).await;
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer that is a file descriptor (timerfd_create(2)).
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        /// Needs a running runtime.
        pub(super) fn new() -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(deprecated, reason = "sound for an OwnedFd: it stays open while it is held")]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Timer(fd))
        }

        /// Returns after `left`, or earlier if an older setting had run out unseen.
        pub(super) async fn rest(&self, left: Duration) -> io::Result<()> {
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            // Setting the timer again takes the expiry back, so it need not be read.
            self.0.readable().await?.clear_ready();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_rings_early() {
        let mut alarm = Alarm::new();
        for micros in [0, 50, 300, 1500] {
            let then = Instant::now() + Duration::from_micros(micros);
            alarm.until(then).await;
            assert!(Instant::now() >= then, "{micros}");
        }
    }
}
