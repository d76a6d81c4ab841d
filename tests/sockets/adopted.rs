//! Listeners and connections that the application has made itself.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use sinew::{
    BindError, ConnectError, Context, DisconnectReason, ProtocolError, Pull, Push, Rep, Req,
    SendFailure, SocketEvent,
};

use crate::support::{await_event, await_true, number_of, numbered, LONG};

#[test]
fn a_tcp_listener_is_served_and_its_address_freed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Somebody may have connected before.
    let mut push = Push::new();
    push.connect(address).unwrap();
    push.send("early").unwrap();
    let mut pull = Pull::new();
    let endpoint = pull.bind_listener(listener).unwrap();
    assert_eq!(endpoint.socket_addr(), Some(address));
    assert_eq!(pull.bound_endpoints(), std::slice::from_ref(&endpoint));
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"early");
    pull.unbind(&endpoint).unwrap();
    let again = TcpListener::bind(address);
    assert!(again.is_ok() || cfg!(not(target_os = "linux")), "{again:?}");
}

#[test]
fn the_file_of_an_ipc_listener_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut pull = Pull::new();
    let endpoint = pull
        .bind_listener(UnixListener::bind(&path).unwrap())
        .unwrap();
    assert_eq!(endpoint.ipc_path(), Some(path.as_path()));
    let mut push = Push::new();
    push.connect(&endpoint).unwrap();
    push.send("x").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    pull.close();
    assert!(path.exists());
}

/// Options of accepted connections apply: here a filter that names nobody.
#[cfg(target_os = "linux")]
#[test]
fn filters_apply_to_an_adopted_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut pull = Pull::builder()
        .ipc_filter_pid(std::process::id() ^ 1)
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    pull.bind_listener(UnixListener::bind(&path).unwrap())
        .unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    await_event(&mut monitor, "refused", |event| {
        matches!(
            event,
            SocketEvent::AcceptFailed {
                reason: DisconnectReason::Filtered { .. },
                ..
            }
        )
    });
}

#[test]
fn what_does_not_listen_is_refused_by_name() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let cases: [(OwnedFd, &str); 6] = [
        (stream.into(), "a socket that does not listen"),
        (one.into(), "a socket that does not listen"),
        (unbound.into(), "a socket that does not listen"),
        (
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            "a socket of the type",
        ),
        (
            UnixDatagram::unbound().unwrap().into(),
            "a socket of the type",
        ),
        (
            File::open("/dev/null").unwrap().into(),
            "a descriptor that is no socket",
        ),
    ];
    let mut pull = Pull::new();
    for (fd, expected) in cases {
        match pull.bind_listener(fd).unwrap_err() {
            BindError::NotAListener { given, .. } => {
                assert!(given.starts_with(expected), "{given}: {expected}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pull.bound_endpoints().is_empty());
    drop(other);
}

#[test]
fn a_pair_of_sockets_joins_two_of_ours() {
    let (one, other) = UnixStream::pair().unwrap();
    let (mut req, mut rep) = (Req::new(), Rep::new());
    let name = req.connect_stream(one).unwrap();
    rep.connect_stream(other).unwrap();
    assert_eq!(req.connected_endpoints(), std::slice::from_ref(&name));
    for n in 0..100 {
        req.send_timeout(numbered(0, n), LONG).unwrap();
        let request = rep.recv_timeout(LONG).unwrap();
        rep.send(request).unwrap();
        assert_eq!(number_of(&req.recv_timeout(LONG).unwrap()), (0, n));
    }
    req.disconnect(&name).unwrap();
    assert!(req.disconnect(&name).is_err());
    await_true("the other end is told", || rep.stats().peers == 0);
}

#[test]
fn a_connected_stream_is_used_once_and_not_made_again() {
    let mut pull = Pull::new();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let address = endpoint.socket_addr().unwrap();
    let mut push = Push::new();
    let mut monitor = push.monitor();
    assert_eq!(
        push.try_send("x").unwrap_err().reason(),
        SendFailure::WouldBlock
    );
    let given = push
        .connect_stream(TcpStream::connect(address).unwrap())
        .unwrap();
    assert_eq!(given, endpoint);
    for n in 0..1000 {
        push.send_timeout(numbered(0, n), LONG).unwrap();
    }
    for n in 0..1000 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    await_event(
        &mut monitor,
        "it is reported as a connection",
        |event| matches!(event, SocketEvent::Connected { endpoint: at, .. } if *at == endpoint),
    );
    pull.unbind(&endpoint).unwrap();
    await_event(&mut monitor, "the end", |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    });
    await_true("no peer is left", || push.stats().peers == 0);
    assert_eq!(push.stats().reconnects, 0);
    assert_eq!(
        push.try_send("x").unwrap_err().reason(),
        SendFailure::WouldBlock
    );
    push.disconnect(&given).unwrap();
    // What was sent before is not among it.
    assert_eq!(push.close().unsent, 0);
}

#[test]
fn closing_sends_what_is_queued_for_an_adopted_stream() {
    let (one, other) = UnixStream::pair().unwrap();
    let (mut push, mut pull) = (Push::new(), Pull::new());
    push.connect_stream(one).unwrap();
    pull.connect_stream(other).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    for n in 0..500 {
        push.send_timeout(numbered(0, n), LONG).unwrap();
    }
    assert_eq!(push.close().unsent, 0);
    for n in 0..500 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
}

#[test]
fn the_handshake_of_an_adopted_stream_has_its_deadline() {
    let (one, _silent) = UnixStream::pair().unwrap();
    let mut push = Push::builder()
        .handshake_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect_stream(one).unwrap();
    await_event(&mut monitor, "the handshake timed out", |event| {
        matches!(
            event,
            SocketEvent::HandshakeFailed {
                reason: DisconnectReason::Protocol(ProtocolError::TimedOut(_)),
                ..
            }
        )
    });
}

#[test]
fn what_is_not_connected_is_refused_by_name() {
    let unconnected =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let cases: [(OwnedFd, &str); 4] = [
        (
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            "a socket that is not connected",
        ),
        (unconnected.into(), "a socket that is not connected"),
        (datagram.into(), "a socket of the type"),
        (
            File::open("/dev/null").unwrap().into(),
            "a descriptor that is no socket",
        ),
    ];
    let mut push = Push::new();
    for (fd, expected) in cases {
        match push.connect_stream(fd).unwrap_err() {
            ConnectError::NotAStream { given, .. } => {
                assert!(given.starts_with(expected), "{given}: {expected}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(push.connected_endpoints().is_empty());
}

/// An adopted descriptor that finds no I/O thread is closed, and the socket is as before.
#[test]
fn a_mask_without_threads_is_an_error() {
    let context = Context::builder().io_threads(1).build().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let mut push = Push::builder()
        .context(&context)
        .affinity(0b10)
        .build()
        .unwrap();
    assert!(matches!(
        push.connect_stream(one),
        Err(ConnectError::NoIoThread {
            affinity: 0b10,
            threads: 1
        })
    ));
    let mut rest = Vec::new();
    other.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(
        std::io::Read::read_to_end(&mut other, &mut rest).unwrap(),
        0
    );
}
