//! Each option, asked back from the live descriptors at both ends, or seen by what it does.

use std::io;
use std::time::Duration;

use socket2::SockRef;

use super::conformance::{target, Driver, LISTENER};
use super::{start_connect, AcceptFailure, Listener, Stream};
use crate::config::{IpPrefix, SocketConfig};
use crate::endpoint::Endpoint;

/// Connects with these options to a listener that has them too, and shows both ends.
fn on_both_ends(at: &str, change: impl FnOnce(&mut SocketConfig), look: impl Fn(&SockRef<'_>)) {
    let mut config = SocketConfig::default();
    change(&mut config);
    config.validate().unwrap();
    let (mut listener, real) = Listener::bind(&at.parse().unwrap(), &config).unwrap();
    let mut driver = Driver::new();
    driver.add(&mut listener, LISTENER);
    let client = start_connect(&target(&real), &config).unwrap();
    let server = driver.accept(&listener);
    for stream in [client, server] {
        let Stream::Tcp(stream) = &stream else {
            unreachable!("bound to tcp")
        };
        look(&SockRef::from(stream));
    }
}

const V4: &str = "tcp://127.0.0.1:*";

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn small_messages_are_never_held_back() {
    on_both_ends(V4, |_| {}, |socket| assert!(socket.tcp_nodelay().unwrap()));
}

#[test]
fn keepalive_and_its_three_figures() {
    on_both_ends(
        V4,
        |config| {
            config.tcp.keepalive = Some(true);
            config.tcp.keepalive_idle = Some(Duration::from_secs(77));
            config.tcp.keepalive_interval = Some(Duration::from_secs(11));
            config.tcp.keepalive_count = Some(5);
        },
        |socket| {
            assert!(socket.keepalive().unwrap());
            let secs = Duration::from_secs;
            assert_eq!(socket.tcp_keepalive_time().unwrap(), secs(77));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), secs(11));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        },
    );
    // The most that is allowed is taken.
    on_both_ends(
        V4,
        |config| {
            config.tcp.keepalive = Some(true);
            config.tcp.keepalive_idle = Some(Duration::from_secs(32767));
            config.tcp.keepalive_interval = Some(Duration::from_secs(32767));
            config.tcp.keepalive_count = Some(127);
            config.validate().unwrap();
        },
        |socket| assert_eq!(socket.tcp_keepalive_retries().unwrap(), 127),
    );
    on_both_ends(
        V4,
        |config| config.tcp.keepalive = Some(false),
        |socket| assert!(!socket.keepalive().unwrap()),
    );
}

#[test]
fn the_type_of_service_in_both_families() {
    let set = |config: &mut SocketConfig| config.tcp.tos = Some(0xb8);
    on_both_ends(V4, set, |socket| {
        assert_eq!(socket.tos_v4().unwrap(), 0xb8);
    });
    if has_ipv6() {
        on_both_ends("tcp://[::1]:*", set, |socket| {
            assert_eq!(socket.tclass_v6().unwrap(), 0xb8);
        });
    }
}

#[test]
fn kernel_buffers() {
    on_both_ends(
        V4,
        |config| {
            config.tcp.send_buffer = Some(32 << 10);
            config.tcp.recv_buffer = Some(48 << 10);
        },
        |socket| {
            // Linux doubles what it is given.
            let (send, recv) = (
                socket.send_buffer_size().unwrap(),
                socket.recv_buffer_size().unwrap(),
            );
            assert!((32 << 10..=64 << 10).contains(&send), "{send}");
            assert!((48 << 10..=96 << 10).contains(&recv), "{recv}");
        },
    );
}

#[cfg(target_os = "linux")]
#[test]
fn priority_and_user_timeout() {
    on_both_ends(
        V4,
        |config| {
            // Together, for a type of service has a priority of its own.
            config.tcp.tos = Some(0x10);
            config.tcp.priority = Some(3);
            config.tcp.user_timeout = Some(Duration::from_millis(12_345));
        },
        |socket| {
            assert_eq!(socket.priority().unwrap(), 3);
            assert_eq!(
                socket.tcp_user_timeout().unwrap(),
                Some(Duration::from_millis(12_345))
            );
        },
    );
}

