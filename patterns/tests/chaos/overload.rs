//! MDP-05: a broker's process that is asked for more than a slow service can do.

use std::fs;
use std::time::Instant;

use sinew::{Context, Dealer, Frame, Message};
use sinew_patterns::common::{Ext, MsgId, Status};
use sinew_patterns::mdp::{Worker, WorkerConfig};

use crate::brokers::until_state;
use crate::majordomo::client;
use crate::remote::{heartbeat, Remote, Victim};
use crate::requests::LONG;

/// Octets of each request, and how many are asked for, at first and then.
const BODY: usize = 10_000;
const FIRST: u64 = 2000;
const THEN: u64 = 20_000;

/// Octets of memory that a process has; none where that is not told.
fn memory_of(process: &Remote) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Asks so often, and returns how often there was no room. A window of requests is on its way at a time.
fn flood(dealer: &mut Dealer, from: u64, count: u64) -> u64 {
    let body = Frame::from(vec![7; BODY]);
    let mut declined = 0;
    for number in from..from + count {
        let mut ext = Ext::default();
        ext.id = Some(MsgId(u128::from(number).to_be_bytes()));
        let call: [Frame; 5] = [
            Frame::default(),
            "MDPC01".into(),
            "slow".into(),
            ext.encode().unwrap(),
            body.clone(),
        ];
        dealer.send(Message::multipart(call)).unwrap();
        while let Ok(answer) = dealer.try_recv() {
            declined += is_declined(&answer);
        }
    }
    declined
}

fn is_declined(answer: &Message) -> u64 {
    let ext = Ext::decode(&answer.frames()[3]).unwrap().unwrap();
    assert_eq!(
        ext.status,
        Some(Status::Rejected),
        "nothing else is answered"
    );
    1
}

/// The queue of the slow service is full, and what is too much is declined. The broker takes no more memory however much that
/// is, and another service is not delayed: it does all that it is asked while the slow one does nothing at all.
#[test]
fn a_slow_service_costs_bounded_memory_and_delays_no_other() {
    let (mut broker, at) = Victim::bound("broker");
    let quick = Remote::worker(std::slice::from_ref(&at));
    until_state(broker.remote(), [0, 0, 1]);
    let config = WorkerConfig {
        ext: true,
        heartbeat: heartbeat(),
        ..WorkerConfig::default()
    };
    let context = Context::default();
    let mut slow = Worker::connect(&context, &[&at], "slow", config).unwrap();
    let mut dealer = Dealer::builder().connect(&at).unwrap();
    let mut declined = flood(&mut dealer, 0, FIRST);
    let held = slow.next().expect("it is given one");
    let caller = client(std::slice::from_ref(&at), LONG.deadline);
    let mut round = |from: u64, count: u64, declined: u64| {
        let mut more = flood(&mut dealer, from, count);
        for number in 0..100 {
            let body = Message::from(format!("{from} {number}"));
            assert_eq!(caller.call("work", body.clone(), &LONG), Ok(body));
        }
        // All but those that are in the queue, and with the worker.
        let end = Instant::now() + LONG.deadline;
        while declined + more + 251 < from + count {
            let answer = dealer.recv_deadline(end).expect("the rest is declined");
            more += is_declined(&answer);
        }
        declined + more
    };
    declined = round(FIRST, FIRST, declined);
    let before = memory_of(broker.remote());
    declined = round(2 * FIRST, THEN, declined);
    let after = memory_of(broker.remote());
    assert!(declined >= 2 * FIRST + THEN - 251);
    if let (Some(before), Some(after)) = (before, after) {
        println!("a broker that declines: {before} octets after {FIRST} requests, {after} after {THEN} more");
        let grown = after.saturating_sub(before);
        assert!(grown < THEN as usize * BODY / 20, "{grown} octets more");
    }
    // Nothing was done at the slow service meanwhile.
    held.reply("done");
    drop(quick);
}
