//! The client's side of SOCKS5 (RFC 1928), with or without user and password (RFC 1929).
//!
//! A [`Tunnel`] is what is said to the proxy before the connection through it carries anything. It takes
//! octets from the stream and leaves what follows them: never one more is read than the reply at hand
//! needs, for the next may be the peer's. Everything the proxy says is checked octet by octet, and held in
//! a buffer of fixed size.

use std::io::{self, IoSlice};

use thiserror::Error;

use super::Stream;
use crate::config::SocksLogin;
use crate::endpoint::{Host, HostPort};

/// Why a proxy did not make a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyFailure {
    /// The proxy speaks another version, or is no SOCKS proxy.
    #[error("the SOCKS proxy answered with version {found}, expected {expected}")]
    Version {
        /// The octet found.
        found: u8,
        /// 5, or 1 where the login is answered.
        expected: u8,
    },
    /// The proxy accepts no method offered.
    #[error("the SOCKS proxy wants another way to log in than the one configured")]
    NoMethod,
    /// The proxy chose a method that was not offered.
    #[error("the SOCKS proxy chose login method {found}, which was not offered")]
    Method {
        /// The method.
        found: u8,
    },
    /// The proxy refused user or password.
    #[error("the SOCKS proxy refused the login with status {status}")]
    Login {
        /// The status; 0 would be success.
        status: u8,
    },
    /// The proxy refused to connect, or could not.
    #[error("the SOCKS proxy did not connect: {} (code {code})", meaning(*code))]
    Refused {
        /// The reply code of RFC 1928: 1 to 8, or another that it does not know.
        code: u8,
    },
    /// The proxy's reply is malformed.
    #[error("octet {octet} of the SOCKS proxy's reply is {found}, expected {expected}")]
    Malformed {
        /// The position in the reply, from 0.
        octet: u8,
        /// What was found there.
        found: u8,
        /// What was expected.
        expected: &'static str,
    },
    /// The proxy closed the connection instead of answering.
    #[error("the SOCKS proxy closed the connection")]
    Closed,
}

fn meaning(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "it knows no connections",
        8 => "it does not know this type of address",
        _ => "for a reason unknown",
    }
}

/// What ends an attempt through a proxy.
#[derive(Debug)]
pub(crate) enum TunnelError {
    Proxy(ProxyFailure),
    Io(io::Error),
}

impl From<ProxyFailure> for TunnelError {
    fn from(failure: ProxyFailure) -> Self {
        TunnelError::Proxy(failure)
    }
}

/// The exchange with a proxy.
#[derive(Debug)]
pub(crate) struct Tunnel {
    stage: Stage,
    login: Option<SocksLogin>,
    request: Vec<u8>,
    /// Not written yet.
    output: Vec<u8>,
    written: usize,
    input: [u8; LONGEST_REPLY],
    have: usize,
}

/// What the proxy is to answer next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Method,
    Login,
    /// The length is known only from octets of the reply itself.
    Reply,
}

impl Tunnel {
    /// Begins with the greeting. `None` for a target that no proxy can be asked for: an address with a zone,
    /// or a wildcard.
    pub(crate) fn to(target: &HostPort, login: Option<&SocksLogin>) -> Option<Self> {
        let mut request = vec![VERSION, CONNECT, 0];
        match &target.host {
            Host::V4(ip) => {
                request.push(ATYP_V4);
                request.extend(ip.octets());
            }
            Host::V6(ip, None) => {
                request.push(ATYP_V6);
                request.extend(ip.octets());
            }
            Host::Name(name) => {
                request.push(ATYP_NAME);
                request.push(u8::try_from(name.len()).ok()?);
                request.extend(name.as_bytes());
            }
            Host::V6(_, Some(_)) | Host::Any => return None,
        }
        request.extend(target.port.to_be_bytes());
        let method = if login.is_some() {
            BY_LOGIN
        } else {
            BY_NOTHING
        };
        Some(Tunnel {
            stage: Stage::Method,
            login: login.cloned(),
            request,
            output: vec![VERSION, 1, method],
            written: 0,
            input: [0; LONGEST_REPLY],
            have: 0,
        })
    }

    /// Goes on as far as the stream allows; whether the connection is made. To be called again on every
    /// event of the stream until then.
    ///
    /// # Errors
    /// If the proxy or the system refuses. The stream is then of no use.
    pub(crate) fn advance(&mut self, stream: &Stream) -> Result<bool, TunnelError> {
        loop {
            while self.written < self.output.len() {
                let rest = [IoSlice::new(&self.output[self.written..])];
                match stream.write_vectored(&rest) {
                    Ok(0) => return Err(ProxyFailure::Closed.into()),
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(TunnelError::Io(error)),
                }
            }
            loop {
                let wanted = self.check()?;
                if self.have == wanted {
                    break;
                }
                match stream.read(&mut self.input[self.have..wanted]) {
                    Ok(0) => return Err(ProxyFailure::Closed.into()),
                    Ok(count) => self.have += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(TunnelError::Io(error)),
                }
            }
            if self.stage == Stage::Reply {
                return Ok(true);
            }
            self.next_stage();
        }
    }

