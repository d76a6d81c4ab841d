//! What brokers and servers take of memory, counted by the allocator of this process.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sinew::{Frame, Message};
use sinew_patterns::common::{
    Engine, Ext, ExtError, Limits, MsgId, PeerId, Port, Random, Status, Transmit,
};
use sinew_patterns::mdp::{BrokerConfig, BrokerEngine, ServicePolicy};
use sinew_patterns::rpc::{ServerConfig, ServerEngine};

#[path = "../../tests/hostile/heap.rs"]
mod heap;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// There is one count for all tests of this file.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// A message of 7/MDP from this peer.
fn from(broker: &mut BrokerEngine, peer: &str, frames: Vec<Frame>) -> Vec<Transmit> {
    let (now, peer) = (Instant::now(), PeerId::from(peer));
    broker.handle_message(now, Port(0), Some(&peer), Message::multipart(frames));
    std::iter::from_fn(|| broker.poll_transmit()).collect()
}

fn call(service: &str, body: Frame) -> Vec<Frame> {
    vec!["".into(), "MDPC01".into(), service.into(), body]
}

fn ready(service: &str) -> Vec<Frame> {
    vec!["".into(), "MDPW01".into(), [1].into(), service.into()]
}

fn reply(client: &str, body: Frame) -> Vec<Frame> {
    let empty = Frame::default;
    vec![
        empty(),
        "MDPW01".into(),
        [3].into(),
        client.into(),
        empty(),
        body,
    ]
}

/// MDP-12: what is forwarded is the memory that came, both ways, and nothing of its size is taken beside it.
#[test]
fn forwarding_copies_no_payload() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut broker = BrokerEngine::new(BrokerConfig::default());
    from(&mut broker, "worker", ready("echo"));
    let body = Frame::from(vec![7; MIB]);
    let (peak, ()) = heap::peak_of(|| {
        for _ in 0..50 {
            let sent = from(&mut broker, "client", call("echo", body.clone()));
            let forwarded = sent[0].message.frames().last().unwrap().clone();
            assert_eq!(forwarded.as_ptr(), body.as_ptr());
            let sent = from(&mut broker, "worker", reply("client", forwarded));
            assert_eq!(sent[0].to, Some(PeerId::from("client")));
            let back = sent[0].message.frames().last().unwrap();
            assert_eq!((back.as_ptr(), back.len()), (body.as_ptr(), MIB));
        }
    });
    assert!(peak < MIB / 16, "{peak} octets for messages of {MIB}");
    assert_eq!(broker.counters().replies, 50);
}

/// MDP-05: a queue at its limit takes no more memory however many are declined, and another service is not kept
/// waiting.
#[test]
fn a_full_queue_takes_no_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = BrokerConfig {
        policy: ServicePolicy {
            queue: Limits {
                messages: 100,
                per_flow: 100,
                ..Limits::default()
            },
            ..ServicePolicy::default()
        },
        ..BrokerConfig::default()
    };
    let mut broker = BrokerEngine::new(config);
    from(&mut broker, "quick", ready("quick"));
    from(&mut broker, "slow", ready("slow"));
    let header = Ext::default().encode().unwrap();
    let mut flood = |calls: usize| {
        for _ in 0..calls {
            let mut frames = call("slow", header.clone());
            frames.push(vec![1; 1000].into());
            let answers = from(&mut broker, "client", frames);
            assert!(answers.len() <= 1);
        }
    };
    flood(200);
    let full = heap::live();
    let (peak, ()) = heap::peak_of(|| flood(20_000));
    let grown = heap::live().saturating_sub(full);
    assert!(
        peak < 16 << 10 && grown < 4 << 10,
        "{peak} at once, {grown} for good"
    );
    let counters = broker.counters();
    assert_eq!((counters.dispatched, counters.rejected), (1, 20_200 - 101));
    let sent = from(&mut broker, "other", call("quick", "x".into()));
    assert_eq!(sent[0].to, Some(PeerId::from("quick")));
}

