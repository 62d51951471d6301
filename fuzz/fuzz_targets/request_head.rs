#![no_main]

use evenkeel_testkit::fuzz::request_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| request_head(bytes));
