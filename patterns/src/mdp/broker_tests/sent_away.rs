//! Workers that the application of the broker sends away.

use super::*;

#[test]
fn a_worker_is_sent_away_and_others_have_what_it_had() {
    let mut bench = Bench::new(config());
    bench.slots_ready("v", "echo", 2);
    bench.call("c", "echo", "1");
    bench.call("c", "echo", "2");
    let once = Ext {
        idem: Some(ExtIdem::Once),
        ..Ext::default()
    };
    bench.ready("u", "other");
    bench.ext_call("d", "other", once, "once");
    assert_eq!(bench.log().len(), 3);
    let workers = |bench: &Bench, service| {
        let workers = bench.broker.workers(service).into_iter();
        let told = workers.map(|w| (w.worker, w.slots, w.in_flight, w.ext));
        told.collect::<Vec<_>>()
    };
    assert_eq!(workers(&bench, "echo"), [("v".into(), 2, 2, true)]);
    assert_eq!(workers(&bench, "other"), [("u".into(), 1, 1, false)]);
    assert!(bench.broker.handle_disconnect(bench.now, &"v".into()));
    assert_eq!(bench.log(), ["v:disconnect"]);
    assert_eq!(bench.stats(), (2, 0, 0));
    // What crossed it is not listened to, and it is not there to be sent away again.
    bench.heartbeat("v");
    bench.slots_ready("v", "echo", 2);
    assert!(!bench.broker.handle_disconnect(bench.now, &"v".into()));
    assert_eq!((bench.log(), bench.stats()), (Vec::new(), (2, 0, 0)));
    // In order, and before what waits.
    bench.call("c", "echo", "3");
    bench.slots_ready("w", "echo", 3);
    assert_eq!(bench.log(), ["w:request 1", "w:request 2", "w:request 3"]);
    bench.down("v");
    bench.ready("v", "echo");
    assert_eq!(workers(&bench, "echo").len(), 2, "by a new connection");
    // What may be sent only once is dead.
    assert!(bench.broker.handle_disconnect(bench.now, &"u".into()));
    assert_eq!(bench.sent().unwrap().0, "u");
    assert_eq!(bench.declined("d").0, Status::Failed);
    let counters = bench.broker.counters();
    assert_eq!((counters.disconnected, counters.banned), (2, 0));
}

/// While the broker drains, nobody is left to do what a worker had that is sent away.
#[test]
fn a_worker_is_sent_away_while_the_broker_drains() {
    let mut bench = Bench::with("draining");
    assert!(bench.broker.handle_disconnect(bench.now, &"w".into()));
    assert_eq!(bench.log(), ["w:disconnect"]);
    assert_eq!(bench.broker.poll_event(), Some(BrokerEvent::Drained));
}
