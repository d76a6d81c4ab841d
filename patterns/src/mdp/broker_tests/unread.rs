//! Clients that do not read, and what becomes of parts of replies to them.

use super::*;
use crate::mdp::wire::cost_of_part;

fn part(bench: &mut Bench, body: &str) {
    let ext = Ext {
        op: Op::Partial,
        ..Ext::default()
    };
    bench.ext_reply("w", "c", ext, body);
}

/// A worker that speaks the extension header has a request of client "c".
fn asked(config: BrokerConfig) -> (Bench, Ext<'static>) {
    let mut bench = Bench::new(config);
    bench.ext_ready("w", "echo");
    let ext = Ext {
        id: Some(MsgId([1; 16])),
        ..Ext::default()
    };
    bench.ext_call("c", "echo", ext, "x");
    let (_, frames) = bench.sent().unwrap();
    let ext = Ext::decode(&frames[5]).unwrap().unwrap().into_owned();
    (bench, ext)
}

/// Sends all there is, but to client "c", who takes nothing: what others were sent, as headers.
fn flush(bench: &mut Bench) -> Vec<(String, Option<Ext<'static>>)> {
    let mut sent = Vec::new();
    while let Some(transmit) = bench.broker.poll_transmit() {
        if transmit.to == Some(PeerId::from("c")) {
            bench.broker.handle_full(bench.now, transmit);
            continue;
        }
        let to = String::from_utf8(transmit.to.unwrap().as_bytes().to_vec()).unwrap();
        let last = transmit.message.into_frames().pop().unwrap();
        let ext = Ext::decode(&last).unwrap().map(Ext::into_owned);
        sent.push((to, ext));
    }
    sent
}

/// What client "c" gets when it reads: how it is called, and the body.
fn reads(bench: &mut Bench) -> Vec<(Ext<'static>, Frame)> {
    bench
        .broker
        .handle_room(bench.now, Port(0), Some(&PeerId::from("c")));
    let mut read = Vec::new();
    while let Some((to, frames)) = bench.sent() {
        if to == "c" {
            let ext = Ext::decode(&frames[3]).unwrap().unwrap().into_owned();
            read.push((ext, frames.last().unwrap().clone()));
        } else {
            let last = Ext::decode(frames.last().unwrap()).unwrap().unwrap();
            assert!(last.credit.is_some());
        }
    }
    read
}

#[test]
fn parts_for_a_client_that_does_not_read_wait_in_order_and_so_does_their_worker() {
    let (mut bench, request) = asked(config());
    let credit = i64::from(request.credit.expect("it is told how much it may send"));
    let body = "p".repeat(1000);
    let all = credit / cost_of_part(1000) + 1;
    for _ in 0..all {
        part(&mut bench, &body);
        assert_eq!(flush(&mut bench), [], "nobody has read any of it");
    }
    bench.ext_reply("w", "c", Ext::default(), "end");
    flush(&mut bench);
    let read = reads(&mut bench);
    assert_eq!(read.len() as i64, all + 1);
    for (number, (ext, _)) in read.iter().enumerate() {
        let last = number as i64 == all;
        let expected = if last { Op::Final } else { Op::Partial };
        assert_eq!((ext.op, ext.part), (expected, Some(number as u32)));
    }
    assert_eq!(read.last().unwrap().1, "end");
    assert_eq!(bench.broker.counters().undeliverable, 0);
}

#[test]
fn a_worker_is_told_to_go_on_when_its_parts_have_left() {
    let (mut bench, request) = asked(config());
    let credit = i64::from(request.credit.unwrap());
    let (body, cost) = ("p".repeat(1000), cost_of_part(1000));
    let (mut sent, mut more) = (0, 0);
    while sent < 3 * credit {
        part(&mut bench, &body);
        sent += cost;
        while let Some((to, frames)) = bench.sent() {
            if to == "w" {
                let note = Ext::decode(frames.last().unwrap()).unwrap().unwrap();
                more += i64::from(note.credit.expect("nothing else"));
            }
        }
        assert!(
            credit + more - sent > 0,
            "a reader that is quick holds nobody up"
        );
    }
}