/// SUB-05: whatever a frame announces, to decode it takes no more memory than the longest header has octets.
#[test]
fn a_header_takes_no_more_than_it_may_have() {
    const CASES: usize = 1_000_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let names = |count: usize, long: usize| {
        let mut frame = b"\xaa\xae\x01".to_vec();
        frame.extend((count as u32).to_be_bytes());
        for name in 0..count {
            let name = format!("{name:0long$}");
            frame.push(name.len() as u8);
            frame.extend(name.bytes());
            frame.extend([0; 4]);
        }
        frame
    };
    let mut ext = Ext::default();
    ext.id = Some(MsgId([3; 16]));
    ext.key = Some(b"order".into());
    ext.reason = Some("why".into());
    ext.other = (0..20)
        .map(|name| (name.to_string().into(), b"own".into()))
        .collect();
    let honest = [ext.encode().unwrap().to_vec(), names(Ext::MAX_OWN, 80)];
    // As many names as fit, and a number of them that is not to be believed.
    let mut many = names(900, 3);
    assert!(many.len() < Ext::MAX);
    assert!(matches!(Ext::decode(&many), Err(ExtError::TooMany(_))));
    many[3..7].fill(0xff);
    let mut random = Random::new(5);
    let (mut read, mut most) = (0, 0);
    for case in 0..CASES {
        let mut frame = match case % 3 {
            2 => many.clone(),
            honest_one => honest[honest_one].clone(),
        };
        for _ in 0..random.below(4) {
            let at = random.below(frame.len() as u64) as usize;
            match random.below(3) {
                0 => frame.truncate(at.max(7)),
                1 => frame[at] ^= 1 << random.below(8),
                _ => frame.insert(at, random.next_u64() as u8),
            }
        }
        let decode = || Ext::decode(&frame).map(|ext| ext.is_some());
        let (mut peak, decoded) = heap::peak_of(decode);
        // Other threads of this process may have taken it; then they have not the next time.
        for _ in 0..5 {
            if peak > Ext::MAX {
                peak = peak.min(heap::peak_of(decode).0);
            }
        }
        read += usize::from(decoded == Ok(true));
        most = most.max(peak);
    }
    assert!(most <= Ext::MAX, "{most} octets for one header");
    // It looked at both.
    assert!(read > CASES / 10 && read < CASES, "{read}");
    assert!(most > Ext::MAX / 4, "{most}");
}

/// RPC-07: a server whose handlers do not come back declines what is too much, each with when to come back, and takes
/// no more memory however much that is.
#[test]
fn a_server_that_is_asked_too_much_takes_no_more() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut server = ServerEngine::new(ServerConfig {
        concurrency: 4,
        queue: Limits {
            messages: 100,
            per_flow: 100,
            ..Limits::default()
        },
        ..ServerConfig::default()
    });
    let (now, peer) = (Instant::now(), PeerId::from("client"));
    let header = Ext::default().encode().unwrap();
    let mut correlation = 0u64;
    let mut flood = |calls: u64| {
        let mut declined = 0;
        for _ in 0..calls {
            correlation += 1;
            let frames: [Frame; 4] = [
                correlation.to_be_bytes().into(),
                Frame::default(),
                header.clone(),
                vec![1; 1000].into(),
            ];
            server.handle_message(now, Port(0), Some(&peer), Message::multipart(frames));
            // They were begun, and nothing more is heard of them.
            while server.poll_event().is_some() {}
            while let Some(answer) = server.poll_transmit() {
                let frames = answer.message.frames();
                assert_eq!(frames[0], correlation.to_be_bytes()[..]);
                let ext = Ext::decode(&frames[2]).unwrap().unwrap();
                assert_eq!(ext.status, Some(Status::Rejected));
                assert!(ext.retry_after.is_some());
                declined += 1;
            }
        }
        declined
    };
    // What it remembers of requests over a connection is bounded as well.
    assert_eq!(flood(20_000), 20_000 - 104);
    let full = heap::live();
    let (peak, declined) = heap::peak_of(|| flood(20_000));
    let grown = heap::live().saturating_sub(full);
    assert_eq!(declined, 20_000);
    assert!(
        peak < 16 << 10 && grown < 4 << 10,
        "{peak} at once, {grown} for good"
    );
    assert_eq!(server.counters().rejected, 40_000 - 104);
}
