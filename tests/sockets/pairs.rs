//! PAIR, CHANNEL, CLIENT, SERVER, PEER, SCATTER and GATHER, and which types may talk to which.

use std::any::Any;
use std::time::Duration;

use sinew::{
    Channel, Client, ConnectError, Context, Dealer, DisconnectReason, Endpoint, Gather,
    Incompatible, Message, Monitor, Pair, Peer, PeerId, ProtocolError, Pull, Push, ReconnectPolicy,
    RecvError, Router, RoutingId, Scatter, SendFailure, Server, SocketEvent, SocketType, Stream,
    TimedOut,
};

use crate::support::{
    await_event, await_true, number_of, numbered, task, KINDS, LONG, SHORT, STREAMS,
};

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

// ---- PAIR and CHANNEL ---------------------------------------------------------------------------

#[test]
fn a_pair_sends_and_receives_in_any_order() {
    for &net in KINDS {
        let mut one = Pair::builder().bind(net.fresh()).unwrap();
        let mut other = Pair::builder().connect(&one.bound_endpoints()[0]).unwrap();
        for n in 0..100 {
            one.send(numbered(0, n)).unwrap();
            other.send(numbered(1, n)).unwrap();
        }
        one.send(Message::multipart(["several", "", "frames"]))
            .unwrap();
        for n in 0..100 {
            assert_eq!(number_of(&other.recv_timeout(LONG).unwrap()), (0, n));
            assert_eq!(number_of(&one.recv_timeout(LONG).unwrap()), (1, n));
        }
        assert_eq!(
            other.recv_timeout(LONG).unwrap(),
            Message::multipart(["several", "", "frames"])
        );
        assert_eq!(one.try_recv(), Err(RecvError::WouldBlock));
    }
}

#[test]
fn a_pair_without_a_peer_waits() {
    for &net in KINDS {
        let mut pair = Pair::builder().send_hwm(3).bind(net.fresh()).unwrap();
        let endpoint = pair.bound_endpoints()[0].clone();
        let refused = pair.try_send("early").unwrap_err();
        assert_eq!(refused.reason(), SendFailure::WouldBlock);
        assert_eq!(refused.into_message().as_bytes(), b"early");
        let late = pair.send_timeout("late", SHORT).unwrap_err();
        assert_eq!(late.reason(), SendFailure::Timeout);
        let sender = task(move || {
            pair.send("in time").unwrap();
            pair
        });
        let mut other = Pair::builder().connect(&endpoint).unwrap();
        assert_eq!(other.recv_timeout(LONG).unwrap().as_bytes(), b"in time");
        drop(sender.join());
    }
}

fn is_occupied(event: &SocketEvent) -> bool {
    matches!(
        event,
        SocketEvent::HandshakeFailed {
            reason: DisconnectReason::Occupied,
            ..
        } | SocketEvent::ConnectFailed {
            reason: DisconnectReason::Occupied,
            ..
        }
    )
}

fn is_refusal(event: &SocketEvent) -> bool {
    matches!(
        event,
        SocketEvent::HandshakeFailed {
            reason: DisconnectReason::Protocol(ProtocolError::Refused(_)),
            ..
        } | SocketEvent::Disconnected {
            reason: DisconnectReason::Protocol(ProtocolError::Refused(_)),
            ..
        }
    )
}

#[test]
fn a_pair_has_one_peer_at_a_time() {
    for &net in STREAMS {
        let mut pair = Pair::builder().bind(net.fresh()).unwrap();
        let endpoint = pair.bound_endpoints()[0].clone();
        let mut here = pair.monitor();
        let mut first = Pair::builder().connect(&endpoint).unwrap();
        pair.wait_for_peers(1, LONG).unwrap();
        let mut second = Pair::builder().reconnect(quick()).build().unwrap();
        let mut there = second.monitor();
        second.connect(&endpoint).unwrap();
        await_event(&mut here, "a second peer is refused", is_occupied);
        await_event(&mut there, "and is told", is_refusal);
        second.send("waits").unwrap();
        // The first has noticed nothing of it.
        first.send("first").unwrap();
        assert_eq!(pair.recv_timeout(LONG).unwrap().as_bytes(), b"first");
        pair.send("to the first").unwrap();
        assert_eq!(
            first.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the first"
        );
        // When it is gone the place is free.
        first.close();
        assert_eq!(pair.recv_timeout(LONG).unwrap().as_bytes(), b"waits");
        pair.send_timeout("to the second", LONG).unwrap();
        assert_eq!(
            second.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the second"
        );
    }
}

