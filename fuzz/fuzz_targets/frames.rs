#![no_main]

use evenkeel_testkit::fuzz::frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| frames(bytes));
