//! Options that are changed while a socket is in use, and read.

use std::time::Duration;

use sinew::{
    Dealer, Dish, DuplicateId, HighWaterMark, Message, Pub, Pull, Push, Rep, Requester, Router,
    RoutingId, SendFailure, SocketEvent, Split, Sub,
};

use crate::support::{await_event, await_true, number_of, numbered, task, Net, KINDS, LONG};

/// How many more messages are taken before one is refused, beginning with number `from`.
fn fill(push: &mut Push, from: u32) -> u32 {
    let mut next = from;
    while push.try_send(numbered(0, next)).is_ok() {
        next += 1;
        assert!(next < 100_000, "there is no limit");
    }
    next - from
}

fn inproc(send: u64, recv: u64) -> (Push, Pull) {
    let name = Net::Inproc.fresh();
    let pull = Pull::builder().recv_hwm(recv).bind(&name).unwrap();
    let push = Push::builder().send_hwm(send).connect(&name).unwrap();
    (push, pull)
}

#[test]
fn marks_of_both_sides_change_for_the_peers_there_are() {
    let (mut push, mut pull) = inproc(2, 2);
    assert_eq!(fill(&mut push, 0), 4);
    push.set_send_hwm(5).unwrap();
    assert_eq!(fill(&mut push, 4), 3);
    pull.set_recv_hwm(4).unwrap();
    assert_eq!(fill(&mut push, 7), 2);
    assert_eq!(push.options().send_hwm(), HighWaterMark::new(5));
    assert_eq!(pull.options().recv_hwm(), HighWaterMark::new(4));

    // Less than is queued: nothing is dropped, and nothing more is taken before enough has been received.
    push.set_send_hwm(1).unwrap();
    pull.set_recv_hwm(1).unwrap();
    for n in 0..9 {
        assert_eq!(fill(&mut push, 9), 0, "with {} queued", 9 - n);
        if n == 7 {
            break;
        }
        assert_eq!(number_of(&pull.try_recv().unwrap()), (0, n));
    }
    for n in 7..9 {
        assert_eq!(number_of(&pull.try_recv().unwrap()), (0, n));
    }
    assert!(pull.try_recv().is_err());
    assert_eq!(fill(&mut push, 9), 2);
}

#[test]
fn a_lower_mark_holds_before_the_higher_one_was_reached() {
    let (mut push, _pull) = inproc(100, 1);
    push.send(numbered(0, 0)).unwrap();
    push.set_send_hwm(1).unwrap();
    assert_eq!(fill(&mut push, 1), 1);

    let (mut push, mut pull) = inproc(1, 100);
    push.send(numbered(0, 0)).unwrap();
    pull.set_recv_hwm(1).unwrap();
    assert_eq!(fill(&mut push, 1), 1);
}

#[test]
fn what_is_read_ahead_of_a_connection_follows_the_mark() {
    for net in [Net::Tcp4, Net::IpcWildcard] {
        let mut pull = Pull::builder().recv_hwm(2).bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        for n in 0..200 {
            push.send(numbered(0, n)).unwrap();
        }
        let queued = |pull: &Pull| {
            let connections = pull.connections();
            let queued = |of: &sinew::ConnectionSnapshot| of.traffic.queued_to_receive;
            connections.first().map_or(0, queued)
        };
        await_true("two are read", || queued(&pull) == 2);
        pull.set_recv_hwm(7).unwrap();
        await_true("seven are read", || queued(&pull) == 7);
        pull.set_recv_hwm(3).unwrap();
        for n in 0..200 {
            let message = pull.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&message), (0, n), "{net:?}");
            assert!(queued(&pull) <= 7, "{net:?}");
        }
        for n in 200..300 {
            push.send(numbered(0, n)).unwrap();
        }
        await_true("three are read", || queued(&pull) == 3);
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, 200));
    }
}

#[test]
fn a_higher_mark_wakes_who_waits_for_room() {
    // Room that the receiver makes.
    let (mut push, mut pull) = inproc(1, 1);
    fill(&mut push, 0);
    let sending = task(move || {
        push.send("last").unwrap();
        push
    });
    pull.set_recv_hwm(2).unwrap();
    let _push = sending.join();
    // And the sender, through its other part.
    let dealer = Dealer::builder()
        .send_hwm(1)
        .linger(Duration::ZERO)
        .connect(Net::Tcp4.unbound())
        .unwrap();
    let (mut sending, mut receiving) = dealer.split();
    sending.send("first").unwrap();
    let blocked = task(move || {
        sending.send("second").unwrap();
        sending
    });
    receiving
        .reconfigure(|options| options.send_hwm(2))
        .unwrap();
    let mut sending = blocked.join();
    let refused = sending.try_send("third").unwrap_err();
    assert_eq!(refused.reason(), SendFailure::WouldBlock);
    assert_eq!(sending.options().send_hwm(), HighWaterMark::new(2));
}

