//! Events that nobody reads, or not as fast as they come: memory is bounded, and nobody is held up.

use sinew::{Monitor, MonitorOptions, Pub, SocketEvent, Sub};

use crate::heap::{live, peak_of};
use crate::isolated::isolated;
use crate::raw::{command, Raw};
use crate::stage::TRANSPORTS;
use crate::WATCHDOG;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What the documentation of [`Monitor`] promises.
const BOUND: usize = 2 * MIB;

/// What goes through a connection, whoever hears of it: buffers, and the one subscription there is at a time.
const TRAFFIC: usize = 256 * KIB;

const EVENTS: usize = 100_000;

/// How many come at once.
const BURST: usize = 50;

/// A subscriber comes and goes with a topic of so many octets, which makes events, of which a monitor reads so many per
/// burst. How much memory that took at the most.
fn storm(topic: usize, reads: usize) -> usize {
    let mut publisher = Pub::builder().bind(TRANSPORTS[0]).unwrap();
    let endpoint = publisher.bound_endpoints()[0].clone();
    let mut monitor = publisher.monitor_with(MonitorOptions::default().subscriptions(true));
    let mut good = Sub::builder().connect(&endpoint).unwrap();
    good.subscribe("good").unwrap();
    publisher.wait_for_subscribers(1, WATCHDOG).unwrap();
    // Which is told when the subscription has effect, perhaps later than the next does.
    let is_good = |event: &SocketEvent| matches!(event, SocketEvent::SubscriptionAdded(of) if of.topic == "good");
    monitor.wait_for(WATCHDOG, is_good).unwrap();
    let mut raw = Raw::shake_hands(&endpoint, "SUB");
    let topic = vec![7; topic];
    let both = [command("SUBSCRIBE", &topic), command("CANCEL", &topic)].concat();
    // Once before it counts, so that what a connection needs is there.
    raw.send(&both);
    raw.settle();
    while monitor.try_recv().is_some() {}
    let mut seen = 0;
    let burst = both.repeat(BURST / 2);
    let (grown, ()) = peak_of(|| {
        for _ in 0..EVENTS / BURST {
            raw.send(&burst);
            for _ in 0..reads {
                seen += count(monitor.try_recv());
            }
        }
        // It has been read to the end, and others are served as if nothing were.
        raw.settle();
    });
    publisher.send("good news").unwrap();
    good.recv_timeout(WATCHDOG).unwrap();
    let left = live();
    seen += drain(&mut monitor);
    let freed = left.saturating_sub(live());
    println!(
        "{} KiB at the most, {} KiB of them by reading",
        grown / KIB,
        freed / KIB
    );
    // Each is told, or counted in the place of those that are missing.
    assert!(monitor.missed() > 0);
    assert_eq!(seen, EVENTS as u64);
    grown
}

fn count(event: Option<SocketEvent>) -> u64 {
    match event {
        Some(SocketEvent::Missed { count }) => count,
        Some(SocketEvent::SubscriptionAdded(_) | SocketEvent::SubscriptionRemoved(_)) => 1,
        None => 0,
        Some(other) => panic!("{other}"),
    }
}

fn drain(monitor: &mut Monitor) -> u64 {
    std::iter::from_fn(|| monitor.try_recv())
        .map(|event| count(Some(event)))
        .sum()
}

#[test]
fn a_monitor_that_is_not_read_costs_bounded_memory() {
    isolated(
        "monitors::a_monitor_that_is_not_read_costs_bounded_memory",
        || {
            for topic in [1, 1000] {
                let grown = storm(topic, 0);
                assert!(grown < BOUND + TRAFFIC, "{grown} octets");
            }
        },
    );
}

#[test]
fn a_monitor_that_is_read_slowly_costs_bounded_memory() {
    isolated(
        "monitors::a_monitor_that_is_read_slowly_costs_bounded_memory",
        || {
            for topic in [1, 1000] {
                let grown = storm(topic, 5);
                assert!(grown < BOUND + TRAFFIC, "{grown} octets");
            }
        },
    );
}
