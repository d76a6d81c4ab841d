//! STREAM: octets to and from plain sockets of the system.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use sinew::{
    BindError, ConnectError, Endpoint, Message, RecvError, Router, RoutingId, SendFailure, Stream,
};

use crate::support::{await_true, pattern, task, LONG};

/// A plain socket of the system.
trait Plain: Read + Write + Send {}

impl<T: Read + Write + Send> Plain for T {}

fn plain(endpoint: &Endpoint) -> Box<dyn Plain> {
    match endpoint.socket_addr() {
        Some(address) => Box::new(tcp(TcpStream::connect(address).unwrap())),
        None => {
            let stream = UnixStream::connect(endpoint.ipc_path().unwrap()).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            Box::new(stream)
        }
    }
}

fn tcp(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

fn recv(stream: &mut Stream) -> (RoutingId, Message) {
    stream.recv_from_timeout(LONG).unwrap()
}

#[track_caller]
fn note(stream: &mut Stream) -> RoutingId {
    let (id, note) = recv(stream);
    assert!(
        note.as_bytes().is_empty() && note.frame_count() == 1,
        "{note:?}"
    );
    id
}

/// Receives so many octets of one peer, in pieces of at most 8192.
fn recv_all(stream: &mut Stream, id: &RoutingId, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let (from, octets) = recv(stream);
        assert_eq!((&from, octets.frame_count()), (id, 1));
        assert!((1..=8192).contains(&octets.byte_len()));
        all.extend_from_slice(octets.as_bytes());
    }
    all
}

#[test]
fn octets_come_and_go_as_they_are() {
    for at in ["tcp://127.0.0.1:*", "ipc://*"] {
        let mut stream = Stream::new();
        let endpoint = stream.bind(at).unwrap();
        let mut peer = plain(&endpoint);
        let id = note(&mut stream);
        assert!(stream.is_connected(&id));
        let octets = pattern(300_000);
        let (sent, expect) = (octets.clone(), octets.clone());
        let peer = task(move || {
            peer.write_all(&sent).unwrap();
            let mut back = vec![0; sent.len()];
            peer.read_exact(&mut back).unwrap();
            assert_eq!(back, expect);
            peer
        });
        assert_eq!(recv_all(&mut stream, &id, octets.len()), octets);
        for part in octets.chunks(70_000) {
            stream.send_to_timeout(&id, part, LONG).unwrap();
        }
        drop(peer.join());
        assert_eq!(note(&mut stream), id, "it is gone");
        let error = stream.send_to(&id, "x").unwrap_err();
        assert_eq!(error.reason(), SendFailure::Unroutable);
    }
}

#[test]
fn two_of_them_talk() {
    let mut server = Stream::new();
    let endpoint = server.bind("tcp://127.0.0.1:*").unwrap();
    let mut client = Stream::new();
    client.connect(&endpoint).unwrap();
    let (to_server, to_client) = (note(&mut client), note(&mut server));
    client.send_to(&to_server, "ask").unwrap();
    assert_eq!(recv_all(&mut server, &to_client, 3), b"ask");
    server.send_to(&to_client, "tell").unwrap();
    assert_eq!(recv_all(&mut client, &to_server, 4), b"tell");
    // All frames, one behind the other; and nothing for an empty message.
    server.send_to(&to_client, "").unwrap();
    let parts = Message::multipart(["a", "", "bc"]);
    server.send_to(&to_client, parts).unwrap();
    assert_eq!(recv_all(&mut client, &to_server, 3), b"abc");
    assert_eq!(server.close().unsent, 0);
    assert_eq!(note(&mut client), to_server);
}

#[test]
fn the_field_writes_the_id_as_a_frame() {
    let mut stream = Stream::new();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    let mut peer = plain(&endpoint);
    let come = stream.recv_timeout(LONG).unwrap();
    let [id, empty] = come.frames() else {
        panic!("{come:?}")
    };
    assert_eq!((id.len(), id[0], empty.len()), (5, 0, 0));
    peer.write_all(b"hello").unwrap();
    let message = stream.recv_timeout(LONG).unwrap();
    assert_eq!(message, Message::multipart([&id[..], b"hello"]));
    stream.send(message).unwrap();
    // No octets: the peer is disconnected, behind what was sent before.
    stream.send(Message::multipart([&id[..], b""])).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    let error = stream.send(Message::multipart([&id[..], b""])).unwrap_err();
    assert_eq!(error.reason(), SendFailure::Unroutable);
    assert_eq!(error.into_message(), Message::multipart([&id[..], b""]));
    let error = stream.try_send("alone").unwrap_err();
    assert_eq!(error.reason(), SendFailure::NotAddressed);
}