#[test]
fn options_of_connections_are_for_those_begun_later() {
    let id = |id: &str| RoutingId::new(id).unwrap();
    let begin = || Router::builder().bound("tcp://127.0.0.1:*").unwrap();
    let ((mut first, to_first), (mut second, to_second)) = (begin(), begin());
    let mut dealer = Dealer::builder().routing_id(id("a")).build().unwrap();
    dealer.connect(&to_first).unwrap();
    dealer
        .reconfigure(|options| {
            options
                .routing_id(id("b"))
                .reconnect(sinew::ReconnectPolicy::never())
        })
        .unwrap();
    dealer.connect(&to_second).unwrap();
    assert_eq!(dealer.options().routing_id(), Some(&id("b")));

    let mut monitor = dealer.monitor();
    let seen = |dealer: &mut Dealer, router: &mut Router| {
        dealer.wait_for_peers(2, LONG).unwrap();
        // One for each, in turn.
        dealer.send("x").unwrap();
        dealer.send("x").unwrap();
        router.recv_from().unwrap().0
    };
    assert_eq!(seen(&mut dealer, &mut first), id("a"));
    assert_eq!(second.recv_from().unwrap().0, id("b"));

    // A connection that is made again is as it was.
    first.unbind(&to_first).unwrap();
    await_event(&mut monitor, "the first is gone", |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    });
    first.bind(&to_first).unwrap();
    assert_eq!(seen(&mut dealer, &mut first), id("a"));
}

#[test]
fn linger_counts_when_a_socket_is_closed() {
    let mut push = Push::builder().linger(Duration::ZERO).build().unwrap();
    push.set_linger(LONG).unwrap();
    let endpoint = Net::Tcp4.unbound();
    push.connect(&endpoint).unwrap();
    push.send("kept").unwrap();
    drop(push);
    let mut pull = Pull::builder().bind(&endpoint).unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"kept");
}

#[test]
fn timeouts_count_for_the_next_call() {
    let mut pull = Pull::new();
    pull.reconfigure(|options| options.recv_timeout(Duration::ZERO))
        .unwrap();
    assert!(pull.recv().unwrap_err().is_timeout());
}

#[test]
fn greetings_are_for_peers_that_come_later() {
    for &net in KINDS {
        let mut router = Router::builder().hello_message("one").build().unwrap();
        let endpoint = router.bind(net.fresh()).unwrap();
        let mut first = Dealer::builder().connect(&endpoint).unwrap();
        assert_eq!(first.recv_timeout(LONG).unwrap().as_bytes(), b"one");
        router
            .reconfigure(|options| options.hello_message("two"))
            .unwrap();
        // Connections over streams are those of an endpoint; what is said to their peers is not.
        let mut second = Dealer::builder().connect(&endpoint).unwrap();
        assert_eq!(
            second.recv_timeout(LONG).unwrap().as_bytes(),
            b"two",
            "{net:?}"
        );
        assert!(first.try_recv().is_err());
    }
}

#[test]
fn what_cannot_be_changed_is_refused_and_nothing_is() {
    let mut pull = Pull::builder().recv_hwm(5).build().unwrap();
    let before = format!("{:?}", pull.options());
    for (name, refused) in [
        (
            "attach_properties",
            pull.reconfigure(|options| options.recv_hwm(6).attach_properties(true)),
        ),
        (
            "conflate",
            pull.reconfigure(|options| options.recv_hwm(6).conflate(true)),
        ),
        (
            "busy_poll",
            pull.reconfigure(|options| options.recv_hwm(6).busy_poll(true)),
        ),
        (
            "backlog",
            pull.reconfigure(|options| options.recv_hwm(6).backlog(0)),
        ),
        (
            "context",
            pull.reconfigure(|options| options.context(&sinew::Context::default())),
        ),
        ("recv_hwm", pull.set_recv_hwm(0)),
    ] {
        assert_eq!(refused.unwrap_err().option(), name);
        assert_eq!(format!("{:?}", pull.options()), before, "{name}");
    }
    let mut router = Router::builder().mandatory(false).build().unwrap();
    let refused = router.reconfigure(|options| options.mandatory(true).raw(true));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "option `raw` cannot be changed after the socket was made: expected the value it was made with"
    );
    assert!(!router.options().mandatory() && !router.options().raw());
    let mut rep = Rep::new();
    let refused = rep.reconfigure(|options| options.duplicate_id(DuplicateId::Mute));
    assert_eq!(refused.unwrap_err().option(), "duplicate_id");
    assert_eq!(rep.options().duplicate_id(), None);
    let (mut sending, _receiving) = router.split();
    let refused = sending.reconfigure(|options| options.mandatory(true));
    assert_eq!(
        refused.unwrap_err().option(),
        "of this kind of socket alone"
    );
}

#[test]
fn options_are_read_as_they_were_set() {
    let sub = Sub::builder()
        .invert_matching(true)
        .metadata("X-a", "b")
        .build()
        .unwrap();
    let options = sub.options();
    assert!(options.invert_matching() && !options.verbose_unsubscribe());
    assert_eq!(options.metadata().len(), 1);
    // The default of its kind.
    assert_eq!(options.linger(), Some(Duration::ZERO));
    let publisher = Pub::builder().no_drop(true).tos(4).build().unwrap();
    assert!(publisher.options().no_drop());
    assert_eq!(publisher.options().tos(), Some(4));
    assert_eq!(
        Dish::new().options().handshake_timeout(),
        Some(Duration::from_secs(10))
    );
    let router = Router::builder()
        .mandatory(false)
        .hello_message("hi")
        .build()
        .unwrap();
    assert!(!router.options().mandatory());
    assert_eq!(router.options().hello_message(), Some(&Message::from("hi")));
    let requester = Requester::builder().build().unwrap();
    requester
        .reconfigure(|options| options.send_hwm(7))
        .unwrap();
    assert_eq!(requester.options().send_hwm(), HighWaterMark::new(7));
}
