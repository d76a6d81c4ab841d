//! What the fuzz target calls: the bodies live beside the decoders, and run as tests as well.

use std::time::Instant;

/// Arbitrary octets for each decoder of what peers send, and of what files hold.
pub fn patterns(data: &[u8]) {
    crate::common::fuzz_ext(data);
    crate::common::fuzz_record(data);
    crate::rpc::fuzz_rpc(data);
    crate::mdp::fuzz_mdp(data);
    crate::flow::fuzz_tokens(data, Instant::now());
    crate::flow::fuzz_credit(data, Instant::now());
}
