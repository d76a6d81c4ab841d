//! Connections through a SOCKS5 proxy that works.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

use sinew::{ConnectError, Pull, Push, ReconnectPolicy, Rep, Req, SocketEvent, SocksProxy};

use crate::support::{await_event, number_of, numbered, Net, LONG};

/// What a client told the proxy.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    login: Option<(Vec<u8>, Vec<u8>)>,
    /// The type of the address and its octets, the port left out.
    address: (u8, Vec<u8>),
}

/// A proxy on a thread: it serves one client after the other and relays between them and `target`,
/// whatever they ask for.
struct Proxy {
    address: String,
    asked: Receiver<Asked>,
}

impl Proxy {
    /// `logs_in`: asks for user and password. `bound`: the address in its replies, as on the wire.
    fn start(at: &str, target: String, logs_in: bool, bound: &'static [u8]) -> Proxy {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(seen) = serve(&client, logs_in) else {
                    continue;
                };
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                if tell.send(seen).is_err() {
                    return;
                }
                // Octet by octet: a reply may come in any number of pieces.
                for octet in [&[5, 0, 0], bound, &[0, 0]].concat() {
                    if (&client).write_all(&[octet]).is_err() {
                        break;
                    }
                }
                relay(client, server);
            }
        });
        Proxy { address, asked }
    }

    fn asked(&self) -> Asked {
        self.asked.recv_timeout(LONG).unwrap()
    }
}

fn take<const N: usize>(mut from: &TcpStream) -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    from.read_exact(&mut octets)?;
    Ok(octets)
}

fn take_counted(mut from: &TcpStream) -> std::io::Result<Vec<u8>> {
    let [length] = take(from)?;
    let mut octets = vec![0; usize::from(length)];
    from.read_exact(&mut octets)?;
    Ok(octets)
}

fn serve(mut client: &TcpStream, logs_in: bool) -> std::io::Result<Asked> {
    let [version] = take(client)?;
    let methods = take_counted(client)?;
    assert_eq!((version, methods.len()), (5, 1));
    let mut login = None;
    if logs_in {
        assert_eq!(methods, [2]);
        client.write_all(&[5, 2])?;
        assert_eq!(take::<1>(client)?, [1]);
        login = Some((take_counted(client)?, take_counted(client)?));
        client.write_all(&[1, 0])?;
    } else {
        client.write_all(&[5, 0])?;
    }
    let [version, command, zero, kind] = take(client)?;
    assert_eq!((version, command, zero), (5, 1, 0));
    let address = match kind {
        1 => take::<4>(client)?.to_vec(),
        3 => take_counted(client)?,
        4 => take::<16>(client)?.to_vec(),
        other => panic!("address type {other}"),
    };
    take::<2>(client)?;
    Ok(Asked {
        login,
        address: (kind, address),
    })
}

fn relay(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

const V4: &[u8] = &[1, 127, 0, 0, 1];
const V6: &[u8] = &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NAME: &[u8] = &[3, 4, b'h', b'o', b's', b't'];
const EMPTY_NAME: &[u8] = &[3, 0];

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

#[test]
fn names_and_addresses_go_to_the_proxy_as_they_are() {
    let mut pull = Pull::new();
    let real = pull.bind("tcp://127.0.0.1:*").unwrap();
    let at = real.socket_addr().unwrap().to_string();
    for (host, expected, bound) in [
        ("127.0.0.1", (1, vec![127, 0, 0, 1]), V4),
        (
            "[2001:db8::7]",
            (4, [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7]].concat()),
            V6,
        ),
        // Known to the proxy alone.
        (
            "only.the-proxy_knows.invalid",
            (3, b"only.the-proxy_knows.invalid".to_vec()),
            NAME,
        ),
        ("x", (3, b"x".to_vec()), EMPTY_NAME),
    ] {
        let proxy = Proxy::start("127.0.0.1:0", at.clone(), false, bound);
        let mut push = Push::builder()
            .socks_proxy(SocksProxy::new(&proxy.address).unwrap())
            .build()
            .unwrap();
        let mut monitor = push.monitor();
        push.connect(format!("tcp://{host}:4242")).unwrap();
        push.send(host.as_bytes()).unwrap();
        assert_eq!(
            proxy.asked(),
            Asked {
                login: None,
                address: expected
            }
        );
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), host.as_bytes());
        // The event names both: the endpoint, and the proxy as the peer it is.
        await_event(&mut monitor, "connected through the proxy", |event| {
            matches!(event, SocketEvent::Connected { endpoint, peer, .. }
                if endpoint.to_string() == format!("tcp://{host}:4242") && *peer == proxy.address)
        });
    }
}

