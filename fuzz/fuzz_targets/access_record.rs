#![no_main]

use evenkeel_testkit::fuzz::access_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| access_record(bytes));