#[test]
fn ids_are_unlike() {
    let mut stream = Stream::new();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    let peers: Vec<_> = (0..100).map(|_| plain(&endpoint)).collect();
    let ids: HashSet<RoutingId> = peers.iter().map(|_| note(&mut stream)).collect();
    assert_eq!(ids.len(), peers.len());
    assert!(ids
        .iter()
        .all(|id| matches!(id.as_bytes(), [0, _, _, _, _])));
    let numbers: HashSet<&[u8]> = ids.iter().map(|id| &id.as_bytes()[1..3]).collect();
    assert!(numbers.len() > 10, "not one behind the other");
    // A note may be read a moment before its peer is counted.
    stream.wait_for_peers(100, LONG).unwrap();
    assert_eq!(stream.stats().peers, 100);
}

#[test]
fn a_peer_is_disconnected_behind_what_was_sent_to_it() {
    let mut stream = Stream::new();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    let mut peer = plain(&endpoint);
    let mut other = plain(&endpoint);
    let ids = [note(&mut stream), note(&mut stream)];
    peer.write_all(b"from").unwrap();
    let (id, _) = recv(&mut stream);
    let octets = pattern(5_000_000);
    for part in octets.chunks(100_000) {
        stream.send_to_timeout(&id, part, LONG).unwrap();
    }
    stream.disconnect_peer(&id).unwrap();
    let error = stream.send_to(&id, "x").unwrap_err();
    assert_eq!(error.reason(), SendFailure::Unroutable);
    let error = stream.disconnect_peer(&id).unwrap_err();
    assert_eq!(error.routing_id(), id.as_bytes());
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert!(all == octets, "{} of {} octets", all.len(), octets.len());
    // The other one is as before, and no note tells what this side did itself.
    other.write_all(b"still here").unwrap();
    let rest = ids.iter().find(|other| **other != id).unwrap();
    assert_eq!(recv_all(&mut stream, rest, 10), b"still here");
    assert_eq!(stream.try_recv_from(), Err(RecvError::WouldBlock));
}

#[test]
fn who_does_not_read_holds_the_sender_up() {
    let mut stream = Stream::builder().send_hwm(10).build().unwrap();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    let mut peer = plain(&endpoint);
    let id = note(&mut stream);
    let part = |n: u32| [&n.to_be_bytes()[..], &pattern(50_000)].concat();
    let mut sent = 0;
    let error = loop {
        match stream.try_send_to(&id, part(sent)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100_000, "nothing holds the sender up");
    };
    assert_eq!(error.reason(), SendFailure::WouldBlock);
    let reader = task(move || {
        for n in 0..sent + 100 {
            let mut octets = vec![0; 50_004];
            peer.read_exact(&mut octets).unwrap();
            assert!(octets == part(n), "part {n}");
        }
    });
    for n in sent..sent + 100 {
        stream.send_to_timeout(&id, part(n), LONG).unwrap();
    }
    reader.join();
}

#[test]
fn who_is_not_read_is_held_up() {
    let mut stream = Stream::builder().recv_hwm(4).build().unwrap();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    let mut peer = tcp(TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap());
    let id = note(&mut stream);
    peer.set_nonblocking(true).unwrap();
    let mut sent = 0_usize;
    // Until the kernel takes nothing though this side has read what it is going to.
    let mut refused = 0;
    await_true("the kernel takes no more", || {
        match peer.write(&[sent as u8; 10_000]) {
            Ok(n) => {
                sent += n;
                refused = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
        }
        assert!(sent < 64 << 20, "{sent} octets are taken");
        refused > 10_000
    });
    let ahead = stream.stats().bytes_received;
    assert!(ahead <= 512 * 1024, "{ahead} octets are read ahead");
    peer.set_nonblocking(false).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    recv_all(&mut stream, &id, sent);
    assert_eq!(note(&mut stream), id);
}

#[test]
fn notes_can_be_turned_off() {
    let mut stream = Stream::builder().notify(false).build().unwrap();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    for name in ["first", "second"] {
        let mut peer = plain(&endpoint);
        peer.write_all(name.as_bytes()).unwrap();
        drop(peer);
        let (_, octets) = recv(&mut stream);
        assert_eq!(octets.as_bytes(), name.as_bytes());
    }
    assert_eq!(stream.try_recv_from(), Err(RecvError::WouldBlock));
}

#[test]
fn a_connection_that_is_made_again_is_another_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::tcp(listener.local_addr().unwrap());
    let name = RoutingId::new("server").unwrap();
    for named in [false, true] {
        let mut stream = Stream::new();
        if named {
            stream.connect_as(&name, &endpoint).unwrap();
        } else {
            stream.connect(&endpoint).unwrap();
        }
        let mut ids = Vec::new();
        for n in 0..2 {
            let mut peer = tcp(listener.accept().unwrap().0);
            let id = note(&mut stream);
            stream.send_to(&id, [n]).unwrap();
            let mut octet = [9];
            peer.read_exact(&mut octet).unwrap();
            assert_eq!(octet, [n], "nothing of the connection before");
            drop(peer);
            assert_eq!(note(&mut stream), id);
            ids.push(id);
        }
        if named {
            assert_eq!(ids, [name.clone(), name.clone()]);
        } else {
            assert_ne!(ids[0], ids[1]);
        }
        // Disconnecting what was connected to ends the endpoint.
        let mut peer = tcp(listener.accept().unwrap().0);
        let id = note(&mut stream);
        stream.disconnect_peer(&id).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        drop(peer);
        await_true("the connection is gone", || stream.stats().peers == 0);
        stream.close();
    }
}

