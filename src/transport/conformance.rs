//! One suite, run over every stream transport: the contract in the header of `transport`.
//!
//! Every wait is on an event, under a watchdog that only a failing test reaches.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::{start_connect, AcceptFailure, ConnectTarget, Listener, Stream};
use crate::config::SocketConfig;
use crate::endpoint::{Address, Endpoint};

const WATCHDOG: Duration = Duration::from_secs(20);
pub(super) const LISTENER: Token = Token(0);
const CLIENT: Token = Token(1);
const SERVER: Token = Token(2);

/// An endpoint to bind and what must outlive it.
struct Place {
    endpoint: Endpoint,
    _directory: Option<tempfile::TempDir>,
    /// Connections are made by the standard library, and taken over.
    adopted: bool,
}

impl Place {
    fn at(text: &str) -> Self {
        Place {
            endpoint: text.parse().unwrap(),
            _directory: None,
            adopted: false,
        }
    }

    fn in_new_directory() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Place {
            endpoint: Endpoint::ipc(directory.path().join("socket")).unwrap(),
            _directory: Some(directory),
            adopted: false,
        }
    }

    #[cfg(unix)]
    fn adopted(self) -> Self {
        Place {
            adopted: true,
            ..self
        }
    }

    #[cfg(target_os = "linux")]
    fn with_new_name() -> Self {
        // Unique as long as the directory exists.
        let directory = tempfile::tempdir().unwrap();
        Place {
            endpoint: format!("ipc://@{}", directory.path().display())
                .parse()
                .unwrap(),
            _directory: Some(directory),
            adopted: false,
        }
    }
}

/// The transports this host has.
fn places() -> Vec<Place> {
    let mut places = vec![Place::at("tcp://127.0.0.1:*"), Place::at("tcp://*:*")];
    // What the standard library can do decides, not what is under test.
    match TcpListener::bind("[::1]:0") {
        Ok(_) => places.push(Place::at("tcp://[::1]:*")),
        Err(error) => eprintln!("skipping tcp over IPv6, which this host lacks: {error}"),
    }
    // Its listener, addresses and octets; what is WebSocket is told by `tests/sockets/transports.rs`.
    #[cfg(feature = "ws")]
    places.push(Place::at("ws://127.0.0.1:*/path"));
    #[cfg(unix)]
    places.extend([
        Place::in_new_directory(),
        Place::at("ipc://*"),
        Place::at("tcp://127.0.0.1:*").adopted(),
        Place::in_new_directory().adopted(),
    ]);
    #[cfg(target_os = "linux")]
    places.push(Place::with_new_name());
    places
}

fn bind(endpoint: &Endpoint) -> io::Result<(Listener, Endpoint)> {
    Listener::bind(endpoint, &SocketConfig::default())
}

pub(super) fn target(endpoint: &Endpoint) -> ConnectTarget {
    match endpoint.address() {
        Address::Tcp(tcp) => {
            let addr = tcp.target.socket_addr().unwrap();
            ConnectTarget::tcp(tcp, addr).unwrap()
        }
        #[cfg(feature = "ws")]
        Address::Ws(_) => ConnectTarget::Tcp {
            addr: endpoint.socket_addr().unwrap(),
            source: None,
        },
        Address::Ipc(ipc) => ConnectTarget::Ipc(ipc.clone()),
        Address::Inproc(_) | Address::Udp(_) => unreachable!("no stream transport"),
    }
}

/// A poll and the wait for its events.
pub(super) struct Driver {
    poll: Poll,
    events: Events,
}

impl Driver {
    pub(super) fn new() -> Self {
        Driver {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(16),
        }
    }

    pub(super) fn add<S: mio::event::Source>(&self, source: &mut S, token: Token) {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(source, token, both).unwrap();
    }

