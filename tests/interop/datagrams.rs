//! DGRAM with pyzmq, over udp: the one draft type that its libzmq makes by number and can use as it is.
//! Those with a handshake cannot be met: a release of libzmq aborts in it.

use std::process::Child;

use sinew::{Datagram, Dgram, Message};

use crate::peer::{watched, WATCHDOG};
use crate::pyzmq::{python, spawn};

fn echo(of: &Dgram) -> Child {
    let at = of.bound_endpoint().unwrap().socket_addr().unwrap();
    spawn(python("datagrams.py").arg(at.to_string()))
}

#[test]
fn datagrams_go_to_pyzmq_and_come_from_it() {
    watched(|| {
        let mut ours = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
        let mut theirs = echo(&ours);
        let hello = ours.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(&hello.body[..], b"hello");
        for len in [1, 2, 63, 64, 255, 256, 1500, Datagram::MAX_LEN] {
            let body: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            ours.send_to(hello.peer, body.clone()).unwrap();
            assert_eq!(
                ours.recv_timeout(WATCHDOG).unwrap(),
                Datagram::new(hello.peer, body)
            );
        }
        // As a message of two frames, too, which is what they have.
        let end = Message::multipart([hello.peer.to_string().as_bytes(), b"end"]);
        ours.send(end.clone()).unwrap();
        assert_eq!(Message::from(ours.recv_timeout(WATCHDOG).unwrap()), end);
        assert!(theirs.wait().unwrap().success());
    });
}