    /// Checks what has come of this stage's answer, and says how long it is (as far as is known).
    fn check(&self) -> Result<usize, ProxyFailure> {
        let input = &self.input[..self.have];
        let version = |expected| match input.first() {
            Some(&found) if found != expected => Err(ProxyFailure::Version { found, expected }),
            _ => Ok(()),
        };
        match self.stage {
            Stage::Method => {
                version(VERSION)?;
                match (input.get(1), &self.login) {
                    (None | Some(&BY_NOTHING), _) | (Some(&BY_LOGIN), Some(_)) => Ok(2),
                    (Some(&BY_NOBODY), _) => Err(ProxyFailure::NoMethod),
                    (Some(&found), _) => Err(ProxyFailure::Method { found }),
                }
            }
            Stage::Login => {
                version(LOGIN_VERSION)?;
                match input.get(1) {
                    None | Some(0) => Ok(2),
                    Some(&status) => Err(ProxyFailure::Login { status }),
                }
            }
            Stage::Reply => {
                version(VERSION)?;
                match input.get(1) {
                    None | Some(0) => {}
                    Some(&code) => return Err(ProxyFailure::Refused { code }),
                }
                match input.get(2) {
                    None | Some(0) => {}
                    Some(&found) => {
                        return Err(ProxyFailure::Malformed {
                            octet: 2,
                            found,
                            expected: "0",
                        })
                    }
                }
                // The address the proxy connected from is of no use to anyone here.
                match (input.get(3), input.get(4)) {
                    (None, _) => Ok(4),
                    (Some(&ATYP_V4), _) => Ok(4 + 4 + 2),
                    (Some(&ATYP_V6), _) => Ok(4 + 16 + 2),
                    (Some(&ATYP_NAME), None) => Ok(5),
                    (Some(&ATYP_NAME), Some(&length)) => Ok(5 + usize::from(length) + 2),
                    (Some(&found), _) => Err(ProxyFailure::Malformed {
                        octet: 3,
                        found,
                        expected: "1, 3 or 4",
                    }),
                }
            }
        }
    }

    fn next_stage(&mut self) {
        // A proxy that asks for no login gets none.
        let asked = self.stage == Stage::Method && self.input[1] == BY_LOGIN;
        self.have = 0;
        self.written = 0;
        self.output.clear();
        match self.login.take().filter(|_| asked) {
            Some(SocksLogin { user, password }) => {
                self.stage = Stage::Login;
                self.output.push(LOGIN_VERSION);
                for field in [user, password] {
                    // Both were checked to fit.
                    self.output
                        .push(u8::try_from(field.len()).unwrap_or(u8::MAX));
                    self.output.extend(&field[..field.len().min(255)]);
                }
            }
            None => {
                self.stage = Stage::Reply;
                std::mem::swap(&mut self.output, &mut self.request);
            }
        }
    }
}

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const BY_NOTHING: u8 = 0;
const BY_LOGIN: u8 = 2;
/// "No acceptable methods".
const BY_NOBODY: u8 = 0xff;
const ATYP_V4: u8 = 1;
const ATYP_NAME: u8 = 3;
const ATYP_V6: u8 = 4;

/// A head, the length of a name, the name, and a port.
const LONGEST_REPLY: usize = 4 + 1 + 255 + 2;

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;
    use crate::config::SocksProxy;

    /// Lets the proxy say all this and hang up. What the tunnel makes of it, and what it has left.
    fn hear(login: bool, octets: &[u8]) -> (Result<bool, TunnelError>, Vec<u8>) {
        let (ours, mut proxy) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let rest = ours.try_clone().unwrap();
        let stream = Stream::Ipc(mio::net::UnixStream::from_std(ours));
        let target = HostPort::parse("a.name:4242").unwrap();
        let named = SocksProxy::new("p:1").unwrap().login("u", "p").unwrap();
        let login = named.login.as_ref().filter(|_| login);
        let mut tunnel = Tunnel::to(&target, login).unwrap();
        proxy.write_all(octets).unwrap();
        proxy.shutdown(std::net::Shutdown::Write).unwrap();
        let outcome = tunnel.advance(&stream);
        let mut left = Vec::new();
        let mut rest = rest;
        rest.read_to_end(&mut left).unwrap();
        (outcome, left)
    }

    /// The length of what a proxy says until it has connected; `None` if it does not.
    fn model(login: bool, octets: &[u8]) -> Option<usize> {
        let mut at = 2;
        match octets.get(..2)? {
            [5, 0] => {}
            [5, 2] if login => {
                at = 4;
                if octets.get(2..4)? != [1, 0] {
                    return None;
                }
            }
            _ => return None,
        }
        let reply = &octets[at..];
        if reply.get(..3)? != [5, 0, 0] {
            return None;
        }
        let length = match reply.get(3)? {
            1 => 10,
            4 => 22,
            3 => 7 + usize::from(*reply.get(4)?),
            _ => return None,
        };
        (reply.len() >= length).then_some(at + length)
    }

    /// Mostly sound, or the sound ones would never be met.
    fn talk() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(vec![5, 0]),
            Just(vec![5, 2]),
            Just(vec![1, 0]),
            Just(vec![5, 0, 0, 1, 9, 9, 9, 9, 9, 9]),
            Just([vec![5, 0, 0, 3, 3], vec![7; 5]].concat()),
            Just([vec![5, 0, 0, 4], vec![7; 18]].concat()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_a_proxy_says_ends_and_nothing_behind_it_is_taken(
            login: bool,
            octets in talk(),
        ) {
            let (outcome, left) = hear(login, &octets);
            match model(login, &octets) {
                Some(length) => {
                    prop_assert!(matches!(outcome, Ok(true)), "{outcome:?}");
                    prop_assert_eq!(left, &octets[length..]);
                }
                None => prop_assert!(matches!(outcome, Err(TunnelError::Proxy(_))), "{outcome:?}"),
            }
        }
    }

    #[test]
    fn what_no_proxy_can_reach_has_no_tunnel() {
        for text in ["[fe80::1%eth0]:1", "*:1"] {
            let target = HostPort::parse(text).unwrap();
            assert!(Tunnel::to(&target, None).is_none(), "{text}");
        }
    }
}