#[test]
fn a_login_is_given_to_a_proxy_that_asks() {
    let mut rep = Rep::new();
    let real = rep.bind("tcp://127.0.0.1:*").unwrap();
    let at = real.socket_addr().unwrap().to_string();
    let long = vec![b'p'; 255];
    for (asks, user, password) in [
        (true, &b"me"[..], &b"secret"[..]),
        (true, &long[..], &long[..]),
        (true, b"me", b""),
    ] {
        let proxy = Proxy::start("127.0.0.1:0", at.clone(), asks, V4);
        let with = SocksProxy::new(&proxy.address).unwrap();
        let with = with.login(user, password).unwrap();
        let mut req = Req::builder().socks_proxy(with).build().unwrap();
        req.connect(&real).unwrap();
        req.send(numbered(0, 7)).unwrap();
        let request = rep.recv_timeout(LONG).unwrap();
        rep.send(request).unwrap();
        assert_eq!(number_of(&req.recv_timeout(LONG).unwrap()), (0, 7));
        let login = proxy.asked().login.expect("a login");
        assert_eq!(login, (user.to_vec(), password.to_vec()));
    }
}

/// The proxy's own name is looked up here, and all its addresses are tried.
#[test]
fn the_name_of_the_proxy_is_looked_up_here() {
    let mut pull = Pull::new();
    let real = pull.bind("tcp://127.0.0.1:*").unwrap();
    let at = real.socket_addr().unwrap().to_string();
    let proxy = Proxy::start("127.0.0.1:0", at, false, V4);
    let port = proxy.address.rsplit_once(':').unwrap().1;
    let mut push = Push::builder()
        .socks_proxy(SocksProxy::new(&format!("localhost:{port}")).unwrap())
        .build()
        .unwrap();
    push.connect(&real).unwrap();
    push.send("x").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
}

/// A proxy that is not there yet, and a server behind it that goes and comes back.
#[test]
fn everything_is_tried_again_through_the_proxy() {
    let mut pull = Pull::new();
    let real = pull.bind("tcp://127.0.0.1:*").unwrap();
    let at = real.socket_addr().unwrap().to_string();
    let place = Net::Tcp4.unbound();
    let place = place.strip_prefix("tcp://").unwrap();
    let mut push = Push::builder()
        .socks_proxy(SocksProxy::new(place).unwrap())
        .reconnect(quick())
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect(&real).unwrap();
    push.send(numbered(0, 0)).unwrap();
    await_event(&mut monitor, "no proxy yet", |event| {
        matches!(event, SocketEvent::ConnectFailed { .. })
    });
    let proxy = Proxy::start(place, at, false, V4);
    assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, 0));
    pull.unbind(&real).unwrap();
    await_event(&mut monitor, "the server is gone", |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    });
    push.send(numbered(0, 1)).unwrap();
    pull.bind(&real).unwrap();
    assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, 1));
    drop(proxy);
}

/// Through a proxy nothing else is reachable than tcp, and other transports do without it.
#[test]
fn a_proxy_is_for_tcp_and_for_what_it_can_reach() {
    let nowhere = SocksProxy::new("127.0.0.1:9").unwrap();
    let mut push = Push::builder().socks_proxy(nowhere).build().unwrap();
    let error = push.connect("tcp://[fe80::1%lo]:4242").unwrap_err();
    assert!(matches!(error, ConnectError::Endpoint(_)), "{error}");
    assert!(error.to_string().contains("without a zone"), "{error}");
    for net in [Net::IpcWildcard, Net::Inproc] {
        let mut pull = Pull::new();
        let endpoint = pull.bind(net.fresh()).unwrap();
        push.connect(&endpoint).unwrap();
        push.send("x").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
        push.disconnect(&endpoint).unwrap();
    }
}
