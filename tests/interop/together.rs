//! Several foreign peers at one socket at the same time: 100 000 messages each, in order per peer.

use std::collections::HashMap;

use sinew::{Pub, Pull};

use crate::exchange::{check, publish_all};
use crate::libzmq::Libzmq;
use crate::peer::{watched, Kind, Peer, Role, WATCHDOG};
use crate::pyzmq::Pyzmq;
use crate::traffic::{Traffic, KEPT};

const EACH: u64 = 100_000;

#[test]
fn pushers_of_both_libraries_are_each_received_in_order() {
    watched(|| {
        let mut pull = Pull::new();
        let tcp = pull.bind("tcp://127.0.0.1:*").unwrap();
        let ipc = pull.bind("ipc://*").unwrap();
        let role =
            |endpoint, seed, tag| Role::connecting(Kind::Push, endpoint, seed, EACH).tagged(tag);
        let one = Libzmq::start(&role(&tcp, 1, "one"));
        let two = Libzmq::start(&role(&ipc, 2, "two"));
        let three = Pyzmq::start(&role(&tcp, 3, "three"));
        let mut next = HashMap::from([("one", (1, 0)), ("two", (2, 0)), ("three", (3, 0))]);
        for _ in 0..3 * EACH {
            let mut message = pull.recv_timeout(WATCHDOG).unwrap();
            let tag = message.pop_front().expect("a tag and more");
            let tag = std::str::from_utf8(&tag).unwrap();
            let (seed, n) = next.get_mut(tag).unwrap();
            check(Traffic::new(*seed), *n, &message);
            *n += 1;
        }
        for mut peer in [one, two] {
            peer.done();
            peer.close();
        }
        let mut three = three;
        three.done();
        three.close();
    });
}

#[test]
fn subscribers_of_both_libraries_receive_everything() {
    watched(|| {
        let mut publisher = Pub::builder().no_drop(true).build().unwrap();
        let tcp = publisher.bind("tcp://127.0.0.1:*").unwrap();
        let ipc = publisher.bind("ipc://*").unwrap();
        let mut one = Libzmq::start(&Role::connecting(Kind::Sub, &tcp, 1, EACH));
        let mut two = Libzmq::start(&Role::connecting(Kind::Sub, &ipc, 1, EACH));
        let mut three = Pyzmq::start(&Role::connecting(Kind::Sub, &tcp, 1, EACH));
        publisher
            .wait_for_subscribers_of(KEPT, 3, WATCHDOG)
            .unwrap();
        let sent = publish_all(Traffic::new(1), 0..EACH, |m| publisher.send(m).unwrap());
        assert_eq!(publisher.close().unsent, 0);
        assert_eq!([one.done(), two.done(), three.done()], [sent.value(); 3]);
        one.close();
        two.close();
        three.close();
    });
}
