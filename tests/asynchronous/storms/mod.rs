//! Futures that are given up, again and again, while the other side goes on: nothing is lost, nothing comes
//! twice, and the order is kept. Blocking calls come in between, on the same socket. Under every executor, and with
//! none.
//!
//! A storm counts only where futures were given up that had to wait. So the other side does not go on before there
//! were some. Every asynchronous method of a socket has one:
//!
//! | method | of | storms |
//! | --- | --- | --- |
//! | `recv_async` | `Pull`, `Gather`, `Pair`, `Channel`, `Dealer`, `Client`, `Server` | here |
//! | | `Sub`, `XSub`, `XPub`, `Dish` | `topics` |
//! | | `Router`, `Server`, `Peer`, `Stream`, `Dgram` | `addresses` |
//! | | `Req`, `Rep` | `turns` |
//! | | `Shared`, `RecvPart` | `handles` |
//! | | `Monitor` | `waits` |
//! | `send_async` | `Push`, `Scatter`, `Pair`, `Channel`, `Dealer`, `Client` | here |
//! | | `Pub`, `XPub`, `XSub`, `Radio` | `topics` |
//! | | `Router`, `Server`, `Peer`, `Stream` | `addresses` |
//! | | `Req`, `Rep` | `turns` |
//! | | `Shared`, `SendPart` | `handles` |
//! | `send_batch_async`, `poll_send_batch` | `Pub`, for all that have it | `topics` |
//! | `recv_from_async`, `send_to_async` | `Router`, `Server`, `Peer`, `Stream`, and their parts | `addresses` |
//! | | `Dgram`, and its parts | `addresses` |
//! | `recv_event_async` | `XPub`, and its part | `topics` |
//! | `request_async`, `request_timeout_async` | `Req` | `turns` |
//! | `request_async`, `request_with_async` | `Requester` | `handles` |
//! | `close_async` | `Push`, for all kinds with queues, `Stream`, `Dgram` | `waits` |
//! | `wait_for_*_async` | | `waits` |
//! | `poll_recv`, `poll_send` | streams and sinks | `handles` |

use std::future::Future;

use sinew::{Channel, Client, Dealer, Gather, Message, Pair, Pull, Push, Scatter, Server};

use crate::support::{fresh, joined, number, number_of, numbered, EXECUTORS, LONG, TRANSPORTS};

mod addresses;
mod handles;
mod topics;
mod turns;
mod waits;

/// How many messages come, where they are quick.
const COUNT: u32 = 2000;

/// After how many of them the other side waits for one more future to be given up.
const BATCH: u32 = 200;

const END: u32 = u32::MAX;

/// Runs it for an endpoint of each transport, under each executor.
#[track_caller]
fn storm<F>(transports: &[&str], body: impl Fn(String) -> F)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    for transport in transports {
        for executor in EXECUTORS {
            executor.run(body(fresh(transport)), async {});
        }
    }
}

/// A test of a way to receive. The stage gives what receives, and how the other side sends the message of a number.
macro_rules! receives {
    (
        $name:ident, $count:expr, $transports:expr, |$endpoint:ident| $stage:block,
        |$socket:pat_param| blocking: $blocking:expr, future: $future:expr, |$got:ident| $number:expr
    ) => {
        #[test]
        fn $name() {
            crate::storms::storm($transports, |$endpoint| async move {
                let ($socket, mut send) = $stage;
                let mut storm = crate::support::Storm::new();
                let waiting = storm.waiting();
                let batches = |n| u64::from(n / crate::storms::BATCH) + 1;
                let other = std::thread::spawn(move || {
                    for n in 0..$count {
                        waiting.wait(batches(n));
                        send(n);
                    }
                    send
                });
                let mut next = 0;
                while next < $count {
                    storm.owe(batches(next));
                    let received = match storm.blocks() {
                        true => Some($blocking),
                        false => storm.cut($future).await,
                    };
                    if let Some(received) = received {
                        let $got = received.unwrap();
                        assert_eq!($number, next);
                        next += 1;
                    }
                }
                drop(other.join().unwrap());
            });
        }
    };
}

/// A test of a way to send. The stage gives what sends, and how the other side receives, which must hold the sender
/// up when it does not.
macro_rules! sends {
    (
        $name:ident, $transports:expr, |$endpoint:ident| $stage:block,
        |$socket:pat_param, $message:ident| blocking: $blocking:expr, future: $future:expr
    ) => {
        #[test]
        fn $name() {
            crate::storms::storm($transports, |$endpoint| async move {
                let (count, len) = crate::storms::sizes(&$endpoint);
                let ($socket, mut receive) = $stage;
                let mut storm = crate::support::Storm::new();
                let waiting = storm.waiting();
                let other = std::thread::spawn(move || {
                    waiting.wait(1);
                    (crate::storms::until_end(&mut receive), receive)
                });
                let mut sent = Vec::new();
                for n in 0..count {
                    let $message = crate::storms::padded(n, len);
                    let done = match storm.blocks() {
                        true => Some($blocking),
                        false => storm.cut($future).await,
                    };
                    if let Some(result) = done {
                        result.unwrap();
                        sent.push(n);
                    }
                }
                assert!(storm.given_up() > 0, "no future that waited was given up");
                let $message = crate::storms::padded(crate::storms::END, len);
                $blocking.unwrap();
                assert_eq!(other.join().unwrap().0, sent);
            });
        }
    };
}

/// One that queues few messages.
macro_rules! narrow {
    ($kind:ident) => {
        $kind::builder().send_hwm(2).recv_hwm(2).build().unwrap()
    };
}

use {narrow, receives, sends};

/// The numbers of what is received, up to `END`.
fn until_end(mut receive: impl FnMut() -> Message) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        match number(&receive().as_bytes()[..4]) {
            END => return numbers,
            n => numbers.push(n),
        }
    }
}

/// How many messages fill a way with low marks, and of how many octets: over the network they have to fill the
/// kernel's buffers.
fn sizes(endpoint: &str) -> (u32, usize) {
    match endpoint.starts_with("inproc") {
        true => (COUNT, 4),
        false => (400, 48 * 1024),
    }
}

fn padded(n: u32, len: usize) -> Vec<u8> {
    let mut octets = numbered(n);
    octets.resize(len, 0);
    octets
}

macro_rules! one_way {
    ($receives:ident, $sends:ident, $from:ident, $to:ident) => {
        receives!($receives, COUNT, TRANSPORTS, |endpoint| {
            let (to, mut from) = joined!(endpoint, $to::new(), $from::new());
            (to, move |n| from.send(numbered(n)).unwrap())
        }, |mut to| blocking: to.recv_timeout(LONG), future: to.recv_async(),
            |got| number_of(&got));

        sends!($sends, TRANSPORTS, |endpoint| {
            let (mut to, from) = joined!(endpoint, narrow!($to), narrow!($from));
            (from, move || to.recv().unwrap())
        }, |mut from, message| blocking: from.send_timeout(message, LONG),
            future: from.send_async(message));
    };
}

one_way!(receives_of_pull, sends_of_push, Push, Pull);
one_way!(receives_of_gather, sends_of_scatter, Scatter, Gather);
one_way!(receives_of_pair, sends_of_pair, Pair, Pair);
one_way!(receives_of_channel, sends_of_channel, Channel, Channel);
one_way!(receives_of_dealer, sends_of_dealer, Dealer, Dealer);
one_way!(receives_of_server, sends_of_client, Client, Server);
