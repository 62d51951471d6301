//! Short runs of the loss rig with the program that is built; longer ones are for people.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Changes evenkeel as these words say; each of so many kinds of change is a row, and none lost
/// anything.
fn loses_nothing(words: &str, changes: usize) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/evenkeel");
    let run = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["loss", "--peers", "evenkeel"])
        .args(words.split(' '))
        .arg("--bin")
        .arg(program)
        .output()
        .unwrap();
    let (table, said) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{table}{said}");
    assert!(!table.contains("failed"), "{table}{said}");
    assert_eq!(table.lines().count(), 2 + changes, "{table}{said}");
}

#[test]
#[ignore = "needs a built target/debug/evenkeel, and a quarter of a minute"]
fn reloads_and_a_drain_lose_nothing() {
    let clients = "--rate 200 --websockets 5 --downloads 2 --in-flight 50";
    loses_nothing(&format!("--changes reload,drain --times 3 --pause 1000 {clients}"), 2);
}

#[test]
#[ignore = "needs a built target/debug/evenkeel, and half a minute: twenty upgrades"]
fn twenty_upgrades_lose_nothing() {
    let clients = "--rate 300 --websockets 8 --downloads 4";
    loses_nothing(&format!("--changes upgrade --times 20 --pause 500 {clients}"), 1);
}
