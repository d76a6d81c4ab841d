//! Sockets of every kind behind one face: messages go in and out, whatever the kind calls the peer.

use std::str::FromStr;
use std::time::Duration;

use sinew::{
    BindError, BuildError, CloseReport, ConnectError, Datagram, Endpoint, Message, Monitor, PeerId,
    RecvError, RoutingId, SendFailure, SocketBuilder, SocketKind, WaitTimeout,
};

use crate::args::{Kind, Places, Tuning};
use crate::exit::Failure;

/// A socket of any kind. What a kind cannot do fails.
pub(crate) trait Socket: Send {
    fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure>;
    fn connect(&mut self, endpoint: &str) -> Result<Endpoint, Failure>;
    /// Sends, waiting so long. A message that had no room comes back.
    fn send(&mut self, message: Message, wait: Duration) -> Result<(), Unsent>;
    /// Receives, waiting so long; `None` if nothing came.
    fn recv(&mut self, wait: Duration) -> Result<Option<Message>, Failure>;
    fn wait_for_peers(&mut self, count: usize, wait: Duration) -> Result<(), WaitTimeout>;
    fn monitor(&self) -> Option<Monitor>;
    fn close(self: Box<Self>) -> CloseReport;
}

/// Why a message was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There was no room for it in time.
    Full(Message),
    Failed(Failure),
}

impl From<sinew::SendError> for Unsent {
    fn from(error: sinew::SendError) -> Self {
        match error.is_timeout() {
            true => Unsent::Full(error.into_message()),
            false => Unsent::Failed(Failure::new(error)),
        }
    }
}

fn received(result: Result<Message, RecvError>) -> Result<Option<Message>, Failure> {
    match result {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_timeout() => Ok(None),
        Err(error) => Err(Failure::new(error)),
    }
}

fn bound(result: Result<Endpoint, BindError>) -> Result<Endpoint, Failure> {
    result.map_err(Failure::new)
}

fn connected(result: Result<Endpoint, ConnectError>) -> Result<Endpoint, Failure> {
    result.map_err(Failure::new)
}

fn unable(what: &str) -> Failure {
    Failure::usage(format!("this kind of socket does not {what}"))
}

/// A socket with an interpretation of its messages.
struct As<S>(S);

macro_rules! socket {
    ($kind:ident: send $send:expr, recv $recv:expr, wait $wait:ident) => {
        impl Socket for As<sinew::$kind> {
            fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure> {
                bound(self.0.bind(endpoint))
            }

            fn connect(&mut self, endpoint: &str) -> Result<Endpoint, Failure> {
                connected(self.0.connect(endpoint))
            }

            fn send(&mut self, message: Message, wait: Duration) -> Result<(), Unsent> {
                let send: fn(&mut sinew::$kind, Message, Duration) -> Result<(), Unsent> = $send;
                send(&mut self.0, message, wait)
            }

            fn recv(&mut self, wait: Duration) -> Result<Option<Message>, Failure> {
                let recv: fn(&mut sinew::$kind, Duration) -> Result<Option<Message>, Failure> =
                    $recv;
                recv(&mut self.0, wait)
            }

            fn wait_for_peers(&mut self, count: usize, wait: Duration) -> Result<(), WaitTimeout> {
                self.0.$wait(count, wait)
            }

            fn monitor(&self) -> Option<Monitor> {
                Some(self.0.monitor())
            }

            fn close(self: Box<Self>) -> CloseReport {
                self.0.close()
            }
        }
    };
    ($kind:ident: sends) => {
        socket!($kind: sends, wait wait_for_peers);
    };
    ($kind:ident: sends, wait $wait:ident) => {
        socket!($kind:
            send |socket, message, wait| Ok(socket.send_timeout(message, wait)?),
            recv |_, _| Err(unable("receive")),
            wait $wait);
    };
    ($kind:ident: receives) => {
        socket!($kind:
            send |_, _, _| Err(Unsent::Failed(unable("send"))),
            recv |socket, wait| received(socket.recv_timeout(wait)),
            wait wait_for_peers);
    };
    ($kind:ident: both) => {
        socket!($kind: both, wait wait_for_peers);
    };
    ($kind:ident: both, wait $wait:ident) => {
        socket!($kind:
            send |socket, message, wait| Ok(socket.send_timeout(message, wait)?),
            recv |socket, wait| received(socket.recv_timeout(wait)),
            wait $wait);
    };
    // Peers are called by numbers, in decimal.
    ($kind:ident: numbers) => {
        socket!($kind:
            send |socket, mut message, wait| {
                let peer = message.pop_front().and_then(|frame| number(&frame));
                let Some(peer) = peer else {
                    return Err(Unsent::Failed(Failure::new(
                        "the message has no peer, expected its number as the first frame",
                    )));
                };
                match socket.send_to_timeout(peer, message, wait) {
                    Err(error) if error.is_timeout() => {
                        let mut message = error.into_message();
                        message.push_front(peer.to_string());
                        Err(Unsent::Full(message))
                    }
                    other => Ok(other?),
                }
            },
            recv |socket, wait| match socket.recv_from_timeout(wait) {
                Ok((peer, mut message)) => {
                    message.push_front(peer.to_string());
                    Ok(Some(message))
                }
                Err(error) => received(Err(error)),
            },
            wait wait_for_peers);
    };
}

