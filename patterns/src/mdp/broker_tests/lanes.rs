//! Which worker gets a request, and in which order those of one key are given out.

use super::*;
use crate::mdp::Pick;

fn with(pick: Pick, ordered_by_key: bool) -> Bench {
    let mut config = config();
    config.policy.lease = Lease::None;
    config.policy.pick = pick;
    config.policy.ordered_by_key = ordered_by_key;
    Bench::new(config)
}

fn keyed(name: u8, key: &'static str) -> Ext<'static> {
    Ext {
        id: Some(MsgId([name; 16])),
        key: Some(key.as_bytes().into()),
        ..Ext::default()
    }
}

impl Bench {
    /// Asks with a key; the body is the name.
    fn ask(&mut self, name: u8, key: &'static str) {
        self.ext_call("c", "echo", keyed(name, key), &name.to_string());
    }

    /// To whom a request goes that is answered at once.
    fn served_by(&mut self, key: &'static str) -> String {
        self.ask(0, key);
        let (worker, frames) = self.sent().expect("it is given to somebody");
        self.slot_reply(&worker, &frames[3], "done");
        assert_eq!(self.sent().expect("a reply").0, "c");
        worker
    }

    fn answer(&mut self, worker: &str) {
        self.reply(worker, "c", "done");
    }

    /// So many answers to what it is given one after the other: what is sent of that.
    fn answers(&mut self, worker: &str, count: usize) -> Vec<String> {
        let answer = |_| {
            self.answer(worker);
            self.log()
        };
        (0..count).flat_map(answer).collect()
    }

    /// Client "d" asks with a key, for a short time, and client "c" with the same one: what is sent of that.
    fn two_of_a_key(&mut self, idem: Option<ExtIdem>) -> Vec<String> {
        let first = Ext {
            idem,
            deadline: Some(BEAT),
            ..keyed(1, "a")
        };
        self.ext_call("d", "echo", first, "1");
        self.ask(2, "a");
        self.log()
    }

    /// How many of those that wait are held.
    fn held(&self) -> usize {
        self.broker.service("echo").unwrap_or_default().held
    }
}

#[test]
fn one_of_a_key_at_a_time_and_in_order() {
    let mut bench = with(Pick::LongestIdle, true);
    for worker in ["u", "v", "w"] {
        bench.ext_ready(worker, "echo");
    }
    bench.ask(1, "a");
    bench.ask(2, "a");
    // More urgent, and of another client: its turn is after those that came before.
    let urgent = Ext {
        priority: Some(7),
        ..keyed(3, "a")
    };
    bench.ext_call("d", "echo", urgent, "3");
    bench.ask(4, "b");
    bench.ext_call("c", "echo", Ext::default(), "5");
    assert_eq!(bench.log(), ["u:request 1", "v:request 4", "w:request 5"]);
    assert_eq!((bench.stats(), bench.held()), ((2, 3, 3), 2));
    bench.answer("v");
    assert_eq!(bench.log(), ["c:reply done"]);
    bench.answer("u");
    assert_eq!(bench.log(), ["c:reply done", "v:request 2"]);
    // A worker that is lost with it gives way to another, before the next of the key.
    bench.down("v");
    assert_eq!(bench.log(), ["u:request 2"]);
    bench.answer("u");
    assert_eq!(bench.log(), ["c:reply done", "u:request 3"]);
    bench.reply("u", "d", "done");
    bench.answer("w");
    assert_eq!((bench.stats(), bench.held()), ((0, 0, 2), 0));
    assert_eq!(bench.broker.bytes(), 0);
}

#[test]
fn of_a_worker_with_slots_one_slot_works_for_a_key() {
    let mut bench = with(Pick::LongestIdle, true);
    bench.slots_ready("w", "echo", 3);
    bench.ask(1, "a");
    bench.ask(2, "a");
    let (first, _) = bench.given("w");
    assert_eq!((bench.sent(), bench.held()), (None, 1));
    bench.slot_reply("w", &first, "done");
    assert_eq!(bench.log(), ["c:reply done", "w:request 2"]);
}

/// However the first of a key ends, the next one goes.
#[test]
fn a_key_is_free_when_its_request_is_over() {
    let start = |ends: fn(&mut Bench)| {
        let mut bench = with(Pick::LongestIdle, true);
        bench.ext_ready("u", "echo");
        bench.ext_ready("v", "echo");
        let log = bench.two_of_a_key(Some(ExtIdem::Once));
        assert_eq!((log, bench.held()), (vec!["u:request 1".into()], 1));
        ends(&mut bench);
        assert!(bench.log().contains(&"v:request 2".into()));
        assert_eq!(bench.held(), 0);
    };
    // Its worker is lost, and it may be sent only once.
    start(|bench| bench.down("u"));
    start(|bench| assert!(bench.broker.handle_disconnect(bench.now, &"u".into())));
    start(|bench| bench.reply("u", "d", "done"));
}

/// The same for one that still waits.
#[test]
fn a_key_is_free_when_a_request_that_waits_is_over() {
    let start = |ends: fn(&mut Bench)| {
        let mut bench = with(Pick::LongestIdle, true);
        bench.ext_ready("u", "echo");
        bench.ask(9, "b");
        bench.ask(8, "b");
        let log = bench.two_of_a_key(None);
        assert_eq!((log, bench.held()), (vec!["u:request 9".into()], 2));
        ends(&mut bench);
        assert_eq!(bench.held(), 1, "one of another key");
        bench.log();
        let log = bench.answers("u", 2);
        assert!(log.contains(&"u:request 2".into()), "{log:?}");
    };
    start(|bench| bench.pass(BEAT * 2));
    start(|bench| bench.down("d"));
    start(|bench| {
        bench.ext_call(
            "d",
            "-",
            Ext {
                op: Op::Cancel,
                ..keyed(1, "")
            },
            "",
        )
    });
}

/// One that is held is late, given up and declined as others are, and counts for the bounds.
#[test]
fn what_is_held_is_in_the_queue() {
    let mut bench = with(Pick::LongestIdle, true);
    bench.ext_ready("u", "echo");
    bench.ask(1, "a");
    let late = Ext {
        deadline: Some(BEAT),
        ..keyed(2, "a")
    };
    bench.ext_call("c", "echo", late, "2");
    bench.ask(3, "a");
    assert_eq!(bench.held(), 2);
    bench.log();
    bench.pass(BEAT * 2);
    assert_eq!(bench.declined("c").0, Status::Expired);
    bench.ext_call(
        "c",
        "-",
        Ext {
            op: Op::Cancel,
            ..keyed(3, "")
        },
        "",
    );
    assert_eq!((bench.held(), bench.stats()), (0, (0, 1, 1)));
    let policy = ServicePolicy {
        queue: Limits {
            messages: 1,
            ..Limits::default()
        },
        ordered_by_key: true,
        ..config().policy
    };
    bench.broker.set_policy("echo", policy);
    bench.ask(4, "a");
    assert_eq!(bench.held(), 1);
    bench.ask(5, "a");
    assert_eq!(bench.declined("c").0, Status::Rejected);
    bench.broker.handle_drain(bench.now);
    assert_eq!(bench.declined("c").0, Status::Unavailable);
    bench.answer("u");
    assert_eq!(bench.broker.service("echo"), None);
}

#[test]
fn what_makes_room_for_another_of_its_key() {
    let mut bench = with(Pick::LongestIdle, true);
    bench.ext_ready("u", "echo");
    bench.ask(1, "b");
    let mut policy = config().policy;
    policy.ordered_by_key = true;
    policy.queue.messages = 2;
    policy.queue.on_full = OnFull::DropOldest;
    bench.broker.set_policy("echo", policy);
    for name in 2..6 {
        bench.ask(name, "a");
    }
    assert_eq!((bench.stats().0, bench.held()), (2, 1));
    bench.log();
    let log = bench.answers("u", 3);
    let requests = log.into_iter().filter(|line| line.contains("request"));
    assert_eq!(requests.collect::<Vec<_>>(), ["u:request 4", "u:request 5"]);
}

#[test]
fn the_worker_that_is_picked() {
    let served = |pick| {
        let mut bench = with(pick, false);
        for worker in ["u", "v", "w"] {
            bench.slots_ready(worker, "echo", 2);
        }
        let served: Vec<String> = (0..6).map(|_| bench.served_by("a")).collect();
        served.join("")
    };
    assert_eq!(served(Pick::LongestIdle), "uvwuvw");
    assert_eq!(served(Pick::LastIdle), "wwwwww");
    let by_key = served(Pick::ByKey);
    assert!(
        ["uuuuuu", "vvvvvv", "wwwwww"].contains(&by_key.as_str()),
        "{by_key}"
    );
    // Free slots, and requests in hand.
    let mut bench = with(Pick::LeastLoaded, false);
    bench.slots_ready("u", "echo", 5);
    bench.ask(1, "a");
    bench.ask(2, "a");
    bench.slots_ready("v", "echo", 5);
    for name in 3..7 {
        bench.ask(name, "a");
    }
    let given: String = std::iter::from_fn(|| bench.sent())
        .map(|(to, _)| to)
        .collect();
    assert_eq!(given, "uuvvuv");
}

/// A key stays with its worker, goes to another while that is busy, and keys are spread over all.
#[test]
fn keys_have_workers_of_their_own() {
    let octets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567";
    let keys: Vec<&str> = (0..60).map(|at| &octets[at..=at]).collect();
    let mut bench = with(Pick::ByKey, false);
    let workers = ["u", "v", "w"];
    workers
        .iter()
        .for_each(|worker| bench.ext_ready(worker, "echo"));
    let reply = |bench: &mut Bench, key| {
        bench.ask(0, key);
        let (worker, _) = bench.sent().unwrap();
        bench.answer(&worker);
        bench.sent();
        worker
    };
    let first: Vec<String> = keys.iter().map(|key| reply(&mut bench, key)).collect();
    for worker in workers {
        let its = first.iter().filter(|name| *name == worker).count();
        assert!((8..=32).contains(&its), "{worker}: {first:?}");
    }
    bench.down("u");
    for (key, before) in keys.iter().zip(&first) {
        let after = reply(&mut bench, key);
        assert!(
            after == *before || before == "u",
            "{key}: {before}, {after}"
        );
    }
    // While its worker has something to do, another one is better than none.
    bench.ask(1, keys[0]);
    bench.ask(2, keys[0]);
    let given = [bench.sent().unwrap().0, bench.sent().unwrap().0];
    assert_ne!(given[0], given[1]);
}
