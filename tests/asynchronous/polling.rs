//! The poller: what is ready, of sockets of every type, descriptors, timers, and the calls of other threads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sinew::{
    Channel, Client, Dealer, Dgram, Dish, Endpoint, Gather, Interest, Pair, Peer, PollError,
    PollItem, Pollable, Poller, Pub, Pull, Push, Radio, Rep, Req, Router, Scatter, Server, Stream,
    Sub, XPub, XSub,
};

use crate::support::{fresh, number_of, numbered, watched, Random, LONG, SHORT, TRANSPORTS};

/// What is so now.
fn state(socket: &mut dyn Pollable) -> (bool, bool) {
    let mut poller = Poller::new().unwrap();
    let mut items = [PollItem::socket(socket, Interest::BOTH)];
    let events = poller.wait(&mut items, Some(Duration::ZERO)).unwrap();
    let told = (events.is_readable(0), events.is_writable(0));
    let asked = socket.readiness();
    assert_eq!((asked.is_readable(), asked.is_writable()), told);
    told
}

#[track_caller]
fn await_ready(socket: &mut dyn Pollable, interest: Interest) {
    let mut poller = Poller::new().unwrap();
    let mut items = [PollItem::socket(socket, interest)];
    let events = poller.wait(&mut items, Some(LONG)).unwrap();
    assert_eq!(
        events.ready().count(),
        1,
        "it is never ready for {interest:?}"
    );
}

fn await_readable(socket: &mut dyn Pollable) {
    await_ready(socket, Interest::READABLE);
}

fn await_writable(socket: &mut dyn Pollable) {
    await_ready(socket, Interest::WRITABLE);
}

/// Readable from when a message is there until it is received; told again as long as it is not.
macro_rules! becomes_readable {
    ($socket:ident, $receive:expr) => {{
        await_readable(&mut $socket);
        await_readable(&mut $socket);
        assert!(state(&mut $socket).0, "told again");
        $receive.expect("it is readable");
        assert!(!state(&mut $socket).0, "nothing is left");
        $receive.expect_err("it was not readable");
    }};
}

/// One that sends to whoever has room.
macro_rules! one_way {
    ($name:ident, $from:ident, $to:ident) => {
        #[test]
        fn $name() {
            for transport in TRANSPORTS {
                let mut from = $from::builder().send_hwm(2).build().unwrap();
                let mut to = $to::builder().recv_hwm(2).build().unwrap();
                assert_eq!(state(&mut from), (false, false));
                assert_eq!(state(&mut to), (false, false));
                let endpoint: Endpoint = to.bind(fresh(transport).as_str()).unwrap();
                from.connect(&endpoint).unwrap();
                await_writable(&mut from);
                from.try_send(numbered(0)).expect("it is writable");
                becomes_readable!(to, to.try_recv());
                fills_and_empties(&mut from, &mut to);
            }
        }

        /// Not writable when it would block, and again when it would not.
        fn fills_and_empties(from: &mut $from, to: &mut $to) {
            let body = vec![0; 256 * 1024];
            let mut sent = 0;
            // The I/O thread may still be busy with what was sent: it is full when it stays so.
            loop {
                match from.try_send(&body[..]) {
                    Ok(()) => sent += 1,
                    Err(_) if from.send_timeout(&body[..], SHORT).is_ok() => sent += 1,
                    Err(_) => break,
                }
            }
            let (_, writable) = state(from);
            if writable {
                from.try_send(&body[..]).expect("it is writable");
                sent += 1;
            }
            for _ in 0..sent {
                to.recv_timeout(LONG).unwrap();
            }
            await_writable(from);
            from.try_send("again").expect("it is writable");
            assert_eq!(to.recv_timeout(LONG).unwrap().as_bytes(), b"again");
        }
    };
}

mod push {
    use super::*;
    one_way!(push_and_pull, Push, Pull);
}

