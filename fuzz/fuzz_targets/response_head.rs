#![no_main]

use evenkeel_testkit::fuzz::response_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| response_head(bytes));
