//! Real processes break under a real load: one repeat of each fault that must cost no request.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Killed, address vanished, stopped, answers 503.
const FAULTS: &str = "a,b,d,e";

#[test]
#[ignore = "needs root, a network namespace, iptables and tcpdump"]
fn no_client_notices_a_backend_that_breaks() {
    let rig = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let program = rig.with_file_name("evenkeel");
    if !program.is_file() || !may_have_a_namespace() {
        // Nobody reads it if stdout is closed.
        let _ = writeln!(std::io::stdout().lock(), "not run: no namespace, or no evenkeel built");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let figures = folder.path().join("figures.json");
    let output = Command::new(rig)
        .args(["failover", "--peers", "evenkeel", "--repeats", "1", "--rate", "300"])
        .args(["--faults", FAULTS, "--bin"])
        .arg(&program)
        .arg("--json")
        .arg(&figures)
        .output()
        .expect("the rig starts");
    let told = String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read_to_string(&figures).unwrap_or_else(|e| panic!("{e}: {told}"));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), FAULTS.split(',').count(), "{told}");
    for row in rows {
        assert_eq!(row["lost"], 0, "{row}: {told}");
        for repeat in row["repeats"].as_array().expect("repeats") {
            assert!(repeat["sent"].as_u64() > Some(2000) && repeat["failed"] == 0, "{row}");
        }
    }
}

fn may_have_a_namespace() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "ip", "link", "set", "lo", "up"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
