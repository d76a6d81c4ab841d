//! Tests of whole connections, one file per subject.

mod errors;
mod exchanges;
mod heartbeat;
mod pair;
mod random;
