//! Peers of types that do not fit, over inproc: what becomes of the messages of each.

use std::any::Any;

use sinew::{
    BuildError, ConnectError, Context, Dealer, DisconnectReason, Gather, Message, Pair, Pub, Pull,
    Push, Rep, Req, Router, SendFailure, SocketEvent, SocketType, Sub, SubscriptionEvent, XPub,
};

use crate::support::{await_event, await_true, Net, LONG};

/// How to make a socket of one type, that takes any other or not; it is kept alive by the box.
struct Kind {
    socket_type: SocketType,
    bind: fn(&str, bool),
    connect: fn(&str, bool) -> Result<(), ConnectError>,
    alive: fn(&str, bool) -> Box<dyn Any>,
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        [$(Kind {
            socket_type: SocketType::$kind,
            bind: |name, any| {
                sinew::$kind::builder().any_inproc_type(any).bind(name).unwrap();
            },
            connect: |name, any| {
                match sinew::$kind::builder().any_inproc_type(any).connect(name) {
                    Ok(_) => Ok(()),
                    Err(BuildError::Connect(error)) => Err(error),
                    Err(error) => panic!("{error}"),
                }
            },
            alive: |name, any| {
                Box::new(sinew::$kind::builder().any_inproc_type(any).bind(name).unwrap())
            },
        }),*]
    };
}

#[test]
fn any_two_types_meet_but_those_of_groups() {
    let kinds = kinds! {
        Pair Pub Sub XPub XSub Req Rep Dealer Router Push Pull Client Server Peer Scatter Gather
        Channel Radio Dish
    };
    let groups = [SocketType::Radio, SocketType::Dish];
    for (here, there) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (a, b))) {
        let (ours, theirs) = (there.socket_type, here.socket_type);
        let legal = ours.is_compatible_with(theirs);
        let mixes = !groups.contains(&ours) && !groups.contains(&theirs);
        for (binder, connector) in [(true, false), (false, true), (false, false)] {
            let name = Net::Inproc.fresh();
            let _kept = (here.alive)(&name, binder);
            let connected = (there.connect)(&name, connector);
            if legal || mixes && (binder || connector) {
                assert!(connected.is_ok(), "{ours} to {theirs}");
                continue;
            }
            match connected {
                Err(ConnectError::Incompatible {
                    ours: told_ours,
                    theirs: told_theirs,
                    ..
                }) => assert_eq!((told_ours, told_theirs), (ours, theirs)),
                other => panic!("{ours} to {theirs}: {other:?}"),
            }
        }
        // Nobody is there any more, and nobody was.
        let name = Net::Inproc.fresh();
        (there.connect)(&name, true).unwrap();
        (here.bind)(&name, true);
    }
}

/// A bound PULL and a connected socket that may be of any type.
fn to_pull() -> (Pull, String) {
    let name = Net::Inproc.fresh();
    let pull = Pull::builder().any_inproc_type(true).bind(&name).unwrap();
    (pull, name)
}

#[test]
fn who_receives_gets_the_frames_that_were_sent() {
    let (mut pull, name) = to_pull();
    let mut req = Req::builder().correlated(false).connect(&name).unwrap();
    req.send("request").unwrap();
    let frames = pull.recv_timeout(LONG).unwrap();
    assert_eq!(frames, Message::multipart(["", "request"]));

    let (mut pull, name) = to_pull();
    let mut pair = Pair::builder().connect(&name).unwrap();
    pair.send("x").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");

    // Named as any peer, and reached by that name.
    let name = Net::Inproc.fresh();
    let router = Router::builder().any_inproc_type(true).bind(&name);
    let mut router = router.unwrap();
    let mut pair = Pair::builder().connect(&name).unwrap();
    pair.send("here").unwrap();
    let (id, here) = router.recv_from_timeout(LONG).unwrap();
    assert_eq!(here.as_bytes(), b"here");
    router.send_to(&id, "there").unwrap();
    assert_eq!(pair.recv_timeout(LONG).unwrap().as_bytes(), b"there");
}

