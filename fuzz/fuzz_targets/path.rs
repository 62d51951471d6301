#![no_main]

use evenkeel_testkit::fuzz::path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| path(bytes));
