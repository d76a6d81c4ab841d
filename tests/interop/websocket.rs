//! libzmq over WebSocket, if it was built with it: each way to meet, and each pattern once.

use sinew::{Message, Pub, Pull, Push, Rep, Req, Sub};

use crate::peer::{watched, WATCHDOG};

/// Some sizes around those at which headers change.
const SIZES: [usize; 7] = [0, 1, 124, 125, 65_534, 65_535, 200_000];

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7) as u8).collect()
}

/// A libzmq socket, or none if that knows no WebSocket.
fn libzmq(kind: zmq::SocketType) -> Option<zmq::Socket> {
    let socket = zmq::Context::new().socket(kind).unwrap();
    let millis = i32::try_from(WATCHDOG.as_millis()).unwrap();
    socket.set_rcvtimeo(millis).unwrap();
    socket.set_sndtimeo(millis).unwrap();
    // All that is sent is received before it ends; but a SUB whose publisher went first would wait to subscribe again.
    socket.set_linger(0).unwrap();
    let has = zmq::has("WS") == Some(true);
    if !has {
        eprintln!("skipped: this libzmq knows no WebSocket");
    }
    has.then_some(socket)
}

/// Binds it, and tells where.
fn bind(socket: &zmq::Socket) -> String {
    socket.bind("ws://127.0.0.1:*/path").unwrap();
    socket.get_last_endpoint().unwrap().unwrap()
}

#[test]
fn messages_go_to_libzmq_and_come_from_it() {
    watched(|| {
        for they_bind in [false, true] {
            let Some(theirs) = libzmq(zmq::PULL) else {
                return;
            };
            let mut push = Push::new();
            if they_bind {
                push.connect(bind(&theirs)).unwrap();
            } else {
                let at = push.bind("ws://127.0.0.1:*/path").unwrap();
                theirs.connect(&at.to_string()).unwrap();
            }
            for len in SIZES {
                let message = Message::multipart([&body(len)[..], b"end"]);
                push.send_timeout(message, WATCHDOG).unwrap();
                let received = theirs.recv_multipart(0).unwrap();
                assert_eq!(received, [body(len), b"end".to_vec()]);
            }

            let Some(theirs) = libzmq(zmq::PUSH) else {
                return;
            };
            let mut pull = Pull::new();
            if they_bind {
                pull.connect(bind(&theirs)).unwrap();
            } else {
                let at = pull.bind("ws://127.0.0.1:*/path").unwrap();
                theirs.connect(&at.to_string()).unwrap();
            }
            for len in SIZES {
                theirs
                    .send_multipart([body(len), b"end".to_vec()], 0)
                    .unwrap();
                let message = pull.recv_timeout(WATCHDOG).unwrap();
                assert_eq!(message, Message::multipart([&body(len)[..], b"end"]));
            }
        }
    });
}

#[test]
fn requests_and_subscriptions_work_with_libzmq() {
    watched(|| {
        let Some(theirs) = libzmq(zmq::REP) else {
            return;
        };
        let mut req = Req::builder().connect(bind(&theirs)).unwrap();
        req.send_timeout("ask", WATCHDOG).unwrap();
        assert_eq!(theirs.recv_bytes(0).unwrap(), b"ask");
        theirs.send("tell", 0).unwrap();
        assert_eq!(req.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"tell");

        let Some(theirs) = libzmq(zmq::REQ) else {
            return;
        };
        let mut rep = Rep::new();
        let at = rep.bind("ws://127.0.0.1:*").unwrap();
        theirs.connect(&at.to_string()).unwrap();
        theirs.send("ask", 0).unwrap();
        assert_eq!(rep.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"ask");
        rep.send_timeout("tell", WATCHDOG).unwrap();
        assert_eq!(theirs.recv_bytes(0).unwrap(), b"tell");

        let Some(theirs) = libzmq(zmq::SUB) else {
            return;
        };
        let mut publisher = Pub::new();
        let at = publisher.bind("ws://127.0.0.1:*").unwrap();
        theirs.set_subscribe(b"a").unwrap();
        theirs.connect(&at.to_string()).unwrap();
        publisher.wait_for_subscribers(1, WATCHDOG).unwrap();
        publisher.send("b").unwrap();
        publisher.send("ab").unwrap();
        assert_eq!(theirs.recv_bytes(0).unwrap(), b"ab");

        let Some(theirs) = libzmq(zmq::XPUB) else {
            return;
        };
        let mut sub = Sub::new();
        sub.subscribe("a").unwrap();
        sub.connect(bind(&theirs)).unwrap();
        assert_eq!(theirs.recv_bytes(0).unwrap(), b"\x01a");
        theirs.send("b", 0).unwrap();
        theirs.send("ab", 0).unwrap();
        assert_eq!(sub.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"ab");
    });
}
