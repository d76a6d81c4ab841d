//! Messages of several frames, sent to sockets that know messages of one.

use sinew::{Channel, Client, Gather, Peer, Radio, Scatter, Server, SocketEvent};

use crate::raw::{frame, Raw, MORE};
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
