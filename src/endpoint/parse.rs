//! The grammar of endpoints. Nothing is looked up here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[cfg(feature = "ws")]
use super::address::WsAddress;
use super::address::{Address, Host, HostPort, IpcAddress, TcpAddress, UdpAddress};
use super::error::IPC_PATH_LIMIT;
use super::{Endpoint, EndpointError};

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(input: &str) -> Result<Self, EndpointError> {
        let Some((scheme, rest)) = input.split_once("://") else {
            return Err(syntax(input, EXPECTED_ANY));
        };
        match scheme {
            "tcp" => tcp(input, rest),
            "ipc" => ipc(input, rest),
            "inproc" => inproc(input, rest),
            "udp" => udp(input, rest),
            #[cfg(feature = "ws")]
            "ws" => ws(input, rest),
            _ => match UNSUPPORTED.iter().copied().find(|known| *known == scheme) {
                Some(scheme) => Err(EndpointError::UnsupportedTransport {
                    input: input.into(),
                    scheme,
                }),
                None => Err(syntax(input, EXPECTED_ANY)),
            },
        }
        .map(Endpoint::from_address)
    }
}

fn syntax(input: &str, expected: &'static str) -> EndpointError {
    EndpointError::Syntax {
        input: input.into(),
        expected,
    }
}

fn tcp(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let fail = |expected| syntax(input, expected);
    let (source, target) = match rest.split_once(';') {
        Some((source, target)) => {
            let source = host_port(source).map_err(fail)?;
            (Some(Box::new(source)), target)
        }
        None => (None, rest),
    };
    let target = host_port(target).map_err(fail)?;
    Ok(Address::Tcp(TcpAddress { source, target }))
}

fn udp(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let fail = |expected| syntax(input, expected);
    let Some((interface, target)) = rest.split_once(';') else {
        let target = host_port(rest).map_err(|expected| fail(for_udp(expected)))?;
        return Ok(Address::Udp(UdpAddress {
            interface: None,
            target,
        }));
    };
    let interface = any_host(interface).map_err(|_| fail(EXPECTED_INTERFACE))?;
    let target = host_port(target).map_err(|expected| fail(for_udp(expected)))?;
    let group_is_v4 = match &target.host {
        Host::V4(ip) if ip.is_multicast() => true,
        Host::V6(ip, _) if ip.is_multicast() => false,
        _ => return Err(fail("a multicast address in numbers behind `interface;`")),
    };
    let fits = match &interface {
        Host::Any | Host::Name(_) => true,
        Host::V4(ip) => group_is_v4 && !ip.is_multicast(),
        Host::V6(ip, _) => !group_is_v4 && !ip.is_multicast(),
    };
    if !fits {
        return Err(fail(
            "an interface, `*`, or an address of the group's family that is not multicast before `;`",
        ));
    }
    Ok(Address::Udp(UdpAddress {
        interface: Some(Box::new(interface)),
        target,
    }))
}

fn for_udp(expected: &'static str) -> &'static str {
    match expected {
        EXPECTED_TCP => EXPECTED_UDP,
        other => other,
    }
}

#[cfg(feature = "ws")]
fn ws(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let (target, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let target = host_port(target).map_err(|expected| {
        let expected = match expected {
            EXPECTED_TCP => "`ws://host:port/path`",
            other => other,
        };
        syntax(input, expected)
    })?;
    // What stands in the request as it is, and in its first line.
    let good = |b: u8| b.is_ascii_graphic() && b != b'#';
    if path.len() > WS_PATH_LIMIT || !path.bytes().all(good) {
        return Err(syntax(input, EXPECTED_PATH));
    }
    let path = path.into();
    Ok(Address::Ws(WsAddress { target, path }))
}

pub(super) fn host_port(text: &str) -> Result<HostPort, &'static str> {
    // The last colon separates the port, so that brackets around IPv6 are optional.
    let (host, port) = text.rsplit_once(':').ok_or(EXPECTED_TCP)?;
    let port = match port {
        "" => return Err(EXPECTED_TCP),
        "*" => 0,
        digits => decimal(digits).ok_or(EXPECTED_PORT)?,
    };
    Ok(HostPort {
        host: any_host(host)?,
        port,
    })
}

fn any_host(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err(EXPECTED_TCP);
    }
    if text == "*" {
        return Ok(Host::Any);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, behind) = inner.split_once(']').ok_or(EXPECTED_V6)?;
        return match behind {
            "" => v6(inner),
            // The zone may also stand behind the bracket, but not in both places.
            _ if behind.starts_with('%') && !inner.contains('%') => v6(&format!("{inner}{behind}")),
            _ => Err(EXPECTED_V6),
        };
    }
    if text.contains(':') {
        return v6(text);
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(Host::V4(v4));
    }
    // `1.2.3` and `1.2.3.256` are mistyped addresses; resolvers would take some of them for others.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(EXPECTED_V4);
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.len() > HOST_NAME_LIMIT || !text.bytes().all(good) {
        return Err(EXPECTED_HOST);
    }
    Ok(Host::Name(text.into()))
}

