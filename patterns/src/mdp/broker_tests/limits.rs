//! What is bounded, who is let in and shares, and how many requests a worker has at once.

use super::*;
use crate::common::FRAME_COST;

/// MDP-05 and MDP-08, in small.
#[test]
fn everything_is_bounded() {
    let mut config = config();
    config.policy.queue = Limits {
        messages: 2,
        ..Limits::default()
    };
    config.limits.services = 10;
    config.limits.clients = 3;
    config.limits.workers = 5;
    let mut bench = Bench::new(config);
    for turn in 0..100_000 {
        bench.call("c", &format!("service {turn}"), "x");
    }
    assert_eq!(bench.broker.services().count(), 10);
    assert_eq!(bench.broker.counters().rejected, 100_000 - 10);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.broker.services().count(), 0);
    assert_eq!(bench.broker.bytes(), 0);
    for turn in 0..3 {
        bench.ext_call("c", "echo", Ext::default(), &turn.to_string());
    }
    let (status, ext) = bench.declined("c");
    assert_eq!(
        (status, ext.retry_after),
        (Status::Rejected, Some(Duration::from_millis(100)))
    );
    for client in ["d", "e", "f"] {
        bench.ext_call(client, "other", Ext::default(), "x");
    }
    assert_eq!(bench.declined("f").0, Status::Rejected, "a fourth client");
    for worker in 0..6 {
        bench.ready(&format!("w{worker}"), "third");
    }
    assert_eq!(bench.broker.service("third").unwrap().workers, 5);
}

/// A broker with so many services at most, of which a worker offers one.
fn few_services(services: usize) -> Bench {
    let mut config = config();
    config.limits.services = services;
    let mut bench = Bench::new(config);
    bench.ready("w", "echo");
    bench
}

/// MDP-08: who asks for names of its own invention keeps neither workers out nor what others wait for.
#[test]
fn services_that_are_only_asked_for_give_way() {
    let mut bench = few_services(5);
    bench.ext_call("modest", "soon", Ext::default(), "x");
    for turn in 0..10 {
        bench.ext_call("greedy", &format!("invented {turn}"), Ext::default(), "x");
    }
    assert_eq!(bench.broker.services().count(), 5);
    for _ in 3..10 {
        assert_eq!(bench.declined("greedy").0, Status::Rejected);
    }
    // Three of its names are left; two give way to a worker, and its client hears of it.
    for worker in ["another", "yet another"] {
        bench.ready(worker, worker);
        assert_eq!(bench.declined("greedy").0, Status::Rejected);
        assert_eq!(bench.broker.service(worker).unwrap().workers, 1);
    }
    assert_eq!(bench.broker.service("soon").unwrap().ready, 1);
    for worker in ["last but one", "last"] {
        bench.ready(worker, worker);
    }
    assert!(bench.broker.service("soon").is_none());
    assert_eq!(bench.log().len(), 2);
    // What is offered does not give way.
    bench.ready("fifth", "fifth");
    assert_eq!(bench.log(), ["fifth:disconnect"]);
    let counters = bench.broker.counters();
    assert_eq!((counters.rejected, counters.banned), (11, 1));
    assert_eq!(bench.broker.bytes(), 0);
}

/// What has lost its worker is not only asked for.
#[test]
fn services_that_lost_their_workers_do_not_give_way() {
    let mut bench = few_services(1);
    bench.ext_call("c", "echo", Ext::default(), "x");
    bench.down("w");
    bench.ready("other", "other");
    assert!(bench.broker.service("other").is_none());
    assert_eq!(bench.broker.service("echo").unwrap().ready, 1);
}

/// A policy that is set while the service has workers and requests.
#[test]
fn bounds_that_change() {
    let mut bench = Bench::with("busy");
    let policy = |messages| ServicePolicy {
        queue: Limits {
            messages,
            ..Limits::default()
        },
        ..config().policy
    };
    bench.ext_call("d", "echo", Ext::default(), "1");
    bench.broker.set_policy("echo", policy(1));
    bench.ext_call("d", "echo", Ext::default(), "2");
    assert_eq!(bench.declined("d").0, Status::Rejected);
    bench.broker.set_policy("echo", policy(2));
    bench.ext_call("d", "echo", Ext::default(), "3");
    assert_eq!(bench.stats(), (2, 1, 1));
}

#[test]
fn octets_are_bounded_over_all_services() {
    let mut config = config();
    config.limits.bytes = 10 * (100 + FRAME_COST);
    let mut bench = Bench::new(config);
    for service in 0..20 {
        bench.ext_call("c", &service.to_string(), Ext::default(), &"x".repeat(100));
    }
    assert_eq!(bench.broker.bytes(), 10 * (100 + FRAME_COST));
    assert_eq!(bench.broker.counters().rejected, 10);
}

/// They take memory, too.
#[test]
fn empty_frames_are_bounded_over_all_services() {
    let mut config = config();
    config.limits.bytes = 100 * FRAME_COST;
    let mut bench = Bench::new(config);
    for client in ["a", "b", "c", "d", "e"] {
        let body = vec![Frame::from(""); 30];
        bench.from(client, wire::encode_call(V1, &"echo".into(), body));
    }
    assert_eq!(bench.broker.bytes(), 90 * FRAME_COST);
    assert_eq!(bench.broker.counters().rejected, 2);
}

