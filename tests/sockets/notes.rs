//! What is said of itself when peers come and go: greetings, probes, notes.

use std::time::Duration;

use sinew::{
    Client, Dealer, Message, Peer, ReconnectPolicy, RecvError, Rep, Req, RequestError, Router,
    RoutingId, Server,
};

use crate::support::{await_true, numbered, KINDS, LONG, SHORT, STREAMS};

fn id(name: &str) -> RoutingId {
    RoutingId::new(name).unwrap()
}

/// One that is connected to this router, and called "guest".
fn guest_of(router: &Router) -> Dealer {
    let builder = Dealer::builder().routing_id(id("guest"));
    builder.connect(&router.bound_endpoints()[0]).unwrap()
}

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

#[test]
fn a_greeting_comes_first_from_either_side() {
    for &net in KINDS {
        let mut router = Router::builder()
            .hello_message(Message::multipart(["welcome", ""]))
            .bind(net.fresh())
            .unwrap();
        let mut dealer = Dealer::builder()
            .routing_id(id("guest"))
            .hello_message("good day")
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        dealer.send("business").unwrap();
        for expected in ["good day", "business"] {
            let (from, message) = router.recv_from_timeout(LONG).unwrap();
            assert_eq!((from, message), (id("guest"), Message::from(expected)));
        }
        router.send_to("guest", "to business").unwrap();
        let welcome = Message::multipart(["welcome", ""]);
        assert_eq!(dealer.recv_timeout(LONG).unwrap(), welcome, "{net:?}");
        assert_eq!(
            dealer.recv_timeout(LONG).unwrap(),
            Message::from("to business")
        );
    }
}

#[test]
fn who_binds_late_is_greeted_before_what_waits() {
    for &net in KINDS {
        let endpoint = net.unbound();
        let mut dealer = Dealer::builder()
            .reconnect(quick())
            .hello_message("good day")
            .connect(&endpoint)
            .unwrap();
        dealer.send("queued").unwrap();
        let mut other = Dealer::builder().bind(&endpoint).unwrap();
        for expected in ["good day", "queued"] {
            let message = other.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), expected.as_bytes(), "{net:?}");
        }
    }
}

#[test]
fn a_connection_that_is_made_again_is_greeted_again() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut dealer = Dealer::builder()
            .reconnect(quick())
            .hello_message("good day")
            .hiccup_message(Message::multipart(["hiccup", "!"]))
            .connect(&endpoint)
            .unwrap();
        for round in 0..3 {
            let mut router = Router::builder().bind(&endpoint).unwrap();
            let (from, message) = router.recv_from_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), b"good day", "{net:?} {round}");
            router.send_to(&from, "last words").unwrap();
            router.close();
            let last = dealer.recv_timeout(LONG).unwrap();
            assert_eq!(last.as_bytes(), b"last words");
            let note = dealer.recv_timeout(LONG).unwrap();
            assert_eq!(note, Message::multipart(["hiccup", "!"]), "{net:?} {round}");
        }
    }
}

#[test]
fn a_probe_tells_a_router_who_is_there() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let endpoint = router.bound_endpoints()[0].clone();
        let _dealer = Dealer::builder()
            .routing_id(id("dealer"))
            .probe_router(true)
            .connect(&endpoint)
            .unwrap();
        let empty = |router: &mut Router| {
            let (from, message) = router.recv_from_timeout(LONG).unwrap();
            assert_eq!(message, Message::default(), "{net:?}");
            from
        };
        assert_eq!(empty(&mut router), id("dealer"));
        let mut req = Req::builder()
            .routing_id(id("req"))
            .probe_router(true)
            .connect(&endpoint)
            .unwrap();
        assert_eq!(empty(&mut router), id("req"));
        let mut other = Router::builder()
            .routing_id(id("router"))
            .probe_router(true)
            .connect(&endpoint)
            .unwrap();
        assert_eq!(empty(&mut router), id("router"));
        router.send_to("router", "hello").unwrap();
        assert_eq!(other.recv_timeout(LONG).unwrap().frame_count(), 2);
        // The requester is none the wiser.
        req.send("question").unwrap();
        let request = router.recv_timeout(LONG).unwrap();
        router.send(request).unwrap();
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"question");
    }
}

