//! Options of transports, as sockets show them: who is let in, from where connections come, how long is
//! waited. What is set on descriptors is asked back in the unit tests of `transport`.

use std::net::ToSocketAddrs;
use std::time::Duration;

use sinew::{DisconnectReason, IpPrefix, Monitor, Pull, Push, ReconnectPolicy, SocketEvent};

use crate::support::{await_event, Net, LONG};

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().unwrap()
}

/// Whom a listener has sent away.
#[track_caller]
fn filtered(monitor: &mut Monitor) -> String {
    let event = monitor.wait_for(LONG, |event| {
        matches!(event, SocketEvent::AcceptFailed { .. })
    });
    match event {
        Some(SocketEvent::AcceptFailed {
            reason: DisconnectReason::Filtered { peer },
            ..
        }) => peer,
        other => panic!("{other:?}"),
    }
}

/// Linux alone has more than one address on loopback.
#[cfg(target_os = "linux")]
#[test]
fn an_accept_filter_lets_in_whom_it_names_and_nobody_else() {
    let mut pull = Pull::builder()
        .accept_filter(prefix("127.0.0.3"))
        .accept_filter(prefix("127.0.0.16/28"))
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let port = endpoint.port().unwrap();
    let from = |source: &str| {
        let mut push = Push::builder()
            .reconnect(quick())
            .linger(Duration::ZERO)
            .build()
            .unwrap();
        push.connect(format!("tcp://{source}:*;127.0.0.1:{port}"))
            .unwrap();
        push.send(source.as_bytes()).unwrap();
        push
    };
    let _stranger = from("127.0.0.2");
    assert!(filtered(&mut monitor).starts_with("127.0.0.2:"));
    for source in ["127.0.0.3", "127.0.0.17", "127.0.0.31"] {
        let _push = from(source);
        await_event(
            &mut monitor,
            "a friend is let in",
            |event| matches!(event, SocketEvent::Accepted { peer, .. } if peer.starts_with(&format!("{source}:"))),
        );
        assert_eq!(
            pull.recv_timeout(LONG).unwrap().as_bytes(),
            source.as_bytes()
        );
    }
    assert!(pull.stats().accept_failures > 0);
    assert!(pull.try_recv().is_err(), "nothing of the stranger's");
}

#[cfg(target_os = "linux")]
#[test]
fn an_ipc_filter_lets_in_whom_it_names_and_nobody_else() {
    let own = std::process::id();
    for net in [Net::IpcPath, Net::IpcAbstract] {
        let endpoint = net.fresh();
        let mut refusing = Pull::builder().ipc_filter_pid(own ^ 1).build().unwrap();
        let mut monitor = refusing.monitor();
        refusing.bind(&endpoint).unwrap();
        let mut push = Push::builder().reconnect(quick()).build().unwrap();
        push.connect(&endpoint).unwrap();
        push.send("x").unwrap();
        assert!(filtered(&mut monitor).ends_with(&format!(":{own}")));
        assert!(refusing.try_recv().is_err());
        refusing.close();

        let mut pull = Pull::builder()
            .ipc_filter_uid(u32::MAX - 7)
            .ipc_filter_pid(own)
            .bind(&endpoint)
            .unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    }
}