#[test]
fn other_transports_are_refused() {
    let mut stream = Stream::new();
    let others = [
        "inproc://stream",
        #[cfg(feature = "ws")]
        "ws://127.0.0.1:5555/",
    ];
    for other in others {
        let error = stream.bind(other).unwrap_err();
        assert!(matches!(error, BindError::Endpoint(_)), "{error}");
        let error = stream.connect(other).unwrap_err();
        assert!(matches!(error, ConnectError::Endpoint(_)), "{error}");
        let expected = format!(
            "`{other}` cannot be connected to: expected `tcp://` or `ipc://` for a STREAM socket, or a raw ROUTER"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_is_no_zmtp_is_no_error_here() {
    let mut stream = Stream::new();
    let endpoint = stream.bind("tcp://127.0.0.1:*").unwrap();
    for octets in [
        &b"\xff\0\0\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0",
        &[4; 300],
    ] {
        let mut peer = plain(&endpoint);
        let id = note(&mut stream);
        peer.write_all(octets).unwrap();
        assert_eq!(recv_all(&mut stream, &id, octets.len()), octets);
        drop(peer);
        assert_eq!(note(&mut stream), id);
    }
}

/// The option that a ROUTER had before there was STREAM: the same, without notes.
#[test]
fn a_raw_router_talks_to_plain_sockets() {
    for at in ["tcp://127.0.0.1:*", "ipc://*"] {
        for mandatory in [true, false] {
            let mut router = Router::builder()
                .raw(true)
                .mandatory(mandatory)
                .bind(at)
                .unwrap();
            let mut peer = plain(&router.bound_endpoints()[0]);
            peer.write_all(b"no greeting").unwrap();
            let received = router.recv_timeout(LONG).unwrap();
            let [id, octets] = received.frames() else {
                panic!("{received:?}");
            };
            assert_eq!((id.len(), id[0], &octets[..]), (5, 0, &b"no greeting"[..]));
            // Where a frame ends is of no meaning.
            router
                .send(Message::multipart([&id[..], b"one ", b"two"]))
                .unwrap();
            router.send_to(id, " three").unwrap();
            router.send(Message::multipart([&id[..], b""])).unwrap();
            let mut all = String::new();
            peer.read_to_string(&mut all).unwrap();
            assert_eq!(all, "one two three");
            // It cannot be sent to, nor closed once more, and no note follows.
            for message in [&b"more"[..], b""] {
                let message = Message::multipart([&id[..], message]);
                match router.send(message.clone()) {
                    Ok(()) => assert!(!mandatory),
                    Err(error) => {
                        assert!(mandatory);
                        assert_eq!(error.reason(), SendFailure::Unroutable);
                        assert_eq!(error.into_message(), message);
                    }
                }
            }
            let dropped = if mandatory { 0 } else { 2 };
            assert_eq!(router.stats().dropped_peer_lost, dropped);
            // An id alone.
            assert_eq!(router.send(id.clone()).is_ok(), !mandatory);
            drop(peer);
            await_true("it has gone", || router.stats().peers == 0);
            assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
        }
    }
}

#[test]
fn a_raw_router_connects_and_gives_names() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut router = Router::builder()
        .raw(true)
        .notify_connect(true)
        .build()
        .unwrap();
    let id = RoutingId::new("server").unwrap();
    router
        .connect_as(&id, listener.local_addr().unwrap())
        .unwrap();
    let mut peer = tcp(listener.accept().unwrap().0);
    assert_eq!(
        router.recv_timeout(LONG).unwrap(),
        Message::multipart(["server", ""])
    );
    router.send_to("server", "hello").unwrap();
    let mut octets = [0; 5];
    peer.read_exact(&mut octets).unwrap();
    assert_eq!(&octets, b"hello");
    assert!(router.bind("inproc://raw-router").is_err());
}

#[test]
fn connections_are_told_and_counted() {
    let (mut stream, endpoint) = Stream::builder().bound("tcp://127.0.0.1:*").unwrap();
    let mut peer = plain(&endpoint);
    let id = note(&mut stream);
    peer.write_all(b"octets").unwrap();
    assert_eq!(recv_all(&mut stream, &id, 6), b"octets");
    let of = stream.connections().remove(0);
    assert_eq!((of.endpoint, of.routing_id), (endpoint, Some(id)));
    assert_eq!(of.traffic.bytes_received, 6);
    drop(peer);
    note(&mut stream);
    await_true("it is gone", || stream.connections().is_empty());
}
