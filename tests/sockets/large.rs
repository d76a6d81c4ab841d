//! Large payloads that are only borrowed, which are written from where they are if the kernel takes them.

use sinew::{Pull, Push, SendFailure};

use crate::support::{task, LONG, STREAMS};

const COUNT: u32 = 120;

/// Every third message is short; the others are of sizes that the kernel takes in one piece, or in several.
fn payload(n: u32) -> Vec<u8> {
    let len = match n % 3 {
        0 => 8,
        1 => 65_536 + n as usize * 7,
        _ => 3_000_000 + n as usize * 11,
    };
    let mut payload: Vec<u8> = (0..len).map(|at| (at as u32 ^ n) as u8).collect();
    payload[..4].copy_from_slice(&n.to_le_bytes());
    payload
}

fn check(message: &[u8], n: u32) {
    assert!(message == payload(n), "message {n} came as another");
}

#[test]
fn they_arrive_whole_and_in_order() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        let sender = task(move || {
            for n in 0..COUNT {
                let mut borrowed = payload(n);
                push.send(&borrowed[..]).unwrap();
                // It is the caller's again.
                borrowed.fill(0xee);
            }
            push
        });
        for n in 0..COUNT {
            check(pull.recv_timeout(LONG).unwrap().as_bytes(), n);
        }
        sender.join().close();
    }
}

/// A peer that reads nothing: a send that does not wait does not wait for the kernel either, and what was taken
/// arrives.
#[test]
fn a_peer_that_does_not_read_is_not_waited_for() {
    for &net in STREAMS {
        let mut pull = Pull::builder().recv_hwm(1).bind(net.fresh()).unwrap();
        let mut push = Push::builder()
            .send_hwm(4)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        let mut taken = 0;
        let refused = loop {
            match push.try_send(&payload(taken)[..]) {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
            assert!(taken < COUNT, "there is no limit");
        };
        assert_eq!(refused.reason(), SendFailure::WouldBlock);
        check(refused.into_message().as_bytes(), taken);
        for n in 0..taken {
            check(pull.recv_timeout(LONG).unwrap().as_bytes(), n);
        }
        push.send_timeout(&payload(taken)[..], LONG).unwrap();
        check(pull.recv_timeout(LONG).unwrap().as_bytes(), taken);
    }
}
