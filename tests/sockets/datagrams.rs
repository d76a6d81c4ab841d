//! DGRAM: datagrams to and from any UDP host.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sinew::{
    BindError, BuildError, ConnectError, Datagram, Dgram, Dish, GroupSendError, Message, Pull,
    Push, Radio, RecvError, SendFailure,
};

use crate::support::{await_true, task, LONG, SHORT};

fn bound() -> (Dgram, SocketAddr) {
    let dgram = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
    let address = dgram.bound_endpoint().unwrap().socket_addr().unwrap();
    (dgram, address)
}

/// A host that is no socket of ours.
fn foreign() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn two_sockets_talk_and_see_each_others_addresses() {
    let (mut one, at_one) = bound();
    let (mut two, at_two) = bound();
    for n in 0..100_u8 {
        one.send_to(at_two, vec![n; 10]).unwrap();
        assert_eq!(
            two.recv_timeout(LONG).unwrap(),
            Datagram::new(at_one, vec![n; 10])
        );
        two.send_to(at_one, vec![n]).unwrap();
        assert_eq!(
            one.recv_timeout(LONG).unwrap(),
            Datagram::new(at_two, vec![n])
        );
    }
    assert_eq!(one.close().unsent, 0);
}

#[test]
fn bodies_of_every_size_up_to_the_limit() {
    let (mut ours, at_ours) = bound();
    let (theirs, at_theirs) = foreign();
    let mut buffer = [0; 10_000];
    for len in [0, 1, 63, 64, 255, 256, 1500, 8191, Datagram::MAX_LEN] {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        ours.send_to(at_theirs, body.clone()).unwrap();
        let (got, from) = theirs.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..got], from), (&body[..], at_ours));
        if len > 0 {
            theirs.send_to(&body, at_ours).unwrap();
            assert_eq!(ours.recv_timeout(LONG).unwrap().body, body);
        }
    }
    let error = ours.send_to(at_theirs, vec![7; 8193]).unwrap_err();
    assert_eq!(
        error.reason(),
        SendFailure::DatagramTooLarge {
            octets: 8193,
            limit: 8192
        }
    );
    assert_eq!(error.into_message().frames()[1].as_slice(), [7; 8193]);
}

/// What the other libraries of the family have: a message of two frames.
#[test]
fn datagrams_are_messages_of_two_frames() {
    let (mut one, at_one) = bound();
    let (mut two, at_two) = bound();
    one.send(Message::multipart([
        at_two.to_string().into_bytes(),
        b"hi".to_vec(),
    ]))
    .unwrap();
    let message = Message::from(two.recv_timeout(LONG).unwrap());
    assert_eq!(
        message.frames()[0].as_slice(),
        at_one.to_string().as_bytes()
    );
    assert_eq!(message.frames()[1].as_slice(), b"hi");
    for bad in [
        Message::new("no address"),
        Message::multipart(["127.0.0.1:1"]),
        Message::multipart(["127.0.0.1:1", "a", "b"]),
        Message::multipart(["127.0.0.1", "no port"]),
        Message::multipart(["localhost:1", "a name"]),
    ] {
        let error = one.send(bad.clone()).unwrap_err();
        assert_eq!(error.reason(), SendFailure::NoDatagram);
        assert_eq!(error.into_message(), bad);
    }
}

/// The system would refuse it later, when nobody hears of it.
#[test]
fn port_zero_is_an_error_at_once() {
    let (mut ours, _) = bound();
    for (at, expected) in [
        (
            "127.0.0.1:0",
            "a datagram for 127.0.0.1:0, expected a port from 1 to 65535",
        ),
        (
            "[::1]:0",
            "a datagram for [::1]:0, expected a port from 1 to 65535",
        ),
    ] {
        let peer = at.parse().unwrap();
        let error = ours.send_to(peer, "x").unwrap_err();
        assert_eq!(error.reason(), SendFailure::PortZero { peer });
        assert_eq!(error.to_string(), expected);
        let message = error.into_message();
        let error = ours.send(message.clone()).unwrap_err();
        assert_eq!(error.reason(), SendFailure::PortZero { peer });
        assert_eq!(error.into_message(), message);
    }
    assert_eq!(ours.stats().messages_sent, 0);
}

