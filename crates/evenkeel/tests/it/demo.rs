//! `demo`: everything in one process.

use crate::program::{Shell, backend_of, get};
use rustix::process::Signal;
use std::collections::BTreeSet;

#[test]
fn three_backends_answer_until_ctrl_c() {
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    let mut demo = shell.start(&["demo", "--listen", "127.0.0.1:0"]);
    let line = demo.line_with("curl -i http://");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    let names: BTreeSet<String> =
        (0..6).map(|_| backend_of(&get(address, "/")).to_owned()).collect();
    assert_eq!(names, ["fast", "slow", "steady"].map(str::to_owned).into());
    let drain = demo.line_with("backend drain slow");
    let words: Vec<&str> = drain.split_whitespace().collect();
    let (program, words) = words.split_first().expect("a command");
    assert_eq!(*program, env!("CARGO_BIN_EXE_evenkeel"), "it is there whatever PATH is");
    let drained = Shell::new().run(words);
    assert!(drained.stdout.contains("slow: draining"), "{drained:?}");
    let ready = demo.line_with("/readyz");
    let admin = ready.split("http://").nth(1).expect("an address").trim_end_matches("/readyz");
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200 "));
    let admin = format!("http://{admin}");
    let healthcheck =
        |more: &[&str]| Shell::new().run(&[&["healthcheck", "-admin", &admin], more].concat()).code;
    assert_eq!((healthcheck(&[]), healthcheck(&["-live"])), (0, 0));
    demo.signal(Signal::INT);
    let answer = demo.end();
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!((healthcheck(&[]), healthcheck(&["-live"])), (3, 3));
}