#[test]
fn what_is_more_than_is_kept_ends_the_request_and_says_so() {
    let mut few = config();
    few.limits.unread = 3000;
    let (mut bench, request) = asked(few);
    let body = "p".repeat(1000);
    // A worker that does not care about its credit.
    let credit = i64::from(request.credit.unwrap()) / cost_of_part(1000) + 1;
    for _ in 0..credit {
        part(&mut bench, &body);
        flush(&mut bench);
    }
    part(&mut bench, &body);
    let told = flush(&mut bench);
    let (to, note) = &told[0];
    assert_eq!((to.as_str(), note.as_ref().unwrap().op), ("w", Op::Cancel));
    let dead = bench.broker.poll_event();
    let unread = DeadReason::Unread;
    assert!(matches!(dead, Some(BrokerEvent::Dead { reason, .. }) if reason == unread));
    // The rest of it, and its end, are of no use.
    part(&mut bench, &body);
    bench.ext_reply("w", "c", Ext::default(), "end");
    flush(&mut bench);
    let read = reads(&mut bench);
    assert_eq!(read.len() as i64, credit + 1);
    let (end, _) = read.last().unwrap();
    assert_eq!((end.op, end.status), (Op::Final, Some(Status::Failed)));
    assert_eq!(end.part, Some(credit as u32));
    assert_eq!(bench.stats(), (0, 0, 1));
}

#[test]
fn a_client_that_stalls_for_too_long_is_given_up() {
    let mut patient = config();
    patient.policy.lease = Lease::None;
    let (mut bench, _) = asked(patient);
    part(&mut bench, "a");
    flush(&mut bench);
    let stall = BrokerLimits::default().stall;
    // Its worker is alive.
    bench.now += stall;
    bench.broker.handle_timeout(bench.now);
    let told = flush(&mut bench);
    assert!(told
        .iter()
        .any(|(to, ext)| to == "w" && ext.as_ref().map(|ext| ext.op) == Some(Op::Cancel)));
    let read = reads(&mut bench);
    let [(end, _)] = &read[..] else {
        panic!("{read:?}")
    };
    assert_eq!((end.status, end.part), (Some(Status::Failed), None));
    let counters = bench.broker.counters();
    assert_eq!((counters.dead, counters.undeliverable), (1, 1));
}

#[test]
fn others_are_served_meanwhile() {
    let (mut bench, _) = asked(config());
    part(&mut bench, "a");
    flush(&mut bench);
    bench.ready("v", "other");
    bench.call("d", "other", "y");
    bench.reply("v", "d", "z");
    let sent = flush(&mut bench);
    let to: Vec<&str> = sent.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(to, ["v", "d"]);
}

/// A client that asks on and reads nothing, of short replies in parts: each within what its worker may send at once.
#[test]
fn what_waits_for_a_client_has_a_bound_however_much_it_asks_for() {
    let mut patient = config();
    patient.policy.lease = Lease::None;
    let unread = patient.limits.unread;
    let mut bench = Bench::new(patient);
    bench.ext_ready("w", "echo");
    // How much the worker may send of the reply.
    let call = |bench: &mut Bench, name: u8| {
        let ext = Ext {
            id: Some(MsgId([name; 16])),
            ..Ext::default()
        };
        bench.ext_call("c", "echo", ext, "x");
        let (to, frames) = bench.sent().unwrap();
        assert_eq!(to, "w");
        Ext::decode(&frames[5]).unwrap().unwrap().credit.unwrap()
    };
    let body = "p".repeat(100_000);
    let (mut served, mut octets) = (0, 0);
    let name = loop {
        if call(&mut bench, served) == 0 {
            break served;
        }
        part(&mut bench, &body);
        bench.ext_reply("w", "c", Ext::default(), "end");
        flush(&mut bench);
        served += 1;
        octets += body.len();
        assert!(octets < unread + 2 * body.len(), "{octets} octets wait");
    };
    // It reads some, and what is left is still too much. Then it reads all.
    let peer = PeerId::from("c");
    bench.broker.handle_room(bench.now, Port(0), Some(&peer));
    assert_eq!(flush(&mut bench), []);
    let read = reads_all(&mut bench);
    assert_eq!(read.0.len(), 2 * usize::from(served));
    let credit = read.1.expect("its worker may go on");
    assert!(i64::from(credit) >= cost_of_part(body.len()));
    part(&mut bench, &body);
    bench.ext_reply("w", "c", Ext::default(), "end");
    let (rest, _) = reads_all(&mut bench);
    let ids: Vec<_> = rest.iter().map(|ext| ext.id).collect();
    assert_eq!(ids, [Some(MsgId([name; 16])); 2]);

    // One that has not begun to send when its client is given up is told so.
    while octets > 0 {
        call(&mut bench, name);
        part(&mut bench, &body);
        bench.ext_reply("w", "c", Ext::default(), "end");
        flush(&mut bench);
        octets = octets.saturating_sub(body.len());
    }
    assert_eq!(call(&mut bench, name), 0);
    bench.now += BrokerLimits::default().stall;
    bench.broker.handle_timeout(bench.now);
    let told = flush(&mut bench);
    assert!(matches!(&told[..], [(to, Some(note))] if to == "w" && note.op == Op::Cancel));
}

