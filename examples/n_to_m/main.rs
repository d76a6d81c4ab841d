//! One socket, any number of endpoints of either kind; peers come and go while it sends.

#[path = "../support/mod.rs"]
mod support;

use sinew::{Pull, Push, SocketEvent};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: n_to_m
One PUSH is bound twice and connected twice; its peers come and go.";

fn main() -> Result {
    no_options(USAGE)?;
    let mut push = Push::new();
    let tcp = push.bind("tcp://127.0.0.1:*")?;
    let ipc = push.bind("ipc://*")?;
    let mut ann = Pull::builder().bind("tcp://127.0.0.1:*")?;
    let mut bob = Pull::builder().bind("inproc://bob")?;
    let ann_at = push.connect(&ann.bound_endpoints()[0])?;
    push.connect("inproc://bob")?;
    let mut cid = Pull::builder().connect(&tcp)?;
    let mut dan = Pull::builder().connect(&ipc)?;

    // Two accepted, two connected to: four peers, a quarter of the messages each.
    push.wait_for_peers(4, PATIENCE)?;
    let mut total = deal(&mut push, [&mut ann, &mut bob, &mut cid, &mut dan])?;

    // Two of the endpoints go, and their peers with them, once they have what is queued for them.
    let mut events = push.monitor();
    push.disconnect(&ann_at)?;
    push.unbind(&ipc)?;
    for _ in [&ann, &dan] {
        let gone = |event: &SocketEvent| matches!(event, SocketEvent::Disconnected { .. });
        events.wait_for(PATIENCE, gone).ok_or("nobody went")?;
    }
    total += deal(&mut push, [&mut bob, &mut cid])?;

    // Others come, on endpoints old and new.
    let mut eve = Pull::builder().connect(&tcp)?;
    let mut fay = Pull::builder().connect(push.bind("ipc://*")?)?;
    push.wait_for_peers(4, PATIENCE)?;
    total += deal(&mut push, [&mut bob, &mut cid, &mut eve, &mut fay])?;

    println!("{total} messages to 6 peers, {} left", push.close().unsent);
    Ok(())
}

/// Sends 100 messages for each of these peers, and checks that each gets as many, in order.
fn deal<const N: usize>(push: &mut Push, peers: [&mut Pull; N]) -> Result<usize> {
    for number in 0..100 * N {
        push.send(number.to_string())?;
    }
    for (at, peer) in peers.into_iter().enumerate() {
        let mut newest = None;
        for _ in 0..100 {
            let number: usize = peer.recv()?.frames()[0].to_str()?.parse()?;
            if newest >= Some(number) {
                return Err(format!("peer {at}: {number} after {newest:?}").into());
            }
            newest = Some(number);
        }
    }
    println!("{N} peers: 100 messages each");
    Ok(100 * N)
}