mod scatter {
    use super::*;
    one_way!(scatter_and_gather, Scatter, Gather);
}

macro_rules! both_ways {
    ($name:ident, $kind:ident) => {
        #[test]
        fn $name() {
            for transport in TRANSPORTS {
                let (mut one, mut other) = ($kind::new(), $kind::new());
                assert_eq!(state(&mut one), (false, false));
                let endpoint = one.bind(fresh(transport).as_str()).unwrap();
                other.connect(&endpoint).unwrap();
                await_writable(&mut other);
                other.try_send("there").unwrap();
                becomes_readable!(one, one.try_recv());
                await_writable(&mut one);
                one.try_send("back").unwrap();
                becomes_readable!(other, other.try_recv());
            }
        }
    };
}

both_ways!(pair, Pair);
both_ways!(channel, Channel);
both_ways!(dealer, Dealer);

/// Always writable, and readable by topic.
#[test]
fn publishers_and_subscribers() {
    for transport in TRANSPORTS {
        let (mut publisher, mut sub) = (Pub::new(), Sub::new());
        assert_eq!(state(&mut publisher), (false, true));
        assert_eq!(state(&mut sub), (false, false));
        sub.subscribe("a").unwrap();
        sub.connect(publisher.bind(fresh(transport).as_str()).unwrap())
            .unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        publisher.try_send("b, which it does not get").unwrap();
        publisher.try_send("a").unwrap();
        becomes_readable!(sub, sub.try_recv());
    }
}

#[test]
fn xpub_and_xsub() {
    for transport in TRANSPORTS {
        let (mut back, mut front) = (XPub::new(), XSub::new());
        assert_eq!(state(&mut back), (false, true));
        assert_eq!(state(&mut front), (false, true));
        front
            .connect(back.bind(fresh(transport).as_str()).unwrap())
            .unwrap();
        front.subscribe("a").unwrap();
        becomes_readable!(back, back.try_recv_event());
        back.try_send("a").unwrap();
        becomes_readable!(front, front.try_recv());
    }
}

#[test]
fn radio_and_dish() {
    for transport in TRANSPORTS {
        let (mut radio, mut dish) = (Radio::new(), Dish::new());
        assert_eq!(state(&mut radio), (false, true));
        assert_eq!(state(&mut dish), (false, false));
        dish.join("a").unwrap();
        dish.connect(radio.bind(fresh(transport).as_str()).unwrap())
            .unwrap();
        radio.wait_for_members("a", 1, LONG).unwrap();
        radio.try_send("a", "x").unwrap();
        becomes_readable!(dish, dish.try_recv());
    }
}

/// In turn only.
#[test]
fn req_and_rep() {
    for transport in TRANSPORTS {
        let (mut req, mut rep) = (Req::new(), Rep::new());
        assert_eq!(state(&mut req), (false, false));
        assert_eq!(state(&mut rep), (false, false));
        req.connect(rep.bind(fresh(transport).as_str()).unwrap())
            .unwrap();
        await_writable(&mut req);
        req.try_send("asked").unwrap();
        assert_eq!(state(&mut req), (false, true), "relaxed: it may ask again");
        await_readable(&mut rep);
        assert_eq!(state(&mut rep), (true, false));
        rep.try_recv().unwrap();
        assert_eq!(state(&mut rep), (false, true));
        rep.try_send("answered").unwrap();
        assert_eq!(state(&mut rep), (false, false));
        await_readable(&mut req);
        req.try_recv().unwrap();
        assert_eq!(state(&mut req), (false, true));
    }
}

