//! Sockets of every kind behind one face: messages go in and out, whatever the kind calls the peer.

use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew::{
    BuildError, CloseReport, Endpoint, Message, Monitor, MonitorOptions, PeerId, RoutingId,
    SocketBuilder, SocketKind,
};

use crate::args::{Kind, Places, Tuning};
use crate::exit::Failure;

/// A socket of any kind. What a kind cannot do fails. It is waited for as tasks wait.
pub(crate) trait Socket {
    fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure>;
    /// What the peer there is called, if it has a number.
    fn connect(&mut self, endpoint: &str) -> Result<Option<PeerId>, Failure>;
    /// Sends what is in `message`. If there is no room for it, it stays there.
    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Done>;
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Failure>>;
    /// Whether there are so many peers.
    fn poll_peers(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<()>;
    fn monitor(&self, options: MonitorOptions) -> Monitor;
    /// Closes it; waits for what is unsent so long, or for the linger time.
    fn close(self: Box<Self>, wait: Option<Duration>) -> CloseReport;
}

type Done = Result<(), Failure>;

fn unable(what: &str) -> Failure {
    Failure::usage(format!("this kind of socket does not {what}"))
}

fn failed<T, E: Display>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(Failure::new)
}

/// Asks a future once. Dropping those of the library loses nothing.
fn once<T>(cx: &mut Context<'_>, future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(cx)
}

/// A socket with an interpretation of its messages.
struct As<S>(S);

