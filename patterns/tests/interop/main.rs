//! The shells against peers that are no Sinew: libzmq, its proxy, and programmes in Python that are written from the
//! frames of 28/REQREP and 7/MDP. Those in JavaScript and Java are asked for (`scripts/other-peers`, `--ignored`).

#[path = "../../../tests/support/process.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod process;

mod libzmq;
mod majordomo;
mod others;
mod own;
mod peers;
mod pyzmq;
mod requests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sinew_patterns::common::{Backoff, CallOptions, Headers, Idem, RetryPolicy};

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Asks as often as it takes.
fn retry(attempt_timeout: Duration) -> RetryPolicy {
    RetryPolicy {
        attempt_timeout,
        max_attempts: 1000,
        hedge_after: None,
        backoff: Backoff {
            base: Duration::from_millis(5),
            max: Duration::from_millis(50),
        },
        budget: None,
        breaker: None,
    }
}