/// Whether this process may set an option is asked of the system, on a socket of the test's own.
#[cfg(target_os = "linux")]
#[test]
fn busy_polling_by_the_kernel() {
    let probe = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let mut config = SocketConfig::default();
    config.tcp.busy_poll = Some(Duration::from_micros(50));
    match probe.set_busy_poll(50) {
        Ok(()) => on_both_ends(
            V4,
            |c| c.tcp.busy_poll = Some(Duration::from_micros(50)),
            |socket| assert_eq!(socket.busy_poll().unwrap(), 50),
        ),
        Err(refused) => {
            let (_listener, real) =
                Listener::bind(&V4.parse().unwrap(), &SocketConfig::default()).unwrap();
            let error = start_connect(&target(&real), &config).unwrap_err();
            assert_eq!(error.raw_os_error(), refused.raw_os_error());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_device() {
    let probe = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let set = |config: &mut SocketConfig| config.tcp.bind_to_device = Some("lo".into());
    match probe.bind_device(Some(b"lo")) {
        Ok(()) => on_both_ends(V4, set, |socket| {
            assert_eq!(socket.device().unwrap().unwrap(), b"lo");
        }),
        Err(refused) => {
            let mut config = SocketConfig::default();
            set(&mut config);
            let any = V4.parse().unwrap();
            let (_listener, real) = Listener::bind(&any, &SocketConfig::default()).unwrap();
            for error in [
                Listener::bind(&any, &config).unwrap_err(),
                start_connect(&target(&real), &config).unwrap_err(),
            ] {
                assert_eq!(error.raw_os_error(), refused.raw_os_error());
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_refused_option_fails_the_attempt_only() {
    let mut config = SocketConfig::default();
    config.tcp.bind_to_device = Some("no-such-device".to_owned());
    let any = V4.parse().unwrap();
    assert!(Listener::bind(&any, &config).is_err());
    let (mut listener, real) = Listener::bind(&any, &SocketConfig::default()).unwrap();
    assert!(start_connect(&target(&real), &config).is_err());

    // And that of one connection, which the listener survives: Linux takes at most 127 probes. What is known
    // to be refused is no valid option, but what else a system refuses it alone knows.
    config = SocketConfig::default();
    config.tcp.keepalive = Some(true);
    config.tcp.keepalive_count = Some(128);
    let error = start_connect(&target(&real), &config).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let Listener::Tcp(_, its) = &mut listener else {
        unreachable!("bound to tcp")
    };
    *its = config.tcp.clone();
    let mut driver = Driver::new();
    driver.add(&mut listener, LISTENER);
    for round in 0..2 {
        let client = start_connect(&target(&real), &SocketConfig::default()).unwrap();
        let failure = driver.until(|| match listener.accept() {
            Err(AcceptFailure::Drained) => None,
            other => Some(other),
        });
        assert!(
            matches!(failure, Err(AcceptFailure::Connection(_))),
            "round {round}: {failure:?}"
        );
        assert_eq!(driver.read_to_end_of(client), b"");
    }
}

#[test]
fn the_backlog_is_what_waits_to_be_accepted() {
    // Nobody accepts. Linux lets one more wait than asked for, and counts the rest out by silence: they
    // stay unfinished.
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let config = SocketConfig {
        backlog: 3,
        ..SocketConfig::default()
    };
    let (_listener, real) = Listener::bind(&V4.parse().unwrap(), &config).unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| start_connect(&target(&real), &config).unwrap())
        .collect();
    let connected = || {
        let done = clients
            .iter()
            .filter(|c| matches!(c.finish_connect(), Ok(true)));
        done.count()
    };
    // Loopback connects before the call returns.
    assert_eq!(connected(), 4);
}

#[test]
fn accept_filters_let_in_whom_they_name() {
    let prefix = |text: &str| text.parse::<IpPrefix>().unwrap();
    for (at, from, filters, expected) in [
        ("tcp://127.0.0.1:*", "127.0.0.1", vec!["10.0.0.0/8"], false),
        (
            "tcp://127.0.0.1:*",
            "127.0.0.1",
            vec!["10.0.0.0/8", "127.0.0.1"],
            true,
        ),
        ("tcp://127.0.0.1:*", "127.0.0.1", vec!["127.0.0.0/8"], true),
        ("tcp://127.0.0.1:*", "127.0.0.1", vec!["0.0.0.0/0"], true),
        ("tcp://127.0.0.1:*", "127.0.0.1", vec!["::1"], false),
        // An IPv4 peer of an IPv6 listener, if there are such.
        ("tcp://*:*", "127.0.0.1", vec!["127.0.0.0/8"], true),
        ("tcp://*:*", "127.0.0.1", vec!["::ffff:127.0.0.0/104"], true),
        ("tcp://*:*", "127.0.0.1", vec!["::1", "fe80::/10"], false),
        ("tcp://[::1]:*", "[::1]", vec!["::1"], true),
        ("tcp://[::1]:*", "[::1]", vec!["127.0.0.1"], false),
        #[cfg(feature = "ws")]
        ("ws://127.0.0.1:*", "127.0.0.1", vec!["127.0.0.1"], true),
        #[cfg(feature = "ws")]
        ("ws://127.0.0.1:*", "127.0.0.1", vec!["10.0.0.0/8"], false),
    ] {
        if at.contains("::1") && !has_ipv6() {
            continue;
        }
        let mut config = SocketConfig::default();
        config.tcp.accept_filters = filters.iter().map(|text| prefix(text)).collect();
        let (mut listener, real) = Listener::bind(&at.parse().unwrap(), &config).unwrap();
        let mut driver = Driver::new();
        driver.add(&mut listener, LISTENER);
        let port = real.port().unwrap();
        let to: Endpoint = format!("tcp://{from}:{port}").parse().unwrap();
        let client = start_connect(&target(&to), &SocketConfig::default()).unwrap();
        let outcome = driver.until(|| match listener.accept() {
            Err(AcceptFailure::Drained) => None,
            other => Some(other),
        });
        match outcome {
            Ok(_) => assert!(expected, "{filters:?} let {from} in"),
            Err(AcceptFailure::Filtered { peer }) => {
                assert!(!expected, "{filters:?} refused {from}");
                assert!(peer.starts_with(from), "{peer}");
                assert_eq!(driver.read_to_end_of(client), b"", "closed at once");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ipc_filters_let_in_whom_they_name() {
    let own = std::process::id();
    for (pid, expected) in [(own, true), (own ^ 1, false)] {
        let mut config = SocketConfig::default();
        config.ipc.pids = vec![pid];
        let (mut listener, real) = Listener::bind(&"ipc://*".parse().unwrap(), &config).unwrap();
        let mut driver = Driver::new();
        driver.add(&mut listener, LISTENER);
        let client = start_connect(&target(&real), &config).unwrap();
        let outcome = driver.until(|| match listener.accept() {
            Err(AcceptFailure::Drained) => None,
            other => Some(other),
        });
        match outcome {
            Ok(_) => assert!(expected),
            Err(AcceptFailure::Filtered { peer }) => {
                assert!(!expected);
                assert!(peer.ends_with(&format!(":{own}")), "{peer}");
                assert_eq!(driver.read_to_end_of(client), b"", "closed at once");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}
