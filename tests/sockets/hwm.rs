//! High-water marks, in messages and in bytes.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use sinew::{HighWaterMark, Message, Pub, Pull, Push, Rep, Req, SendFailure, Sub};

use crate::support::{await_true, number_of, numbered, pattern, task, Net, LONG, SHORT, STREAMS};

/// How many are taken before one is refused, which must come back.
fn fill(push: &mut Push) -> u32 {
    let mut taken = 0;
    loop {
        let message = numbered(0, taken);
        match push.try_send(message.clone()) {
            Ok(()) => taken += 1,
            Err(refused) => {
                assert_eq!(refused.reason(), SendFailure::WouldBlock);
                assert!(refused.is_timeout());
                assert_eq!(refused.into_message(), message);
                return taken;
            }
        }
        assert!(taken < 1_000_000, "there is no limit");
    }
}

#[test]
fn inproc_holds_the_sum_of_both_marks() {
    for (send, recv) in [(1, 1), (2, 2), (1, 5), (5, 1), (100, 7), (1000, 1000)] {
        for connect_first in [false, true] {
            let name = Net::Inproc.fresh();
            let mut push = Push::builder().send_hwm(send).build().unwrap();
            let mut pull = Pull::builder().recv_hwm(recv).build().unwrap();
            if connect_first {
                push.connect(&name).unwrap();
                pull.bind(&name).unwrap();
            } else {
                push.bind(&name).unwrap();
                pull.connect(&name).unwrap();
            }
            let taken = fill(&mut push);
            assert_eq!(u64::from(taken), send + recv, "{send} + {recv}");
            for n in 0..taken {
                assert_eq!(number_of(&pull.try_recv().unwrap()), (0, n));
            }
        }
    }
}

#[test]
fn without_a_peer_the_senders_mark_holds() {
    for net in [Net::Tcp4, Net::IpcPath, Net::IpcAbstract, Net::Inproc] {
        let mut push = Push::builder()
            .send_hwm(13)
            .linger(Duration::ZERO)
            .build()
            .unwrap();
        push.connect(net.unbound()).unwrap();
        assert_eq!(fill(&mut push), 13, "{net:?}");
        let failure = push.send_timeout("x", SHORT).unwrap_err();
        assert_eq!(failure.reason(), SendFailure::Timeout);
        assert_eq!(failure.into_message().as_bytes(), b"x");
        assert_eq!(push.close().unsent, 13);
    }
}

#[test]
fn a_socket_without_endpoints_takes_nothing() {
    let mut push = Push::new();
    assert_eq!(fill(&mut push), 0);
    assert_eq!(push.close().unsent, 0);
}

/// The peer does not read: what is taken is what both processes' marks and the kernel hold.
#[test]
fn a_paused_peer_bounds_the_sender() {
    for &net in STREAMS {
        let mut pull = Pull::builder()
            .recv_hwm(50)
            .kernel_recv_buffer(16 << 10)
            .bind(net.fresh())
            .unwrap();
        let mut push = Push::builder()
            .send_hwm(50)
            .kernel_send_buffer(16 << 10)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        // Bodies so large that the kernel's part is a few dozen.
        let body = |n: u32| [&n.to_le_bytes()[..], &pattern(32 << 10)].concat();
        for n in 0..100 {
            push.send_timeout(body(n), LONG).unwrap();
        }
        let mut taken = 100;
        while push.send_timeout(body(taken), SHORT).is_ok() {
            taken += 1;
            assert!(taken < 2000, "there is no limit");
        }
        assert!(taken < 400, "{net:?}: {taken} were taken");
        // A sender that waits goes on when there is room.
        let waiting = task(move || {
            push.send_timeout(body(taken), LONG).unwrap();
            push
        });
        for n in 0..=taken {
            assert!(pull.recv_timeout(LONG).unwrap().as_bytes() == body(n));
        }
        assert_eq!(waiting.join().close().unsent, 0);
    }
}

#[test]
fn a_blocked_send_goes_on_when_there_is_room() {
    for net in [Net::Inproc, Net::Tcp4, Net::IpcWildcard] {
        let mut pull = Pull::builder().recv_hwm(1).bind(net.fresh()).unwrap();
        let mut push = Push::builder()
            .send_hwm(1)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        let sender = task(move || {
            for n in 0..20_000 {
                push.send(numbered(0, n)).unwrap();
            }
            push.close().unsent
        });
        for n in 0..20_000 {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
        }
        assert_eq!(sender.join(), 0);
    }
}

#[test]
fn bytes_are_limited_too() {
    let mark = HighWaterMark::new(1000).with_bytes(10_000);
    let name = Net::Inproc.fresh();
    let mut pull = Pull::builder().recv_hwm(mark).bind(&name).unwrap();
    let mut push = Push::builder().send_hwm(mark).connect(&name).unwrap();
    let mut taken = 0;
    while push.try_send(pattern(1000)).is_ok() {
        taken += 1;
    }
    // 20 000 octets, headers included, and the message that reaches the limit.
    assert!((19..=20).contains(&taken), "{taken} of 1000 octets");
    for _ in 0..taken {
        pull.try_recv().unwrap();
    }
    push.try_send(pattern(1 << 20))
        .expect("one larger than the limit passes");
    assert!(push.try_send("x").is_err());
    assert_eq!(pull.try_recv().unwrap().byte_len(), 1 << 20);
    push.send_timeout("x", LONG).unwrap();
}