fn number(frame: &[u8]) -> Option<PeerId> {
    let number = u32::from_str(std::str::from_utf8(frame).ok()?).ok()?;
    PeerId::try_from(number).ok()
}

socket!(Pub: sends, wait wait_for_subscribers);
socket!(Sub: receives);
socket!(Push: sends);
socket!(Pull: receives);
socket!(Req: both);
socket!(Rep: both);
socket!(Dealer: both);
socket!(Router: both);
socket!(Pair: both);
socket!(XPub:
    send |socket, message, wait| Ok(socket.send_timeout(message, wait)?),
    recv |socket, wait| received(socket.recv_event_timeout(wait).map(Message::from)),
    wait wait_for_subscribers);
socket!(XSub: both);
socket!(Client: both);
socket!(Server: numbers);
socket!(Peer: numbers);
socket!(Channel: both);
socket!(Scatter: sends);
socket!(Gather: receives);
socket!(Stream: both);
// The group is the first frame.
socket!(Radio:
    send |socket, message, wait| {
        let [group, body] = message.frames() else {
            return Err(Unsent::Failed(Failure::new(
                "the message has no group, expected --group or two frames",
            )));
        };
        match socket.send_timeout(group, body.clone(), wait) {
            Ok(()) => Ok(()),
            Err(sinew::GroupSendError::Send(error)) => Err(error.into()),
            Err(error) => Err(Unsent::Failed(Failure::new(error))),
        }
    },
    recv |_, _| Err(unable("receive")),
    wait wait_for_peers);
socket!(Dish:
    send |_, _, _| Err(Unsent::Failed(unable("send"))),
    recv |socket, wait| match socket.recv_timeout(wait) {
        Ok((group, body)) => {
            let group = sinew::Frame::from(group.as_bytes());
            Ok(Some(Message::multipart([group, body])))
        }
        Err(error) => received(Err(error)),
    },
    wait wait_for_peers);

impl Socket for As<sinew::Dgram> {
    fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure> {
        bound(self.0.bind(endpoint))
    }

    fn connect(&mut self, _: &str) -> Result<Endpoint, Failure> {
        Err(unable("connect: each datagram names its target"))
    }

    fn send(&mut self, message: Message, wait: Duration) -> Result<(), Unsent> {
        match Datagram::try_from(message) {
            Ok(datagram) => Ok(self.0.send_to_timeout(datagram.peer, datagram.body, wait)?),
            Err(_) => Err(Unsent::Failed(Failure::new(SendFailure::NoDatagram))),
        }
    }

    fn recv(&mut self, wait: Duration) -> Result<Option<Message>, Failure> {
        received(self.0.recv_timeout(wait).map(Message::from))
    }

