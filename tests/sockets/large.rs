//! Large payloads that are only borrowed, which are written from where they are if the kernel takes them; and those that
//! are too large.

use sinew::{
    Client, Dealer, Frame, Gather, Message, Pair, Pub, Pull, Push, RecvError, Rep, Req,
    RequestError, Requester, Router, Scatter, SendError, SendFailure, Server, Sub,
};

use crate::support::{task, Net, KINDS, LONG, STREAMS};

const COUNT: u32 = 120;

/// Every third message is short; the others are of sizes that the kernel takes in one piece, or in several.
fn payload(n: u32) -> Vec<u8> {
    let len = match n % 3 {
        0 => 8,
        1 => 65_536 + n as usize * 7,
        _ => 3_000_000 + n as usize * 11,
    };
    let mut payload: Vec<u8> = (0..len).map(|at| (at as u32 ^ n) as u8).collect();
    payload[..4].copy_from_slice(&n.to_le_bytes());
    payload
}

fn check(message: &[u8], n: u32) {
    assert!(message == payload(n), "message {n} came as another");
}

#[test]
fn they_arrive_whole_and_in_order() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        let sender = task(move || {
            for n in 0..COUNT {
                let mut borrowed = payload(n);
                push.send(&borrowed[..]).unwrap();
                // It is the caller's again.
                borrowed.fill(0xee);
            }
            push
        });
        for n in 0..COUNT {
            check(pull.recv_timeout(LONG).unwrap().as_bytes(), n);
        }
        sender.join().close();
    }
}

/// A peer that reads nothing: a send that does not wait does not wait for the kernel either, and what was taken
/// arrives.
#[test]
fn a_peer_that_does_not_read_is_not_waited_for() {
    for &net in STREAMS {
        let mut pull = Pull::builder().recv_hwm(1).bind(net.fresh()).unwrap();
        let mut push = Push::builder()
            .send_hwm(4)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        let mut taken = 0;
        let refused = loop {
            match push.try_send(&payload(taken)[..]) {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
            assert!(taken < COUNT, "there is no limit");
        };
        assert_eq!(refused.reason(), SendFailure::WouldBlock);
        check(refused.into_message().as_bytes(), taken);
        for n in 0..taken {
            check(pull.recv_timeout(LONG).unwrap().as_bytes(), n);
        }
        push.send_timeout(&payload(taken)[..], LONG).unwrap();
        check(pull.recv_timeout(LONG).unwrap().as_bytes(), taken);
    }
}

/// Peers with default options would end the connection.
#[test]
fn what_peers_do_not_accept_is_not_sent() {
    const LIMIT: usize = 1 << 18;
    let too_large = |sent: Result<(), SendError>, body: &[u8]| {
        let error = sent.unwrap_err();
        let expected = SendFailure::MessageTooLarge {
            size: LIMIT as u64 + 1,
            limit: LIMIT as u64,
        };
        assert_eq!(error.reason(), expected);
        assert!(!error.is_timeout());
        assert!(error.into_message().frames().last().unwrap()[..] == *body);
    };
    let body = vec![7; LIMIT + 1];
    for &net in KINDS {
        let mut push = Push::builder()
            .max_send_size(LIMIT as u64)
            .bind(net.fresh())
            .unwrap();
        let mut pull = Pull::builder().connect(&push.bound_endpoints()[0]).unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        // Borrowed, owned, of several frames; whether it would wait or not.
        too_large(push.send(&body[..]), &body);
        too_large(push.try_send(&body[..]), &body);
        too_large(push.send(body.clone()), &body);
        let frames = [&b""[..], &body];
        too_large(push.try_send(Message::multipart(frames)), &body);
        // What is left of them is nothing.
        push.send(&body[1..]).unwrap();
        assert!(pull.recv_timeout(LONG).unwrap().as_bytes() == &body[1..]);
        push.send(Message::multipart([&body[..LIMIT - 1], b"x"]))
            .unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().byte_len(), LIMIT);
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock), "{net:?}");
    }
}

