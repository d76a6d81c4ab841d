//! A peer's octets against the protocol core: any input, cut anywhere, in every role. The body is `sinew::fuzz::connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew::fuzz::connection(data));