fn v6(text: &str) -> Result<Host, &'static str> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let ip = ip.parse::<Ipv6Addr>().map_err(|_| EXPECTED_V6)?;
    let Some(zone) = zone else {
        return Ok(Host::V6(ip, None));
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if zone.is_empty() || zone.len() > ZONE_LIMIT || !zone.bytes().all(good) {
        return Err(EXPECTED_ZONE);
    }
    Ok(Host::V6(ip, Some(zone.into())))
}

/// Digits only: no sign, no blank, no other base.
pub(super) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn ipc(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let address = match rest.strip_prefix('@') {
        _ if rest.is_empty() => return Err(syntax(input, EXPECTED_IPC)),
        _ if rest == "*" => IpcAddress::Any,
        Some("") => return Err(syntax(input, "a name after `ipc://@`")),
        Some(name) => IpcAddress::Abstract(name.into()),
        None => IpcAddress::Path(rest.into()),
    };
    if rest.contains('\0') {
        return Err(syntax(input, "an ipc path without a zero octet"));
    }
    if rest.len() >= IPC_PATH_LIMIT {
        return Err(EndpointError::PathTooLong {
            input: input.into(),
            octets: rest.len(),
        });
    }
    Ok(Address::Ipc(address))
}

pub(super) fn inproc(input: &str, rest: &str) -> Result<Address, EndpointError> {
    match rest {
        "" => Err(syntax(input, "`inproc://name`")),
        name => Ok(Address::Inproc(name.into())),
    }
}

/// RFC 1035, 2.3.4.
const HOST_NAME_LIMIT: usize = 255;

/// Longer than any interface name (`IF_NAMESIZE` is 16 on Linux, 256 on Windows).
const ZONE_LIMIT: usize = 256;

/// Transports of the ZeroMQ family that Sinew names in its error instead of calling them unknown.
const UNSUPPORTED: &[&str] = &[
    #[cfg(not(feature = "ws"))]
    "ws",
    "wss",
    "vsock",
    "vmci",
    "tipc",
    "norm",
    "pgm",
    "epgm",
];

/// Leaves a request room within what servers take for its head.
#[cfg(feature = "ws")]
const WS_PATH_LIMIT: usize = 1024;

#[cfg(feature = "ws")]
const EXPECTED_PATH: &str = "a path of at most 1024 visible ASCII characters other than `#`";
#[cfg(feature = "ws")]
const EXPECTED_ANY: &str =
    "`tcp://host:port`, `ipc://path`, `inproc://name`, `udp://host:port` or `ws://host:port/path`";
