//! Who is let in, and how much they may send: what there is of security without encryption.

#[path = "../support/mod.rs"]
mod support;

use sinew::{Endpoint, IpPrefix, Monitor, Pull, Push, SocketEvent};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: who_may_come
A server that is open, one for some addresses, one for a few peers and small messages; and who it was.";

fn main() -> Result {
    no_options(USAGE)?;
    // Step 1, open: everybody who can reach it.
    let (mut open, _, at) = server(|builder| builder.attach_properties(true))?;
    let mut client = Push::builder().metadata("X-Name", "ada").connect(&at)?;
    client.send("hello")?;
    let message = open.recv_timeout(PATIENCE)?;
    let peer = message.properties().ok_or("nothing is known of the peer")?;
    // What a peer says of itself is not proven by anything.
    let name = String::from_utf8_lossy(peer.property("X-Name").unwrap_or_default());
    println!("open: a message of {name}, from this host");

    // Step 2, by address: others are closed before anything of them is read.
    let elsewhere: IpPrefix = "192.0.2.0/24".parse()?;
    let (_filtered, mut events, at) = server(|builder| builder.accept_filter(elsewhere))?;
    let _stranger = Push::builder().connect(&at)?;
    until(&mut events, |event| {
        matches!(event, SocketEvent::AcceptFailed { .. })
    })?;
    println!("by address: refused");

    // Step 3, limits: one peer, and small messages.
    let (mut limited, mut events, at) =
        server(|builder| builder.max_connections(1).max_message_size(100))?;
    let mut modest = Push::builder().connect(&at)?;
    modest.send([0; 100])?;
    limited.recv_timeout(PATIENCE)?;
    let _second = Push::builder().connect(&at)?;
    until(&mut events, |event| {
        matches!(event, SocketEvent::HandshakeFailed { .. })
    })?;
    println!("limits: a second peer was refused");
    modest.send([0; 101])?;
    until(&mut events, |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    })?;
    println!("limits: a message of 101 octets ended its connection");
    println!("open, by address, within limits: three of five steps");
    Ok(())
}

type Builder = sinew::SocketBuilder<Pull>;

/// A server built so, what happens to it, and where it is.
fn server(build: impl FnOnce(Builder) -> Builder) -> Result<(Pull, Monitor, Endpoint)> {
    let mut pull = build(Pull::builder()).build()?;
    let events = pull.monitor();
    let at = pull.bind("tcp://127.0.0.1:*")?;
    Ok((pull, events, at))
}

/// Waits for an event of this kind, and prints it.
fn until(events: &mut Monitor, kind: impl Fn(&SocketEvent) -> bool) -> Result {
    loop {
        let event = events.recv_timeout(PATIENCE).ok_or("no event")?;
        if kind(&event) {
            println!("  {event}");
            return Ok(());
        }
    }
}