#[test]
fn a_pair_has_one_peer_over_inproc_too() {
    let endpoint = KINDS[2].fresh();
    let mut pair = Pair::builder().bind(&endpoint).unwrap();
    let mut here = pair.monitor();
    let first = Pair::builder().connect(&endpoint).unwrap();
    let mut second = Pair::new();
    let mut there = second.monitor();
    let refused = second.connect(&endpoint).unwrap_err();
    assert!(
        matches!(refused, ConnectError::Occupied { .. }),
        "{refused}"
    );
    await_event(&mut here, "here", is_occupied);
    await_event(&mut there, "there", is_occupied);
    first.close();
    second.connect(&endpoint).unwrap();
    second.send("now").unwrap();
    assert_eq!(pair.recv_timeout(LONG).unwrap().as_bytes(), b"now");
}

#[test]
fn a_pair_connects_once() {
    for &net in KINDS {
        let other = Pair::builder().bind(net.fresh()).unwrap();
        let mut pair = Pair::new();
        let endpoint = pair.connect(&other.bound_endpoints()[0]).unwrap();
        let again = pair.connect(net.unbound()).unwrap_err();
        assert!(again.to_string().contains("one peer at a time"), "{again}");
        assert_eq!(pair.connected_endpoints(), std::slice::from_ref(&endpoint));
        // What it is bound to does not help: the place is taken.
        pair.disconnect(&endpoint).unwrap();
        await_true("the place is free", || pair.connect(&endpoint).is_ok());
    }
}

/// A connect that fails has not taken the place, nor the name that a ROUTER would have given.
#[test]
fn a_connect_that_fails_leaves_nothing_behind() {
    let context = Context::builder().io_threads(1).build().unwrap();
    let no_thread = |error: ConnectError| {
        assert!(matches!(error, ConnectError::NoIoThread { .. }), "{error}");
    };
    let endpoint = KINDS[2].fresh();
    let mut other = Pair::builder().context(&context).bind(&endpoint).unwrap();
    let mut pair = Pair::builder()
        .context(&context)
        .affinity(0b10)
        .build()
        .unwrap();
    no_thread(pair.connect("tcp://127.0.0.1:9").unwrap_err());
    let wrong = Push::builder()
        .context(&context)
        .bind("inproc://wrong")
        .unwrap();
    let incompatible = pair.connect("inproc://wrong").unwrap_err();
    assert!(matches!(incompatible, ConnectError::Incompatible { .. }));
    pair.connect(&endpoint).unwrap();
    pair.send("here").unwrap();
    assert_eq!(other.recv_timeout(LONG).unwrap().as_bytes(), b"here");
    drop(wrong);

    let endpoint = KINDS[2].fresh();
    let mut dealer = Dealer::builder().context(&context).bind(&endpoint).unwrap();
    let mut router = Router::builder()
        .context(&context)
        .affinity(0b10)
        .build()
        .unwrap();
    let name = RoutingId::new("name").unwrap();
    no_thread(router.connect_as(&name, "tcp://127.0.0.1:9").unwrap_err());
    assert!(router.peer_state("name").is_none());
    router.connect_as(&name, &endpoint).unwrap();
    router.send_to("name", "here").unwrap();
    assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"here");
}

#[test]
fn single_frames_only() {
    let several = || Message::multipart(["several", "frames"]);
    for &net in KINDS {
        let mut channel = Channel::builder().bind(net.fresh()).unwrap();
        let mut other = Channel::builder()
            .connect(&channel.bound_endpoints()[0])
            .unwrap();
        let mut gather = Gather::builder().bind(net.fresh()).unwrap();
        let mut scatter = Scatter::builder()
            .connect(&gather.bound_endpoints()[0])
            .unwrap();
        let mut server = Server::builder().bind(net.fresh()).unwrap();
        let mut client = Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        let mut peer = Peer::builder().bind(net.fresh()).unwrap();
        let mut another = Peer::new();
        let id = another.connect_peer(&peer.bound_endpoints()[0]).unwrap();
        client.send("hello").unwrap();
        let (known, _) = server.recv_from_timeout(LONG).unwrap();
        for refused in [
            other.send(several()),
            scatter.send(several()),
            client.send(several()),
            server.send_to(known, several()),
            another.send_to(id, several()),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.reason(), SendFailure::Multipart { frames: 2 });
            assert_eq!(refused.into_message(), several());
        }
        channel.send("x").unwrap();
        scatter.send(Message::from("y")).unwrap();
        another.send_to(id, "z").unwrap();
        assert_eq!(other.recv_timeout(LONG).unwrap().as_bytes(), b"x");
        assert_eq!(gather.recv_timeout(LONG).unwrap().as_bytes(), b"y");
        assert_eq!(peer.recv_timeout(LONG).unwrap().as_bytes(), b"z");
    }
}

