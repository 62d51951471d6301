//! Ten thousand hostile requests leave ten thousand lines of JSON.

use crate::arena::Arena;
use evenkeel_testkit::client::Client;

const REQUESTS: usize = 10_000;
/// Requests after which the log is waited for: its queue is bounded.
const AT_A_TIME: usize = 500;
/// What is slipped into paths, hosts and fields.
const HOSTILE: [&[u8]; 14] = [
    b"\"",
    b"\\",
    b"\\\"},{\"level\":\"error",
    b"\x1b[31m",
    b"\x00",
    b"\x07",
    b"\x7f",
    b"\t",
    b"\xff\xfe",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"%0a%0d",
    b"{}'`$(x)",
];

/// Request number `number`: what is hostile stands in another place each time.
fn request(number: usize) -> Vec<u8> {
    let hostile = HOSTILE[number % HOSTILE.len()];
    let [method, path, host, field] = match number / HOSTILE.len() % 4 {
        0 => [&b""[..], hostile, b"", b""],
        1 => [b"", b"", b"", hostile],
        2 => [b"", b"", hostile, b""],
        _ => [hostile, hostile, b"", hostile],
    };
    let parts: [&[u8]; 9] = [
        b"GET",
        method,
        b" /n",
        path,
        b" HTTP/1.1\r\nHost: x",
        host,
        b"\r\nUser-Agent: ",
        field,
        b"\r\n\r\n",
    ];
    parts.concat()
}

#[test]
fn every_hostile_request_is_one_line_of_json() {
    let arena = Arena::new();
    let mut client: Option<Client> = None;
    for number in 0..REQUESTS {
        let open = client.get_or_insert_with(|| arena.connect());
        open.send(request(number));
        // A refusal closes the connection, anything else keeps it.
        let response = open.final_response().unwrap_or_else(|why| panic!("{number}: {why:?}"));
        if response.value("connection") == Some("close") {
            client = None;
        }
        if (number + 1) % AT_A_TIME == 0 {
            let records = arena.proxy.wait_for_records(number + 1);
            assert_eq!(records.len(), number + 1);
        }
    }
    let records = arena.proxy.wait_for_records(REQUESTS);
    assert_eq!(records.len(), REQUESTS, "one line each, all of them JSON");
    for record in &records {
        for key in ["method", "path", "host", "request_id", "client_ip"] {
            assert!(record[key].is_string(), "{key}: {record}");
        }
    }
    let good = records.iter().filter(|record| record["status"] == 200).count();
    assert!(good > 0 && good < REQUESTS, "{good} were served, the rest refused");
}
