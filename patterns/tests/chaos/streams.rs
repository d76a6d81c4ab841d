//! Replies in parts behind a broker, on processes: the broker is frozen, killed and started again in their midst, and
//! callers give them up. What comes of a stream is its parts in order, each once, and then its end or an error.

use std::thread;
use std::time::Duration;

use sinew::{Dealer, Endpoint, Frame, Message};
use sinew_patterns::common::{CallError, CallOptions, Ext, Fault, MsgId, Op, RetryPolicy};
use sinew_patterns::mdp::{Client, ClientConfig, WorkerConfig};
use sinew_patterns::{Replies, Request};

use crate::brokers::until_state;
use crate::remote::{heartbeat, say, Harm, Remote, Victim};
use crate::requests::LONG;

/// Streams of one worker at once.
pub(crate) const AT_ONCE: usize = 16;

/// Octets of a part.
const PART: usize = 1000;

/// A reply of as many parts as the request says; 0 is no end. Says when nobody reads it.
pub(crate) fn stream(request: &mut Request) -> Result<Message, Fault> {
    let parts: u64 = text(request.body()).parse().unwrap();
    let mut number = 0u64;
    while parts == 0 || number < parts {
        if !request.partial(part(number)) {
            say(&format!("stopped {parts}"));
            return Err(Fault::failed("nobody reads it"));
        }
        number += 1;
    }
    Ok("end".into())
}

pub(crate) fn worker_config() -> WorkerConfig {
    WorkerConfig {
        ext: true,
        heartbeat: heartbeat(),
        ..WorkerConfig::default()
    }
}

fn text(message: &Message) -> String {
    message.as_bytes().escape_ascii().to_string()
}

fn part(number: u64) -> Message {
    let mut octets = number.to_be_bytes().to_vec();
    octets.resize(PART, 7);
    octets.into()
}