    /// Repeats `step` after every event until it has a result.
    pub(super) fn until<T>(&mut self, mut step: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(done) = step() {
                return done;
            }
            match self.poll.poll(&mut self.events, Some(WATCHDOG)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled.unwrap(),
            }
            assert!(!self.events.is_empty(), "no event before the watchdog");
        }
    }

    pub(super) fn accept(&mut self, listener: &Listener) -> Stream {
        self.until(|| match listener.accept() {
            Ok(stream) => Some(stream),
            Err(AcceptFailure::Drained) => None,
            Err(other) => panic!("{other:?}"),
        })
    }

    /// The outcome of a connect, whoever reports it.
    fn connect(&mut self, target: &ConnectTarget) -> io::Result<Stream> {
        let mut stream = start_connect(target, &SocketConfig::default())?;
        self.add(&mut stream, CLIENT);
        self.until(|| match stream.finish_connect() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        })?;
        Ok(stream)
    }

    fn read_to_end(&mut self, stream: &Stream) -> Vec<u8> {
        let (mut all, mut buf) = (Vec::new(), vec![0; 64 << 10]);
        self.until(|| loop {
            match would_block(stream.read(&mut buf))? {
                0 => return Some(()),
                n => all.extend_from_slice(&buf[..n]),
            }
        });
        all
    }

    /// All that comes, of a stream that nobody watches yet.
    pub(super) fn read_to_end_of(&mut self, mut stream: Stream) -> Vec<u8> {
        self.add(&mut stream, CLIENT);
        self.read_to_end(&stream)
    }

    fn read_exact(&mut self, stream: &Stream, len: usize) -> Vec<u8> {
        let mut all = vec![0; len];
        let mut read = 0;
        self.until(|| {
            while read < len {
                match would_block(stream.read(&mut all[read..]))? {
                    0 => panic!("the stream ended after {read} of {len} bytes"),
                    n => read += n,
                }
            }
            Some(())
        });
        all
    }

    /// A bound endpoint and both ends of one connection to it.
    fn pair(&mut self, place: &Place) -> (Listener, Stream, Stream) {
        let (mut listener, client) = if place.adopted {
            let (listener, mut client) = adopted_pair(place);
            self.add(&mut client, CLIENT);
            (listener, client)
        } else {
            let (listener, real) = bind(&place.endpoint).unwrap();
            let client = self.connect(&target(&real)).unwrap();
            (listener, client)
        };
        self.add(&mut listener, LISTENER);
        let mut server = self.accept(&listener);
        self.add(&mut server, SERVER);
        assert!(server.finish_connect().unwrap());
        (listener, client, server)
    }
}

/// A listener and a connection to it, both made by the standard library.
#[cfg(unix)]
fn adopted_pair(place: &Place) -> (Listener, Stream) {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    let (listener, client): (OwnedFd, OwnedFd) = match place.endpoint.ipc_path() {
        Some(path) => {
            let listener = UnixListener::bind(path).unwrap();
            (listener.into(), UnixStream::connect(path).unwrap().into())
        }
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(at).unwrap();
            (listener.into(), client.into())
        }
    };
    let config = SocketConfig::default();
    let (listener, real) = Listener::adopt(listener, &config).unwrap();
    let (client, peer) = Stream::adopt(client, &config).unwrap();
    assert_eq!(peer, Some(real));
    (listener, client)
}

#[cfg(not(unix))]
fn adopted_pair(_: &Place) -> (Listener, Stream) {
    unreachable!("no such place on this system")
}

/// `None` for not now.
fn would_block<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// A bound socket that does not listen, and its endpoint.
fn hold_port(near: std::net::SocketAddr) -> (Option<socket2::Socket>, Endpoint) {
    let domain = socket2::Domain::for_address(near);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::new(near.ip(), 0);
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (Some(socket), Endpoint::tcp(addr))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn sum(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|b| b.len()).sum()
}

#[test]
fn the_real_endpoint_is_reported_and_survives_printing() {
    for place in places() {
        let (_listener, real) = bind(&place.endpoint).unwrap();
        assert_eq!(real.transport(), place.endpoint.transport());
        assert_ne!(real.port(), Some(0), "{real}");
        assert_eq!(real.to_string().parse::<Endpoint>().unwrap(), real);
        real.check_connect().unwrap();
    }
}

#[test]
fn bytes_go_both_ways_in_order() {
    for place in places() {
        let mut driver = Driver::new();
        let (_listener, client, server) = driver.pair(&place);
        assert!(would_block(server.read(&mut [0; 8])).is_none());

        let bufs = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
        assert_eq!(client.write_vectored(&bufs).unwrap(), sum(&bufs));
        assert_eq!(driver.read_exact(&server, 13), b"one two three");

        assert_eq!(server.write_vectored(&[IoSlice::new(b"back")]).unwrap(), 4);
        assert_eq!(driver.read_exact(&client, 4), b"back");
    }
}

