//! Brokers die, and others take over.

use super::*;
use crate::common::Backoff;

/// MDP-04: one of two brokers dies for good. Workers and calls move to the other.
#[test]
fn a_broker_dies_and_the_other_takes_over() {
    schedules(500, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 2,
                ext: true,
                begin: Duration::from_secs(5),
                patience: Duration::from_secs(10),
                ..plan(seed)
            },
        );
        let dead = town.brokers[(seed % 2) as usize];
        town.sim
            .fault_at(Duration::from_millis(500), Fault::Kill(dead));
        let trace = town.settle(Duration::from_secs(60));
        let world = town.world.borrow();
        let good = world.good();
        assert_eq!(good, 60, "{:?}", world.results);
        trace
    });
}

/// MDP-04: of the calls that run while one of two brokers dies, or are made just after it, 99 in 100 take no longer than
/// 99 in 100 of the others, and two heartbeats.
#[test]
fn a_broker_that_dies_costs_no_more_than_two_heartbeats() {
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for seed in 0..300 {
        let mut town = build(
            seed,
            &Plan {
                brokers: 2,
                ext: true,
                begin: Duration::from_secs(2),
                patience: Duration::from_secs(10),
                ..plan(seed)
            },
        );
        let dead = town.brokers[(seed % 2) as usize];
        // When half of the calls have been made.
        let span = Duration::from_millis(3500);
        town.sim.fault_at(span, Fault::Kill(dead));
        let kill = town.sim.start() + span;
        town.settle(Duration::from_secs(60));
        for (begun, took) in &town.world.borrow().took {
            if *begun + *took < kill {
                before.push(*took);
            } else if *begun < kill + HEARTBEAT.interval {
                during.push(*took);
            }
        }
    }
    let p99 = |took: &mut Vec<Duration>| {
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    assert!(before.len() > 1000 && during.len() > 500);
    let (before, during) = (p99(&mut before), p99(&mut during));
    assert!(
        during <= before + HEARTBEAT.interval * 2,
        "{during:?} while a broker dies, {before:?} before it"
    );
}

/// MDP-03: the workers of a broker that is killed, or frozen, are all back with it as long after it is back as they wait for
/// heartbeats, and pause before they connect again.
#[test]
fn workers_are_back_in_time() {
    let pauses = Backoff::default();
    for (harm, cure, outage, pause) in [
        // Two pauses were made by then at most.
        (
            Fault::Kill as fn(NodeId) -> Fault,
            Fault::Restart as fn(NodeId) -> Fault,
            HEARTBEAT.patience(),
            pauses.base * 4,
        ),
        (
            Fault::Kill,
            Fault::Restart,
            HEARTBEAT.patience() * 10,
            pauses.max,
        ),
        (
            Fault::Freeze,
            Fault::Thaw,
            HEARTBEAT.patience() * 10,
            pauses.max,
        ),
    ] {
        schedules(50, |seed| {
            let mut town = build(seed, &calm(seed));
            let broker = town.brokers[0];
            let services = ["echo", "other"];
            let at = Duration::from_secs(2);
            let back = at + outage;
            town.sim.fault_at(at, harm(broker));
            town.sim.fault_at(back, cure(broker));
            let moment = Duration::from_millis(1);
            let (all, _) = town.offered(services, at - moment);
            assert_eq!(all[0], Some(5), "seed {seed}");
            let (left, _) = town.offered(services, back + moment);
            assert_ne!(left, all, "seed {seed}: it lost some");
            let back_at = back + HEARTBEAT.patience() + pause;
            let (again, trace) = town.offered(services, back_at);
            assert_eq!(again, all, "seed {seed}");
            trace
        });
    }
}
