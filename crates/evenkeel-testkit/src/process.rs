//! What a test takes of the machine, for tests that measure their own process.

use std::process::Command;

/// Set in the process of a test that runs alone.
const ALONE: &str = "EVENKEEL_TEST_ALONE";

/// Runs one test of the calling program, by its full name, in a process of its own: others would be
/// measured with it. True inside that process; false once it has passed there.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this test binary");
    let run = Command::new(program).args(["--exact", test, "--nocapture"]).env(ALONE, "1").output();
    let run = run.expect("started");
    let (told, complained) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("1 passed"), "{told}{complained}");
    false
}

/// Memory of this process in use, in bytes.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4096
}

/// CPU time of this process, in clock ticks of 10 ms.
pub fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(") ").next().expect("fields");
    let field = |n: usize| after_name.split(' ').nth(n).and_then(|text| text.parse::<u64>().ok());
    field(11).expect("utime") + field(12).expect("stime")
}