#[test]
fn unlimited_is_unlimited() {
    for (send, recv) in [
        (HighWaterMark::unlimited(), HighWaterMark::new(1)),
        (HighWaterMark::new(1), HighWaterMark::unlimited()),
    ] {
        let name = Net::Inproc.fresh();
        let mut pull = Pull::builder().recv_hwm(recv).bind(&name).unwrap();
        let mut push = Push::builder().send_hwm(send).connect(&name).unwrap();
        for n in 0..50_000 {
            push.try_send(numbered(0, n)).unwrap();
        }
        for n in 0..50_000 {
            assert_eq!(number_of(&pull.try_recv().unwrap()), (0, n));
        }
    }
}

#[test]
fn a_full_subscriber_does_not_hold_up_others() {
    for net in [Net::Inproc, Net::Tcp4] {
        let mut publisher = Pub::builder().send_hwm(10).bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints()[0].clone();
        let [mut slow, mut quick] = [(); 2].map(|()| {
            let mut sub = Sub::builder().recv_hwm(10).connect(&endpoint).unwrap();
            sub.subscribe("").unwrap();
            sub
        });
        publisher.wait_for_subscribers(2, LONG).unwrap();
        let body = Message::from(pattern(64 << 10));
        let mut sent = 0;
        // Until one is full; the other has read everything by then.
        while publisher.stats().dropped_full == 0 {
            publisher.send(body.clone()).unwrap();
            quick.recv_timeout(LONG).unwrap();
            sent += 1;
        }
        for _ in 1..sent {
            slow.recv_timeout(LONG).unwrap();
        }
        assert!(slow.recv_timeout(SHORT).is_err(), "one was dropped");
    }
}

#[test]
fn a_no_drop_publisher_waits_and_gives_back() {
    let mut publisher = Pub::builder()
        .no_drop(true)
        .send_hwm(3)
        .bind(Net::Inproc.fresh())
        .unwrap();
    let mut sub = Sub::builder()
        .recv_hwm(2)
        .connect(&publisher.bound_endpoints()[0])
        .unwrap();
    sub.subscribe("a").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    for n in 0..5 {
        publisher.try_send(format!("a{n}")).unwrap();
    }
    let refused = publisher.try_send("a5").unwrap_err();
    assert_eq!(refused.reason(), SendFailure::WouldBlock);
    assert_eq!(refused.into_message().as_bytes(), b"a5");
    let refused = publisher.send_timeout("a5", SHORT).unwrap_err();
    assert_eq!(refused.reason(), SendFailure::Timeout);
    publisher.try_send("b").expect("nobody wants it");
    let sender = task(move || {
        publisher.send("a5").unwrap();
        publisher
    });
    for n in 0..6 {
        let message = sub.recv_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), format!("a{n}").as_bytes());
    }
    assert_eq!(sender.join().stats().dropped_full, 0);
}

/// A subscriber that goes away while a publisher waits for it.
#[test]
fn a_no_drop_publisher_does_not_wait_for_the_gone() {
    for net in [Net::Inproc, Net::Tcp4, Net::IpcWildcard] {
        let mut publisher = Pub::builder()
            .no_drop(true)
            .send_hwm(3)
            .bind(net.fresh())
            .unwrap();
        let mut sub = Sub::builder()
            .recv_hwm(3)
            .connect(&publisher.bound_endpoints()[0])
            .unwrap();
        sub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        let body = Message::from(pattern(256 << 10));
        while publisher.send_timeout(body.clone(), SHORT).is_ok() {}
        let sender = task(move || publisher.send(body).is_ok());
        drop(sub);
        assert!(sender.join(), "{net:?}");
    }
}

#[test]
fn lock_step_needs_no_more_than_one() {
    for net in [Net::Inproc, Net::Tcp4] {
        let mut rep = Rep::builder()
            .send_hwm(1)
            .recv_hwm(1)
            .bind(net.fresh())
            .unwrap();
        let endpoint = rep.bound_endpoints()[0].clone();
        let server = task(move || {
            for _ in 0..2000 {
                let request = rep.recv_timeout(LONG).unwrap();
                rep.send_timeout(request, LONG).unwrap();
            }
            rep.close().unsent
        });
        let mut req = Req::builder()
            .send_hwm(1)
            .recv_hwm(1)
            .connect(&endpoint)
            .unwrap();
        for n in 0..2000 {
            let reply = req.request_timeout(numbered(0, n), LONG).unwrap();
            assert_eq!(number_of(&reply), (0, n));
        }
        assert_eq!(server.join(), 0);
        await_true("the replier is gone", || req.stats().peers == 0);
    }
}

/// A sender that waits writes what is in the pipe, as far as the kernel takes it. What it makes room for itself it sends,
/// be it little: nobody else would tell it until the peer reads on.
#[test]
fn who_waits_sends_into_what_little_room_it_has_made() {
    const SIZE: usize = 10_000;
    let endpoint = Net::IpcPath.fresh();
    let listener = UnixListener::bind(&endpoint["ipc://".len()..]).unwrap();
    let mut push = Push::builder()
        .send_hwm(32)
        .linger(Duration::ZERO)
        .connect(&endpoint)
        .unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    // 23/ZMTP: a greeting of 3.0 with NULL, and READY.
    let mut hello = [0; 64];
    (hello[0], hello[9], hello[10]) = (0xff, 0x7f, 3);
    hello[12..16].copy_from_slice(b"NULL");
    let ready = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL";
    peer.write_all(&[&hello[..], ready].concat()).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    while push.connections()[0].traffic.queued_to_send < 32 {
        let _ = push.try_send(&[7; SIZE][..]);
    }
    // More than an eighth of the mark, from which on the pipe says so, and less than what a poll would tell of.
    peer.read_exact(&mut [0; 8 * SIZE]).unwrap();
    push.send_timeout(&[7; SIZE][..], LONG).unwrap();
}