/// Its own group, or one of those it is in besides.
#[cfg(target_os = "linux")]
#[test]
fn an_ipc_filter_by_group_lets_in_its_members() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let groups = |field: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let groups = line.unwrap().split_whitespace();
        groups.map(|gid| gid.parse().unwrap()).collect()
    };
    // The second one is the effective one.
    let own = groups("Gid:")[1];
    let others = groups("Groups:");
    let strange = (1..).find(|gid| *gid != own && !others.contains(gid));
    for (gid, expected) in [(own, true), (strange.unwrap(), false)] {
        let mut pull = Pull::builder().ipc_filter_gid(gid).build().unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind("ipc://*").unwrap();
        let mut push = Push::builder().linger(Duration::ZERO).build().unwrap();
        push.connect(&endpoint).unwrap();
        push.send("x").unwrap();
        if expected {
            assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
        } else {
            assert!(filtered(&mut monitor).contains(&format!(":{own}:")));
            assert!(pull.try_recv().is_err());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn over_ipc_a_peer_is_known_by_its_credentials() {
    let mut pull = Pull::new();
    let mut bound = pull.monitor();
    let endpoint = pull.bind("ipc://*").unwrap();
    let mut push = Push::new();
    let mut connected = push.monitor();
    push.connect(&endpoint).unwrap();
    let own = std::fs::metadata("/proc/self").unwrap();
    use std::os::unix::fs::MetadataExt;
    let expected = format!(":{}:{}:{}", own.uid(), own.gid(), std::process::id());
    await_event(
        &mut bound,
        "accepted, with who it is",
        |event| matches!(event, SocketEvent::Accepted { peer, .. } if *peer == expected),
    );
    await_event(
        &mut connected,
        "connected, to whom",
        |event| matches!(event, SocketEvent::Connected { peer, .. } if *peer == expected),
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_source_part_is_where_a_connection_comes_from() {
    let mut pull = Pull::new();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let port = endpoint.port().unwrap();
    for (source, prefix) in [("127.0.0.9:*", "127.0.0.9:"), ("lo:0", "127.0.0.1:")] {
        let to = format!("tcp://{source};127.0.0.1:{port}");
        let mut push = Push::builder().connect(&to).unwrap();
        assert_eq!(
            push.connected_endpoints()[0].to_string(),
            to.replace(":0;", ":*;")
        );
        await_event(
            &mut monitor,
            "the peer's address",
            |event| matches!(event, SocketEvent::Accepted { peer, .. } if peer.starts_with(prefix)),
        );
        push.send("x").unwrap();
        pull.recv_timeout(LONG).unwrap();
    }
}

/// A source of the other family than the target can never work, and says so for every attempt.
#[test]
fn a_source_of_another_family_is_an_event() {
    let mut push = Push::builder()
        .reconnect(quick())
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect("tcp://[::1]:*;127.0.0.1:9").unwrap();
    for _ in 0..2 {
        await_event(&mut monitor, "the attempt failed for this", |event| {
            matches!(event, SocketEvent::ConnectFailed { reason: DisconnectReason::Io { message, .. }, .. }
                if message.contains("of another family"))
        });
    }
}

/// A name has addresses of both families, and a server perhaps only on one.
#[test]
fn a_server_on_either_family_is_found_by_name() {
    let families: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    for (present, at) in [
        (families.iter().any(|a| a.is_ipv4()), "tcp://127.0.0.1:*"),
        (
            families.iter().any(|a| a.is_ipv6()) && Net::Tcp6.is_present(),
            "tcp://[::1]:*",
        ),
    ] {
        if present {
            let mut pull = Pull::new();
            let port = pull.bind(at).unwrap().port().unwrap();
            let mut push = Push::builder().reconnect(quick()).build().unwrap();
            push.connect(format!("tcp://localhost:{port}")).unwrap();
            push.send("x").unwrap();
            assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
        }
    }
}

/// With IPv6 a wildcard takes both families; on a host without it, or with the option off, IPv4 alone.
#[test]
fn a_wildcard_listens_on_what_the_host_has() {
    let mut pull = Pull::new();
    let real = pull.bind("tcp://*:*").unwrap();
    let v6 = Net::Tcp6.is_present();
    assert_eq!(real.socket_addr().unwrap().is_ipv6(), v6, "{real}");
    let port = real.port().unwrap();
    let mut hosts = vec!["127.0.0.1"];
    if v6 {
        hosts.push("[::1]");
    }
    for host in hosts {
        let mut push = Push::builder()
            .connect(format!("tcp://{host}:{port}"))
            .unwrap();
        push.send(host.as_bytes()).unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), host.as_bytes());
    }
    let mut without = Pull::builder().ipv6(false).build().unwrap();
    let real = without.bind("tcp://*:*").unwrap();
    assert!(real.socket_addr().unwrap().is_ipv4(), "{real}");
    assert!(without.bind("tcp://[::1]:*").is_err());
}

/// Nothing answers a connect to a listener whose queue is full.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_takes_too_long_is_given_up() {
    use socket2::{Domain, Socket, Type};

    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let fill = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    fill.connect(&addr).unwrap();

    let limit = Duration::from_millis(50);
    let mut push = Push::builder()
        .connect_timeout(limit)
        .reconnect(quick())
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect(addr.as_socket().unwrap()).unwrap();
    await_event(&mut monitor, "the attempt is given up", |event| {
        matches!(event, SocketEvent::ConnectFailed {
            reason: DisconnectReason::ConnectTimeout { timeout }, ..
        } if *timeout == limit)
    });
}

#[test]
fn options_with_impossible_values_are_named() {
    let secs = Duration::from_secs;
    for (builder, text) in [
        (
            Pull::builder().tcp_keepalive_idle(secs(1)),
            "option `tcp_keepalive` cannot be off while its times are set: expected `tcp_keepalive` on, or no times",
        ),
        (
            Pull::builder().tcp_keepalive(true).tcp_keepalive_interval(Duration::from_millis(1500)),
            "option `tcp_keepalive_interval` cannot be 1.5s: expected whole seconds from 1 s to 32767 s, or `None`",
        ),
        (
            Pull::builder().tcp_keepalive(true).tcp_keepalive_count(0),
            "option `tcp_keepalive_count` cannot be 0: expected from 1 to 127, or `None`",
        ),
        (
            Pull::builder().tcp_keepalive(true).tcp_keepalive_count(200),
            "option `tcp_keepalive_count` cannot be 200: expected from 1 to 127, or `None`",
        ),
        (
            Pull::builder().tcp_keepalive(true).tcp_keepalive_idle(secs(32768)),
            "option `tcp_keepalive_idle` cannot be 32768s: expected whole seconds from 1 s to 32767 s, or `None`",
        ),
        (
            Pull::builder().tcp_user_timeout(secs(0)),
            "option `tcp_user_timeout` cannot be 0ns: expected from 1 ms to 30 days, or `None`",
        ),
        (
            Pull::builder().priority(u32::MAX),
            "option `priority` cannot be 4294967295: expected from 0 to 2147483647",
        ),
        (
            Pull::builder().kernel_busy_poll(secs(0)),
            "option `kernel_busy_poll` cannot be 0ns: expected from 1 µs to 2147483647 µs, or `None`",
        ),
        (
            Pull::builder().bind_to_device("a name too long"),
            "",
        ),
        (
            Pull::builder().bind_to_device("a name far too long"),
            "option `bind_to_device` cannot be \"a name far too long\": expected an interface name of 1 to 15 octets",
        ),
    ] {
        match builder.build() {
            Ok(_) => assert_eq!(text, ""),
            Err(error) => assert_eq!(error.to_string(), text),
        }
    }
}