#[test]
fn a_probe_is_no_request() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder()
            .probe_router(true)
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        req.send("question").unwrap();
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"question");
        assert_eq!(rep.stats().dropped_unexpected, 1, "{net:?}");
        rep.send("answer").unwrap();
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"answer");
    }
}

#[test]
fn the_loss_of_a_peer_is_a_message_if_that_is_wanted() {
    for &net in KINDS {
        let mut router = Router::builder()
            .disconnect_message(Message::multipart(["it", "left"]))
            .bind(net.fresh())
            .unwrap();
        let mut dealer = guest_of(&router);
        dealer.send("last words").unwrap();
        dealer.close();
        let (from, message) = router.recv_from_timeout(LONG).unwrap();
        assert_eq!(
            (from, message.as_bytes()),
            (id("guest"), &b"last words"[..])
        );
        let note = router.recv_timeout(LONG).unwrap();
        assert_eq!(note, Message::multipart(["guest", "it", "left"]), "{net:?}");
        assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
        // Nobody is left.
        assert!(router.peer_state("guest").is_none());
    }
}

#[test]
fn the_loss_of_an_inproc_binder_is_a_hiccup() {
    let mut router = Router::builder().bind("inproc://notes-hiccup").unwrap();
    let mut dealer = Dealer::builder()
        .hiccup_message("hiccup")
        .connect("inproc://notes-hiccup")
        .unwrap();
    dealer.send("x").unwrap();
    router.recv_timeout(LONG).unwrap();
    router.close();
    assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"hiccup");
    assert_eq!(dealer.try_recv(), Err(RecvError::WouldBlock));
}

#[test]
fn a_router_is_notified_of_who_comes_and_goes() {
    for &net in STREAMS {
        let mut router = Router::builder()
            .notify_connect(true)
            .notify_disconnect(true)
            .bind(net.fresh())
            .unwrap();
        let mut dealer = guest_of(&router);
        let note = Message::multipart(["guest", ""]);
        assert_eq!(router.recv_timeout(LONG).unwrap(), note, "{net:?}");
        router.send_to("guest", "welcome").unwrap();
        assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"welcome");
        dealer.send("thanks").unwrap();
        dealer.close();
        let thanks = Message::multipart(["guest", "thanks"]);
        assert_eq!(router.recv_timeout(LONG).unwrap(), thanks);
        assert_eq!(router.recv_timeout(LONG).unwrap(), note, "{net:?}");
        // Who does not get as far as a handshake is not told of.
        let stranger = sinew::Push::builder()
            .reconnect(quick())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        await_true("a refusal", || router.stats().handshake_failures > 0);
        assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
        drop(stranger);
    }
}

#[test]
fn who_leaves_as_much_as_may_be_unread_is_told_of() {
    for &net in STREAMS {
        let mut router = Router::builder()
            .recv_hwm(1)
            .notify_disconnect(true)
            .disconnect_message("gone")
            .bind(net.fresh())
            .unwrap();
        let mut dealer = guest_of(&router);
        dealer.send("last").unwrap();
        dealer.close();
        await_true("the end of it", || {
            let stats = router.stats();
            stats.messages_received == 0 && stats.disconnects > 0
        });
        for expected in ["last", "", "gone"] {
            let expected = Message::multipart(["guest", expected]);
            assert_eq!(router.recv_timeout(LONG).unwrap(), expected, "{net:?}");
        }
        assert_eq!(router.stats().dropped_full, 0, "{net:?}");
    }
}

#[test]
fn immediate_queues_for_nobody_who_is_not_there() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut dealer = Dealer::builder()
            .immediate(true)
            .reconnect(quick())
            .connect(&endpoint)
            .unwrap();
        let mut req = Req::builder()
            .immediate(true)
            .reconnect(quick())
            .connect(&endpoint)
            .unwrap();
        assert!(dealer.try_send("nobody").is_err());
        assert!(matches!(
            req.request_timeout("nobody", SHORT),
            Err(RequestError::Send(_))
        ));
        let mut router = Router::builder().bind(&endpoint).unwrap();
        dealer.send_timeout("somebody", LONG).unwrap();
        assert_eq!(router.recv_timeout(LONG).unwrap().frame_count(), 2);
        req.send_timeout("somebody", LONG).unwrap();
        let request = router.recv_timeout(LONG).unwrap();
        router.send(request).unwrap();
        req.recv_timeout(LONG).unwrap();
        router.close();
        await_true("the loss", || dealer.stats().peers == 0);
        assert!(dealer.try_send("nobody").is_err(), "{net:?}");
    }
}