fn client(at: &[Endpoint], calls: usize) -> Client {
    let config = ClientConfig {
        ext: true,
        calls,
        // No more than a broker lets one client have waiting for a service.
        lanes: calls.min(250) as u32,
        // Streams without an end go on while the broker is asked how it is: a slow machine takes its time for that.
        unread: 50_000,
        retry: RetryPolicy {
            // It is the deadline that ends what hangs.
            attempt_timeout: LONG.deadline,
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    Client::connect(&sinew::Context::default(), at, config).unwrap()
}

/// Reads so many parts, which are there.
fn read(replies: &mut Replies, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(replies.next(), Some(Ok(part(number))), "{number}");
    }
}

/// Reads the rest, from this part on: how many parts there were, and how it ended.
fn rest(replies: Replies, from: u64) -> (u64, Result<(), CallError>) {
    let mut number = from;
    for reply in replies {
        match reply {
            Ok(end) if end == "end".into() => return (number, Ok(())),
            Ok(reply) => assert_eq!(reply, part(number), "after {from}"),
            Err(error) => return (number, Err(error)),
        }
        number += 1;
    }
    panic!("it has no end after {number}");
}

#[test]
fn a_broker_is_frozen_and_killed_in_the_midst_of_streams() {
    // More than all of sockets and broker hold for a client.
    const PARTS: u64 = 3000;
    let short = CallOptions {
        deadline: Duration::from_secs(3),
        ..LONG
    };
    for harm in [Harm::Freeze, Harm::Kill] {
        let (mut broker, at) = Victim::bound("broker");
        let at = [at];
        let _workers = [(); 2].map(|()| Remote::start("streaming worker", &at));
        until_state(broker.remote(), [0, 0, 2 * AT_ONCE]);
        let client = client(&at, 1000);
        let mut streams: Vec<_> = (0..2 * AT_ONCE)
            .map(|_| client.call_streaming("work", PARTS.to_string(), &short))
            .collect();
        for stream in &mut streams {
            read(stream, 0..10);
        }
        broker.suffer(harm);
        let readers: Vec<_> = (streams.into_iter())
            .map(|stream| thread::spawn(move || rest(stream, 10)))
            .collect();
        // Workers leave it meanwhile.
        let error = client.call(
            "work",
            "1",
            &CallOptions {
                deadline: Duration::from_millis(500),
                ..LONG
            },
        );
        assert!(error.is_err(), "{harm:?}");
        broker.recover();
        for reader in readers {
            match reader.join().unwrap() {
                (PARTS, Ok(())) => {}
                (parts, Ok(())) => panic!("{harm:?}: {parts} parts"),
                // It has begun, so nobody may say otherwise.
                (parts, Err(error)) => {
                    assert!(error.maybe_executed(), "{harm:?}: {parts}, {error}")
                }
            }
        }
        // Everybody is back, and nothing is left.
        let whole = client.call("work", PARTS.to_string(), &LONG).unwrap();
        assert_eq!(whole.frame_count() as u64, PARTS + 1, "{harm:?}");
        until_state(broker.remote(), [0, 0, 2 * AT_ONCE]);
    }
}

/// A caller that has seen enough: the worker hears of it, and its place is free; others go on.
#[test]
fn streams_are_given_up_in_their_midst() {
    let (mut broker, at) = Victim::bound("broker");
    let at = [at];
    let worker = Remote::start("streaming worker", &at);
    until_state(broker.remote(), [0, 0, AT_ONCE]);
    let client = client(&at, 1000);
    for _ in 0..3 {
        let mut endless: Vec<_> = (0..AT_ONCE)
            .map(|_| client.call_streaming("work", "0", &LONG))
            .collect();
        for stream in &mut endless {
            read(stream, 0..100);
        }
        // One waits for a place.
        let mut other = client.call_streaming("work", "2000", &LONG);
        until_state(broker.remote(), [1, AT_ONCE, AT_ONCE]);
        drop(endless);
        for _ in 0..AT_ONCE {
            assert_eq!(worker.says("stopped"), "0");
        }
        read(&mut other, 0..1);
        assert_eq!(rest(other, 1), (2000, Ok(())));
        until_state(broker.remote(), [0, 0, AT_ONCE]);
    }
}

/// Two thousand streams at once, and a client beside them that has asked for a lot and reads nothing: it holds nobody up.
#[test]
fn a_client_that_reads_nothing_beside_thousands_of_streams() {
    const STREAMS: usize = 2000;
    const PARTS: u64 = 3000;
    let (mut broker, at) = Victim::bound("broker");
    let at = [at];
    let _workers = [(); 4].map(|()| Remote::start("streaming worker", &at));
    until_state(broker.remote(), [0, 0, 4 * AT_ONCE]);
    let mut slow = Dealer::builder().recv_hwm(1).connect(&at[0]).unwrap();
    for number in 0..AT_ONCE {
        let mut ext = Ext::default();
        ext.id = Some(MsgId([number as u8; 16]));
        let head = ["", "MDPC01", "work"].map(Frame::from);
        let rest = [ext.encode().unwrap(), PARTS.to_string().into()];
        slow.send(Message::multipart(head.into_iter().chain(rest)))
            .unwrap();
    }
    // It is being served.
    let mut seen = [0; AT_ONCE];
    take(&mut slow, &mut seen);
    let quick = client(&at, STREAMS);
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| quick.call_streaming("work", "5", &LONG))
        .collect();
    for stream in streams {
        assert_eq!(rest(stream, 0), (5, Ok(())));
    }
    // It reads after all, unless its time was over.
    let mut ends = 0;
    while ends < AT_ONCE {
        ends += usize::from(take(&mut slow, &mut seen));
    }
    until_state(broker.remote(), [0, 0, 4 * AT_ONCE]);
}

/// The next part of one of these streams, of which so many parts were seen. Whether it is its end.
fn take(dealer: &mut Dealer, seen: &mut [u64; AT_ONCE]) -> bool {
    let message = dealer.recv_timeout(LONG.deadline).unwrap();
    let ext = Ext::decode(message.frame(3).unwrap()).unwrap().unwrap();
    let seen = &mut seen[ext.id.unwrap().0[0] as usize];
    if ext.op == Op::Partial {
        let body = message.frame(4).unwrap();
        assert_eq!(body.as_slice(), part(*seen).as_bytes());
        assert_eq!(ext.part.map(u64::from), Some(*seen));
        *seen += 1;
    }
    ext.op == Op::Final
}