#[test]
fn who_has_rules_for_what_it_receives_applies_them() {
    let name = Net::Inproc.fresh();
    let sub = Sub::builder().any_inproc_type(true).bind(&name);
    let mut sub = sub.unwrap();
    sub.subscribe("a").unwrap();
    let mut push = Push::builder().connect(&name).unwrap();
    push.send("b").unwrap();
    push.send("ab").unwrap();
    assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"ab");

    let name = Net::Inproc.fresh();
    let rep = Rep::builder().any_inproc_type(true).bind(&name);
    let mut rep = rep.unwrap();
    let mut push = Push::builder().connect(&name).unwrap();
    push.send("no request").unwrap();
    push.send(Message::multipart(["", "request"])).unwrap();
    assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"request");
    assert_eq!(rep.stats().dropped_unexpected, 1);
    // To somebody who only sends: there is no way back.
    rep.send("reply").unwrap_or_else(drop_reply);

    let name = Net::Inproc.fresh();
    let gather = Gather::builder().any_inproc_type(true).bind(&name);
    let mut gather = gather.unwrap();
    let mut push = Push::builder().connect(&name).unwrap();
    push.send(Message::multipart(["two", "frames"])).unwrap();
    push.send("one").unwrap();
    assert_eq!(gather.recv_timeout(LONG).unwrap().as_bytes(), b"one");
    assert_eq!(gather.stats().dropped_unexpected, 1);
}

#[track_caller]
fn drop_reply(error: sinew::SendError) {
    panic!("the reply is queued like any message: {error}");
}

#[test]
fn publishers_send_to_who_has_subscribed_in_whatever_way() {
    let (mut pull, name) = to_pull();
    let mut publisher = Pub::builder().connect(&name).unwrap();
    publisher.send("for subscribers").unwrap();
    assert_eq!(publisher.stats().dropped_unmatched, 1);
    assert!(pull.try_recv().is_err());

    let name = Net::Inproc.fresh();
    let xpub = XPub::builder().any_inproc_type(true).bind(&name);
    let mut xpub = xpub.unwrap();
    let mut dealer = Dealer::builder().connect(&name).unwrap();
    dealer.send("\u{1}a").unwrap();
    let event = xpub.recv_event_timeout(LONG).unwrap();
    assert_eq!(event, SubscriptionEvent::Subscribed("a".into()));
    xpub.send("b").unwrap();
    xpub.send("ab").unwrap();
    assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"ab");
    dealer.send("message").unwrap();
    let event = xpub.recv_event_timeout(LONG).unwrap();
    assert_eq!(event, SubscriptionEvent::Message("message".into()));
}

/// Sends as much as there is room for.
fn fill(push: &mut Push) -> u64 {
    let mut sent = 0;
    loop {
        match push.try_send([7; 100]) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.reason(), SendFailure::WouldBlock);
                return sent;
            }
        }
    }
}

/// Whichever is bound, and whether that is so before or after the other connects.
#[test]
fn who_receives_nothing_is_full_in_the_end_until_it_goes() {
    let context = Context::builder().memory_budget(1 << 30).build().unwrap();
    let push = |send, recv| {
        let push = Push::builder().context(&context).any_inproc_type(true);
        push.send_hwm(send).recv_hwm(recv).build().unwrap()
    };
    for bound_first in [true, false] {
        let name = Net::Inproc.fresh();
        let (mut binder, mut connector) = (push(1, 3), push(5, 7));
        if bound_first {
            binder.bind(&name).unwrap();
            connector.connect(&name).unwrap();
        } else {
            connector.connect(&name).unwrap();
            binder.bind(&name).unwrap();
        }
        let mut told = connector.monitor();
        assert_eq!(fill(&mut connector), 5 + 3);
        assert_eq!(fill(&mut binder), 1 + 7);
        let of_binder = &binder.connections()[0].traffic;
        assert_eq!((of_binder.messages_sent, of_binder.queued_to_send), (8, 8));
        assert_eq!(of_binder.queued_to_receive, 8);
        assert!(context.memory_used().unwrap() > 0);
        drop(binder);
        await_event(&mut told, "the end", |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::PeerClosed,
                    ..
                }
            )
        });
        assert_eq!(fill(&mut connector), 0);
        drop(connector);
        await_true("nothing is kept", || context.memory_used() == Some(0));
    }
}