#[cfg(not(feature = "ws"))]
const EXPECTED_ANY: &str = "`tcp://host:port`, `ipc://path`, `inproc://name` or `udp://host:port`";
const EXPECTED_TCP: &str = "`tcp://host:port`";
const EXPECTED_UDP: &str = "`udp://host:port` or `udp://interface;group:port`";
const EXPECTED_INTERFACE: &str = "an interface name, an address or `*` before `;`";
const EXPECTED_PORT: &str = "a decimal port from 0 to 65535, or `*`";
const EXPECTED_V4: &str = "an IPv4 address of four numbers from 0 to 255";
const EXPECTED_V6: &str = "an IPv6 address, as in `[::1]`";
const EXPECTED_ZONE: &str = "an interface name or index after `%`";
const EXPECTED_HOST: &str = "a host of ASCII letters, digits, `.`, `-` and `_`";
const EXPECTED_IPC: &str = "`ipc://path`, `ipc://@name` or `ipc://*`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Endpoint, EndpointError, UNSUPPORTED};

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn texts_and_their_canonical_form() {
        for (text, canonical) in [
            ("tcp://*:*", "tcp://*:*"),
            ("tcp://*:0", "tcp://*:*"),
            ("tcp://*:5555", "tcp://*:5555"),
            ("tcp://127.0.0.1:65535", "tcp://127.0.0.1:65535"),
            ("tcp://[::1]:5555", "tcp://[::1]:5555"),
            ("tcp://::1:5555", "tcp://[::1]:5555"),
            ("tcp://[0:0::0:1]:05555", "tcp://[::1]:5555"),
            ("tcp://[fe80::1%eth0]:1", "tcp://[fe80::1%eth0]:1"),
            ("tcp://[fe80::1]%eth0:1", "tcp://[fe80::1%eth0]:1"),
            ("tcp://fe80::1%2:1", "tcp://[fe80::1%2]:1"),
            ("tcp://eth0.100:5555", "tcp://eth0.100:5555"),
            ("tcp://a-b.example.org:1", "tcp://a-b.example.org:1"),
            ("tcp://10.0.0.1:0;host:5555", "tcp://10.0.0.1:*;host:5555"),
            ("tcp://*:*;[::1]:5555", "tcp://*:*;[::1]:5555"),
            ("udp://*:0", "udp://*:*"),
            ("udp://10.0.0.1:5555", "udp://10.0.0.1:5555"),
            ("udp://a.name:5555", "udp://a.name:5555"),
            ("udp://239.0.0.1:5555", "udp://239.0.0.1:5555"),
            ("udp://eth0;239.0.0.1:5555", "udp://eth0;239.0.0.1:5555"),
            ("udp://*;239.0.0.1:5555", "udp://*;239.0.0.1:5555"),
            (
                "udp://10.0.0.1;239.0.0.1:5555",
                "udp://10.0.0.1;239.0.0.1:5555",
            ),
            ("udp://eth0;ff02::7:5555", "udp://eth0;[ff02::7]:5555"),
            ("udp://::1:5555", "udp://[::1]:5555"),
            ("ipc:///run/x.sock", "ipc:///run/x.sock"),
            ("ipc://relative", "ipc://relative"),
            ("ipc://@name", "ipc://@name"),
            ("ipc://*", "ipc://*"),
            (
                "inproc://any thing: at * all",
                "inproc://any thing: at * all",
            ),
            ("inproc://inproc://", "inproc://inproc://"),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), endpoint);
        }
    }

    #[test]
    #[cfg(feature = "ws")]
    fn websockets_have_a_path() {
        for (text, canonical, path) in [
            ("ws://*:0", "ws://*:*/", "/"),
            ("ws://a.b:80", "ws://a.b:80/", "/"),
            (
                "ws://[::1]:8080/x/y?z=1",
                "ws://[::1]:8080/x/y?z=1",
                "/x/y?z=1",
            ),
            ("ws://10.0.0.1:1//", "ws://10.0.0.1:1//", "//"),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), endpoint);
            assert_eq!(endpoint.ws_path(), Some(path));
            assert_eq!(endpoint.transport(), crate::endpoint::Transport::Ws);
            assert!(endpoint.check_bind().is_ok());
            assert_eq!(endpoint.check_connect().is_err(), endpoint.is_wildcard());
        }
        assert_eq!(parse("ws://a:1").unwrap().port(), Some(1));
        for (text, expected) in [
            ("ws://", "`ws://host:port/path`"),
            ("ws://a", "`ws://host:port/path`"),
            ("ws:///x", "`ws://host:port/path`"),
            ("ws://a:x/", super::EXPECTED_PORT),
            ("ws://a:1/ x", super::EXPECTED_PATH),
            ("ws://a:1/#x", super::EXPECTED_PATH),
            ("ws://a:1/\r\n", super::EXPECTED_PATH),
            ("ws://a:1/é", super::EXPECTED_PATH),
        ] {
            assert_eq!(parse(text), Err(super::syntax(text, expected)));
        }
        let long = format!("ws://a:1/{}", "x".repeat(1024));
        assert_eq!(
            parse(&long),
            Err(super::syntax(&long, super::EXPECTED_PATH))
        );
    }

    #[test]
    fn bad_texts_and_what_was_expected() {
        for (text, expected) in [
            ("", super::EXPECTED_ANY),
            ("tcp", super::EXPECTED_ANY),
            ("tcp:/a:1", super::EXPECTED_ANY),
            ("TCP://a:1", super::EXPECTED_ANY),
            ("://a:1", super::EXPECTED_ANY),
            ("tcp://", "`tcp://host:port`"),
            ("tcp://1.2.3.4", "`tcp://host:port`"),
            ("tcp://host:", "`tcp://host:port`"),
            ("tcp://:1", "`tcp://host:port`"),
            ("tcp://;host:1", "`tcp://host:port`"),
            ("tcp://a:1;", "`tcp://host:port`"),
            ("tcp://host:+1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:-1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host: 1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:0x1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:65536", "a decimal port from 0 to 65535, or `*`"),
            (
                "tcp://host:99999999999999999999",
                "a decimal port from 0 to 65535, or `*`",
            ),
            (
                "tcp://host:1/path",
                "a decimal port from 0 to 65535, or `*`",
            ),
            (
                "tcp://1.2.3:1",
                "an IPv4 address of four numbers from 0 to 255",
            ),
            (
                "tcp://1.2.3.256:1",
                "an IPv4 address of four numbers from 0 to 255",
            ),
            ("tcp://[::1:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[::1]x:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[fe80::1%a]%b:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[127.0.0.1]:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://a:b:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[fe80::1%]:1", "an interface name or index after `%`"),
            (
                "tcp://ho st:1",
                "a host of ASCII letters, digits, `.`, `-` and `_`",
            ),
            (
                "tcp://é:1",
                "a host of ASCII letters, digits, `.`, `-` and `_`",
            ),
            ("tcp://a;b;c:1", "`tcp://host:port`"),
            ("udp://", "`udp://host:port` or `udp://interface;group:port`"),
            ("udp://host", "`udp://host:port` or `udp://interface;group:port`"),
            ("udp://host:65536", "a decimal port from 0 to 65535, or `*`"),
            (
                "udp://;239.0.0.1:1",
                "an interface name, an address or `*` before `;`",
            ),
            (
                "udp://eth0;10.0.0.1:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://eth0;host:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://eth0;*:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://239.0.0.2;239.0.0.1:1",
                "an interface, `*`, or an address of the group's family that is not multicast before `;`",
            ),
            (
                "udp://10.0.0.1;[ff02::1]:1",
                "an interface, `*`, or an address of the group's family that is not multicast before `;`",
            ),
            ("ipc://", "`ipc://path`, `ipc://@name` or `ipc://*`"),
            ("ipc://@", "a name after `ipc://@`"),
            ("ipc://a\0b", "an ipc path without a zero octet"),
            ("inproc://", "`inproc://name`"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is not an endpoint: expected {expected}"),
            );
        }
    }

    #[test]
    fn errors_name_every_transport_there_is() {
        let mut schemes = vec!["tcp", "ipc", "inproc", "udp"];
        schemes.extend(cfg!(feature = "ws").then_some("ws"));
        for wrong in ["nothing", "wss://x:1"] {
            let error = parse(wrong).unwrap_err().to_string();
            let (_, expected) = error.split_once("expected ").unwrap();
            for scheme in &schemes {
                assert!(expected.contains(&format!("`{scheme}://")), "{error}");
            }
            assert_eq!(expected.contains("`ws://"), cfg!(feature = "ws"), "{error}");
        }
    }

    #[test]
    fn known_but_unbuilt_transports_have_their_own_error() {
        for scheme in UNSUPPORTED {
            let input = format!("{scheme}://x:1");
            assert_eq!(
                parse(&input),
                Err(EndpointError::UnsupportedTransport {
                    input: input.into(),
                    scheme,
                })
            );
        }
    }

    #[test]
    fn ipc_paths_fit_a_socket_address() {
        let longest = format!("ipc:///{}", "x".repeat(106));
        assert!(parse(&longest).is_ok());
        let text = format!("{longest}x");
        assert_eq!(
            parse(&text),
            Err(EndpointError::PathTooLong {
                input: text.clone().into(),
                octets: 108,
            })
        );
    }

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
            (any::<std::net::Ipv6Addr>(), "[a-z0-9._-]{1,16}")
                .prop_map(|(ip, zone)| format!("[{ip}%{zone}]")),
            "[a-zA-Z][a-zA-Z0-9._-]{0,40}",
        ]
    }

    fn port() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (1..=u16::MAX).prop_map(|p| p.to_string())
        ]
    }

    fn canonical() -> impl Strategy<Value = String> {
        prop_oneof![
            (host(), port()).prop_map(|(h, p)| format!("tcp://{h}:{p}")),
            (host(), port(), host(), port())
                .prop_map(|(a, b, c, d)| format!("tcp://{a}:{b};{c}:{d}")),
            "ipc://[^\0]{1,26}".prop_filter("lone @", |s| s != "ipc://@"),
            "inproc://.{1,40}",
        ]
    }

    proptest! {
        #[test]
        fn canonical_text_survives_parsing(text in canonical()) {
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn arbitrary_text_never_panics_and_prints_what_it_parsed(
            scheme in prop_oneof![
                Just(""), Just("tcp://"), Just("ipc://"), Just("inproc://"), Just("udp://")
            ],
            rest in prop_oneof![".*", "[0-9a-f:.;%*\\[\\]@]{0,30}"],
        ) {
            if let Ok(endpoint) = parse(&format!("{scheme}{rest}")) {
                let again = parse(&endpoint.to_string()).unwrap();
                prop_assert_eq!(&again, &endpoint);
                let _ = (endpoint.check_bind(), endpoint.check_connect(), endpoint.socket_addr());
            }
        }
    }
}