/// What no sound peer sends is counted and forgotten.
#[test]
fn empty_and_too_long_datagrams_are_dropped_and_counted() {
    let (mut ours, at_ours) = bound();
    let (theirs, _) = foreign();
    for bad in [0, 8193, 60_000] {
        theirs.send_to(&vec![1; bad], at_ours).unwrap();
    }
    theirs.send_to(b"good", at_ours).unwrap();
    assert_eq!(&ours.recv_timeout(LONG).unwrap().body[..], b"good");
    assert_eq!(ours.stats().dropped_malformed, 3);
    assert_eq!(ours.try_recv(), Err(RecvError::WouldBlock));
}

/// More than the high-water mark, while the application looks away: the rest is dropped and counted, and
/// what comes afterwards is received.
#[test]
fn what_is_above_the_mark_is_dropped_and_counted() {
    let mut ours = Dgram::builder()
        .recv_hwm(5)
        .bind("udp://127.0.0.1:*")
        .unwrap();
    let at_ours = ours.bound_endpoint().unwrap().socket_addr().unwrap();
    let (theirs, _) = foreign();
    // One at a time, for the kernel drops, too, and does not say.
    let mut seen = 0;
    while ours.stats().dropped_full < 3 {
        theirs.send_to(&[seen], at_ours).unwrap();
        seen += 1;
        let octets = u64::from(seen);
        await_true("it has come", || ours.stats().bytes_received == octets);
    }
    for n in 0..5 {
        assert_eq!(ours.recv_timeout(LONG).unwrap().body[..], [n]);
    }
    assert_eq!(ours.try_recv(), Err(RecvError::WouldBlock));
    theirs.send_to(b"later", at_ours).unwrap();
    assert_eq!(&ours.recv_timeout(LONG).unwrap().body[..], b"later");
}

/// Targets that cannot be reached end nothing.
#[test]
fn errors_are_counted_and_end_nothing() {
    let (mut ours, at_ours) = bound();
    let (theirs, at_theirs) = foreign();
    // IPv6 from an IPv4 socket; and a port where nobody is, which other hosts answer for.
    ours.send_to("[::1]:9".parse().unwrap(), "x").unwrap();
    let (nobody, at_nobody) = foreign();
    drop(nobody);
    ours.send_to(at_nobody, "x").unwrap();
    await_true("it is counted", || ours.stats().datagram_errors > 0);
    ours.send_to(at_theirs, "still here").unwrap();
    let mut buffer = [0; 100];
    assert_eq!(theirs.recv(&mut buffer).unwrap(), 10);
    theirs.send_to(b"so am I", at_ours).unwrap();
    assert_eq!(&ours.recv_timeout(LONG).unwrap().body[..], b"so am I");
}

#[test]
fn a_burst_is_sent_whole_and_closing_waits_for_it() {
    let mut ours = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
    let (theirs, at_theirs) = foreign();
    socket2::SockRef::from(&theirs)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    // Few enough that the kernel holds them all.
    const COUNT: u8 = 100;
    for n in 0..COUNT {
        ours.send_to(at_theirs, vec![n; 100]).unwrap();
    }
    assert_eq!(ours.close().unsent, 0);
    let mut buffer = [0; 200];
    for n in 0..COUNT {
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 100);
        assert_eq!(buffer[0], n);
    }
}

#[test]
fn a_receive_waits_and_is_woken() {
    let (mut ours, at_ours) = bound();
    assert_eq!(ours.recv_timeout(SHORT), Err(RecvError::Timeout));
    let waiting = task(move || ours.recv_timeout(LONG).unwrap().body);
    let (theirs, _) = foreign();
    theirs.send_to(b"wake up", at_ours).unwrap();
    assert_eq!(&waiting.join()[..], b"wake up");
}

