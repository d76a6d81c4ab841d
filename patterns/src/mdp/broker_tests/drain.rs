//! MDP-13: how long a broker may take to end.

use super::*;

const LINGER: Duration = Duration::from_secs(8);

fn draining(linger: Duration) -> Bench {
    let mut bench = Bench::new(BrokerConfig {
        linger,
        policy: ServicePolicy {
            lease: Lease::None,
            ..ServicePolicy::default()
        },
        ..config()
    });
    bench.ready("w", "echo");
    bench.slots_ready("v", "two", 2);
    bench.ext_call("c", "echo", Ext::default(), "1");
    bench.ext_call("d", "two", Ext::default(), "2");
    bench.call("e", "two", "3");
    assert_eq!(bench.log().len(), 3);
    bench.broker.handle_drain(bench.now);
    assert_eq!(bench.log(), [""; 0], "all are at work");
    bench
}

/// Workers that never finish, and one that does with one of two: when a second is left all else is given up, and everybody is
/// told.
#[test]
fn what_is_not_finished_in_time_is_given_up() {
    let mut bench = draining(LINGER);
    let begin = bench.now;
    let last = Duration::from_secs(1);
    bench.pass(LINGER - last - Duration::from_nanos(1));
    assert_eq!(bench.broker.poll_event(), None);
    // To be told again changes nothing.
    bench.broker.handle_drain(bench.now);
    bench.log();
    bench.broker.handle_timeout(begin + LINGER - last);
    for client in ["c", "d"] {
        let (status, ext) = bench.declined(client);
        assert_eq!(status, Status::Failed, "it may have been done");
        assert!(ext.reason.unwrap().contains("ended"));
    }
    // 7/MDP has no word for it.
    assert_eq!(bench.log(), ["v:disconnect", "w:disconnect"]);
    let events: Vec<_> = std::iter::from_fn(|| bench.broker.poll_event()).collect();
    let dead = |event: &&BrokerEvent| {
        matches!(
            event,
            BrokerEvent::Dead {
                reason: DeadReason::Ended,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(dead).count(), 3);
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events.last(), Some(&BrokerEvent::Drained));
    let counters = bench.broker.counters();
    assert_eq!((counters.dead, counters.silent), (3, 1));
    assert_eq!(
        (bench.broker.bytes(), bench.broker.poll_timeout()),
        (0, None)
    );
    // What comes too late is nobody's.
    bench.reply("w", "c", "y");
    assert_eq!(bench.log(), [""; 0]);
}

/// What nobody waits for is not dead when there is no more time for it, but what may be asked for again is.
#[test]
fn what_its_client_has_left_is_forgotten() {
    let mut bench = Bench::new(BrokerConfig {
        linger: LINGER,
        cache: Some(CacheConfig::default()),
        policy: ServicePolicy {
            lease: Lease::None,
            ..ServicePolicy::default()
        },
        ..config()
    });
    let keyed = Ext {
        id: Some(MsgId([7; 16])),
        idem: Some(ExtIdem::Key),
        ..Ext::default()
    };
    bench.slots_ready("w", "echo", 3);
    bench.ext_call("c", "echo", Ext::default(), "1");
    bench.ext_call("c", "echo", keyed, "2");
    bench.ext_call("d", "echo", Ext::default(), "3");
    bench.log();
    bench.down("c");
    bench.broker.handle_drain(bench.now);
    bench.log();
    bench.broker.handle_timeout(bench.now + LINGER);
    assert_eq!(bench.declined("d").0, Status::Failed);
    assert_eq!(bench.log(), ["w:disconnect"]);
    let events: Vec<_> = std::iter::from_fn(|| bench.broker.poll_event()).collect();
    let dead = events.iter().filter_map(|event| match event {
        BrokerEvent::Dead { body, .. } => Some(body.as_bytes().to_vec()),
        _ => None,
    });
    assert_eq!(dead.collect::<Vec<_>>(), [b"2", b"3"]);
    assert_eq!(events.last(), Some(&BrokerEvent::Drained));
    let counters = bench.broker.counters();
    assert_eq!((counters.dead, counters.cancelled), (2, 2));
    assert_eq!(bench.broker.bytes(), 0);
}

/// Who does not take what it is told keeps nobody: the broker ends in time to close its socket.
#[test]
fn who_takes_nothing_is_not_waited_for() {
    let mut bench = draining(LINGER);
    let begin = bench.now;
    let mut drained = None;
    while let Some(next) = bench.broker.poll_timeout() {
        assert!(next <= begin + LINGER, "nothing is due after that");
        bench.now = bench.now.max(next);
        bench.broker.handle_timeout(bench.now);
        while let Some(transmit) = bench.broker.poll_transmit() {
            if transmit.to == Some("c".into()) {
                bench.broker.handle_full(bench.now, transmit);
            }
        }
        bench.broker.handle_timeout(bench.now);
        let mut events = std::iter::from_fn(|| bench.broker.poll_event());
        if events.any(|event| event == BrokerEvent::Drained) {
            drained = Some(bench.now - begin);
            break;
        }
    }
    assert_eq!(drained, Some(LINGER - Duration::from_millis(250)));
}

/// A quarter of a short time is for telling, and of none nothing.
#[test]
fn short_times_are_kept_to() {
    for linger in [Duration::ZERO, Duration::from_millis(100)] {
        let mut bench = draining(linger);
        bench.broker.handle_timeout(bench.now + linger * 3 / 4);
        assert_eq!(bench.log().len(), 4);
        bench.broker.handle_timeout(bench.now + linger);
        let drained = std::iter::from_fn(|| bench.broker.poll_event())
            .any(|event| event == BrokerEvent::Drained);
        assert!(drained, "{linger:?}");
    }
}