macro_rules! socket {
    ($kind:ident: connect $connect:expr, send $send:expr, recv $recv:expr, wait $wait:ident) => {
        impl Socket for As<sinew::$kind> {
            fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure> {
                failed(self.0.bind(endpoint))
            }

            fn connect(&mut self, endpoint: &str) -> Result<Option<PeerId>, Failure> {
                type Connect = fn(&mut sinew::$kind, &str) -> Result<Option<PeerId>, Failure>;
                let connect: Connect = $connect;
                connect(&mut self.0, endpoint)
            }

            fn poll_send(
                &mut self,
                cx: &mut Context<'_>,
                message: &mut Option<Message>,
            ) -> Poll<Done> {
                type Send = fn(&mut sinew::$kind, &mut Context<'_>, &mut Option<Message>) -> Poll<Done>;
                let send: Send = $send;
                send(&mut self.0, cx, message)
            }

            fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Failure>> {
                type Recv = fn(&mut sinew::$kind, &mut Context<'_>) -> Poll<Result<Message, Failure>>;
                let recv: Recv = $recv;
                recv(&mut self.0, cx)
            }

            fn poll_peers(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<()> {
                once(cx, self.0.$wait(count))
            }

            fn monitor(&self, options: MonitorOptions) -> Monitor {
                self.0.monitor_with(options)
            }

            fn close(self: Box<Self>, wait: Option<Duration>) -> CloseReport {
                match wait {
                    Some(wait) => self.0.close_timeout(wait),
                    None => self.0.close(),
                }
            }
        }
    };
    ($kind:ident: send $send:expr, recv $recv:expr, wait $wait:ident) => {
        socket!($kind:
            connect |socket, endpoint| failed(socket.connect(endpoint)).map(|_| None),
            send $send,
            recv $recv,
            wait $wait);
    };
    ($kind:ident: sends) => {
        socket!($kind: sends, wait wait_for_peers_async);
    };
    ($kind:ident: sends, wait $wait:ident) => {
        socket!($kind:
            send |socket, cx, message| socket.poll_send(cx, message).map(failed),
            recv |_, _| Poll::Ready(Err(unable("receive"))),
            wait $wait);
    };
    ($kind:ident: receives) => {
        socket!($kind:
            send |_, _, _| Poll::Ready(Err(unable("send"))),
            recv |socket, cx| socket.poll_recv(cx).map(failed),
            wait wait_for_peers_async);
    };
    ($kind:ident: both) => {
        socket!($kind:
            send |socket, cx, message| socket.poll_send(cx, message).map(failed),
            recv |socket, cx| socket.poll_recv(cx).map(failed),
            wait wait_for_peers_async);
    };
    // Peers are called by numbers, in decimal.
    ($kind:ident: numbers, connect $connect:expr) => {
        socket!($kind:
            connect $connect,
            send |socket, cx, message| {
                let Some(given) = message else {
                    return Poll::Ready(Ok(()));
                };
                let (peer, body) = match addressed(given, || socket.peers()) {
                    Ok(addressed) => addressed,
                    Err(failure) => return Poll::Ready(Err(failure)),
                };
                let sent = once(cx, socket.send_to_async(peer, body)).map(failed);
                if sent.is_ready() {
                    *message = None;
                }
                sent
            },
            recv |socket, cx| once(cx, socket.recv_from_async()).map(|received| {
                let (peer, mut message) = failed(received)?;
                message.push_front(peer.to_string());
                Ok(message)
            }),
            wait wait_for_peers_async);
    };
}

/// Whom a message is for, and its body: the first of several frames says it, and one alone is for the only peer.
fn addressed(
    message: &Message,
    peers: impl FnOnce() -> Vec<PeerId>,
) -> Result<(PeerId, Message), Failure> {
    let mut body = message.clone();
    if body.frames().len() == 1 {
        return match peers()[..] {
            [only] => Ok((only, body)),
            ref peers => Err(Failure::new(format!(
                "the message names no peer, and there are {}: expected a number as the first frame",
                peers.len()
            ))),
        };
    }
    let peer = body.pop_front().and_then(|frame| number(&frame));
    let peer = peer.ok_or_else(|| {
        Failure::new("the message has no peer, expected its number as the first frame")
    });
    Ok((peer?, body))
}

fn number(frame: &[u8]) -> Option<PeerId> {
    let number = u32::from_str(std::str::from_utf8(frame).ok()?).ok()?;
    PeerId::try_from(number).ok()
}

socket!(Pub: sends, wait wait_for_subscribers_async);
socket!(Sub: receives);
socket!(Push: sends);
socket!(Pull: receives);
socket!(Req: both);
socket!(Rep: both);
socket!(Dealer: both);
socket!(Router: both);
socket!(Pair: both);
socket!(XPub:
    send |socket, cx, message| socket.poll_send(cx, message).map(failed),
    recv |socket, cx| once(cx, socket.recv_event_async())
        .map(|event| failed(event.map(Message::from))),
    wait wait_for_subscribers_async);
socket!(XSub: both);
socket!(Client: both);
socket!(Server: numbers, connect |socket, endpoint| {
    failed(socket.connect(endpoint)).map(|_| None)
});
socket!(Peer: numbers, connect |socket, endpoint| {
    failed(socket.connect_peer(endpoint)).map(Some)
});
socket!(Channel: both);
socket!(Scatter: sends);
socket!(Gather: receives);
socket!(Stream: both);
// The group is the first frame.
socket!(Radio:
    send |socket, cx, message| match message.as_ref().map(|message| message.frames().len()) {
        None | Some(2) => socket.poll_send(cx, message).map(failed),
        Some(_) => Poll::Ready(Err(Failure::new(
            "the message has no group, expected --group or two frames",
        ))),
    },
    recv |_, _| Poll::Ready(Err(unable("receive"))),
    wait wait_for_peers_async);
socket!(Dish:
    send |_, _, _| Poll::Ready(Err(unable("send"))),
    recv |socket, cx| socket.poll_recv(cx).map(|received| {
        let (group, body) = failed(received)?;
        let group = sinew::Frame::from(group.as_bytes());
        Ok(Message::multipart([group, body]))
    }),
    wait wait_for_peers_async);

impl Socket for As<sinew::Dgram> {
    fn bind(&mut self, endpoint: &str) -> Result<Endpoint, Failure> {
        failed(self.0.bind(endpoint))
    }

    fn connect(&mut self, _: &str) -> Result<Option<PeerId>, Failure> {
        Err(unable("connect: each datagram names its target"))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Done> {
        self.0.poll_send(cx, message).map(failed)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Failure>> {
        let received = self.0.poll_recv(cx);
        received.map(|datagram| failed(datagram.map(Message::from)))
    }

    fn poll_peers(&mut self, _: &mut Context<'_>, _: usize) -> Poll<()> {
        Poll::Ready(())
    }

    fn monitor(&self, options: MonitorOptions) -> Monitor {
        self.0.monitor_with(options)
    }

    fn close(self: Box<Self>, wait: Option<Duration>) -> CloseReport {
        match wait {
            Some(wait) => self.0.close_timeout(wait),
            None => self.0.close(),
        }
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
            for topic in topics() {
                sub.subscribe(topic).map_err(Failure::new)?;
            }
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
            for topic in topics() {
                xsub.subscribe(topic).map_err(Failure::new)?;
            }
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

/// What comes of binding or connecting that was not known before.
pub(crate) enum Placed<'a> {
    /// Bound to an endpoint whose name was filled in.
    Bound(&'a Endpoint),
    /// Whoever is at this endpoint is called so.
    Peer(&'a str, PeerId),
}

/// Binds and connects a socket everywhere, and tells what comes of that.
pub(crate) fn place(
    socket: &mut dyn Socket,
    places: &Places,
    mut tell: impl FnMut(Placed<'_>),
) -> Result<(), Failure> {
    if places.bind.is_empty() && places.connect.is_empty() {
        return Err(Failure::usage(
            "the socket is nowhere, expected --bind URL or --connect URL",
        ));
    }
    for endpoint in &places.bind {
        let real = socket.bind(endpoint)?;
        if real.to_string() != *endpoint {
            tell(Placed::Bound(&real));
        }
    }
    for endpoint in &places.connect {
        if let Some(peer) = socket.connect(endpoint)? {
            tell(Placed::Peer(endpoint, peer));
        }
    }
    Ok(())
}
