//! What is in front of a message: frames as ROUTER, DEALER, REQ, REP, PUB and SUB see them.

#[path = "../support/mod.rs"]
mod support;

use sinew::{Dealer, Message, Pub, Rep, Req, Router, RoutingId, Sub};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: envelopes
Prints the frames of messages on their way.";

fn main() -> Result {
    no_options(USAGE)?;
    let mut router = Router::new();
    let front = router.bind("inproc://front")?;

    // A DEALER sends what it is given; the ROUTER puts the sender's name in front.
    let mut dealer = Dealer::builder()
        .routing_id(RoutingId::new("Dora")?)
        .connect(&front)?;
    dealer.send("hello")?;
    dump("ROUTER from a DEALER", &router.recv()?);

    // A REQ puts an empty frame before the body, and the number of the request before that.
    let mut req = Req::builder()
        .routing_id(RoutingId::new("Rita")?)
        .connect(&front)?;
    req.send("hello")?;
    let request = router.recv()?;
    dump("ROUTER from a REQ", &request);

    // Passed on as it is, the envelope is the way back. A REP keeps it and gives the body alone.
    let mut back = Dealer::builder().bind("inproc://back")?;
    let mut rep = Rep::builder().connect("inproc://back")?;
    back.send(request)?;
    dump("REP", &rep.recv()?);
    rep.send("world")?;
    let reply = back.recv()?;
    dump("DEALER from a REP", &reply);
    router.send(reply)?;
    let reply = req.recv()?;
    dump("REQ", &reply);

    // A topic of its own, in the first frame; the address of the sender and so on may follow.
    let mut publisher = Pub::builder().bind("inproc://feed")?;
    let mut sub = Sub::new();
    sub.subscribe("lima")?;
    sub.connect("inproc://feed")?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    publisher.send(Message::multipart(["lima", "21 degrees"]))?;
    dump("SUB", &sub.recv()?);
    Ok(())
}

fn dump(who: &str, message: &Message) {
    let frames = message.frames().iter().map(|frame| match frame.to_str() {
        Ok(text) if !text.contains(char::is_control) => format!("[{text}]"),
        _ => format!("[{} octets]", frame.len()),
    });
    println!("{who:<21} {}", frames.collect::<String>());
}