#[test]
fn more_slices_than_the_system_takes_are_written_in_part() {
    for place in places() {
        let mut driver = Driver::new();
        let (_listener, client, server) = driver.pair(&place);
        let bytes = pattern(3000);
        let bufs: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        let mut written = 0;
        while written < bufs.len() {
            written += client.write_vectored(&bufs[written..]).unwrap();
        }
        assert_eq!(driver.read_exact(&server, bytes.len()), bytes);
    }
}

#[test]
fn a_mebibyte_crosses_while_both_ends_wait_for_events() {
    for place in places() {
        let mut driver = Driver::new();
        let (_listener, client, server) = driver.pair(&place);
        let bytes = pattern(1 << 20);
        let (mut written, mut received, mut buf) = (0, Vec::new(), vec![0; 10_000]);
        let mut blocked = false;
        driver.until(|| {
            // Fill until the system takes no more, then empty it: both ends see `WouldBlock`.
            while written < bytes.len() {
                let (a, b) = bytes[written..].split_at((bytes.len() - written) / 2);
                match would_block(client.write_vectored(&[IoSlice::new(a), IoSlice::new(b)])) {
                    Some(n) => written += n,
                    None => {
                        blocked = true;
                        break;
                    }
                }
            }
            while received.len() < bytes.len() {
                let n = would_block(server.read(&mut buf))?;
                received.extend_from_slice(&buf[..n]);
            }
            Some(())
        });
        assert_eq!(received, bytes);
        // TCP over loopback may take a mebibyte at once; a Unix socket never does.
        assert!(blocked || place.endpoint.port().is_some());
    }
}

#[test]
fn one_direction_can_end_before_the_other() {
    for place in places() {
        let mut driver = Driver::new();
        let (_listener, client, server) = driver.pair(&place);
        client.write_vectored(&[IoSlice::new(b"last")]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(driver.read_to_end(&server), b"last");
        server.write_vectored(&[IoSlice::new(b"reply")]).unwrap();
        assert_eq!(driver.read_exact(&client, 5), b"reply");
        drop(server);
        assert_eq!(driver.read_to_end(&client), b"");
    }
}

#[test]
fn writing_to_a_closed_peer_is_an_error() {
    for place in places() {
        let mut driver = Driver::new();
        let (_listener, client, server) = driver.pair(&place);
        drop(server);
        assert_eq!(driver.read_to_end(&client), b"");
        // The first write may still be taken; the reset it causes fails a later one.
        let error = driver.until(|| client.write_vectored(&[IoSlice::new(b"lost")]).err());
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ),
            "{error}"
        );
    }
}

#[test]
fn a_connect_where_nobody_listens_is_reported() {
    for place in places() {
        let (listener, real) = bind(&place.endpoint).unwrap();
        drop(listener);
        // A port is held by a socket that does not listen, lest another test gets it.
        let (_holder, real) = match real.socket_addr() {
            Some(addr) => hold_port(addr),
            None => (None, real),
        };
        let error = Driver::new().connect(&target(&real)).unwrap_err();
        let expected: &[_] = match real.ipc_path() {
            // The file went with its listener.
            Some(_) => &[io::ErrorKind::NotFound],
            None => &[io::ErrorKind::ConnectionRefused],
        };
        assert!(expected.contains(&error.kind()), "{real}: {error:?}");
    }
}

