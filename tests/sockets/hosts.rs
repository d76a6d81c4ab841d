//! Hosts as they are written: by name, by interface, by zone. What is bound and connected by one is ended by it.

use std::time::Duration;

use sinew::{BindError, Dish, Pull, Push, Radio, ReconnectPolicy, SocketEvent, UnknownEndpoint};

use crate::support::{await_event, LONG};

/// Streams to a host and a port, and what is behind it.
const SCHEMES: [(&str, &str); if cfg!(feature = "ws") { 2 } else { 1 }] = [
    ("tcp", ""),
    #[cfg(feature = "ws")]
    ("ws", "/path"),
];

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Hosts that stand for addresses of this host, without being one.
fn hosts() -> Vec<&'static str> {
    let mut hosts = vec!["localhost", "*"];
    if cfg!(target_os = "linux") {
        hosts.push("lo");
    }
    if cfg!(target_os = "linux") && has_ipv6() {
        hosts.extend(["[::1%lo]", "[::1%1]"]);
    }
    hosts
}

#[test]
fn what_is_bound_by_a_host_is_unbound_by_it() {
    for host in hosts() {
        let near = if host.starts_with('[') {
            "[::1]"
        } else {
            "localhost"
        };
        for (scheme, path) in SCHEMES {
            let mut pull = Pull::new();
            let real = pull.bind(format!("{scheme}://{host}:*{path}")).unwrap();
            let port = real.port().unwrap();
            let text = format!("{scheme}://{host}:{port}{path}");
            assert_ne!(real.to_string(), text);
            let mut push = Push::builder()
                .connect(format!("{scheme}://{near}:{port}{path}"))
                .unwrap();
            push.send("here").unwrap();
            assert_eq!(
                pull.recv_timeout(LONG).unwrap().as_bytes(),
                b"here",
                "{text}"
            );

            // Neither another port nor another path is meant.
            let other = format!("{scheme}://{host}:*{path}");
            assert!(matches!(
                pull.unbind(&*other),
                Err(UnknownEndpoint::NotHere { .. })
            ));
            pull.unbind(&*text)
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(pull.bound_endpoints().is_empty(), "{text}");
            let gone = pull.unbind(&*text).unwrap_err();
            assert!(
                matches!(gone, UnknownEndpoint::NotHere { endpoint } if endpoint.to_string() == text)
            );
        }
    }
}

#[test]
fn accepting_ends_by_the_host_it_began_with() {
    let mut pull = Pull::new();
    let port = pull.bind("tcp://localhost:*").unwrap().port().unwrap();
    let mut push = Push::builder()
        .connect(format!("tcp://localhost:{port}"))
        .unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    pull.stop_accepting(format!("tcp://localhost:{port}"))
        .unwrap();
    assert!(pull.bound_endpoints().is_empty());
    push.send("still there").unwrap();
    assert!(pull.recv_timeout(LONG).is_ok());
}

#[test]
fn what_is_connected_by_address_is_ended_by_a_name_for_it() {
    let mut pull = Pull::new();
    let port = pull.bind("tcp://127.0.0.1:*").unwrap().port().unwrap();
    let name = format!("tcp://localhost:{port}");
    let number = format!("tcp://127.0.0.1:{port}");
    let mut push = Push::new();
    push.connect(&*number).unwrap();
    push.disconnect(&*name).unwrap();
    assert!(push.disconnect(&*number).is_err(), "it is ended");

    // What has the very text goes first, and alone.
    push.connect(&*number).unwrap();
    push.connect(&*name).unwrap();
    push.disconnect(&*name).unwrap();
    push.disconnect(&*number).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn any_address_may_have_a_zone_by_name_or_number() {
    if !has_ipv6() {
        return;
    }
    for zone in ["lo", "1"] {
        for (scheme, from) in SCHEMES
            .map(|(scheme, _)| (scheme, ""))
            .into_iter()
            .chain([("tcp", "[::1%lo]:*;")])
        {
            let mut pull = Pull::new();
            let real = pull.bind(format!("{scheme}://[::1%{zone}]:*")).unwrap();
            let port = real.port().unwrap();
            let to = format!("{scheme}://{from}[::1%{zone}]:{port}");
            let mut push = Push::builder().connect(&*to).unwrap();
            push.send("here").unwrap();
            let got = pull.recv_timeout(LONG);
            assert_eq!(got.unwrap().as_bytes(), b"here", "{to}");
        }
        let mut dish = Dish::new();
        dish.join("a").unwrap();
        let real = dish.bind(format!("udp://[::1%{zone}]:*")).unwrap();
        let mut radio = Radio::new();
        radio
            .connect(format!("udp://[::1%{zone}]:{}", real.port().unwrap()))
            .unwrap();
        radio.send("a", "here").unwrap();
        assert_eq!(&dish.recv_timeout(LONG).unwrap().1[..], b"here");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_zone_that_no_interface_has_is_named() {
    if !has_ipv6() {
        return;
    }
    for zone in ["no-such-if", "4294967295"] {
        let reason = format!(
            "`{zone}` is the zone of no interface, expected the name or number of one of this host"
        );
        for (scheme, _) in SCHEMES {
            match Pull::new().bind(format!("{scheme}://[::1%{zone}]:*")) {
                Err(BindError::Io { source, .. }) => assert_eq!(source.to_string(), reason),
                other => panic!("{other:?}"),
            }
            let mut push = Push::builder()
                .reconnect(ReconnectPolicy::constant(Duration::from_millis(20)))
                .linger(Duration::ZERO)
                .build()
                .unwrap();
            let mut monitor = push.monitor();
            push.connect(format!("{scheme}://[::1%{zone}]:9")).unwrap();
            // And again: the interface may come.
            for _ in 0..2 {
                await_event(
                    &mut monitor,
                    "the reason is told",
                    |event| matches!(event, SocketEvent::ConnectFailed { reason: told, .. } if told.to_string().contains(&reason)),
                );
            }
        }
        match Dish::new().bind(format!("udp://[::1%{zone}]:*")) {
            Err(BindError::Io { source, .. }) => assert_eq!(source.to_string(), reason),
            other => panic!("{other:?}"),
        }
        let mut radio = Radio::builder().linger(Duration::ZERO).build().unwrap();
        let mut monitor = radio.monitor();
        radio.connect(format!("udp://[::1%{zone}]:9")).unwrap();
        await_event(
            &mut monitor,
            "the reason is told",
            |event| matches!(event, SocketEvent::ConnectFailed { reason: told, .. } if told.to_string().contains(&reason)),
        );
    }
}
