#![no_main]

use evenkeel_testkit::fuzz::chunked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunked(bytes));
