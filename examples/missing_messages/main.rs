//! Why messages are missing: each cause, and what mends it.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use sinew::{Pub, Pull, Push, Router, Sub};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: missing_messages
Loses messages in five ways, and then does not.";

const COUNT: usize = 100;

type Cause = fn(bool) -> Result<usize>;

const CAUSES: [(&str, Cause); 5] = [
    ("published before the subscriber was there", too_early),
    ("subscribed to something else", other_topic),
    ("published faster than read", too_fast),
    ("closed before it was sent", closed_early),
    ("sent to a peer that is not there", nobody),
];

fn main() -> Result {
    no_options(USAGE)?;
    for (what, cause) in CAUSES {
        let (before, after) = (cause(false)?, cause(true)?);
        println!("{what}: {before} of {COUNT} arrive; mended: {after}");
        if before == COUNT || after != COUNT {
            return Err(format!("{what}: not as it should be").into());
        }
    }
    println!("{} causes, each mended", CAUSES.len());
    Ok(())
}

fn too_early(mended: bool) -> Result<usize> {
    let (mut publisher, endpoint) = Pub::builder().bound("tcp://127.0.0.1:*")?;
    let mut sub = Sub::new();
    sub.subscribe("")?;
    sub.connect(&endpoint)?;
    if mended {
        publisher.wait_for_subscribers(1, PATIENCE)?;
    }
    // The first one at least goes before the connection is made.
    publish(&mut publisher, COUNT)?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    publisher.send("end")?;
    read(&mut sub)
}

fn other_topic(mended: bool) -> Result<usize> {
    let mut publisher = Pub::builder().bind("inproc://topics")?;
    let mut sub = Sub::new();
    sub.subscribe("end")?;
    // A subscription is the beginning of the message, and nothing else: no wildcards, no case.
    sub.subscribe(if mended { "news" } else { "News" })?;
    sub.connect("inproc://topics")?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    publish(&mut publisher, COUNT)?;
    publisher.send("end")?;
    read(&mut sub)
}

fn too_fast(mended: bool) -> Result<usize> {
    // PUB drops at the high-water mark, so that one reader does not hold up others. It may wait instead.
    let mut publisher = Pub::builder()
        .send_hwm(10)
        .no_drop(mended)
        .bind("inproc://fast")?;
    let mut sub = Sub::builder().recv_hwm(10).build()?;
    sub.subscribe("")?;
    sub.connect("inproc://fast")?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    if !mended {
        publish(&mut publisher, COUNT)?;
        return Ok(std::iter::from_fn(|| sub.try_recv().ok()).count());
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&mut sub));
        publish(&mut publisher, COUNT)?;
        publisher.send("end")?;
        support::joined(reader.join())
    })
}

fn closed_early(mended: bool) -> Result<usize> {
    let directory = tempfile::tempdir()?;
    let endpoint = format!("ipc://{}/late", directory.path().display());
    let linger = if mended { PATIENCE } else { Duration::ZERO };
    let mut push = Push::builder().linger(linger).connect(&endpoint)?;
    for number in 0..COUNT {
        push.send(format!("task {number}"))?;
    }
    push.send("end")?;
    // The receiver comes late. `close` waits for the linger time and says what was not sent; a
    // process that ends without it loses what is queued.
    let receiver = std::thread::spawn(move || -> Result<usize> {
        let mut pull = Pull::builder().bind(endpoint)?;
        let wait = if mended { PATIENCE } else { Duration::ZERO };
        let more = || pull.recv_timeout(wait).ok();
        let all = std::iter::from_fn(more).take_while(|message| message.as_bytes() != b"end");
        Ok(all.count())
    });
    let unsent = push.close().unsent;
    let arrived = support::joined(receiver.join())?;
    match (arrived, unsent) {
        (COUNT, 0) | (0, 1..) => Ok(arrived),
        _ => Err(format!("{arrived} arrived, {unsent} said to be unsent").into()),
    }
}

fn nobody(mended: bool) -> Result<usize> {
    // As libzmq does by default: what is for nobody is dropped. Sinew's default is an error.
    let mut router = Router::builder().mandatory(mended).build()?;
    let refused = (0..COUNT).filter(|_| router.send_to("bob", "hello").is_err());
    // An error is as good as an arrival: the message is in it, and can be sent later.
    Ok(refused.count())
}

fn publish(publisher: &mut Pub, count: usize) -> Result {
    for number in 0..count {
        publisher.send(format!("news {number}"))?;
    }
    Ok(())
}

/// How many messages come before the end.
fn read(sub: &mut Sub) -> Result<usize> {
    let mut count = 0;
    while sub.recv_timeout(PATIENCE)?.as_bytes() != b"end" {
        count += 1;
    }
    Ok(count)
}
