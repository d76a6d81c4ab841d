//! Endpoint strings: whatever parses must print to a string that parses to the same endpoint. The body is `sinew::fuzz::endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew::fuzz::endpoint(data));
