//! MDP-13: a broker, a process, is told to drain. Nothing is begun any more, what workers have is finished, workers are
//! disconnected, and it ends within its linger time, whatever they do.

use std::time::{Duration, Instant};

use sinew::{Context, Dealer, Endpoint, Frame, Message};
use sinew_patterns::common::{CallError, RetryPolicy, Status};
use sinew_patterns::mdp::{Client, ClientConfig};

use crate::brokers::{self, until_state};
use crate::majordomo::any_port;
use crate::remote::Remote;
use crate::requests::LONG;
use crate::stalls::Stalls;

/// That of the broker.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What it keeps of that to tell everybody how it ended.
const FAREWELL: Duration = Duration::from_millis(500);

/// A client that does not ask again.
fn client(at: &Endpoint) -> Client {
    let config = ClientConfig {
        ext: true,
        retry: RetryPolicy {
            attempt_timeout: LONG.deadline,
            max_attempts: 1,
            hedge_after: None,
            budget: None,
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), std::slice::from_ref(at), config).unwrap()
}

/// A worker that knows 7/MDP and nothing else, in this process: what it is told can be seen.
struct Plain(Dealer);

impl Plain {
    /// The broker has it when this returns.
    fn registered(at: &Endpoint, client: &Client, service: &'static str) -> Self {
        let mut dealer = Dealer::builder().connect(at).unwrap();
        let ready = Message::multipart(["", "MDPW01", "\x01", service]);
        dealer.send(ready).unwrap();
        let end = Instant::now() + LONG.deadline;
        while !client.available(service, &LONG).unwrap() {
            assert!(Instant::now() < end, "it is not there");
        }
        Plain(dealer)
    }

    /// Waits until it is told this, and what else there is in the message.
    fn told(&mut self, command: u8) -> Vec<Frame> {
        let end = Instant::now() + LONG.deadline;
        loop {
            let message: Message = self.0.recv_deadline(end).unwrap();
            let frames = message.frames();
            assert_eq!(frames[1], "MDPW01");
            if frames[2] != [HEARTBEAT] {
                assert_eq!(frames[2], [command]);
                return frames[3..].to_vec();
            }
        }
    }

    /// Carries a request out, and does this before it replies.
    fn reply(&mut self, body: &Frame, before: impl FnOnce()) {
        let client = self.told(REQUEST).swap_remove(0);
        before();
        let frames = ["", "MDPW01", "\x03"].map(Frame::from).into_iter();
        let reply = frames.chain([client, "".into(), body.clone()]);
        self.0.send(Message::multipart(reply)).unwrap();
    }
}

const REQUEST: u8 = 2;
const HEARTBEAT: u8 = 4;
const DISCONNECT: u8 = 5;

/// Waits until the broker has ended: how long that took since then, and requests given to workers, replies, and dead ones.
fn ended(broker: Remote, since: Instant) -> (Duration, String) {
    let lines = broker.finish();
    let took = since.elapsed();
    let counted = lines.iter().find_map(|line| line.strip_prefix("ended "));
    (took, counted.expect("it says so").to_owned())
}

/// Nothing was done, and it was said at once: 503.
fn declined(end: Result<Message, CallError>) -> bool {
    let no = |error: &CallError| {
        let CallError::Rejected { status, reason, .. } = error else {
            return false;
        };
        let why = (*status, reason.as_str());
        why == (Status::Unavailable, "this broker drains") && !error.maybe_executed()
    };
    end.is_err_and(|error| no(&error))
}

