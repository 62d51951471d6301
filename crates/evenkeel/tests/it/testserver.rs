//! `testserver`: a backend to play with.

use crate::program::{Shell, backend_of, get};
use rustix::process::Signal;

#[test]
fn answers_as_its_flags_say_and_ends_on_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let words = ["testserver", "-listen", "127.0.0.1:0", "-name", "tb", "-body-size", "1000"];
        let mut server = Shell::new().start(&words);
        let line = server.line_with("listens on");
        let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
        let response = get(address, "/");
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert_eq!(backend_of(&response), "tb");
        let (_, body) = response.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body.len(), 1000);
        server.signal(signal);
        assert_eq!(server.end().code, 0);
    }
}

#[test]
fn a_taken_address_exits_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let answer = Shell::new().run(&["testserver", "--listen", &address]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains(&address), "{answer:?}");
    assert!(answer.stderr.contains(&std::process::id().to_string()), "{answer:?}");
}