#[test]
fn a_taken_address_is_refused_and_free_again_after_the_drop() {
    for place in places() {
        let mut driver = Driver::new();
        let (mut listener, real) = bind(&place.endpoint).unwrap();
        driver.add(&mut listener, LISTENER);
        for _ in 0..2 {
            let error = bind(&real).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{real}: {error}");
        }
        // The holder was not disturbed. For a path, the attempts to bind have knocked.
        let mut client = driver.connect(&target(&real)).unwrap();
        client.write_vectored(&[IoSlice::new(b"x")]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        loop {
            let mut server = driver.accept(&listener);
            driver.add(&mut server, SERVER);
            if driver.read_to_end(&server) == b"x" {
                break;
            }
        }
        driver.poll.registry().deregister(&mut client).unwrap();
        drop((client, listener));
        if real.ipc_path().is_none() || !place.endpoint.is_wildcard() {
            bind(&real).unwrap();
        }
    }
}

#[test]
fn labels_name_both_ends() {
    for place in places() {
        let (listener, real) = bind(&place.endpoint).unwrap();
        let mut driver = Driver::new();
        let client = driver.connect(&target(&real)).unwrap();
        let mut listener = listener;
        driver.add(&mut listener, LISTENER);
        let server = driver.accept(&listener);
        if real.port().is_some() {
            assert_eq!(client.local_label(), server.peer_label());
            assert_eq!(client.peer_label(), server.local_label());
            assert!(client.peer_ip().is_some_and(|ip| ip.is_loopback()));
        } else {
            // Both ends are this process.
            for label in [client.peer_label(), server.peer_label()] {
                if cfg!(target_os = "linux") {
                    assert!(
                        label.ends_with(&format!(":{}", std::process::id())),
                        "{label}"
                    );
                } else {
                    assert_eq!(format!("ipc://{label}"), real.to_string());
                }
            }
            assert_eq!(format!("ipc://{}", server.local_label()), real.to_string());
        }
    }
}

mod tcp {
    use super::*;

    #[test]
    fn a_wildcard_takes_both_families() {
        let mut driver = Driver::new();
        let (mut listener, real) = bind(&"tcp://*:*".parse().unwrap()).unwrap();
        driver.add(&mut listener, LISTENER);
        let port = real.port().unwrap();
        let mut hosts = vec!["127.0.0.1"];
        if TcpListener::bind("[::1]:0").is_ok() {
            hosts.push("[::1]");
        }
        for host in hosts {
            let endpoint = format!("tcp://{host}:{port}").parse().unwrap();
            let client = driver.connect(&target(&endpoint)).unwrap();
            let server = driver.accept(&listener);
            assert_eq!(client.local_label(), server.peer_label());
            drop(client);
        }
    }

    #[test]
    fn without_ipv6_only_ipv4_is_bound_and_connected_to() {
        let mut config = SocketConfig::default();
        config.tcp.ipv6 = false;
        let any = "tcp://*:*".parse().unwrap();
        let (_listener, real) = Listener::bind(&any, &config).unwrap();
        assert!(real.socket_addr().unwrap().is_ipv4());
        let v6 = "tcp://[::1]:*".parse().unwrap();
        let error = Listener::bind(&v6, &config).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn host_names_are_bound_and_unknown_ones_named() {
        let (_listener, real) = bind(&"tcp://localhost:*".parse().unwrap()).unwrap();
        assert!(real.socket_addr().unwrap().ip().is_loopback());
        // Longer than a label may be, so that no name server is asked.
        let unknown = "x".repeat(64);
        let endpoint = format!("tcp://{unknown}:*").parse().unwrap();
        assert_eq!(
            bind(&endpoint).unwrap_err().to_string(),
            format!("{unknown}:* names no host and no interface with an address")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn interfaces_are_bound_and_connected_from_by_name() {
        let (_listener, real) = bind(&"tcp://lo:*".parse().unwrap()).unwrap();
        let addr = real.socket_addr().unwrap();
        assert!(addr.ip().is_loopback());
        let endpoint = format!("tcp://lo:*;{addr}").parse().unwrap();
        Driver::new().connect(&target(&endpoint)).unwrap();
    }

    #[test]
    fn the_source_part_is_the_local_address() {
        let mut driver = Driver::new();
        let (_listener, real) = bind(&"tcp://127.0.0.1:*".parse().unwrap()).unwrap();
        let port = real.port().unwrap();
        let endpoint = format!("tcp://127.0.0.2:*;127.0.0.1:{port}")
            .parse()
            .unwrap();
        if cfg!(target_os = "linux") {
            let client = driver.connect(&target(&endpoint)).unwrap();
            assert!(client.local_label().starts_with("127.0.0.2:"));
        }
        for source in ["[::1]", "no-such-if"] {
            let endpoint: Endpoint = format!("tcp://{source}:*;127.0.0.1:{port}")
                .parse()
                .unwrap();
            let Address::Tcp(tcp) = endpoint.address() else {
                unreachable!("a tcp endpoint")
            };
            assert!(ConnectTarget::tcp(tcp, real.socket_addr().unwrap()).is_err());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_to_itself_is_refused() {
        // The port was free a moment ago; should another take it meanwhile, try the next.
        for _ in 0..100 {
            let (listener, real) = bind(&"tcp://127.0.0.1:*".parse().unwrap()).unwrap();
            drop(listener);
            let port = real.port().unwrap();
            let itself = format!("tcp://127.0.0.1:{port};127.0.0.1:{port}");
            if let Err(error) = Driver::new().connect(&target(&itself.parse().unwrap())) {
                if error.to_string().contains("to itself") {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                    return;
                }
            }
        }
        panic!("no port was free");
    }

    #[test]
    fn zones_by_name_are_looked_up_here() {
        let bad = bind(&"tcp://[fe80::1%no-such-if]:*".parse().unwrap()).unwrap_err();
        assert_eq!(bad.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(bad.raw_os_error(), None, "not looked up: {bad}");
        if cfg!(target_os = "linux") && TcpListener::bind("[::1]:0").is_ok() {
            // The zone is known, and then the system says that the address is not there.
            let bad = bind(&"tcp://[fe80::1%lo]:*".parse().unwrap()).unwrap_err();
            assert!(bad.raw_os_error().is_some(), "{bad}");
            // Nothing but a link-local address needs a zone, and every one may have it.
            for zone in ["lo", "1"] {
                let (_listener, real) = bind(&format!("tcp://[::1%{zone}]:*").parse().unwrap())
                    .unwrap_or_else(|error| panic!("{zone}: {error}"));
                let addr = real.socket_addr().unwrap();
                let endpoint = format!("tcp://[::1%{zone}]:*;{addr}").parse().unwrap();
                Driver::new().connect(&target(&endpoint)).unwrap();
            }
            let bad = bind(&"tcp://[::1%4294967295]:*".parse().unwrap()).unwrap_err();
            assert_eq!(
                bad.to_string(),
                "`4294967295` is the zone of no interface, expected the name or number of one of this host"
            );
        }
    }
}

#[cfg(unix)]
mod ipc {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_dead_file_is_replaced() {
        let place = Place::in_new_directory();
        let path = place.endpoint.ipc_path().unwrap();
        // The standard library leaves its file behind.
        drop(UnixListener::bind(path).unwrap());
        assert!(path.exists());
        let (_listener, real) = bind(&place.endpoint).unwrap();
        Driver::new().connect(&target(&real)).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let place = Place::in_new_directory();
        let path = place.endpoint.ipc_path().unwrap();
        fs::write(path, "precious").unwrap();
        let error = bind(&place.endpoint).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(path).unwrap(), b"precious");

        // Nor is a link followed, not even one to a dead socket.
        let dead = path.with_file_name("dead");
        drop(UnixListener::bind(&dead).unwrap());
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(&dead, path).unwrap();
        assert!(bind(&place.endpoint).is_err());
        assert!(dead.exists());
    }

    #[test]
    fn a_full_queue_is_a_living_listener() {
        let place = Place::in_new_directory();
        let config = SocketConfig {
            backlog: 1,
            ..SocketConfig::default()
        };
        let (_listener, real) = Listener::bind(&place.endpoint, &config).unwrap();
        let mut waiting = Vec::new();
        // Nobody accepts: the queue fills after a few.
        let full = loop {
            match start_connect(&target(&real), &config) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 1000);
        };
        if cfg!(target_os = "linux") {
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        }
        let error = bind(&place.endpoint).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(real.ipc_path().unwrap().exists());
    }

    #[test]
    fn the_file_goes_with_its_listener_and_a_successor_stays() {
        let place = Place::in_new_directory();
        let path = place.endpoint.ipc_path().unwrap();
        let (listener, _) = bind(&place.endpoint).unwrap();
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());

        let (listener, _) = bind(&place.endpoint).unwrap();
        // Kept, so that its inode is not used again.
        fs::rename(path, path.with_file_name("moved")).unwrap();
        let _successor = UnixListener::bind(path).unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn a_wildcard_is_private_and_leaves_nothing_behind() {
        let (listener, real) = bind(&"ipc://*".parse().unwrap()).unwrap();
        let directory = real.ipc_path().unwrap().parent().unwrap().to_owned();
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(listener);
        assert!(!directory.exists());
    }

    #[test]
    fn a_failed_bind_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Endpoint::ipc(directory.path().join("missing/socket")).unwrap();
        let error = bind(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn inproc_has_no_streams() {
    let error = bind(&"inproc://x".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
