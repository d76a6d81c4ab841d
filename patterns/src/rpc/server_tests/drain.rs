//! How long a server may take to end.

use super::*;

const LINGER: Duration = Duration::from_secs(8);
const LAST: Duration = Duration::from_secs(1);

fn lingering(concurrency: usize) -> ServerConfig {
    ServerConfig {
        concurrency,
        linger: LINGER,
        ..config()
    }
}

impl Bench {
    /// All events up to now, which end with the last one.
    fn cancelled_and_drained(&mut self) -> Vec<RequestId> {
        let mut cancelled = Vec::new();
        loop {
            match self.server.poll_event() {
                Some(ServerEvent::Cancelled(id)) => cancelled.push(id),
                Some(ServerEvent::Drained) => return cancelled,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A second before the end handlers are told to stop, and all who wait for something hear what became of it.
#[test]
fn what_handlers_do_not_finish_in_time_is_given_up() {
    let mut bench = Bench::new(lingering(4));
    bench.sends("a", "1", call(), "x");
    bench.sends("gone", "2", call(), "x");
    bench.sends("a", "3", keyed(3, 1), "x");
    bench.sends("silent", "4", None, "x");
    let running = [(); 4].map(|()| bench.starts().unwrap().id);
    bench.sends("again", "5", keyed(3, 1), "x");
    bench.sends("b", "6", call(), "waits");
    bench.sends("b", "7", keyed(7, 1), "waits");
    let down = PeerEvent::Down {
        peer: Some("gone".into()),
    };
    bench.server.handle_peer(bench.now, Port(0), down);
    let cancelled = bench.server.poll_event();
    assert_eq!(cancelled, Some(ServerEvent::Cancelled(running[1])));

    bench.server.handle_drain(bench.now);
    bench.after(LINGER / 2);
    // To be told again changes nothing.
    bench.server.handle_drain(bench.now);
    bench.after(LINGER / 2 - LAST - Duration::from_nanos(1));
    assert_eq!((bench.server.poll_event(), bench.reply()), (None, None));
    let due = bench.server.poll_timeout();
    assert_eq!(due, Some(bench.now + Duration::from_nanos(1)));
    bench.after(Duration::from_nanos(1));
    for _ in 0..2 {
        bench.declined("b", Status::Unavailable);
    }
    for client in ["a", "a", "again"] {
        let ext = bench.declined(client, Status::Failed);
        assert!(ext.reason.unwrap().contains("ended"));
    }
    assert_eq!(bench.reply(), None, "the others cannot be told");
    let told = [running[0], running[2], running[3]];
    assert_eq!(bench.cancelled_and_drained(), told);
    let counters = bench.server.counters();
    assert_eq!((counters.unfinished, counters.silent), (3, 1));
    assert_eq!(bench.server.load(), (0, 0, 0));
    assert_eq!(bench.server.poll_timeout(), None);
    // What comes too late is of no use.
    for id in running {
        bench.server.handle_reply(bench.now, id, "late".into());
    }
    assert_eq!(bench.reply(), None);
    assert_eq!(bench.server.counters().undeliverable, 0);
}

/// Who does not take what it is told keeps nobody.
#[test]
fn who_takes_nothing_is_not_waited_for() {
    let mut bench = Bench::new(ServerConfig {
        stall: 2 * LINGER,
        ..lingering(1)
    });
    bench.sends("c", "1", call(), "x");
    let request = bench.starts().unwrap();
    let reply = "done".into();
    bench.server.handle_reply(bench.now, request.id, reply);
    assert!(bench.full().is_empty());
    bench.server.handle_drain(bench.now);
    bench.after(LINGER - Duration::from_nanos(1));
    assert!(bench.full().is_empty());
    assert_eq!(bench.server.poll_event(), None);
    bench.after(Duration::from_nanos(1));
    assert_eq!(bench.server.poll_event(), Some(ServerEvent::Drained));
}

#[test]
fn without_time_nothing_is_waited_for() {
    let mut bench = Bench::new(ServerConfig {
        linger: Duration::ZERO,
        ..lingering(1)
    });
    bench.sends("a", "1", call(), "x");
    let id = bench.starts().unwrap().id;
    bench.server.handle_drain(bench.now);
    assert_eq!(bench.server.poll_timeout(), Some(bench.now));
    bench.after(Duration::ZERO);
    assert_eq!(bench.cancelled_and_drained(), [id]);
}

/// Of a key that the store knows as begun, nobody can say how it ended; what it was not asked about was not begun.
#[test]
fn what_a_store_knows_of_is_told_as_it_is() {
    let store = store();
    let mut theirs = store.join().unwrap();
    let mut life = store.join().unwrap();
    let mut bench = Bench::with_store(lingering(4));
    let body = Message::from("x");
    let print = crate::common::fingerprint(&body);
    let key = MsgId([1; 16]);
    assert_eq!(theirs.begin(key, print, bench.now).unwrap(), Begun::New);
    // Another server is at the first one.
    bench.sends("waiting", "1", keyed(1, 1), "x");
    bench.stores(&mut life);
    bench.sends("running", "2", keyed(2, 1), "x");
    bench.stores(&mut life);
    let running = bench.starts().unwrap();
    bench.sends("recording", "3", keyed(3, 1), "x");
    bench.stores(&mut life);
    let recording = bench.starts().unwrap();
    let reply = "done".into();
    bench.server.handle_reply(bench.now, recording.id, reply);
    bench.wants();
    bench.sends("looking", "4", keyed(4, 1), "x");
    let looks = bench.wants();
    assert_eq!(bench.server.load(), (0, 0, 3));

    bench.server.handle_drain(bench.now);
    bench.server.handle_timeout(bench.now + LINGER - LAST);
    bench.declined("waiting", Status::InDoubt);
    bench.declined("running", Status::InDoubt);
    let (to, _, _, body) = bench.reply().unwrap();
    assert_eq!((to.as_str(), body), ("recording", "done".into()));
    bench.declined("looking", Status::Unavailable);
    assert_eq!(bench.reply(), None);
    assert_eq!(bench.cancelled_and_drained(), [running.id]);
    assert_eq!(bench.server.load(), (0, 0, 0));
    let counters = bench.server.counters();
    assert_eq!((counters.unfinished, counters.in_doubt), (1, 2));
    // Nobody hands over what the store allows too late.
    let begun = looks.perform(life.as_mut(), bench.now);
    bench.server.handle_stored(bench.now, begun);
    let started =
        std::iter::from_fn(|| bench.server.poll_event()).any(|event| event != ServerEvent::Drained);
    assert!(!started);
}