// ---- who may talk to whom -----------------------------------------------------------------------

/// How to make a socket of one type; it is kept alive by the box.
struct Kind {
    socket_type: SocketType,
    bind: fn(&str) -> Made<Endpoint>,
    connect: fn(&Endpoint) -> Made<Result<Endpoint, ConnectError>>,
}

type Made<T> = (Box<dyn Any>, Monitor, T);

macro_rules! kinds {
    ($($kind:ident)*) => {
        [$(Kind {
            socket_type: SocketType::$kind,
            bind: |endpoint| {
                let mut socket = sinew::$kind::new();
                let monitor = socket.monitor();
                let endpoint = socket.bind(endpoint).unwrap();
                (Box::new(socket), monitor, endpoint)
            },
            connect: |endpoint| {
                let mut socket = sinew::$kind::new();
                let monitor = socket.monitor();
                let result = socket.connect(endpoint);
                (Box::new(socket), monitor, result)
            },
        }),*]
    };
}

#[test]
fn every_pair_of_types_meets_or_is_told_why_not() {
    let kinds = kinds! {
        Pair Pub Sub XPub XSub Req Rep Dealer Router Push Pull Client Server Peer Scatter Gather
        Channel Radio Dish
    };
    for &net in KINDS {
        for (here, there) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (a, b))) {
            let names = format!("{} {} {net:?}", here.socket_type, there.socket_type);
            let legal = here.socket_type.is_compatible_with(there.socket_type);
            let (_here, mut here_sees, endpoint) = (here.bind)(&net.fresh());
            let (_there, mut there_sees, connected) = (there.connect)(&endpoint);
            if !STREAMS.contains(&net) {
                assert_eq!(connected.is_ok(), legal, "{names}");
                if legal {
                    continue;
                }
            }
            for monitor in [&mut here_sees, &mut there_sees] {
                await_event(monitor, &names, |event| match event {
                    SocketEvent::HandshakeSucceeded { .. } => legal,
                    SocketEvent::HandshakeFailed { reason, .. }
                    | SocketEvent::ConnectFailed { reason, .. } => {
                        assert!(!legal, "{names}: {reason}");
                        matches!(reason, DisconnectReason::Protocol(_))
                    }
                    _ => false,
                });
            }
        }
    }
}

fn is_failure(event: &SocketEvent, wanted: &ProtocolError) -> bool {
    matches!(
        event,
        SocketEvent::HandshakeFailed {
            reason: DisconnectReason::Protocol(error),
            ..
        } if error == wanted
    )
}

/// To a STREAM socket the other is a peer like any, as long as it stays; the other is told that it met none of
/// its kind.
#[test]
fn a_raw_peer_is_none_of_the_others() {
    let kinds = kinds! {
        Pair Pub Sub XPub XSub Req Rep Dealer Router Push Pull Client Server Peer Scatter Gather
        Channel Radio Dish
    };
    let not_zmtp = ProtocolError::from(Incompatible::NotZmtp { first: b'G' });
    let check = |mut stream: Stream, monitor: &mut Monitor, names: &str| {
        let mut here = stream.monitor();
        let (id, note) = stream.recv_from_timeout(LONG).unwrap();
        assert_eq!(note, Message::default(), "{names}");
        stream.send_to(&id, "GET / HTTP/1.1\r\n\r\n").unwrap();
        await_event(monitor, names, |event| is_failure(event, &not_zmtp));
        await_event(&mut here, names, |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::PeerClosed | DisconnectReason::Io { .. },
                    ..
                }
            )
        });
    };
    for at in ["tcp://127.0.0.1:*", "ipc://*"] {
        for kind in &kinds {
            let names = format!("{} {at}", kind.socket_type);
            let stream = Stream::builder().bind(at).unwrap();
            let (_kept, mut there, connected) = (kind.connect)(&stream.bound_endpoints()[0]);
            connected.unwrap();
            check(stream, &mut there, &names);
            let (_kept, mut there, endpoint) = (kind.bind)(at);
            let stream = Stream::builder().connect(&endpoint).unwrap();
            check(stream, &mut there, &names);
        }
    }
}

