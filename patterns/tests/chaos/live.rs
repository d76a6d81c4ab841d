//! MDP-04: two brokers, both at work, of which one is killed again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Endpoint, Message};
use sinew_patterns::common::Heartbeat;

use crate::brokers::until_state;
use crate::majordomo::client;
use crate::remote::{Harm, Remote, Victim};
use crate::requests::LONG;
use crate::stalls::Stalls;

const KILLS: usize = 6;
const CALLERS: u64 = 4;

/// Calls that each caller makes between two kills, at least.
const PAUSE: usize = 200;

/// When a call was made, and how long it took.
type Took = (Instant, Duration);

/// What the two of them and their workers have: long enough that what a machine with more to do lets threads wait is
/// little of it.
pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat {
        interval: Duration::from_millis(400),
        ..Heartbeat::default()
    }
}

/// Of the calls that run while one of the brokers is killed, or are made in the heartbeat after it, 99 in 100 take no longer
/// than two heartbeats.
#[test]
fn a_broker_that_is_killed_costs_no_more_than_two_heartbeats() {
    let (mut victims, at): (Vec<Victim>, Vec<Endpoint>) = [(); 2]
        .map(|()| Victim::bound("live broker"))
        .into_iter()
        .unzip();
    // One begins with each of them; it is with the other when that is gone.
    let backwards: Vec<Endpoint> = at.iter().rev().cloned().collect();
    let _workers = [&at, &backwards].map(|at| Remote::start("live worker", at));
    for victim in &mut victims {
        until_state(victim.remote(), [0, 0, 1]);
    }
    let stalls = Stalls::watch();
    let over = AtomicBool::new(false);
    let (kills, took) = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (at, over) = (&at, &over);
                scope.spawn(move || {
                    let client = client(at, LONG.deadline);
                    let mut took: Vec<Took> = Vec::new();
                    for turn in 0u64.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let body = Message::from(format!("{caller} {turn}"));
                        let begun = Instant::now();
                        assert_eq!(client.call("work", body.clone(), &LONG), Ok(body));
                        took.push((begun, begun.elapsed()));
                    }
                    took
                })
            })
            .collect();
        // Its calls are those of everybody; its own tell how far everybody is.
        let pace = client(&at, LONG.deadline);
        let kills: Vec<Instant> = (0..KILLS)
            .map(|turn| {
                for number in 0..PAUSE {
                    let body = Message::from(format!("pace {number}"));
                    assert_eq!(pace.call("work", body.clone(), &LONG), Ok(body));
                }
                let victim = &mut victims[turn % 2];
                let kill = Instant::now();
                victim.suffer(Harm::Kill);
                // With the other one.
                assert_eq!(pace.call("work", "on", &LONG), Ok("on".into()));
                victim.recover();
                kill
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        let took = callers.into_iter().flat_map(|c| c.join().unwrap());
        (kills, took.collect::<Vec<Took>>())
    });
    let stall = stalls.longest();
    let interval = heartbeat().interval;
    let during = |(begun, span): &&Took| {
        let mut kills = kills.iter();
        kills.any(|kill| *begun < *kill + interval && *begun + *span >= *kill)
    };
    let mut spans: Vec<Duration> = took.iter().filter(during).map(|(_, span)| *span).collect();
    spans.sort_unstable();
    assert!(spans.len() >= KILLS * CALLERS as usize, "{}", spans.len());
    let p99 = spans[(spans.len() - 1) * 99 / 100];
    println!(
        "two brokers: {} calls, {} while one was killed, of which half within {:?} and 99 in 100 within {p99:?}, where a thread that only waits was {stall:?} late",
        took.len(),
        spans.len(),
        spans[spans.len() / 2],
    );
    assert!(p99 <= interval * 2, "{p99:?}");
}
