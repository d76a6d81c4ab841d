//! Sockets that know messages of one frame: what they say and hear on the wire, and what becomes of messages of
//! several frames.

use sinew::{Channel, Client, Dish, Gather, Peer, PeerId, Radio, Scatter, Server, SocketEvent};

use crate::raw::{command, frame, greeting, ready, Raw, COMMAND, LONG, MORE};
use crate::stage::TRANSPORTS;
use crate::WATCHDOG;

/// Three messages of several frames, long and short.
fn several() -> Vec<u8> {
    [
        [frame(MORE, b"a"), frame(0, b"b")].concat(),
        [frame(MORE, b""), frame(MORE, b""), frame(0, b"")].concat(),
        [frame(MORE, &[0; 1000]), frame(0, &[0; 70_000])].concat(),
    ]
    .concat()
}

macro_rules! single {
    ($kind:ident, $theirs:literal) => {
        for at in TRANSPORTS {
            let mut socket = $kind::builder().bind(at).unwrap();
            let mut monitor = socket.monitor();
            let mut raw = Raw::shake_hands(&socket.bound_endpoints()[0], $theirs);
            raw.send(&several());
            raw.send(&frame(0, b"single"));
            raw.send(&several());
            // An end in the middle of one delivers nothing of it.
            raw.send(&frame(MORE, b"half a message"));
            drop(raw);
            let message = socket.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(message.as_bytes(), b"single", "{at}");
            let gone = monitor.wait_for(WATCHDOG, |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
            assert!(gone.is_some());
            assert!(socket.try_recv().is_err());
            assert_eq!(socket.stats().dropped_unexpected, 6, "{at}");
        }
    };
}

#[test]
fn messages_of_several_frames_are_discarded_whole_and_counted() {
    single!(Channel, "CHANNEL");
    single!(Client, "SERVER");
    single!(Server, "CLIENT");
    single!(Peer, "PEER");
    single!(Gather, "SCATTER");
}

/// As whatever else they are sent; of a group a message has two frames, which is tested with subscriptions.
#[test]
fn who_receives_nothing_discards_them_too() {
    macro_rules! deaf {
        ($kind:ident, $theirs:literal) => {
            for at in TRANSPORTS {
                let socket = $kind::builder().bind(at).unwrap();
                let mut monitor = socket.monitor();
                let mut raw = Raw::shake_hands(&socket.bound_endpoints()[0], $theirs);
                raw.send(&several());
                drop(raw);
                let gone = monitor.wait_for(WATCHDOG, |event| {
                    matches!(event, SocketEvent::Disconnected { .. })
                });
                assert!(gone.is_some());
                assert_eq!(socket.stats().dropped_unexpected, 3, "{at}");
            }
        };
    }
    deaf!(Scatter, "GATHER");
    deaf!(Radio, "DISH");
}

/// What a socket of this type says before its messages: the greeting, and READY with its type and nothing else.
fn opening(raw: &mut Raw, ours: &str) {
    assert_eq!(raw.read_octets(64), greeting(), "{ours}");
    let (flags, body) = raw.read_frame();
    assert_eq!((flags, &body[..]), (COMMAND, &ready(ours)[2..]), "{ours}");
}

/// No released version of another implementation is built with these types here, so it is octets that they
/// are held to: a message is a frame, without envelope or delimiter.
#[test]
fn a_message_is_one_frame_on_the_wire() {
    macro_rules! wire {
        ($kind:ident, $ours:literal, $theirs:literal, $send:expr) => {
            for at in TRANSPORTS {
                let mut socket = $kind::builder().bind(at).unwrap();
                let mut raw = Raw::connect(&socket.bound_endpoints()[0]);
                raw.send(&[greeting(), ready($theirs)].concat());
                opening(&mut raw, $ours);
                let send: fn(&mut $kind, &mut Raw) = $send;
                send(&mut socket, &mut raw);
            }
        };
    }
    fn heard(raw: &mut Raw, text: &[u8]) {
        let long = if text.len() > 255 { LONG } else { 0 };
        assert!(raw.read_frame() == (long, text.to_vec()));
    }
    wire!(Channel, "CHANNEL", "CHANNEL", |channel, raw| {
        channel.send("out").unwrap();
        heard(raw, b"out");
        raw.send(&frame(0, b"in"));
        assert_eq!(channel.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"in");
    });
    wire!(Client, "CLIENT", "SERVER", |client, raw| {
        client.send("out").unwrap();
        heard(raw, b"out");
        raw.send(&frame(0, b"in"));
        assert_eq!(client.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"in");
    });
    wire!(Server, "SERVER", "CLIENT", |server, raw| {
        raw.send(&frame(0, b"in"));
        let (id, message) = server.recv_from_timeout(WATCHDOG).unwrap();
        assert_eq!(message.as_bytes(), b"in");
        server.send_to(id, "out").unwrap();
        heard(raw, b"out");
    });
    wire!(Peer, "PEER", "PEER", |peer, raw| {
        raw.send(&frame(0, b"in"));
        let (id, message): (PeerId, _) = peer.recv_from_timeout(WATCHDOG).unwrap();
        assert_eq!(message.as_bytes(), b"in");
        peer.send_to(id, "out").unwrap();
        heard(raw, b"out");
    });
    wire!(Scatter, "SCATTER", "GATHER", |scatter, raw| {
        scatter.send("out").unwrap();
        heard(raw, b"out");
        scatter.send(vec![7; 300]).unwrap();
        heard(raw, &[7; 300]);
    });
    wire!(Gather, "GATHER", "SCATTER", |gather, raw| {
        raw.send(&frame(0, &[7; 300]));
        assert_eq!(gather.recv_timeout(WATCHDOG).unwrap().byte_len(), 300);
    });
    // Of groups: JOIN is a command, and a message has its group before it.
    wire!(Radio, "RADIO", "DISH", |radio, raw| {
        raw.send(&command("JOIN", b"news"));
        radio.wait_for_members("news", 1, WATCHDOG).unwrap();
        radio.send("news", "out").unwrap();
        assert_eq!(raw.read_frame(), (MORE, b"news".to_vec()));
        heard(raw, b"out");
    });
    wire!(Dish, "DISH", "RADIO", |dish, raw| {
        dish.join("news").unwrap();
        assert_eq!(raw.read_frame().1, b"\x04JOINnews");
        raw.send(&[frame(MORE, b"news"), frame(0, b"in")].concat());
        let (group, body) = dish.recv_timeout(WATCHDOG).unwrap();
        assert_eq!((group.as_bytes(), &body[..]), (&b"news"[..], &b"in"[..]));
        dish.leave("news").unwrap();
        assert_eq!(raw.read_frame().1, b"\x05LEAVEnews");
    });
}