    fn wait_for_peers(&mut self, _: usize, _: Duration) -> Result<(), WaitTimeout> {
        Ok(())
    }

    fn monitor(&self) -> Option<Monitor> {
        None
    }

    fn close(self: Box<Self>) -> CloseReport {
        self.0.close()
    }
}

/// What is received and what is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Interests<'a> {
    pub(crate) topics: &'a [String],
    pub(crate) groups: &'a [String],
}

/// Makes a socket, not bound or connected yet.
pub(crate) fn make(
    kind: Kind,
    tuning: &Tuning,
    interests: &Interests<'_>,
) -> Result<Box<dyn Socket>, Failure> {
    macro_rules! plain {
        ($kind:ident) => {
            Box::new(As(build(sinew::$kind::builder(), tuning)?))
        };
    }
    let topics = || match interests.topics {
        [] => vec![""],
        topics => topics.iter().map(String::as_str).collect(),
    };
    Ok(match kind {
        Kind::Pub => plain!(Pub),
        Kind::Sub => {
            let mut sub = build(sinew::Sub::builder(), tuning)?;
            topics().into_iter().for_each(|topic| sub.subscribe(topic));
            Box::new(As(sub))
        }
        Kind::Push => plain!(Push),
        Kind::Pull => plain!(Pull),
        Kind::Req => plain!(Req),
        Kind::Rep => plain!(Rep),
        Kind::Dealer => plain!(Dealer),
        Kind::Router => plain!(Router),
        Kind::Pair => plain!(Pair),
        Kind::Xpub => plain!(XPub),
        Kind::Xsub => {
            let mut xsub = build(sinew::XSub::builder(), tuning)?;
            topics().into_iter().for_each(|topic| xsub.subscribe(topic));
            Box::new(As(xsub))
        }
        Kind::Client => plain!(Client),
        Kind::Server => plain!(Server),
        Kind::Peer => plain!(Peer),
        Kind::Channel => plain!(Channel),
        Kind::Scatter => plain!(Scatter),
        Kind::Gather => plain!(Gather),
        Kind::Radio => plain!(Radio),
        Kind::Dish => {
            let mut dish = build(sinew::Dish::builder(), tuning)?;
            for group in interests.groups {
                dish.join(group).map_err(Failure::usage)?;
            }
            Box::new(As(dish))
        }
        Kind::Stream => plain!(Stream),
        Kind::Dgram => plain!(Dgram),
    })
}

/// Sets the options of a socket and makes it.
pub(crate) fn build<K: SocketKind>(
    mut builder: SocketBuilder<K>,
    tuning: &Tuning,
) -> Result<K, Failure> {
    if let Some(id) = &tuning.routing_id {
        let id = RoutingId::new(id.as_bytes()).map_err(Failure::usage)?;
        builder = builder.routing_id(id);
    }
    if let Some(hwm) = tuning.send_hwm {
        builder = builder.send_hwm(hwm);
    }
    if let Some(hwm) = tuning.recv_hwm {
        builder = builder.recv_hwm(hwm);
    }
    if let Some(linger) = tuning.linger {
        builder = builder.linger(linger);
    }
    let built = builder.legacy_peers(tuning.legacy_peers).build();
    built.map_err(|error| match error {
        BuildError::Option(error) => Failure::usage(error),
        error => Failure::new(error),
    })
}

/// Binds and connects a socket everywhere, and tells of endpoints whose names were filled in.
pub(crate) fn place(
    socket: &mut dyn Socket,
    places: &Places,
    mut tell: impl FnMut(&Endpoint),
) -> Result<(), Failure> {
    if places.bind.is_empty() && places.connect.is_empty() {
        return Err(Failure::usage(
            "the socket is nowhere, expected --bind URL or --connect URL",
        ));
    }
    for endpoint in &places.bind {
        let real = socket.bind(endpoint)?;
        if real.to_string() != *endpoint {
            tell(&real);
        }
    }
    for endpoint in &places.connect {
        socket.connect(endpoint)?;
    }
    Ok(())
}
