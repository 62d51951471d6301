//! What the kernel says of this process: the one place here that reads anything.

#[cfg(target_os = "linux")]
use {
    rustix::param::{clock_ticks_per_second, page_size},
    rustix::process::{Resource, getrlimit},
    std::fs,
};

/// Figures of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessFigures {
    /// Memory that is in RAM.
    pub resident_bytes: u64,
    /// Memory that is mapped.
    pub virtual_bytes: u64,
    /// Processor time of all threads, user and system.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many may be open; `None` = unlimited.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// When the process started, in seconds since 1970-01-01T00:00:00Z.
    pub start_seconds: f64,
}

impl ProcessFigures {
    /// Of this process: nothing is known of it where there is no `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Option<ProcessFigures> {
        None
    }

    /// Of this process, from `/proc`; `None` where that is missing.
    #[cfg(target_os = "linux")]
    pub fn read() -> Option<ProcessFigures> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let booted = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        Some(ProcessFigures {
            resident_bytes: stat.resident_pages * u64::try_from(page_size()).ok()?,
            virtual_bytes: stat.virtual_bytes,
            cpu_seconds: seconds(stat.cpu_ticks),
            open_fds: open_fds()?,
            max_fds: getrlimit(Resource::Nofile).current,
            threads: stat.threads,
            start_seconds: booted as f64 + seconds(stat.start_ticks),
        })
    }
}

/// Kernels since 6.2 give the number as the size of the folder; on others its entries are counted,
/// which takes milliseconds for thousands.
#[cfg(target_os = "linux")]
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        0 => u64::try_from(fs::read_dir(FOLDER).ok()?.count()).ok(),
        count => Some(count),
    }
}

/// The fields of `/proc/PID/stat` that are used (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the system booted.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    /// The name, second of the fields, may hold spaces and parentheses; the rest does not.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1; the field after the name is its third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds since 1970 at which the system booted, from `/proc/stat`.
#[cfg(target_os = "linux")]
fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    #[test]
    fn the_name_may_be_anything() {
        let text = "42 (a b) (c) S 1 42 42 0 -1 4194560 9 0 0 0 700 30 5 6 20 0 3 0 1234 99000 55 \
                    18446744073709551615 1 1 0";
        let expected = Stat {
            cpu_ticks: 730,
            threads: 3,
            start_ticks: 1234,
            virtual_bytes: 99_000,
            resident_pages: 55,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        for broken in ["", "42 (x", "42 (x) S 1 2", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x y"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }

    #[test]
    fn descriptors_that_are_opened_are_counted() {
        let before = open_fds().expect("Linux has /proc");
        let held: Vec<fs::File> =
            (0..500).map(|_| fs::File::open("/proc/self/stat").expect("there")).collect();
        let open = open_fds().expect("Linux has /proc");
        // Other tests open and close some meanwhile.
        assert!(open.abs_diff(before + 500) < 100, "{before}, then {open} with {}", held.len());
    }

    #[test]
    fn this_process_is_plausible() {
        let figures = ProcessFigures::read().expect("Linux has /proc");
        assert!(figures.resident_bytes > 100_000 && figures.virtual_bytes > figures.resident_bytes);
        assert!(figures.open_fds >= 3 && figures.threads >= 1);
        assert!(figures.max_fds.is_none_or(|max| max >= figures.open_fds));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let started = Duration::from_secs_f64(figures.start_seconds);
        let age = now.abs_diff(started);
        assert!(age < Duration::from_secs(3_600), "{age:?}");
        assert!(figures.cpu_seconds >= 0.0 && figures.cpu_seconds < 36_000.0);
    }
}
