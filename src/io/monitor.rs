//! Who hears what happens to a socket: monitors, each a queue of events that is bounded and shows its gaps.
//!
//! Events are made by I/O threads and read by whoever holds a [`Monitor`]. A monitor that is not read
//! costs bounded memory and holds nobody up: what does not fit is counted, and told in its place
//! ([`SocketEvent::Missed`]).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::drops::{Drops, Told};
use super::events::SocketEvent;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{clock, Event as Wakeup, Mutex, MutexGuard};

/// How many events a monitor holds for a reader that is away. Enough for every connection of a
/// hundred-peer socket to come and go twice.
const CAPACITY: usize = 1024;

/// Room for so many events is kept when all have been read.
const KEPT: usize = 64;

/// How many octets the topics may have together that a monitor holds.
const TOPIC_OCTETS: usize = 1024 * 1024;

/// A stream of [`SocketEvent`]s of one socket, from the moment it was made. It holds up to 1024 events
/// that were not read, with at most 1 MiB of topics: below 2 MiB of memory. Where further ones would be it has
/// an event that says how many are missing ([`SocketEvent::Missed`]).
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pull, Push, SocketEvent};
///
/// let mut pull = Pull::new();
/// let mut monitor = pull.monitor();
/// let endpoint = pull.bind("tcp://127.0.0.1:*")?;
/// let push = Push::builder().connect(&endpoint)?;
/// let ready = |event: &SocketEvent| matches!(event, SocketEvent::HandshakeSucceeded { .. });
/// let event = monitor.wait_for(Duration::from_secs(10), ready).expect("a peer");
/// println!("{event}"); // #3: ready at tcp://127.0.0.1:44321, peer 127.0.0.1:39276, PUSH
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Monitor(Arc<Queue>);

/// What a [`Monitor`] tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MonitorOptions {
    subscriptions: bool,
}

impl MonitorOptions {
    /// Whether each subscription that a peer adds or removes is an event: on PUB, XPUB and RADIO. There may be
    /// very many. Default: no.
    #[must_use]
    pub fn subscriptions(mut self, told: bool) -> Self {
        self.subscriptions = told;
        self
    }
}

#[derive(Debug)]
struct Queue {
    options: MonitorOptions,
    drops: Arc<Drops>,
    state: Mutex<QueueState>,
    wakeup: Wakeup,
}

#[derive(Debug)]
struct QueueState {
    events: VecDeque<SocketEvent>,
    /// Of the topics in them.
    octets: usize,
    /// Events that were not taken since the last one that was.
    gap: u64,
    /// All that were not taken.
    missed: u64,
    told: Told,
    closed: bool,
}

impl QueueState {
    fn push(&mut self, event: SocketEvent) {
        // The gap is an event too, before the one that ends it.
        let needed = 1 + usize::from(self.gap > 0);
        let octets = self.octets + event.octets();
        if self.events.len() + needed > CAPACITY || octets > TOPIC_OCTETS {
            self.gap += 1;
            self.missed += 1;
            return;
        }
        let gap = self.take_gap();
        self.events.extend(gap);
        self.octets = octets;
        self.events.push_back(event);
    }

    fn pop(&mut self, drops: &Drops) -> Option<SocketEvent> {
        if let Some(event) = self.events.pop_front() {
            self.octets -= event.octets();
            if self.events.is_empty() && self.events.capacity() > KEPT {
                // Who fell behind once need not keep the memory.
                self.events = VecDeque::new();
            }
            return Some(event);
        }
        self.take_gap().or_else(|| {
            let (cause, count) = self.told.take(drops)?;
            Some(SocketEvent::Dropped { cause, count })
        })
    }

    fn take_gap(&mut self) -> Option<SocketEvent> {
        match std::mem::take(&mut self.gap) {
            0 => None,
            count => Some(SocketEvent::Missed { count }),
        }
    }

    /// Whether there is something to read, or nothing will ever be. If not, what comes next wakes.
    fn is_ready(&self, drops: &Drops) -> bool {
        !self.events.is_empty() || self.gap > 0 || self.told.has_more(drops) || self.closed
    }
}

impl Monitor {
    /// Takes the next event if there is one.
    #[must_use]
    pub fn try_recv(&mut self) -> Option<SocketEvent> {
        self.0.lock().pop(&self.0.drops)
    }

    /// Waits for the next event. `None` once the socket is gone (closed or dropped, and done with what it
    /// still had to send), or its context was shut down, and every event has been read.
    pub fn recv(&mut self) -> Option<SocketEvent> {
        self.recv_until(None)
    }