#[test]
fn a_raw_peer_that_says_nothing_is_given_up() {
    let late = ProtocolError::from(TimedOut::Handshake);
    for at in ["tcp://127.0.0.1:*", "ipc://*"] {
        let mut stream = Stream::builder().bind(at).unwrap();
        let mut pull = Pull::builder().handshake_timeout(SHORT).build().unwrap();
        let mut monitor = pull.monitor();
        pull.connect(&stream.bound_endpoints()[0]).unwrap();
        let (id, _) = stream.recv_from_timeout(LONG).unwrap();
        let (from, greeting) = stream.recv_from_timeout(LONG).unwrap();
        assert_eq!((from, greeting.as_bytes()[0]), (id.clone(), 0xff));
        await_event(&mut monitor, at, |event| is_failure(event, &late));
        await_true("and is gone", || !stream.is_connected(&id));
    }
}

// ---- SCATTER, CLIENT, SERVER, PEER --------------------------------------------------------------

#[test]
fn scatter_deals_out_in_turn_and_loses_nothing() {
    for &net in KINDS {
        let mut gathers: Vec<Gather> = (0..3)
            .map(|_| Gather::builder().bind(net.fresh()).unwrap())
            .collect();
        let mut scatter = Scatter::new();
        for gather in &gathers {
            scatter.connect(&gather.bound_endpoints()[0]).unwrap();
        }
        scatter.wait_for_peers(3, LONG).unwrap();
        for n in 0..300 {
            scatter.send(numbered(0, n)).unwrap();
        }
        let mut seen = Vec::new();
        for gather in &mut gathers {
            for _ in 0..100 {
                seen.push(number_of(&gather.recv_timeout(LONG).unwrap()).1);
            }
            assert_eq!(gather.try_recv(), Err(RecvError::WouldBlock));
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..300));
    }
}

#[test]
fn a_server_answers_each_client() {
    for &net in KINDS {
        let mut server = Server::builder().bind(net.fresh()).unwrap();
        let mut clients: Vec<Client> = (0..5)
            .map(|_| {
                Client::builder()
                    .connect(&server.bound_endpoints()[0])
                    .unwrap()
            })
            .collect();
        for (n, client) in (0u32..).zip(&mut clients) {
            for m in 0..20 {
                client.send(numbered(n, m)).unwrap();
            }
        }
        for turn in 0..100 {
            let message = server.recv_timeout(LONG).unwrap();
            assert!(message.routing_id().is_some());
            // Either way of writing it.
            match turn % 2 {
                0 => server.send(message).unwrap(),
                _ => {
                    let id = message.routing_id().unwrap();
                    server.send_to(id, message.into_bytes()).unwrap();
                }
            }
        }
        assert_eq!(server.peers().len(), 5);
        for (n, client) in (0u32..).zip(&mut clients) {
            for m in 0..20 {
                assert_eq!(number_of(&client.recv_timeout(LONG).unwrap()), (n, m));
            }
        }
    }
}

#[test]
fn a_server_tells_of_peers_that_are_not_there() {
    for &net in KINDS {
        let mut server = Server::builder().bind(net.fresh()).unwrap();
        let nobody = PeerId::try_from(7).unwrap();
        let refused = server.send_to(nobody, "x").unwrap_err();
        assert_eq!(refused.reason(), SendFailure::UnknownPeer { id: nobody });
        assert_eq!(refused.into_message().as_bytes(), b"x");
        assert_eq!(server.disconnect_peer(nobody).unwrap_err().id, nobody);
        let refused = server.send("to whom?").unwrap_err();
        assert_eq!(refused.reason(), SendFailure::NoRoutingId);

        let mut client = Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("last words").unwrap();
        client.close();
        let (gone, message) = server.recv_from_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), b"last words");
        await_true("the client is gone", || {
            matches!(
                server.send_to(gone, "too late").map_err(|error| error.reason()),
                Err(SendFailure::UnknownPeer { id }) if id == gone
            )
        });
        assert_eq!(server.peers(), []);
        // Who comes next is somebody else.
        let mut next = Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        next.send("next").unwrap();
        assert_ne!(server.recv_from_timeout(LONG).unwrap().0, gone);
        assert!(server.send_to(gone, "for the first").is_err());
    }
}