/// All that client "c" gets, and what its worker is told it may send more.
fn reads_all(bench: &mut Bench) -> (Vec<Ext<'static>>, Option<u32>) {
    let peer = PeerId::from("c");
    bench.broker.handle_room(bench.now, Port(0), Some(&peer));
    let (mut read, mut credit) = (Vec::new(), None);
    while let Some((to, frames)) = bench.sent() {
        if to == "c" {
            read.push(Ext::decode(&frames[3]).unwrap().unwrap().into_owned());
        } else {
            credit = Ext::decode(frames.last().unwrap()).unwrap().unwrap().credit;
        }
    }
    (read, credit)
}

/// A worker whose connection has no room is not lost: what it was given waits for it, and is another's if it never takes it.
#[test]
fn what_a_worker_has_no_room_for_waits() {
    let mut bench = Bench::new(config());
    bench.slots_ready("w", "echo", 2);
    bench.call("c", "echo", "1");
    full_of(&mut bench, "w");
    bench.call("d", "echo", "2");
    assert_eq!(bench.log(), [""; 0], "in order");
    assert_eq!(bench.stats(), (0, 2, 2));
    // Nor is it told that the broker lives, which it does not hear.
    bench.heartbeat("w");
    bench.pass(BEAT * 2);
    assert_eq!(bench.log(), [""; 0]);
    let peer = PeerId::from("w");
    bench.broker.handle_room(bench.now, Port(0), Some(&peer));
    assert_eq!(bench.log(), ["w:request 1", "w:request 2"]);
    // What was for one that is gone is for another.
    bench.ready("v", "other");
    bench.call("c", "other", "x");
    full_of(&mut bench, "v");
    bench.down("v");
    bench.ready("u", "other");
    assert_eq!(bench.log(), ["u:request x"]);
}

/// One that takes nothing for too long, though it is busy and need not be heard.
#[test]
fn a_worker_that_takes_nothing_for_too_long_is_lost() {
    let mut patient = config();
    patient.policy.lease = Lease::None;
    let mut bench = Bench::new(patient);
    bench.ready("w", "echo");
    bench.call("c", "echo", "x");
    full_of(&mut bench, "w");
    let stall = BrokerLimits::default().stall;
    bench.pass(stall - BEAT);
    assert_eq!(bench.stats(), (0, 1, 1));
    bench.pass(BEAT);
    assert_eq!(bench.stats(), (1, 0, 0));
    bench.ready("v", "echo");
    assert_eq!(bench.log(), ["v:request x"], "and it is sent nothing more");
}

/// The next message, which is for this one, finds no room.
fn full_of(bench: &mut Bench, peer: &str) {
    let transmit = bench.broker.poll_transmit().expect("something is sent");
    assert_eq!(transmit.to, Some(PeerId::from(peer)));
    bench.broker.handle_full(bench.now, transmit);
}

/// Whole replies wait as well, and for long: nothing holds them back.
#[test]
fn replies_wait_up_to_what_all_may_have() {
    let mut few = config();
    few.limits.unread = 1;
    few.limits.bytes = 5000;
    let mut bench = Bench::new(few);
    bench.ready("w", "echo");
    let body = "r".repeat(1000);
    for number in 0..8 {
        bench.call("c", "echo", &number.to_string());
        bench.sent().expect("a request");
        bench.reply("w", "c", &body);
        flush(&mut bench);
    }
    // With their envelopes, five are more than that.
    assert_eq!(bench.broker.counters().undeliverable, 3);
    // Who reads loses nothing.
    bench.call("d", "echo", "x");
    bench.sent().expect("a request");
    bench.reply("w", "d", "y");
    assert_eq!(bench.log(), ["d:reply y"]);
    let peer = PeerId::from("c");
    bench.broker.handle_room(bench.now, Port(0), Some(&peer));
    assert_eq!(bench.log().len(), 5);
    bench.call("c", "echo", "x");
    bench.sent().expect("a request");
    bench.reply("w", "c", "y");
    assert_eq!(bench.log(), ["c:reply y"]);
}
