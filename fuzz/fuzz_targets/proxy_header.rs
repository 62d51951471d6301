#![no_main]

use evenkeel_testkit::fuzz::proxy_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| proxy_header(bytes));