#[test]
fn one_endpoint_at_a_time_and_udp_only() {
    let (mut ours, at_ours) = bound();
    let endpoint = ours.bound_endpoint().unwrap();
    for at in ["udp://127.0.0.1:*", "tcp://127.0.0.1:*", "inproc://dgram"] {
        let error = ours.bind(at).unwrap_err();
        assert!(matches!(error, BindError::Transport { .. }), "{error}");
    }
    let taken = Dgram::new().bind(&endpoint).unwrap_err();
    assert!(matches!(taken, BindError::InUse { .. }), "{taken}");
    ours.unbind(&endpoint).unwrap();
    assert!(ours.unbind(&endpoint).is_err());
    assert_eq!(ours.bound_endpoint(), None);
    // There is nothing to wait for then.
    let error = ours.send_to(at_ours, "x").unwrap_err();
    assert_eq!(error.reason(), SendFailure::NotBound);
    assert_eq!(
        error.into_message(),
        Message::from(Datagram::new(at_ours, "x"))
    );
    let error = Dgram::new().send_to(at_ours, "x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the socket is not bound, expected a bind to a `udp://` endpoint before"
    );
    assert_eq!(ours.bind(&endpoint).unwrap(), endpoint);
    ours.send_to(at_ours, "to myself").unwrap();
    assert_eq!(
        ours.recv_timeout(LONG).unwrap(),
        Datagram::new(at_ours, "to myself")
    );

    // And udp is for nobody else.
    let error = Pull::new().bind("udp://127.0.0.1:*").unwrap_err();
    assert!(matches!(error, BindError::Transport { .. }), "{error}");
    let error = Push::new().connect("udp://127.0.0.1:9").unwrap_err();
    assert!(matches!(error, ConnectError::Transport { .. }), "{error}");
    let error = Dgram::builder().connect("udp://127.0.0.1:9").unwrap_err();
    assert!(
        matches!(error, BuildError::Connect(ConnectError::Transport { .. })),
        "{error}"
    );
}

/// On Linux loopback takes part in multicast.
#[cfg(target_os = "linux")]
#[test]
fn members_of_a_group_get_what_is_sent_to_it() {
    let group = "239.192.8.1";
    let mut one = Dgram::builder()
        .bind(format!("udp://127.0.0.1;{group}:*"))
        .unwrap();
    let endpoint = one.bound_endpoint().unwrap();
    let to = endpoint.socket_addr().unwrap();
    // On the same port, as members of a group are.
    let mut two = Dgram::builder().bind(&endpoint).unwrap();
    one.send_to(to, "all").unwrap();
    assert_eq!(&one.recv_timeout(LONG).unwrap().body[..], b"all");
    assert_eq!(&two.recv_timeout(LONG).unwrap().body[..], b"all");
    // Who has left gets nothing more.
    two.unbind(&endpoint).unwrap();
    await_true("it has left", || two.stats().peers == 0);
    one.send_to(to, "again").unwrap();
    assert_eq!(&one.recv_timeout(LONG).unwrap().body[..], b"again");
    assert_eq!(two.try_recv(), Err(RecvError::WouldBlock));
}

#[test]
fn hops_have_a_range() {
    let error = Dgram::builder().multicast_hops(0).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "option `multicast_hops` cannot be 0: expected from 1 to 255"
    );
    let patient = Dgram::builder().linger(Duration::ZERO).build().unwrap();
    assert_eq!(patient.close().unsent, 0);
}

/// Everything goes out, and the receiver takes what it has joined.
#[test]
fn a_radio_is_heard_by_a_dish_that_has_joined() {
    let mut dish = Dish::builder().bind("udp://127.0.0.1:*").unwrap();
    let endpoint = dish.bound_endpoints()[0].clone();
    dish.join("news").unwrap();
    let mut radio = Radio::builder().connect(&endpoint).unwrap();
    for n in 0..50_u8 {
        radio.send("sports", vec![n]).unwrap();
        radio.send("news", vec![n]).unwrap();
        let (group, body) = dish.recv_timeout(LONG).unwrap();
        assert_eq!(
            (group.as_bytes(), body.as_slice()),
            (&b"news"[..], &[n][..])
        );
    }
    dish.leave("news").unwrap();
    dish.join("sports").unwrap();
    radio.send("news", "gone").unwrap();
    radio.send("sports", "here").unwrap();
    assert_eq!(dish.recv_timeout(LONG).unwrap().1.as_slice(), b"here");
    // The largest there is, and one octet more.
    radio.send("sports", vec![7; 8192 - 7]).unwrap();
    assert_eq!(dish.recv_timeout(LONG).unwrap().1.len(), 8192 - 7);
    match radio.send("sports", vec![7; 8192 - 6]).unwrap_err() {
        GroupSendError::Send(error) => assert_eq!(
            error.reason(),
            SendFailure::DatagramTooLarge {
                octets: 8193,
                limit: 8192
            }
        ),
        other => panic!("{other:?}"),
    }
    radio.disconnect(&endpoint).unwrap();
    await_true("nobody is left", || radio.stats().peers == 0);
    radio.send("sports", "to nobody").unwrap();
    assert_eq!(radio.stats().dropped_unmatched, 1);
    assert_eq!(dish.try_recv(), Err(RecvError::WouldBlock));
    // A connection has no such limit.
    radio.send("sports", vec![7; 9000]).unwrap();
}
