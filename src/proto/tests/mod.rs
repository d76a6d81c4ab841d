//! Tests of whole connections, one file per subject.

mod errors;
mod exchanges;
mod heartbeat;
mod legacy;
mod pair;
mod random;
mod recorded;
#[cfg(feature = "ws")]
mod websocket;