#[test]
fn a_request_waits_as_the_options_say_and_never_wedges_the_socket() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder()
            .recv_timeout(SHORT)
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        for n in 0..3 {
            let error = req.request(numbered(0, n)).unwrap_err();
            assert_eq!(error, RequestError::Recv(RecvError::Timeout), "{net:?}");
        }
        // The replies come all at once, too late; the last request is answered before them.
        let late: Vec<Message> = (0..3).map(|_| router.recv_timeout(LONG).unwrap()).collect();
        req.send(numbered(1, 0)).unwrap();
        let current = router.recv_timeout(LONG).unwrap();
        for message in late {
            router.send(message).unwrap();
        }
        router.send(current).unwrap();
        assert_eq!(req.recv_timeout(LONG).unwrap(), numbered(1, 0));
        assert_eq!(req.stats().dropped_unexpected, 3);
        // Without a timeout: for as long as it takes.
        let mut patient = Req::builder()
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        let answering = crate::support::task(move || {
            let request = router.recv_timeout(LONG).unwrap();
            router.send(request).unwrap();
            router.close()
        });
        assert_eq!(patient.request("question").unwrap().as_bytes(), b"question");
        answering.join();
    }
}

#[test]
fn clients_servers_and_peers_are_greeted() {
    for &net in KINDS {
        let mut server = Server::builder()
            .hello_message("welcome")
            .bind(net.fresh())
            .unwrap();
        let mut client = Client::builder()
            .hello_message("good day")
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("business").unwrap();
        let (id, message) = server.recv_from_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), b"good day", "{net:?}");
        let business = server.recv_from_timeout(LONG).unwrap();
        assert_eq!(business, (id, Message::from("business")));
        server.send_to(id, "answer").unwrap();
        for expected in ["welcome", "answer"] {
            let message = client.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), expected.as_bytes(), "{net:?}");
        }
        let mut one = Peer::builder()
            .hello_message("from one")
            .bind(net.fresh())
            .unwrap();
        let mut other = Peer::builder()
            .hello_message("from the other")
            .build()
            .unwrap();
        let id = other.connect_peer(&one.bound_endpoints()[0]).unwrap();
        other.send_to(id, "more").unwrap();
        for expected in ["from the other", "more"] {
            let message = one.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), expected.as_bytes(), "{net:?}");
        }
        let (from, message) = other.recv_from_timeout(LONG).unwrap();
        assert_eq!((from, message.as_bytes()), (id, &b"from one"[..]));
    }
}

#[test]
fn clients_servers_and_peers_hear_of_losses() {
    for &net in KINDS {
        let mut server = Server::builder()
            .disconnect_message("it left")
            .bind(net.fresh())
            .unwrap();
        let mut client = Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("last words").unwrap();
        client.close();
        let (id, message) = server.recv_from_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), b"last words");
        let note = server.recv_from_timeout(LONG).unwrap();
        assert_eq!(note, (id, Message::from("it left")), "{net:?}");

        // Who had connected is told of a hiccup, who was connected to of a loss.
        let mut client = Client::builder()
            .hiccup_message("hiccup")
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("here").unwrap();
        server.recv_from_timeout(LONG).unwrap();
        server.close();
        assert_eq!(client.recv_timeout(LONG).unwrap().as_bytes(), b"hiccup");
        let both = || {
            Peer::builder()
                .reconnect(quick())
                .disconnect_message("it left")
                .hiccup_message("hiccup")
        };
        for bound_goes_first in [true, false] {
            let mut one = both().bind(net.fresh()).unwrap();
            let mut other = both().build().unwrap();
            let id = other.connect_peer(&one.bound_endpoints()[0]).unwrap();
            other.send_to(id, "here").unwrap();
            let (known, _) = one.recv_from_timeout(LONG).unwrap();
            let (note, expected) = if bound_goes_first {
                one.close();
                (other.recv_from_timeout(LONG), (id, "hiccup"))
            } else {
                other.close();
                (one.recv_from_timeout(LONG), (known, "it left"))
            };
            let (from, note) = note.unwrap();
            assert_eq!((from, note.as_bytes()), (expected.0, expected.1.as_bytes()));
        }
    }
}
