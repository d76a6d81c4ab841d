//! The decoders of the patterns. The body is `sinew_patterns::fuzz::patterns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew_patterns::fuzz::patterns(data));
