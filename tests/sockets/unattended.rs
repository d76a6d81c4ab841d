//! Sockets that their application leaves alone for long, while peers come and go.

use sinew::{Endpoint, Monitor, Pub, RecvError, Rep, Req, Requester, SocketEvent, Sub};

use crate::support::{await_event, task, Net, LONG};

/// More than there may be whose messages wait.
const MANY: usize = 1100;

/// Peers come and go, one after the other, and none is sent away.
fn come_and_go(monitor: &mut Monitor, mut peer: impl FnMut()) {
    for gone in 0..MANY {
        peer();
        await_event(monitor, "the end", |event| {
            if let SocketEvent::HandshakeFailed { reason, .. } = event {
                panic!("after {gone} peers: {reason}");
            }
            matches!(event, SocketEvent::Disconnected { .. })
        });
    }
}

fn subscriber(endpoint: &Endpoint) -> Sub {
    let mut sub = Sub::new();
    sub.subscribe("").unwrap();
    sub.connect(endpoint).unwrap();
    sub
}

fn replier(endpoint: &Endpoint) -> Rep {
    let mut rep = Rep::builder().connect(endpoint).unwrap();
    rep.wait_for_peers(1, LONG).unwrap();
    rep
}

#[test]
fn a_publisher_with_nothing_to_say_takes_subscribers() {
    let mut publisher = Pub::new();
    let endpoint = publisher.bind("ipc://*").unwrap();
    let mut monitor = publisher.monitor();
    come_and_go(&mut monitor, || {
        let mut sub = subscriber(&endpoint);
        sub.wait_for_peers(1, LONG).unwrap();
        sub.close();
    });
    let mut sub = subscriber(&endpoint);
    publisher.wait_for_subscribers(1, LONG).unwrap();
    publisher.send("at last").unwrap();
    assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"at last");
    assert_eq!(publisher.stats().dropped_peer_lost, 0);
}

#[test]
fn a_requester_without_requests_takes_repliers() {
    let requester = Requester::builder().bind("ipc://*").unwrap();
    let endpoint = requester.bound_endpoints().remove(0);
    let mut monitor = requester.monitor();
    come_and_go(&mut monitor, || drop(replier(&endpoint)));
    let rep = replier(&endpoint);
    let server = task(move || {
        let mut rep = rep;
        let request = rep.recv().unwrap();
        rep.send(request).unwrap();
    });
    assert_eq!(requester.request("first").unwrap().as_bytes(), b"first");
    server.join();
}

/// Those that it did see count no longer, either: it has no more of them than before.
#[test]
fn subscribers_that_were_there_may_all_go_while_nothing_is_said() {
    let mut publisher = Pub::new();
    let name = publisher.bind(Net::Inproc.fresh()).unwrap();
    let endpoint = publisher.bind("ipc://*").unwrap();
    let subs: Vec<Sub> = (0..MANY).map(|_| subscriber(&name)).collect();
    publisher.send("to all").unwrap();
    drop(subs);
    assert_eq!(publisher.stats().disconnects, MANY as u64);
    let mut sub = subscriber(&endpoint);
    publisher.wait_for_subscribers(1, LONG).unwrap();
    publisher.send("to one").unwrap();
    assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"to one");
}

/// What comes and goes meanwhile does not hide the end of who has the request.
#[test]
fn a_request_hears_of_its_peer_after_many_others() {
    let mut req = Req::new();
    let endpoint = req.bind("ipc://*").unwrap();
    let mut monitor = req.monitor();
    let asking = task(move || {
        // Waits for a peer, which only the sending half hears of.
        req.send("are you there").unwrap();
        req
    });
    let mut rep = replier(&endpoint);
    rep.recv_timeout(LONG).unwrap();
    let mut req = asking.join();
    rep.close();
    come_and_go(&mut monitor, || drop(replier(&endpoint)));
    assert!(matches!(req.recv_timeout(LONG), Err(RecvError::PeerLost)));
}
