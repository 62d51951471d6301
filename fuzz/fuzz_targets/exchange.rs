#![no_main]

use evenkeel_testkit::fuzz::exchange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| exchange(bytes));
