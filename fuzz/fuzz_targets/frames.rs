//! The frame codec: whatever decodes must encode to an equal frame. The body is `sinew::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew::fuzz::frames(data));
