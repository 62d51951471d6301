//! A short run of the loss rig with the program that is built; longer ones are for people.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs a built target/debug/evenkeel, and half a minute"]
fn reloads_upgrades_and_a_drain_lose_nothing() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/evenkeel");
    let run = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["loss", "--peers", "evenkeel", "--times", "3", "--pause", "1000"])
        .args(["--rate", "200", "--websockets", "5", "--downloads", "2", "--in-flight", "50"])
        .arg("--bin")
        .arg(program)
        .output()
        .unwrap();
    let (table, said) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{table}{said}");
    assert_eq!(table.lines().count(), 5, "{table}{said}");
}