/// Whoever waited before, and reads no more: what has come is seen when it is asked for, and not when an I/O thread finds
/// out that nobody reads.
#[test]
fn what_came_after_a_wait_was_given_up_is_seen_at_once() {
    for given_up in ["task", "thread"] {
        let mut rep = Rep::new();
        let endpoint = rep.bind(fresh("ipc").as_str()).unwrap();
        let mut req = Req::builder().connect(&endpoint).unwrap();
        let mut at_once = 0;
        // In some the I/O thread of the other writes, or takes reading back just then.
        for _ in 0..100 {
            req.send("first").unwrap();
            rep.recv_timeout(LONG).unwrap();
            rep.send("reply").unwrap();
            req.recv_timeout(LONG).unwrap();
            match given_up {
                "task" => assert!(rep.recv_async().now_or_never().is_none()),
                _ => assert!(rep.recv_timeout(Duration::from_micros(100)).is_err()),
            }
            req.send("second").unwrap();
            at_once += u32::from(rep.readiness().is_readable());
            rep.recv_timeout(LONG).unwrap();
            rep.send("reply").unwrap();
            req.recv_timeout(LONG).unwrap();
        }
        assert!(at_once > 0, "a {given_up} read before");
    }
}

/// A receive that fails at once counts.
#[test]
fn a_request_is_readable_when_its_peer_is_lost() {
    let mut rep = Rep::new();
    let mut req = Req::builder()
        .connect(rep.bind("tcp://127.0.0.1:*").unwrap())
        .unwrap();
    req.send("asked").unwrap();
    rep.recv().unwrap();
    drop(rep);
    await_readable(&mut req);
    await_readable(&mut req);
    assert_eq!(req.try_recv(), Err(sinew::RecvError::PeerLost));
    assert!(!state(&mut req).0);
}

macro_rules! always_writable {
    ($name:ident, $kind:ident, $peer:ident) => {
        #[test]
        fn $name() {
            for transport in TRANSPORTS {
                let (mut socket, mut peer) = ($kind::new(), $peer::new());
                assert_eq!(state(&mut socket), (false, true));
                let endpoint = socket.bind(fresh(transport).as_str()).unwrap();
                always_writable!(connect $peer, peer, endpoint);
                becomes_readable!(socket, socket.try_recv());
            }
        }
    };
    (connect Peer, $peer:ident, $endpoint:ident) => {
        let id = $peer.connect_peer(&$endpoint).unwrap();
        $peer.try_send_to(id, "x").unwrap();
    };
    (connect $kind:ident, $peer:ident, $endpoint:ident) => {
        $peer.connect(&$endpoint).unwrap();
        await_writable(&mut $peer);
        $peer.try_send("x").unwrap();
    };
}

always_writable!(router, Router, Dealer);
always_writable!(server, Server, Client);
always_writable!(peer, Peer, Peer);

#[test]
fn stream() {
    let mut socket = Stream::new();
    assert_eq!(state(&mut socket), (false, true));
    let endpoint = socket.bind("tcp://127.0.0.1:*").unwrap().to_string();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
    becomes_readable!(socket, socket.try_recv_from());
    peer.write_all(b"octets").unwrap();
    becomes_readable!(socket, socket.try_recv_from());
}

#[test]
fn dgram() {
    let (mut one, mut other) = (Dgram::new(), Dgram::new());
    assert_eq!(state(&mut one), (false, false), "it is not bound");
    let endpoint = one.bind("udp://127.0.0.1:*").unwrap().to_string();
    await_writable(&mut one);
    other.bind("udp://127.0.0.1:*").unwrap();
    let address = endpoint.trim_start_matches("udp://").parse().unwrap();
    other.send_to(address, "x").unwrap();
    becomes_readable!(one, one.try_recv());
}

#[test]
fn monitor() {
    let mut pull = Pull::new();
    let mut monitor = pull.monitor();
    assert_eq!(state(&mut monitor), (false, false));
    pull.bind("inproc://asy-polled-monitor").unwrap();
    becomes_readable!(monitor, monitor.try_recv().ok_or("none"));
    drop(pull);
    while monitor.recv().is_some() {}
    await_readable(&mut monitor);
    assert_eq!(
        monitor.try_recv(),
        None,
        "readable for ever, since none will come"
    );
    await_readable(&mut monitor);
}

