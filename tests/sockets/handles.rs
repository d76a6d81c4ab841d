//! What is bound and connected, named by an id: ended one by one, or no longer accepting.

use sinew::{
    Dealer, DisconnectReason, Pair, Pull, Push, ReconnectPolicy, SocketEvent, Split,
    UnknownEndpoint,
};

use crate::support::{await_event, await_true, Net, KINDS, LONG, STREAMS};

#[test]
fn two_connections_to_one_endpoint_are_ended_one_by_one() {
    for &net in KINDS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut push = Push::new();
        let mut monitor = push.monitor();
        assert_eq!(push.last_endpoint_id(), None);
        let ids = [(); 2].map(|()| {
            push.connect(&endpoint).unwrap();
            push.last_endpoint_id().unwrap()
        });
        assert_ne!(ids[0], ids[1]);
        pull.wait_for_peers(2, LONG).unwrap();
        push.wait_for_peers(2, LONG).unwrap();

        let unknown = UnknownEndpoint::NoSuchId { id: ids[0] };
        assert_eq!(push.unbind_id(ids[0]), Err(unknown.clone()));
        assert_eq!(Push::new().disconnect_id(ids[0]), Err(unknown.clone()));
        push.disconnect_id(ids[0]).unwrap();
        assert_eq!(push.disconnect_id(ids[0]), Err(unknown));
        await_event(
            &mut monitor,
            "it is closed",
            |event| matches!(event, SocketEvent::Closed { endpoint_id, .. } if *endpoint_id == ids[0]),
        );
        await_true("one is left", || pull.connections().len() == 1);
        await_true("here as well", || push.connections().len() == 1);
        assert_eq!(push.connected_endpoints(), std::slice::from_ref(&endpoint));
        for _ in 0..4 {
            push.send("x").unwrap();
            assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x", "{net:?}");
        }
        push.disconnect_id(ids[1]).unwrap();
        assert!(push.connected_endpoints().is_empty());
    }
}

#[test]
fn what_is_bound_is_ended_by_its_id() {
    for &net in KINDS {
        let mut pull = Pull::new();
        let ids = [(); 2].map(|()| {
            let endpoint = pull.bind(net.unbound()).unwrap();
            (endpoint, pull.last_endpoint_id().unwrap())
        });
        assert!(pull.disconnect_id(ids[0].1).is_err());
        pull.unbind_id(ids[0].1).unwrap();
        assert_eq!(pull.bound_endpoints(), [ids[1].0.clone()], "{net:?}");
        // It is free again.
        Pull::builder().bind(&ids[0].0).unwrap();
    }
}

#[test]
fn a_connect_that_does_nothing_has_the_id_of_what_there_is() {
    let dealer = Dealer::builder().bind("tcp://127.0.0.1:*").unwrap();
    let mut other = Dealer::new();
    other.connect(&dealer.bound_endpoints()[0]).unwrap();
    let first = other.last_endpoint_id();
    other.bind("tcp://127.0.0.1:*").unwrap();
    assert_ne!(other.last_endpoint_id(), first);
    other.connect(&dealer.bound_endpoints()[0]).unwrap();
    assert_eq!(other.last_endpoint_id(), first);
    assert!(other.connect("tcp://nowhere").is_err());
    assert_eq!(other.last_endpoint_id(), first);
}

#[test]
fn connections_outlive_the_endpoint_that_they_were_accepted_at() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.unbound()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut push = Push::builder().connect(&endpoint).unwrap();
        let mut told = push.monitor();
        pull.wait_for_peers(1, LONG).unwrap();

        pull.stop_accepting(&endpoint).unwrap();
        assert!(pull.bound_endpoints().is_empty());
        assert!(matches!(
            pull.stop_accepting(&endpoint),
            Err(UnknownEndpoint::NotHere { .. })
        ));
        let late = Push::builder().reconnect(ReconnectPolicy::never());
        let mut late = late.build().unwrap();
        let mut monitor = late.monitor();
        late.connect(&endpoint).unwrap();
        await_event(&mut monitor, "nobody accepts it", |event| {
            matches!(event, SocketEvent::ConnectFailed { .. })
        });
        // The address is free for others.
        let _other = Pull::builder().bind(&endpoint).unwrap();
        for _ in 0..100 {
            push.send("x").unwrap();
            assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x", "{net:?}");
        }
        // With the socket it ends.
        drop(pull);
        await_event(&mut told, "the end", |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::PeerClosed | DisconnectReason::Io { .. },
                    ..
                }
            )
        });
    }
}

#[test]
fn parts_name_endpoints_too() {
    let (mut sending, mut receiving) = Pair::new().split();
    let endpoint = sending.bind(Net::Tcp4.fresh()).unwrap();
    let id = receiving.last_endpoint_id().unwrap();
    assert!(receiving.disconnect_id(id).is_err());
    let mut peer = Pair::builder().connect(&endpoint).unwrap();
    peer.send("x").unwrap();
    assert_eq!(receiving.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    sending.stop_accepting(&endpoint).unwrap();
    assert!(sending.unbind_id(id).is_err());
    sending.send("y").unwrap();
    assert_eq!(peer.recv_timeout(LONG).unwrap().as_bytes(), b"y");
}
