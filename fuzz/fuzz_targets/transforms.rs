//! The wire formats beside ZMTP/3: whatever decodes is sound frames, and frames come back. The body is
//! `sinew::fuzz::transforms`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew::fuzz::transforms(data));