/// MDP-14.
#[test]
fn who_may_do_what() {
    let mut bench = Bench::new(config());
    bench
        .broker
        .set_authorizer(|who: &PeerId, verb: Verb, service: &[u8]| match verb {
            Verb::Offer => who.as_bytes() == b"trusted",
            _ => service != b"secret",
        });
    bench.ready("stranger", "echo");
    assert_eq!(bench.log(), ["stranger:disconnect"]);
    bench.ready("trusted", "echo");
    bench.ext_call("c", "secret", Ext::default(), "x");
    assert_eq!(bench.declined("c").0, Status::Failed);
    bench.call("c", "secret", "x");
    bench.call("c", "echo", "x");
    assert_eq!(bench.log(), ["trusted:request x"]);
    assert_eq!(bench.broker.counters().denied, 3);
}

#[test]
fn clients_share_and_urgency_counts() {
    let mut bench = Bench::new(config());
    for body in ["1", "2", "3"] {
        bench.call("greedy", "echo", body);
    }
    bench.call("modest", "echo", "4");
    let urgent = Ext {
        priority: Some(7),
        ..Ext::default()
    };
    bench.ext_call("greedy", "echo", urgent, "5");
    bench.ready("w", "echo");
    let mut order = Vec::new();
    while let Some((to, frames)) = bench.sent() {
        if to == "w" {
            order.push(String::from_utf8_lossy(frames.last().unwrap()).into_owned());
            let client = frames[3].clone();
            bench.from("w", wire::encode_reply(V1, &client, vec!["y".into()], true));
        }
    }
    assert_eq!(order, ["5", "1", "4", "2", "3"]);
}

/// One client asks, so only the number of the delivery tells its requests apart.
#[test]
fn a_worker_with_slots_has_several_requests_and_answers_in_any_order() {
    let mut bench = Bench::new(config());
    bench.slots_ready("w", "echo", 2);
    assert_eq!(bench.stats(), (0, 0, 2), "a slot counts as a worker");
    for body in ["a", "b", "c"] {
        bench.call("c", "echo", body);
    }
    let (first, second) = (bench.given("w"), bench.given("w"));
    assert!(first.1 == "a" && second.1 == "b");
    assert_eq!(bench.stats(), (1, 2, 2));
    bench.slot_reply("w", &second.0, "B");
    assert_eq!(bench.log(), ["c:reply B", "w:request c"]);
    bench.slot_reply("w", &first.0, "A");
    assert_eq!(bench.log(), ["c:reply A"]);
    assert_eq!(bench.stats(), (0, 1, 2));
    // What it does not have is not for it to answer.
    bench.slot_reply("w", &first.0, "again");
    assert_eq!(bench.log(), ["w:disconnect"]);
    assert_eq!(bench.stats(), (1, 0, 0), "its request waits again");
    assert_eq!(bench.broker.counters().banned, 1);
}

#[test]
fn a_lease_that_ends_takes_one_slot_and_the_late_reply_gives_it_back() {
    let mut bench = Bench::new(config());
    bench.slots_ready("w", "echo", 2);
    bench.call("c", "echo", "slow");
    let (slow, _) = bench.given("w");
    bench.pass(BEAT * 51);
    assert_eq!(bench.recalled("w").0, slow);
    // It is given to the other slot, under another number.
    let (again, body) = bench.given("w");
    assert_eq!(body, "slow");
    assert_ne!(slow, again);
    bench.call("d", "echo", "waits");
    assert_eq!(bench.stats(), (1, 1, 2));
    bench.slot_reply("w", &slow, "late");
    assert_eq!(bench.log(), ["w:request waits"], "nobody gets the late one");
    bench.slot_reply("w", &again, "done");
    assert_eq!(bench.log(), ["c:reply done"]);
    assert_eq!(bench.broker.counters().stale_replies, 1);
}

#[test]
fn a_lost_worker_with_slots_loses_all_it_has_and_slots_are_bounded() {
    let mut bench = Bench::new(BrokerConfig {
        limits: BrokerLimits {
            workers: 3,
            ..BrokerLimits::default()
        },
        ..config()
    });
    bench.slots_ready("w", "echo", 2);
    bench.slots_ready("v", "echo", u32::MAX);
    assert_eq!(bench.stats(), (0, 0, 3), "as many as there is room for");
    bench.slots_ready("u", "echo", 1);
    assert_eq!(bench.log(), ["u:disconnect"]);
    bench.down("v");
    for body in ["a", "b", "c"] {
        bench.call("c", "echo", body);
    }
    assert_eq!(bench.log(), ["w:request a", "w:request b"]);
    bench.down("w");
    assert_eq!(bench.stats(), (3, 0, 0));
    bench.slots_ready("t", "echo", 3);
    let order = ["t:request a", "t:request b", "t:request c"];
    assert_eq!(
        bench.log(),
        order,
        "what was given out first is first again"
    );
    // While it closes, a worker is sent away with its last reply.
    bench.broker.handle_drain(bench.now);
    assert_eq!(bench.log(), [""; 0]);
}