#[test]
fn descriptors_of_many_kinds_beside_sockets() {
    let (mut writer, mut reader) = mio::unix::pipe::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut pull = Pull::new();
    let mut push = Push::builder()
        .connect(pull.bind(fresh("inproc").as_str()).unwrap())
        .unwrap();
    let mut poller = Poller::new().unwrap();
    let mut look = |pull: &mut Pull, reader: &mio::unix::pipe::Receiver, timeout| {
        let mut items = [
            PollItem::fd(reader, Interest::READABLE),
            PollItem::fd(&near, Interest::READABLE),
            PollItem::socket(pull, Interest::READABLE),
            PollItem::fd(&near, Interest::WRITABLE),
            PollItem::fd(&listener, Interest::READABLE),
        ];
        let events = poller.wait(&mut items, Some(timeout)).unwrap();
        let ready = events.ready().map(|(item, _)| item);
        ready.collect::<Vec<_>>()
    };
    assert_eq!(look(&mut pull, &reader, LONG), [3]);
    writer.write_all(b"x").unwrap();
    push.send("x").unwrap();
    assert_eq!(
        look(&mut pull, &reader, LONG),
        [0, 2, 3],
        "one descriptor twice"
    );
    assert_eq!(look(&mut pull, &reader, LONG), [0, 2, 3], "and again");
    pull.recv().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    far.write_all(b"x").unwrap();
    // What was written may take its time on loopback.
    while !look(&mut pull, &reader, LONG).contains(&1) {}
    assert_eq!(look(&mut pull, &reader, LONG), [1, 3]);
    drop(writer);
    assert_eq!(
        look(&mut pull, &reader, LONG),
        [0, 1, 3],
        "its other end is closed"
    );
}

#[test]
fn a_descriptor_that_cannot_be_waited_for_is_named() {
    let file = tempfile::tempfile().unwrap();
    let mut pull = Pull::new();
    let mut poller = Poller::new().unwrap();
    let mut items = [
        PollItem::socket(&mut pull, Interest::READABLE),
        PollItem::fd(&file, Interest::READABLE),
    ];
    let error = poller.wait(&mut items, None).unwrap_err();
    let text = error.to_string();
    let PollError::Fd { item, fd, .. } = error else {
        panic!("{text}");
    };
    assert_eq!((item, fd), (1, file.as_raw_fd()));
    assert!(
        text.contains(&format!("descriptor {fd} (item 1)")),
        "{text}"
    );
    // The poller is as good as before.
    let events = poller.wait(&mut items[..1], Some(SHORT)).unwrap();
    assert!(events.is_empty());
}

