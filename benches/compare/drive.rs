//! The loops: they stamp every message with its number, and check that every one arrives.
//!
//! So no subject can do less work than its label: a lost, repeated, reordered or short message ends
//! the programme.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::meter::{Mark, Sample};
use crate::subject::{Fallible, Receiver, Replier, Requester, Sender};
use crate::work::Plan;

/// Writes the number of a message into its first octets, as many as there are up to eight.
#[inline]
pub(crate) fn stamp(payload: &mut [u8], number: u64) {
    if let Some(first) = payload.first_chunk_mut() {
        *first = number.to_le_bytes();
    } else {
        let len = payload.len();
        payload.copy_from_slice(&number.to_le_bytes()[..len]);
    }
}

/// Checks length and number of a message.
#[inline]
pub(crate) fn check(body: &[u8], size: usize, number: u64) -> Fallible<()> {
    let intact = match body.first_chunk() {
        Some(first) => u64::from_le_bytes(*first) == number,
        None => number.to_le_bytes().starts_with(body),
    };
    if body.len() == size && intact {
        Ok(())
    } else {
        Err(wrong(body, size, number))
    }
}

#[cold]
fn wrong(body: &[u8], size: usize, number: u64) -> Box<dyn std::error::Error + Send + Sync> {
    let start = &body[..body.len().min(8)];
    let len = body.len();
    format!("message {number} should have {size} octets; received {len} octets, starting {start:?}")
        .into()
}

/// Runs the two halves in two threads, and ends the programme if one fails: the other may be waiting
/// for it for ever.
pub(crate) fn both<T: Send>(
    far: impl FnOnce() -> Fallible<T> + Send,
    measured: impl FnOnce() -> Fallible<Sample>,
) -> Sample {
    fn sound<T>(result: Fallible<T>) -> T {
        result.unwrap_or_else(|error| {
            eprintln!("\nerror: {error}");
            std::process::exit(1)
        })
    }
    thread::scope(|scope| {
        // The far half's sockets come back, so that they are closed after the measurement only.
        let far = scope.spawn(move || sound(far()));
        let sample = sound(measured());
        drop(far.join());
        sample
    })
}

/// One-way flow, measured at the receiver from the last message of the warm-up to the last of all.
pub(crate) fn flow(mut sender: impl Sender, mut receiver: impl Receiver, plan: &Plan) -> Sample {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    both(
        move || {
            let mut payload = vec![0x5a; size];
            for number in 0..warmup + count {
                stamp(&mut payload, number);
                sender.send(&payload)?;
            }
            Ok(sender)
        },
        move || {
            for number in 0..warmup {
                receiver.recv(|body| check(body, size, number))??;
            }
            let start = Mark::now();
            for number in warmup..warmup + count {
                receiver.recv(|body| check(body, size, number))??;
            }
            Ok(start.rate(count))
        },
    )
}

/// Lock-step exchange, measured at the requester, each round trip on its own.
pub(crate) fn ping_pong(
    mut requester: impl Requester,
    mut replier: impl Replier,
    plan: &Plan,
) -> Sample {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    both(
        move || {
            for _ in 0..warmup + count {
                replier.serve()?;
            }
            Ok(replier)
        },
        move || {
            let mut payload = vec![0x5a; size];
            let mut trip = |number| {
                stamp(&mut payload, number);
                requester.round_trip(&payload, |body| check(body, size, number))?
            };
            for number in 0..warmup {
                trip(number)?;
            }
            let mut trips = Vec::with_capacity(count as usize);
            let start = Mark::now();
            let mut before = Instant::now();
            for number in warmup..warmup + count {
                trip(number)?;
                let after = Instant::now();
                trips.push((after - before).as_nanos() as u64);
                before = after;
            }
            Ok(start.latency(&mut trips))
        },
    )
}

/// One publisher and many subscribers, a thread each. Publishers may drop, so deliveries are counted:
/// the publisher goes on until every subscriber has had its share, or `count` in total on average.
///
/// Numbers must rise at every subscriber; gaps are drops, and not counted as deliveries.
pub(crate) fn fan_out<R: Receiver>(
    mut publisher: impl Sender,
    subscribers: Vec<R>,
    plan: &Plan,
) -> Sample {
    let size = plan.size;
    let each = |total: u64| (total / subscribers.len() as u64).max(1);
    let (warmup, count) = (each(plan.warmup), each(plan.count));
    let total = count * subscribers.len() as u64;
    let stop = AtomicBool::new(false);
    let stop = &stop;
    // All warm, then all done: the measuring thread takes part in both.
    let lines = [
        Barrier::new(subscribers.len() + 1),
        Barrier::new(subscribers.len() + 1),
    ];
    let [warm, done] = &lines;
    both(
        move || {
            let mut payload = vec![0x5a; size];
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                stamp(&mut payload, number);
                publisher.send(&payload)?;
                number += 1;
            }
            Ok(publisher)
        },
        move || {
            thread::scope(|scope| {
                for mut subscriber in subscribers {
                    scope.spawn(move || {
                        let mut expected = 0;
                        let mut deliver = |messages: u64| {
                            for _ in 0..messages {
                                let number = subscriber
                                    .recv(|body| body.first_chunk().map(|b| u64::from_le_bytes(*b)))
                                    .expect("a subscriber receives");
                                let number = number.expect("a message has room for its number");
                                assert!(number >= expected, "{number} after {expected}");
                                expected = number + 1;
                            }
                        };
                        deliver(warmup);
                        warm.wait();
                        deliver(count);
                        done.wait();
                        // Keep taking messages would be unfair; closing late is not.
                        subscriber
                    });
                }
                warm.wait();
                let start = Mark::now();
                done.wait();
                let sample = start.rate(total);
                stop.store(true, Ordering::Relaxed);
                Ok(sample)
            })
        },
    )
}
