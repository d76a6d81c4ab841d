//! The loops of async subjects: the same as in `drive`, with the same stamps and checks.
//!
//! Who runs them is the subject's affair: tasks of a multi-threaded runtime, or a runtime in a thread
//! for each half. The traits ask for no `Send`, so that both can have them.

use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use crate::child;
use crate::drive::{check, stamp, LONGEST};
use crate::machine::{self, Side};
use crate::meter::{Mark, Sample};
use crate::subject::Fallible;
use crate::tally::{Counter, Tally};
use crate::work::Plan;

/// A multi-threaded runtime in its default size.
pub(crate) fn runtime() -> Fallible<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// One for a side of a lock-step exchange, with its threads on the core of that side. A runtime for both
/// would run them as neighbours in one thread and hand nothing over.
pub(crate) fn side_runtime(side: Side) -> Fallible<Runtime> {
    let pin = move || {
        child::or_fail(machine::pin(side).map_err(Into::into));
    };
    Ok(Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(pin)
        .build()?)
}

/// Runs the two sides in their runtimes, and measures the asking one.
pub(crate) fn lock_step<Q, P>(
    asking: &Runtime,
    requester: Q,
    answering: &Runtime,
    replier: P,
) -> Fallible<Sample>
where
    Q: Future<Output = Fallible<Sample>> + Send + 'static,
    P: Future<Output: Send> + Send + 'static,
{
    let _answers = answering.spawn(replier);
    // As a task, so that it is on a thread of that runtime, and of that core.
    asking.block_on(asking.spawn(requester))?
}

/// Runs one socket of several as the main task of a programme would run: in a thread of its own, inside
/// the runtime. As tasks they could starve each other, since sending without waiting, or receiving what
/// is there already, need not give way.
pub(crate) fn in_thread(half: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    thread::spawn(move || runtime.block_on(half));
}

/// The sending half.
pub(crate) trait AsyncSender {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()>;

    /// After the last message of a burst, where the library asks for it.
    async fn flush(&mut self) -> Fallible<()> {
        Ok(())
    }
}

/// The receiving half.
pub(crate) trait AsyncReceiver {
    /// A message of the library, as a slice of octets.
    type Body: AsRef<[u8]>;

    async fn recv(&mut self) -> Fallible<Self::Body>;
}

/// The asking half of a lock-step exchange.
pub(crate) trait AsyncRequester: AsyncSender + AsyncReceiver {
    /// Sleeps for a millisecond, as its runtime does that.
    async fn pause(&mut self);
}

/// The answering half of a lock-step exchange.
pub(crate) trait AsyncReplier {
    /// Waits for one request and sends it back.
    async fn serve(&mut self) -> Fallible<()>;
}

/// Sends all messages, and returns the sender for the sake of what it has not written yet.
pub(crate) async fn feed<S: AsyncSender>(mut sender: S, plan: Plan) -> S {
    let mut payload = vec![0x5a; plan.size];
    for number in 0..plan.warmup + plan.count {
        stamp(&mut payload, number);
        child::or_fail(sender.send(&payload).await);
    }
    child::or_fail(sender.flush().await);
    sender
}

/// Receives all messages, and measures from the last of the warm-up to the last of all.
pub(crate) async fn drain<R: AsyncReceiver>(receiver: &mut R, plan: Plan) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = plan;
    let mut start = Mark::now();
    // One loop, as the sender's: two calls of the same `recv` would not be put in line, and what the calls cost then is
    // the programme's affair, not the library's.
    for number in 0..warmup + count {
        if number == warmup {
            start = Mark::now();
        }
        check(receiver.recv().await?.as_ref(), size, number)?;
    }
    Ok(start.rate(count))
}

/// Asks, and measures each round trip; `gap` for a pause before each.
pub(crate) async fn ask<R: AsyncRequester>(
    mut requester: R,
    plan: Plan,
    gap: bool,
) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = plan;
    let mut payload = vec![0x5a; size];
    for number in 0..warmup {
        stamp(&mut payload, number);
        requester.send(&payload).await?;
        check(requester.recv().await?.as_ref(), size, number)?;
    }
    let mut trips = Vec::with_capacity(count as usize);
    let start = Mark::now();
    let mut before = Instant::now();
    let end = before + LONGEST;
    for number in warmup..warmup + count {
        if gap {
            requester.pause().await;
            before = Instant::now();
        }
        stamp(&mut payload, number);
        requester.send(&payload).await?;
        check(requester.recv().await?.as_ref(), size, number)?;
        let after = Instant::now();
        trips.push((after - before).as_nanos() as u64);
        before = after;
        if after > end {
            break;
        }
    }
    let sample = start.latency(&mut trips);
    // The process ends before anything needs to be closed.
    std::mem::forget(requester);
    Ok(sample)
}

/// Asks so many at a time, and for each answer once more; round trips per second.
pub(crate) async fn ask_at_once<R: AsyncSender + AsyncReceiver>(
    mut requester: R,
    plan: Plan,
    at_once: u64,
) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = plan;
    let mut payload = vec![0x5a; size];
    for number in 0..at_once {
        stamp(&mut payload, number);
        requester.send(&payload).await?;
    }
    let mut start = Mark::now();
    for number in 0..warmup + count {
        if number == warmup {
            start = Mark::now();
        }
        check(requester.recv().await?.as_ref(), size, number)?;
        stamp(&mut payload, number + at_once);
        requester.send(&payload).await?;
    }
    let sample = start.rate(count);
    // The process ends before anything needs to be closed.
    std::mem::forget(requester);
    Ok(sample)
}

/// Answers all requests, for ever.
pub(crate) async fn answer<R: AsyncReplier>(mut replier: R) {
    loop {
        child::or_fail(replier.serve().await);
    }
}

/// One sender of several, for as long as the tally wants its messages.
pub(crate) async fn feed_tally<S: AsyncSender>(
    mut sender: S,
    index: usize,
    tally: Arc<Tally>,
    size: usize,
) {
    let mut payload = vec![0x5a; size];
    let mut sequence = 0;
    while let Some(number) = tally.number(index, sequence) {
        stamp(&mut payload, number);
        child::or_fail(sender.send(&payload).await);
        sequence += 1;
    }
    child::or_fail(sender.flush().await);
    // Closing a socket could discard what it has not sent yet; the process ends soon.
    std::mem::forget(sender);
}

/// One receiver of several, for ever.
pub(crate) async fn drain_tally<R: AsyncReceiver>(mut receiver: R, mut count: Counter) {
    loop {
        let body = child::or_fail(receiver.recv().await);
        child::or_fail(count.note(body.as_ref()));
    }
}