#[test]
fn timers() {
    let mut poller = Poller::new().unwrap();
    let now = Instant::now();
    let late = poller.at(now + Duration::from_millis(8));
    let early = poller.at(now + Duration::from_millis(3));
    let cancelled = poller.at(now + Duration::from_millis(1));
    let never = poller.every(Duration::MAX);
    assert!(poller.cancel(cancelled));
    assert!(!poller.cancel(cancelled));
    let mut told = Vec::new();
    while told.len() < 2 {
        let events = poller.wait(&mut [], None).unwrap();
        assert!(events.ready().next().is_none() && !events.is_empty());
        told.extend_from_slice(events.timers());
    }
    assert_eq!(told, [early, late]);
    assert!(Instant::now() >= now + Duration::from_millis(8));
    assert!(!poller.cancel(early), "it has been told");
    assert!(poller.cancel(never));

    let always = poller.every(Duration::ZERO);
    let again = poller.every(Duration::from_millis(2));
    let mut seen = 0;
    while seen < 3 {
        let events = poller.wait(&mut [], None).unwrap();
        assert!(events.timers().contains(&always), "due in every wait");
        seen += usize::from(events.timers().contains(&again));
    }
    assert!(poller.cancel(always) && poller.cancel(again));
    let events = poller.wait(&mut [], Some(SHORT)).unwrap();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn times_are_told_beside_what_is_ready() {
    let mut push = Push::new();
    let mut pull = Pull::new();
    push.connect(pull.bind(fresh("inproc").as_str()).unwrap())
        .unwrap();
    push.send("x").unwrap();
    let mut poller = Poller::new().unwrap();
    let due = poller.at(Instant::now());
    let mut items = [PollItem::socket(&mut pull, Interest::READABLE)];
    let events = poller.wait(&mut items, None).unwrap();
    assert!(events.is_readable(0) && !events.is_writable(0) && !events.is_readable(1));
    assert_eq!(events.timers(), [due]);
}

#[test]
fn another_thread_ends_a_wait() {
    watched(|| {
        let mut poller = Poller::new().unwrap();
        let mut pull = Pull::new();
        let mut items = [PollItem::socket(&mut pull, Interest::READABLE)];
        // Before the wait, and once.
        poller.waker().wake();
        assert!(poller.wait(&mut items, None).unwrap().is_empty());
        for _ in 0..1000 {
            let waker = poller.waker();
            let other = thread::spawn(move || waker.wake());
            assert!(poller.wait(&mut items, None).unwrap().is_empty());
            other.join().unwrap();
        }
    });
}

#[test]
fn a_hundred_sockets() {
    watched(|| {
        let mut pushes = Vec::new();
        let mut pulls: Vec<Pull> = (0..100)
            .map(|index| {
                let mut pull = Pull::new();
                let transport = TRANSPORTS[index % TRANSPORTS.len()];
                let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
                pushes.push(Push::builder().connect(&endpoint).unwrap());
                pull
            })
            .collect();
        let sender = thread::spawn(move || {
            for n in 0..30 {
                pushes
                    .iter_mut()
                    .for_each(|push| push.send(numbered(n)).unwrap());
            }
            pushes
        });
        let mut poller = Poller::new().unwrap();
        let mut next = [0; 100];
        while next.iter().any(|next| *next < 30) {
            let mut items: Vec<_> = pulls
                .iter_mut()
                .map(|pull| PollItem::socket(pull, Interest::READABLE))
                .collect();
            let events = poller.wait(&mut items, None).unwrap();
            drop(items);
            for (index, _) in events.ready() {
                let message = pulls[index].try_recv().unwrap();
                assert_eq!(number_of(&message), next[index]);
                next[index] += 1;
            }
        }
        sender.join().unwrap();
    });
}

/// A wake-up that is lost hangs.
#[test]
fn no_wake_up_is_lost_in_a_storm() {
    for transport in ["inproc", "tcp"] {
        watched(move || {
            let count = 100_000;
            let mut pull = Pull::builder().recv_hwm(50).build().unwrap();
            let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
            let sender = thread::spawn(move || {
                let mut push = Push::builder().send_hwm(50).connect(&endpoint).unwrap();
                let mut poller = Poller::new().unwrap();
                let mut next = 0;
                while next < count {
                    let mut items = [PollItem::socket(&mut push, Interest::WRITABLE)];
                    assert!(poller.wait(&mut items, None).unwrap().is_writable(0));
                    while next < count && push.try_send(numbered(next)).is_ok() {
                        next += 1;
                    }
                }
                assert_eq!(push.close().unsent, 0);
            });
            let mut poller = Poller::new().unwrap();
            let mut random = Random::new(17);
            let mut next = 0;
            while next < count {
                let mut items = [PollItem::socket(&mut pull, Interest::READABLE)];
                assert!(poller.wait(&mut items, None).unwrap().is_readable(0));
                // Some are left behind, and told again.
                for _ in 0..=random.below(50) {
                    match pull.try_recv() {
                        Ok(message) => assert_eq!(number_of(&message), next),
                        Err(_) => break,
                    }
                    next += 1;
                }
            }
            sender.join().unwrap();
        });
    }
}