    /// Waits for the next event, at most this long. `None` if there was none, or the socket is closed.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<SocketEvent> {
        self.recv_until(clock::now().checked_add(timeout))
    }

    /// Waits for the next event, for a task of any executor, or of none. `None` as for [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    pub async fn recv_async(&mut self) -> Option<SocketEvent> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes the next event if there is one; otherwise the task is woken when there is.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<SocketEvent>> {
        match self.is_ready(cx.waker()) {
            true => Poll::Ready(self.try_recv()),
            false => Poll::Pending,
        }
    }

    /// Whether there is an event, or will never be one; otherwise the waker is woken when there is.
    pub(crate) fn is_ready(&mut self, waker: &Waker) -> bool {
        loop {
            if self.has_event_or_end() {
                return true;
            }
            if !self.0.wakeup.poll(waker) {
                return false;
            }
        }
    }

    pub(crate) fn has_event_or_end(&self) -> bool {
        self.0.lock().is_ready(&self.0.drops)
    }

    /// Waits, at most this long, for an event that satisfies `wanted`, and discards those before it.
    pub fn wait_for(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(&SocketEvent) -> bool,
    ) -> Option<SocketEvent> {
        let deadline = clock::now().checked_add(timeout);
        loop {
            let event = self.recv_until(deadline)?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }

    /// Events that are missing so far because this monitor was not read for too long: the sum of all
    /// [`SocketEvent::Missed`], those included that are still to be read.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.0.lock().missed
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Option<SocketEvent> {
        loop {
            {
                let mut state = self.0.lock();
                if state.is_ready(&self.0.drops) {
                    return state.pop(&self.0.drops);
                }
            }
            if !self.0.wakeup.wait(deadline) {
                return self.try_recv();
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        crate::sync::lock(&self.state)
    }
}

/// Where the I/O threads report to; one per socket.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    queues: Mutex<Vec<Weak<Queue>>>,
    /// Some monitor wants to hear of subscriptions.
    subscriptions: AtomicBool,
    /// Nobody is to wait for events any more.
    ended: AtomicBool,
}

impl Monitors {
    pub(super) fn subscribe(&self, options: MonitorOptions, drops: &Arc<Drops>) -> Monitor {
        let queue = Arc::new(Queue {
            options,
            drops: Arc::clone(drops),
            state: Mutex::new(QueueState {
                events: VecDeque::new(),
                octets: 0,
                gap: 0,
                missed: 0,
                told: Told::by_now(drops),
                closed: false,
            }),
            wakeup: Wakeup::new(),
        });
        let mut queues = crate::sync::lock(&self.queues);
        queue.lock().closed = self.ended.load(Ordering::Acquire);
        // One that is made again and again leaves nothing behind.
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        if options.subscriptions {
            self.subscriptions.store(true, Ordering::Relaxed);
        }
        Monitor(queue)
    }

    /// Reports an event; built only if somebody listens.
    pub(super) fn report(&self, event: impl FnOnce() -> SocketEvent) {
        self.report_if(|_| true, event);
    }

    /// Whether anybody wants to hear of subscriptions.
    pub(super) fn want_subscriptions(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(super) fn report_subscription(&self, event: impl FnOnce() -> SocketEvent) {
        if !self.report_if(|options| options.subscriptions, event) {
            let queues = crate::sync::lock(&self.queues);
            // Looked at again: one may have come meanwhile.
            let mut living = queues.iter().filter_map(Weak::upgrade);
            if !living.any(|queue| queue.options.subscriptions) {
                self.subscriptions.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Reports to those who want it, if there are any.
    fn report_if(
        &self,
        wanted: impl Fn(MonitorOptions) -> bool,
        event: impl FnOnce() -> SocketEvent,
    ) -> bool {
        let mut queues = crate::sync::lock(&self.queues);
        if queues.is_empty() {
            return false;
        }
        queues.retain(|queue| queue.strong_count() > 0);
        let mut living = living(&queues);
        living.retain(|queue| wanted(queue.options));
        if living.is_empty() {
            return false;
        }
        let event = event();
        for queue in &living {
            queue.lock().push(event.clone());
        }
        // Without the lock: who is woken may be a task that makes another monitor.
        drop(queues);
        wake(living);
        true
    }

    /// Those who have read everything are told that this is the end.
    pub(super) fn end(&self) {
        let queues = crate::sync::lock(&self.queues);
        self.ended.store(true, Ordering::Release);
        let living = living(&queues);
        drop(queues);
        living.iter().for_each(|queue| queue.lock().closed = true);
        wake(living);
    }

    /// Something has changed that monitors find out themselves.
    pub(super) fn wake(&self) {
        let living = living(&crate::sync::lock(&self.queues));
        wake(living);
    }
}

impl Drop for Monitors {
    fn drop(&mut self) {
        self.end();
    }
}

fn living(queues: &[Weak<Queue>]) -> Vec<Arc<Queue>> {
    queues.iter().filter_map(Weak::upgrade).collect()
}

fn wake(queues: Vec<Arc<Queue>>) {
    queues.iter().for_each(|queue| queue.wakeup.notify());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::drops::DropCause;
    use super::super::events::{ConnectionId, Subscription};
    use super::*;

    fn event(n: u64) -> SocketEvent {
        topic_event(n, 0)
    }

    fn topic_event(n: u64, octets: usize) -> SocketEvent {
        SocketEvent::SubscriptionAdded(Subscription {
            connection: ConnectionId(n),
            endpoint: "inproc://a".parse().unwrap(),
            peer: String::new(),
            routing_id: None,
            topic: Bytes::from(vec![0; octets]),
        })
    }

    #[test]
    fn a_gap_is_seen_where_it_is() {
        let (monitors, drops) = (Monitors::default(), Arc::default());
        let mut monitor = monitors.subscribe(MonitorOptions::default(), &drops);
        let all = CAPACITY as u64;
        (0..all + 5).for_each(|n| monitors.report(|| event(n)));
        assert_eq!(monitor.try_recv(), Some(event(0)));
        // Room for one: not for the gap and what ends it.
        monitors.report(|| event(all + 5));
        assert_eq!(monitor.try_recv(), Some(event(1)));
        monitors.report(|| event(all + 6));
        (2..all).for_each(|n| assert_eq!(monitor.try_recv(), Some(event(n))));
        assert_eq!(monitor.try_recv(), Some(SocketEvent::Missed { count: 6 }));
        assert_eq!(monitor.try_recv(), Some(event(all + 6)));
        assert_eq!(monitor.try_recv(), None);
        assert_eq!(monitor.missed(), 6);
        // Also if nothing comes after it.
        (0..all + 1).for_each(|n| monitors.report(|| event(n)));
        (0..all).for_each(|n| assert_eq!(monitor.try_recv(), Some(event(n))));
        assert_eq!(monitor.try_recv(), Some(SocketEvent::Missed { count: 1 }));
        assert_eq!(monitor.try_recv(), None);
    }

    #[test]
    fn topics_are_bounded_in_octets() {
        let (monitors, drops) = (Monitors::default(), Arc::default());
        let options = MonitorOptions::default().subscriptions(true);
        let mut monitor = monitors.subscribe(options, &drops);
        for n in 0..20 {
            monitors.report_subscription(|| topic_event(n, 100_000));
        }
        (0..10).for_each(|n| assert_eq!(monitor.try_recv(), Some(topic_event(n, 100_000))));
        assert_eq!(monitor.try_recv(), Some(SocketEvent::Missed { count: 10 }));
        monitors.report_subscription(|| topic_event(20, TOPIC_OCTETS));
        assert_eq!(monitor.try_recv(), Some(topic_event(20, TOPIC_OCTETS)));
    }

    #[test]
    fn subscriptions_are_told_to_who_asks_for_as_long_as_there_is_one() {
        let (monitors, drops) = (Monitors::default(), Arc::default());
        let mut plain = monitors.subscribe(MonitorOptions::default(), &drops);
        assert!(!monitors.want_subscriptions());
        let options = MonitorOptions::default().subscriptions(true);
        let mut asking = monitors.subscribe(options, &drops);
        assert!(monitors.want_subscriptions());
        monitors.report_subscription(|| event(1));
        assert_eq!(asking.try_recv(), Some(event(1)));
        assert_eq!(plain.try_recv(), None);
        drop(asking);
        monitors.report_subscription(|| unreachable!("nobody wants it"));
        assert!(!monitors.want_subscriptions());
    }

    #[test]
    fn a_sleeping_reader_is_woken_by_a_drop() {
        let (monitors, drops) = (Arc::new(Monitors::default()), Arc::<Drops>::default());
        let mut monitor = monitors.subscribe(MonitorOptions::default(), &drops);
        let (dropper, counts) = (Arc::clone(&monitors), Arc::clone(&drops));
        let thread = std::thread::spawn(move || {
            for _ in 0..10_000 {
                if counts.add(DropCause::Full, 3) {
                    dropper.wake();
                }
            }
        });
        let mut sum = 0;
        while sum < 30_000 {
            match monitor.recv_timeout(Duration::from_secs(60)) {
                Some(SocketEvent::Dropped { count, .. }) => sum += count,
                other => panic!("{other:?} after {sum}"),
            }
        }
        thread.join().unwrap();
        assert_eq!(monitor.try_recv(), None);
        // The end is told although somebody slept before.
        drop(monitors);
        assert_eq!(monitor.recv(), None);
    }
}
