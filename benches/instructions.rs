//! What `scripts/instructions` counts: a `send` and a `recv` of 64 octets, each in a function of its own
//! that callgrind can tell apart.
//!
//! Times vary from run to run and machine to machine; the number of instructions on one path does not.
//! So it is what a change to the data path is held against. One thread sends as many messages as fit
//! below the high-water mark, then receives them: neither ever waits, and over inproc nothing else runs.
//! Run by itself it only checks that the messages arrive.

use std::hint::black_box;

use sinew::{Pull, Push};

/// Below the high-water mark of 1000, so that no send waits.
const AT_ONCE: usize = 500;
const ROUNDS: usize = 100;
/// So long until blocks have grown, and pipes have become dense.
const WARM_UP: usize = 20;

const PAYLOAD: [u8; 64] = [0x5a; 64];

#[inline(never)]
fn counted_sends(push: &mut Push) {
    let payload: &[u8] = black_box(&PAYLOAD);
    for _ in 0..AT_ONCE {
        push.send(payload).expect("there is room");
    }
}

#[inline(never)]
fn counted_receives(pull: &mut Pull) {
    for _ in 0..AT_ONCE {
        let message = pull.recv().expect("it was sent");
        assert_eq!(message.as_bytes().len(), PAYLOAD.len());
        black_box(&message);
    }
}

fn warm_up(push: &mut Push, pull: &mut Pull) {
    for _ in 0..AT_ONCE {
        push.send(&PAYLOAD[..]).expect("there is room");
    }
    for _ in 0..AT_ONCE {
        assert_eq!(pull.recv().expect("it was sent").as_bytes(), PAYLOAD);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = match std::env::args().nth(1).as_deref() {
        Some("tcp") => "tcp://127.0.0.1:*",
        _ => "inproc://instructions",
    };
    let mut pull = Pull::new();
    let endpoint = pull.bind(endpoint)?;
    let mut push = Push::new();
    push.connect(&endpoint)?;
    for _ in 0..WARM_UP {
        warm_up(&mut push, &mut pull);
    }
    for _ in 0..ROUNDS {
        counted_sends(&mut push);
        counted_receives(&mut pull);
    }
    println!("{}", AT_ONCE * ROUNDS);
    Ok(())
}