#[test]
fn what_workers_finish_in_time_is_replied_to() {
    let (mut broker, at) = Remote::bound("draining broker", &any_port());
    let client = client(&at);
    let mut idle = Plain::registered(&at, &client, "other");
    let mut busy = Remote::worker(std::slice::from_ref(&at));
    let hangs = client.call_async("work", "hang", &LONG);
    busy.says("hangs on");
    let waits = client.call_async("work", "waits", &LONG);
    until_state(&mut broker, [1, 1, 1]);
    let stalls = Stalls::watch();
    let begin = Instant::now();
    broker.tell("drain");
    // Who waits is declined at once, and so is who comes now, although a worker is there.
    assert!(declined(futures::executor::block_on(waits)));
    assert!(declined(client.call("other", "late", &LONG)));
    idle.told(DISCONNECT);
    until_state(&mut broker, [0, 1, 1]);
    busy.go_on();
    assert_eq!(futures::executor::block_on(hangs), Ok("hang".into()));
    let (took, counted) = ended(broker, begin);
    let stall = stalls.longest();
    println!("drained in {took:?}, where a thread that only waits was {stall:?} late");
    assert!(took <= LINGER + stall, "{took:?}");
    assert_eq!(counted, "1 1 0");
    assert_eq!(busy.did_until("hang"), ["hang"], "and nothing else");
}

/// A worker that has its request for ever, and sends heartbeats, and one that says nothing at all.
#[test]
fn what_workers_do_not_finish_is_given_up() {
    let (mut broker, at) = Remote::bound("draining broker", &any_port());
    let client = client(&at);
    let mut silent = Plain::registered(&at, &client, "other");
    let beating = Remote::worker(std::slice::from_ref(&at));
    let calls = [("work", "hang"), ("other", "x")]
        .map(|(service, body)| client.call_async(service, body, &LONG));
    beating.says("hangs on");
    silent.told(REQUEST);
    until_state(&mut broker, [0, 1, 1]);
    let stalls = Stalls::watch();
    let begin = Instant::now();
    broker.tell("drain");
    for call in calls {
        match futures::executor::block_on(call) {
            Err(CallError::Remote(fault)) => assert_eq!(fault.status, Status::Failed),
            other => panic!("{other:?}"),
        }
    }
    let told = begin.elapsed();
    silent.told(DISCONNECT);
    let (took, counted) = ended(broker, begin);
    let stall = stalls.longest();
    println!("given up after {told:?}, ended after {took:?}, where a thread that only waits was {stall:?} late");
    assert!(told >= LINGER - FAREWELL, "they had their time: {told:?}");
    assert!(took <= LINGER + stall, "{took:?}");
    assert_eq!(counted, "2 0 2");
}

/// Drains, and has its time for who reads nothing.
fn has_its_time(mut broker: Remote, expected: &str) {
    let stalls = Stalls::watch();
    let begin = Instant::now();
    broker.tell("drain");
    let (took, counted) = ended(broker, begin);
    let stall = stalls.longest();
    println!("not read: ended after {took:?}, where a thread that only waits was {stall:?} late");
    assert!(took >= LINGER - FAREWELL, "it had its time: {took:?}");
    assert!(took <= LINGER + stall, "{took:?}");
    assert_eq!(counted, expected);
}

/// A client that reads nothing, and has more to read than connections hold, is not waited for either.
#[test]
fn who_reads_nothing_is_not_waited_for() {
    const REQUESTS: usize = 16;
    let (mut broker, at) = Remote::bound("draining broker", &any_port());
    let mut worker = Plain::registered(&at, &client(&at), "work");
    let mut deaf = Dealer::builder().recv_hwm(1).connect(&at).unwrap();
    let body = Frame::from(vec![0; 4 << 20]);
    for _ in 0..REQUESTS {
        deaf.send(Message::multipart(["", "MDPC01", "work", "x"]))
            .unwrap();
        worker.reply(&body, || ());
    }
    // The last one is there, too.
    until_state(&mut broker, [0, 0, 1]);
    has_its_time(broker, "16 16 0");
}

/// As long as if the broker itself still had some of it: its socket has all, of which a process that is frozen reads no more
/// than systems keep for a connection.
#[test]
fn who_does_not_read_what_was_sent_has_as_long() {
    let (mut broker, at) = Remote::bound("draining broker", &any_port());
    let mut worker = Plain::registered(&at, &client(&at), "work");
    let mut frozen = brokers::calling(&at);
    frozen.tell("hang 1");
    worker.reply(&Frame::from(vec![0; 64 << 20]), || frozen.freeze());
    until_state(&mut broker, [0, 0, 1]);
    has_its_time(broker, "1 1 0");
}