#[test]
fn every_kind_refuses_what_is_too_large() {
    const LIMIT: u64 = 1 << 18;
    let body = vec![7; LIMIT as usize + 1];
    let is_too_large = |reason| matches!(reason, SendFailure::MessageTooLarge { limit: LIMIT, .. });
    macro_rules! refuses {
        ($kind:ident, $peer:ident, |$socket:ident| $send:expr) => {
            let name = Net::Inproc.fresh();
            let mut $socket = $kind::builder().max_send_size(LIMIT).bind(&name).unwrap();
            let mut peer = $peer::builder().connect(&name).unwrap();
            peer.wait_for_peers(1, LONG).unwrap();
            assert!(is_too_large($send.unwrap_err().reason()), stringify!($kind));
        };
    }
    refuses!(Dealer, Dealer, |socket| socket.send(&body[..]));
    refuses!(Pair, Pair, |socket| socket.send(body.clone()));
    refuses!(Req, Rep, |socket| socket.send(body.clone()));
    refuses!(Scatter, Gather, |socket| socket.send(body.clone()));
    for mandatory in [true, false] {
        let mut router = Router::builder()
            .max_send_size(LIMIT)
            .mandatory(mandatory)
            .build()
            .unwrap();
        let endpoint = router.bind(Net::Inproc.fresh()).unwrap();
        let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
        dealer.send("x").unwrap();
        let (id, _) = router.recv_from().unwrap();
        let error = router.send_to(&id, &body[..]).unwrap_err();
        assert!(is_too_large(error.reason()) && error.routing_id() == Some(id.as_bytes()));
    }

    let name = Net::Inproc.fresh();
    let mut publisher = Pub::builder().max_send_size(LIMIT).bind(&name).unwrap();
    // To nobody it is as good as sent.
    publisher.send(&body[..]).unwrap();
    let mut subs = [(); 2].map(|()| {
        let mut sub = Sub::builder().connect(&name).unwrap();
        sub.subscribe("").unwrap();
        sub
    });
    publisher.wait_for_subscribers(2, LONG).unwrap();
    let error = publisher.send(&body[..]).unwrap_err();
    assert!(is_too_large(error.reason()));
    publisher.send("small").unwrap();
    for sub in &mut subs {
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"small");
    }
    assert_eq!(publisher.stats().dropped_full, 0);

    let requester = Requester::builder().max_send_size(LIMIT).build().unwrap();
    match requester.submit(&body[..]).wait() {
        Err(RequestError::Send(error)) => assert!(is_too_large(error.reason())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_limit_of_what_is_sent_is_an_option_like_others() {
    let default = Push::new();
    assert_eq!(default.options().max_send_size(), Some(128 << 20));
    let without = Push::builder().max_send_size(None).build().unwrap();
    assert_eq!(without.options().max_send_size(), None);
    let error = Push::builder().max_send_size(1000).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "option `max_send_size` cannot be 1000: expected at least 262144 octets, or `None` for no limit"
    );
}

#[test]
fn greetings_are_held_against_the_limit() {
    const LIMIT: u64 = 262_144;
    let large = || Frame::from(vec![0; LIMIT as usize + 1]);
    let refused = [
        Dealer::builder()
            .max_send_size(LIMIT)
            .hello_message(large())
            .build()
            .unwrap_err(),
        Server::builder()
            .max_send_size(LIMIT)
            .disconnect_message(large())
            .build()
            .unwrap_err(),
        Client::builder()
            .max_send_size(LIMIT)
            .hiccup_message(large())
            .build()
            .unwrap_err(),
        Pub::builder()
            .max_send_size(LIMIT)
            .welcome_message(Message::from(large()))
            .build()
            .unwrap_err(),
    ];
    let names = [
        "hello_message",
        "disconnect_message",
        "hiccup_message",
        "welcome_message",
    ];
    for (error, name) in refused.iter().zip(names) {
        let text = format!("option `{name}` cannot be 262145 octets while at most 262144 are sent");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    let mut publisher = Pub::builder().max_send_size(LIMIT).build().unwrap();
    let refused = publisher.reconfigure(|b| b.welcome_message(Message::from(large())));
    assert_eq!(refused.unwrap_err().option(), "welcome_message");
    assert_eq!(publisher.options().welcome_message(), None);
    // What sockets without messages at their other ends are sent has no limit unless one is given.
    let huge = Message::from(vec![0; (64 << 20) + 1]);
    let router = || Router::builder().hello_message(huge.clone());
    assert!(router().build().is_err());
    assert!(router().max_send_size(None).build().is_ok());
    assert!(router().raw(true).build().is_ok());
    assert!(router().raw(true).max_send_size(LIMIT).build().is_err());
}
