//! High-water marks: what waits for a slow receiver is bounded. PUSH then waits, PUB leaves out.

#[path = "../support/mod.rs"]
mod support;

use sinew::{HighWaterMark, Pub, Pull, Push, Sub};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: hwm_demo
Sends 1000 messages of 10 KiB to receivers that do not read, and prints what becomes of them.";

const MESSAGES: usize = 1000;
const SIZE: usize = 10 << 10;

fn main() -> Result {
    no_options(USAGE)?;
    let payload = vec![0; SIZE];

    // Over inproc the marks of both sides add up. Over tcp, what the kernel holds comes on top.
    let mut pull = Pull::builder().recv_hwm(10).bind("inproc://push")?;
    let mut push = Push::builder().send_hwm(10).connect("inproc://push")?;
    let mut accepted = 0;
    let failure = loop {
        match push.try_send(&payload) {
            Ok(()) => accepted += 1,
            Err(error) => break error.reason(),
        }
    };
    println!("PUSH: {accepted} accepted, then: {failure}");
    // Room is made known in steps, not for each message that is read.
    (0..accepted).try_for_each(|_| pull.recv().map(drop))?;
    push.send_timeout(&payload, PATIENCE)?;
    println!("PUSH: they were read, and there is room again");

    // A mark in octets, too: whichever is reached first.
    let mark = HighWaterMark::new(1000).with_bytes(100 << 10);
    let mut push = Push::builder().send_hwm(mark).connect("inproc://nobody")?;
    let by_octets = (0..MESSAGES)
        .take_while(|_| push.try_send(&payload).is_ok())
        .count();
    println!("PUSH: {by_octets} accepted within 100 KiB");

    let mut publisher = Pub::builder().send_hwm(10).bind("inproc://pub")?;
    let mut sub = Sub::builder().recv_hwm(10).build()?;
    sub.subscribe("")?;
    sub.connect("inproc://pub")?;
    publisher.wait_for_subscribers(1, PATIENCE)?;
    for _ in 0..MESSAGES {
        publisher.send(&payload)?; // never waits
    }
    let read = std::iter::from_fn(|| sub.try_recv().ok()).count();
    let dropped = publisher.stats().dropped_full;
    println!("PUB: {MESSAGES} sent, {read} there to be read, {dropped} dropped and counted");

    let held = ((accepted + by_octets + read) * SIZE) >> 10;
    println!("PUSH waits, PUB drops; {held} KiB were held at most");
    Ok(())
}
