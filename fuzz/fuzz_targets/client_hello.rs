#![no_main]

use evenkeel_testkit::fuzz::client_hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| client_hello(bytes));
