//! Work that no request waits for, on a thread of its own that gives way to the workers: whenever
//! one of them has something to do, that is done first.

use crate::worker::give_way;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

const THREAD_NAME: &str = "ek-aside";

/// Does what takes long, and returns when it is done. Where no thread can be had it is done here.
pub fn aside<T: Send>(mut work: impl FnMut() -> T + Send) -> T {
    let done = thread::scope(|scope| {
        let run = || {
            give_way();
            work()
        };
        let thread = Builder::new().name(THREAD_NAME.to_owned()).spawn_scoped(scope, run).ok()?;
        Some(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    done.unwrap_or_else(work)
}

/// Drops what takes long to drop, whenever that is done.
pub(crate) fn drop_aside(gone: impl Send + 'static) {
    let run = move || {
        give_way();
        drop(gone);
    };
    // Without a thread it is dropped with the closure, here.
    let _ = Builder::new().name(THREAD_NAME.to_owned()).spawn(run);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn what_is_done_aside_is_done_when_it_returns() {
        let mut rounds = 0;
        let here = thread::current().id();
        let other = aside(|| {
            rounds += 1;
            thread::current().id()
        });
        assert_eq!(rounds, 1);
        assert_ne!(other, here);
        assert_eq!(aside(|| 7), 7);
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let fails = || -> u8 { aside(|| panic!("as it does")) };
        let caught = catch_unwind(AssertUnwindSafe(fails)).expect_err("it panics");
        assert_eq!(caught.downcast_ref(), Some(&"as it does"));
    }

    /// The policy and the nice value of the thread that asks, by proc(5): its 41st and 19th field.
    #[cfg(target_os = "linux")]
    fn rank() -> (String, String) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let field = |number: usize| fields.split(' ').nth(number - 3).expect("it").to_owned();
        (field(41), field(19))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_ranks_below_whoever_asked_for_it() {
        let (before, idle) = (rank(), libc::SCHED_IDLE.to_string());
        let (policy, nice) = aside(rank);
        if before.0 == idle {
            assert_eq!(policy, idle, "there is nothing below");
        } else {
            assert_eq!(policy, libc::SCHED_BATCH.to_string());
            assert!(
                nice.parse::<i32>().ok() > before.1.parse::<i32>().ok(),
                "{nice}, not {}",
                before.1
            );
        }
        assert_eq!(rank(), before, "who asked goes on as he was");
    }
}