#[test]
fn a_server_waits_for_a_peer_that_is_full_and_drops_nothing() {
    for &net in KINDS {
        let mut server = Server::builder().send_hwm(1).bind(net.fresh()).unwrap();
        let mut client = Client::builder()
            .recv_hwm(1)
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("here").unwrap();
        let (id, _) = server.recv_from_timeout(LONG).unwrap();
        let big = vec![0; 1 << 20];
        let mut sent = 0u32;
        // What the kernel takes meanwhile makes room again.
        let full = loop {
            match server.send_to_timeout(id, big.clone(), SHORT) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.reason(), SendFailure::Timeout);
        assert_eq!(full.into_message().byte_len(), big.len());
        let reader = task(move || {
            for _ in 0..=sent {
                client.recv_timeout(LONG).unwrap();
            }
            client.recv_timeout(SHORT)
        });
        server.send_to(id, "the last").unwrap();
        assert_eq!(reader.join(), Err(RecvError::Timeout));
        assert_eq!(server.stats().dropped_full, 0);
    }
}

#[test]
fn a_peer_knows_whom_it_connects_to() {
    for &net in KINDS {
        let mut one = Peer::builder().bind(net.fresh()).unwrap();
        let mut two = Peer::builder().bind(net.fresh()).unwrap();
        let mut peer = Peer::builder().reconnect(quick()).build().unwrap();
        let first = peer.connect_peer(&one.bound_endpoints()[0]).unwrap();
        let second = peer.connect_peer(&two.bound_endpoints()[0]).unwrap();
        assert_ne!(first, second);
        peer.send_to(second, "for two").unwrap();
        peer.send_to(first, "for one").unwrap();
        for (there, text, id) in [(&mut one, "for one", first), (&mut two, "for two", second)] {
            let message = there.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), text.as_bytes());
            there.send(message).unwrap();
            assert_eq!(peer.recv_from_timeout(LONG).unwrap().0, id);
        }
        let mut monitor = one.monitor();
        peer.disconnect_peer(first).unwrap();
        assert_eq!(
            peer.send_to(first, "x").unwrap_err().reason(),
            SendFailure::UnknownPeer { id: first }
        );
        assert_eq!(peer.peers(), [second]);
        assert_eq!(peer.connected_endpoints().len(), 1);
        if STREAMS.contains(&net) {
            await_event(&mut monitor, "it is sent away", |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
        }
        await_true("one is alone", || one.peers().is_empty());
        // From the bound side.
        peer.send_to(second, "still there").unwrap();
        let (id, _) = two.recv_from_timeout(LONG).unwrap();
        two.disconnect_peer(id).unwrap();
        assert_eq!(two.disconnect_peer(id).unwrap_err().id, id);
        assert!(two.send_to(id, "x").is_err());
    }
}

#[test]
fn a_peer_without_a_connection_has_no_number_if_immediate() {
    let mut peer = Peer::builder().immediate(true).build().unwrap();
    for &net in STREAMS {
        let refused = peer.connect_peer(net.unbound()).unwrap_err();
        assert!(
            matches!(refused, ConnectError::NoPeerId { .. }),
            "{refused}"
        );
    }
    assert!(peer.connect_peer(KINDS[2].fresh()).is_ok());
}

#[test]
fn a_peer_keeps_its_number_when_it_comes_back() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut peer = Peer::builder().reconnect(quick()).build().unwrap();
        let id = peer.connect_peer(&endpoint).unwrap();
        for round in 0..3 {
            let mut other = Peer::builder().bind(&endpoint).unwrap();
            let mut monitor: Monitor = peer.monitor();
            peer.send_to(id, numbered(0, round)).unwrap();
            let message = other.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&message), (0, round));
            other.send(message).unwrap();
            assert_eq!(peer.recv_from_timeout(LONG).unwrap().0, id);
            other.close();
            await_event(&mut monitor, "it is gone", |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
        }
    }
}