/// With the first of them the service could be forgotten, and the others with it.
#[test]
fn requests_that_nobody_waits_for_go_with_their_worker() {
    let mut bench = Bench::new(config());
    bench.slots_ready("w", "echo", 3);
    for body in ["a", "b", "c"] {
        bench.call("c", "echo", body);
    }
    bench.down("c");
    assert_eq!(bench.stats(), (0, 3, 3));
    bench.down("w");
    assert_eq!(bench.broker.bytes(), 0);
    assert_eq!(bench.broker.service("echo"), None);
}

/// A broker reads on whatever its queues hold: the replies that make room come through the same socket.
#[test]
fn who_finds_no_room_at_a_broker_does_not_wait_for_it() {
    let mut small = config();
    small.policy.queue = Limits {
        messages: 1,
        on_full: OnFull::Wait,
        ..Limits::default()
    };
    let mut bench = Bench::new(small);
    bench.broker.set_policy("other", small.policy);
    for service in ["echo", "other"] {
        bench.call("c", service, "first");
        bench.ext_call("d", service, Ext::default(), "second");
        assert_eq!(bench.declined("d").0, Status::Rejected);
        bench.broker.set_policy(service, small.policy);
        bench.ext_call("d", service, Ext::default(), "third");
        assert_eq!(bench.declined("d").0, Status::Rejected);
        assert!(bench.broker.takes_messages(Port(0)));
    }
    assert_eq!(bench.stats(), (1, 0, 0));
    assert_eq!(bench.broker.counters().rejected, 4);
}

#[test]
fn the_newest_is_dropped_without_a_word_if_so_configured() {
    let mut small = config();
    small.policy.queue = Limits {
        messages: 1,
        on_full: OnFull::DropNewest,
        ..Limits::default()
    };
    let mut bench = Bench::new(small);
    let keyed = || Ext {
        id: Some(MsgId([9; 16])),
        idem: Some(ExtIdem::Key),
        ..Ext::default()
    };
    bench.ext_call("c", "echo", Ext::default(), "first");
    bench.ext_call("d", "echo", keyed(), "second");
    assert_eq!(bench.sent(), None);
    let counters = bench.broker.counters();
    assert_eq!((counters.rejected, counters.silent), (1, 1));
    // There is room again, and its key is not taken for one that is being carried out.
    bench.ready("w", "echo");
    assert_eq!(bench.given("w").1, "first");
    bench.ext_call("d", "echo", keyed(), "second");
    assert_eq!(bench.sent(), None);
    bench.reply("w", "c", "done");
    let told = [bench.sent().unwrap().0, bench.sent().unwrap().0];
    assert_eq!(told, ["c", "w"]);
    let counters = bench.broker.counters();
    assert_eq!((counters.rejected, counters.dups), (1, 0));
}

/// One worker that says it takes all there are leaves room for others.
#[test]
fn one_worker_has_so_many_slots_at_most() {
    let mut bench = Bench::new(config());
    bench.slots_ready("greedy", "echo", u32::MAX);
    assert_eq!(bench.broker.service("echo").unwrap().workers, 256);
    bench.slots_ready("modest", "echo", 4);
    assert_eq!(bench.broker.service("echo").unwrap().workers, 260);
    assert_eq!(bench.log(), [""; 0], "nobody is sent away");
    // All of them are given out, and no more.
    for turn in 0..261 {
        let client = format!("c{}", turn % 10);
        bench.call(&client, "echo", "x");
    }
    let stats = bench.broker.service("echo").unwrap();
    assert_eq!((stats.in_flight, stats.ready), (260, 1));
    let mut tight = config();
    tight.limits.slots = 0;
    let mut bench = Bench::new(tight);
    bench.slots_ready("greedy", "echo", 9);
    assert_eq!(bench.broker.service("echo").unwrap().workers, 1);
    bench.call("c", "echo", "x");
    let (address, _) = bench.given("greedy");
    assert_eq!(address, Frame::from("c"));
}

/// Two came before the worker, which is busy with the first for longer than either would have waited for a worker.
#[test]
fn who_came_before_the_first_worker_waits_as_long_as_who_came_after() {
    let mut config = config();
    config.policy.lease = Lease::None;
    let policy = config.policy;
    let mut bench = Bench::new(config);
    let start = bench.now;
    bench.call("c", "echo", "x");
    bench.call("d", "echo", "y");
    bench.now += policy.unregistered_ttl / 2;
    bench.ready("w", "echo");
    bench.now = start + policy.unregistered_ttl + Duration::from_secs(1);
    bench.broker.handle_timeout(bench.now);
    assert_eq!(bench.broker.counters().expired, 0);
    bench.now = start + policy.ttl;
    bench.broker.handle_timeout(bench.now);
    assert_eq!(bench.broker.counters().expired, 1);
}
