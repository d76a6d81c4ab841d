//! Running many schedules, and saying which one failed.

use std::panic::{self, AssertUnwindSafe};

/// Runs `run` for as many seeds as a test has time for: `usual`, or `PATTERNS_SCHEDULES`. What `run`
/// returns is the trace of the run; of the first seeds it is made twice and compared.
pub(crate) fn schedules(usual: u64, run: impl Fn(u64) -> u64) {
    if let Some(seed) = number("PATTERNS_SEED") {
        run(seed);
        return;
    }
    for seed in 0..number("PATTERNS_SCHEDULES").unwrap_or(usual) {
        let guarded = || panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
        match guarded() {
            Ok(trace) if seed < TWICE => {
                let again = guarded().unwrap_or_else(|panic| panic::resume_unwind(panic));
                assert_eq!(trace, again, "seed {seed} does not make the same run twice");
            }
            Ok(_) => {}
            Err(panic) => {
                eprintln!("the schedule of seed {seed} failed: PATTERNS_SEED={seed} repeats it");
                panic::resume_unwind(panic);
            }
        }
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
    )
}

/// SUB-01: schedules that are run twice.
const TWICE: u64 = 3;
