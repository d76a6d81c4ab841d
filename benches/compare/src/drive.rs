//! The loops of subjects that block: they stamp every message with its number, and check that every
//! one arrives.
//!
//! So no subject can do less work than its label: a lost, repeated, reordered or short message is an
//! error, and the row has no figure.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::child;
use crate::machine::{self, Side};
use crate::meter::{Mark, Sample};
use crate::subject::{Fallible, Receiver, Replier, Requester, Sender};
use crate::tally::{Rule, Tally};
use crate::work::Plan;

/// Between the requests of the work `gap`.
pub(crate) const GAP: Duration = Duration::from_millis(1);

/// A lock-step measurement ends then, however many round trips it has made: the time of one may have
/// been guessed from a lucky moment.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

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
    if body.len() != size {
        return format!("message {number}: {} octets, not {size}", body.len()).into();
    }
    match body.first_chunk().map(|first| u64::from_le_bytes(*first)) {
        Some(later) if later > number => {
            format!("lost or reordered messages: {later} came after {number} messages").into()
        }
        _ => format!("a wrong message came after {number} messages").into(),
    }
}

/// Runs the two halves in two threads. The programme ends if one fails: the other may be waiting for
/// it for ever. The far half may go on for ever, too.
pub(crate) fn both<T>(
    far: impl FnOnce() -> Fallible<T> + Send + 'static,
    measured: impl FnOnce() -> Fallible<Sample>,
) -> Fallible<Sample> {
    thread::spawn(move || {
        // Closing its sockets could discard what is not sent yet; the process ends soon.
        std::mem::forget(child::or_fail(far()));
    });
    measured()
}

/// One-way flow, measured at the receiver from the last message of the warm-up to the last of all.
pub(crate) fn flow(
    mut sender: impl Sender + 'static,
    mut receiver: impl Receiver,
    plan: &Plan,
) -> Fallible<Sample> {
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

/// Lock-step exchange, measured at the requester, each round trip on its own; with or without a pause
/// before each. The two threads are kept on two cores.
pub(crate) fn ping_pong(
    mut requester: impl Requester,
    mut replier: impl Replier + 'static,
    plan: &Plan,
    gap: Option<Duration>,
) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    both(
        move || {
            machine::pin(Side::Replier)?;
            loop {
                replier.serve()?;
            }
            #[allow(unreachable_code, reason = "the type of a closure that never returns")]
            Ok(())
        },
        move || {
            machine::pin(Side::Requester)?;
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
            let end = before + LONGEST;
            for number in warmup..warmup + count {
                if let Some(gap) = gap {
                    thread::sleep(gap);
                    before = Instant::now();
                }
                trip(number)?;
                let after = Instant::now();
                trips.push((after - before).as_nanos() as u64);
                before = after;
                if after > end {
                    break;
                }
            }
            // The other side would take the end of the stream for a failure; the process ends soon.
            std::mem::forget(requester);
            Ok(start.latency(&mut trips))
        },
    )
}

/// Asks so many at a time, and for each answer once more; round trips per second. The threads run where they like.
pub(crate) fn under_way(
    mut asker: impl Sender + Receiver,
    mut replier: impl Replier + 'static,
    plan: &Plan,
    at_once: u64,
) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    both(
        move || {
            loop {
                replier.serve()?;
            }
            #[allow(unreachable_code, reason = "the type of a closure that never returns")]
            Ok(())
        },
        move || {
            let mut payload = vec![0x5a; size];
            for number in 0..at_once {
                stamp(&mut payload, number);
                asker.send(&payload)?;
            }
            let mut trip = |number| {
                asker.recv(|body| check(body, size, number))??;
                stamp(&mut payload, number + at_once);
                asker.send(&payload)
            };
            for number in 0..warmup {
                trip(number)?;
            }
            let start = Mark::now();
            for number in warmup..warmup + count {
                trip(number)?;
            }
            let sample = start.rate(count);
            // The other side would take the end of the stream for a failure; the process ends soon.
            std::mem::forget(asker);
            Ok(sample)
        },
    )
}

/// Several senders or several receivers, a thread each. The sum over all receivers is measured.
pub(crate) fn many<S, R>(
    senders: Vec<S>,
    receivers: Vec<R>,
    rule: Rule,
    plan: &Plan,
) -> Fallible<Sample>
where
    S: Sender + 'static,
    R: Receiver + 'static,
{
    let tally = Arc::new(Tally::new(senders.len(), receivers.len(), rule, plan));
    for (index, mut receiver) in receivers.into_iter().enumerate() {
        let mut count = tally.counter(index);
        thread::spawn(move || -> ! {
            loop {
                child::or_fail(
                    receiver
                        .recv(|body| count.note(body))
                        .and_then(|noted| noted),
                );
            }
        });
    }
    for (index, mut sender) in senders.into_iter().enumerate() {
        let tally = Arc::clone(&tally);
        let mut payload = vec![0x5a; plan.size];
        thread::spawn(move || {
            let mut sequence = 0;
            while let Some(number) = tally.number(index, sequence) {
                stamp(&mut payload, number);
                child::or_fail(sender.send(&payload));
                sequence += 1;
            }
            // Closing a socket could discard what it has not sent yet; the process ends soon.
            std::mem::forget(sender);
        });
    }
    tally.measure()
}
