//! Tokens, gates and credit on real sockets and threads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Context, Dealer, Endpoint, Message, Req, Router, SocketEvent};
use sinew_patterns::common::OnFull;
use sinew_patterns::flow::{
    Admission, CreditInlet, CreditReceiver, CreditSendError, CreditSender, Gate, GateConfig,
    GateCounters, GatedRouter, InletEvent, Rejected, TokenBucket, TokenClient, TokenConfig,
    TokenMint, TokenServer, Unreachable,
};
use sinew_patterns::RouterShell;

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + LONG
}

/// FLW-02: 64 threads take no more than the rate allows, by the clock of the test itself.
#[test]
fn sixty_four_threads_share_a_bucket() {
    let begin = Instant::now();
    let bucket = TokenBucket::new(20_000.0, 100, begin);
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if bucket.try_take(Instant::now(), 1).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let most = begin.elapsed().as_secs_f64() * 20_000.0 + 100.0;
    let taken = taken.load(Ordering::Relaxed);
    assert!(
        taken >= 100 && taken as f64 <= most + 1.0,
        "{taken} of {most}"
    );
}

/// FLW-03: clients of one bucket, over a restart of its server; and a plain REQ.
#[test]
fn a_token_server_that_ends_and_comes_back() {
    let context = Context::default();
    let serve = |at: &[Endpoint]| {
        let mut mint = TokenMint::new(LONG);
        mint.set_bucket("b", 100_000.0, 10, Instant::now());
        TokenServer::bind_with(&context, at, mint).unwrap()
    };
    let server = serve(&["tcp://127.0.0.1:*".parse().unwrap()]);
    let at = server.endpoints().to_vec();
    let config = TokenConfig {
        retry: Duration::from_millis(5),
        timeout: Duration::from_millis(200),
        ..TokenConfig::default()
    };
    let closed = TokenClient::connect(&context, &at, "b", config).unwrap();
    let open = TokenClient::connect(
        &context,
        &at,
        "b",
        TokenConfig {
            on_unreachable: Unreachable::Open,
            ..config
        },
    )
    .unwrap();
    for _ in 0..100 {
        closed.take(1, LONG).unwrap();
        open.take(1, LONG).unwrap();
    }
    drop(server);
    // What was granted is good for its lease, and some of it may only be on its way here; after that each does what it was
    // told.
    let mut takes = (0..100_000).map(|_| closed.take(1, Duration::from_millis(20)));
    assert!(takes.any(|taken| taken.is_err()));
    for _ in 0..100 {
        open.take(1, LONG).unwrap();
    }
    let server = serve(&at);
    closed.take(1, LONG).unwrap();
    let mut plain = Req::builder().connect(&at[0]).unwrap();
    let take = |n: u32| Message::multipart([&b"TAKE"[..], b"b", &n.to_be_bytes()]);
    plain.send(take(1)).unwrap();
    let reply = plain.recv_timeout(LONG).unwrap();
    assert!(matches!(reply.frame(0).unwrap().as_slice(), b"OK" | b"NO"));
    plain.send("rubbish").unwrap();
    assert_eq!(plain.recv_timeout(LONG).unwrap().frame(0).unwrap(), "NO");
    drop(server);
}

/// FLW-07: a permit comes back, also by a panic; and those who wait get in in turn.
#[test]
fn permits_come_back() {
    let gate = Gate::new(GateConfig {
        inside: 1,
        ..GateConfig::default()
    });
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8u8)
        .map(|number| {
            let (gate, inside) = (gate.clone(), Arc::clone(&inside));
            thread::spawn(move || {
                for _ in 0..50 {
                    let _permit = gate.enter([number], 1, LONG).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
                let _permit = gate.enter([number], 1, LONG).unwrap();
                panic!("a thread of this test panics inside");
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().is_err());
    }
    assert_eq!(gate.load(), (0, 0, 0));
    assert_eq!(gate.counters().admitted, 8 * 51);
    let permit = gate.try_enter("a", 1).unwrap();
    assert!(matches!(gate.try_enter("b", 1), Err(Rejected::Full { .. })));
    assert_eq!(
        gate.enter("b", 1, Duration::ZERO).unwrap_err(),
        Rejected::Late
    );
    drop(permit);
}

/// FLW-04 in front of a ROUTER: what is inside is bounded, and everyone is answered.
#[test]
fn a_gate_in_front_of_a_router() {
    let (served, counters) = two_hundred_at_a_gate(OnFull::Reject);
    assert_eq!(counters.full as usize, 200 - served);
    assert!((6..200).contains(&served), "{served}");
}

/// SUB-06: nothing is read while it is full, and nobody is turned away.
#[test]
fn a_full_gate_in_front_of_a_router_reads_no_more() {
    let (served, counters) = two_hundred_at_a_gate(OnFull::Wait);
    assert_eq!((served, counters.full), (200, 0));
    assert!(counters.waited > 0, "{counters:?}");
}

/// How many of them get in.
fn two_hundred_at_a_gate(on_full: OnFull) -> (usize, GateCounters) {
    let mut router = Router::new();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut config = GateConfig {
        inside: 2,
        admission: Admission::PerClientFair,
        ..GateConfig::default()
    };
    config.queue.messages = 4;
    config.queue.on_full = on_full;
    // The share of a client is not waited for.
    config.queue.per_flow = 5;
    let mut gated = GatedRouter::new(router, config, None, |_, _| Some("full".into()));
    let (answered, done) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
        for turn in 0..200 {
            dealer.send(turn.to_string()).unwrap();
        }
        let replies: Vec<Message> = (0..200)
            .map(|_| dealer.recv_timeout(LONG).unwrap())
            .collect();
        answered.send(replies).unwrap();
        dealer.close();
    });
    let mut served = 0usize;
    let replies = loop {
        if let Ok(replies) = done.try_recv() {
            break replies;
        }
        // Two are taken in before either is answered.
        let tick = Instant::now() + Duration::from_millis(5);
        let admitted: Vec<_> = (0..2).filter_map(|_| gated.recv_deadline(tick)).collect();
        let (inside, waiting, _) = gated.load();
        assert!(inside <= 2 && waiting <= 4);
        for request in admitted {
            served += 1;
            gated.done(request.ticket, Some("served".into()));
        }
    };
    thread.join().unwrap();
    let full = replies.iter().filter(|reply| **reply == "full".into());
    let (full, counters) = (full.count(), gated.counters());
    assert_eq!((full + served, counters.full as usize), (200, full));
    (served, counters)
}

/// Nobody waits for a client that does not read: answers for which it has no room are lost, and counted.
#[test]
fn answers_that_nobody_reads_are_counted() {
    const REQUESTS: u64 = 50;
    let mut router = Router::builder().send_hwm(2).build().unwrap();
    let endpoint = router.bind("inproc://answers-that-nobody-reads").unwrap();
    let mut dealer = Dealer::builder().recv_hwm(3).connect(&endpoint).unwrap();
    let mut config = GateConfig {
        inside: 1,
        ..GateConfig::default()
    };
    config.queue.messages = 1;
    let mut gated = GatedRouter::new(router, config, None, |_, _| Some("full".into()));
    for _ in 0..REQUESTS {
        dealer.send("work").unwrap();
    }
    let inside = gated.recv_deadline(Instant::now() + LONG).unwrap();
    let end = Instant::now() + LONG;
    while gated.counters().full < REQUESTS - 2 {
        assert!(Instant::now() < end, "{:?}", gated.counters());
        let tick = Instant::now() + Duration::from_millis(5);
        assert!(gated.recv_deadline(tick).is_none());
    }
    gated.done(inside.ticket, Some("served".into()));
    let answers = std::iter::from_fn(|| dealer.try_recv().ok());
    let answers: Vec<Message> = answers.collect();
    assert!(answers.contains(&"full".into()));
    let unsent = gated.counters().unsent;
    assert!(unsent > 0);
    assert_eq!(unsent + answers.len() as u64, REQUESTS - 1);
}

/// However many requests wait, each has its reply: tokens, or when to come back.
#[test]
fn a_token_server_answers_each_request() {
    const REQUESTS: u32 = 900;
    let context = Context::default();
    let server = TokenServer::bind(&context, &["tcp://127.0.0.1:*"], LONG).unwrap();
    server.set_bucket("b", 1e6, 10);
    let mut client = Dealer::builder().connect(&server.endpoints()[0]).unwrap();
    for number in 0..REQUESTS {
        let (name, one) = (number.to_be_bytes(), 1u32.to_be_bytes());
        let request: [&[u8]; 5] = [&name, b"", b"TAKE", b"b", &one];
        client.send(Message::multipart(request)).unwrap();
    }
    let mut seen = BTreeSet::new();
    for _ in 0..REQUESTS {
        let reply = client.recv_deadline(soon()).unwrap();
        assert!(seen.insert(reply.frames()[0].to_vec()), "one reply to each");
        match reply.frames()[2].as_slice() {
            b"OK" => assert_eq!(reply.frames()[3].as_slice(), 1u32.to_be_bytes()),
            b"NO" => assert_eq!(reply.frames().len(), 4),
            other => panic!("{other:?}"),
        }
    }
}

/// More than half of a fetch is waited for by a client that has just less than that.
#[test]
fn a_client_waits_for_more_than_half_of_a_fetch() {
    let context = Context::default();
    let mut mint = TokenMint::new(LONG);
    mint.set_bucket("b", 1000.0, 1000, Instant::now() - Duration::from_secs(1));
    let server = TokenServer::bind_with(&context, &["tcp://127.0.0.1:*"], mint).unwrap();
    let at = server.endpoints();
    let client = TokenClient::connect(&context, at, "b", TokenConfig::default()).unwrap();
    for n in [4, 8, 10, 7, 9] {
        client.take(n, LONG).unwrap();
    }
}

/// FLW-06 on sockets: a slow receiver holds a window and no more, and loses nothing.
#[test]
fn credit_makes_the_sender_wait() {
    let context = Context::default();
    let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], 1000).unwrap();
    let at = receiver.endpoints()[0].clone();
    let thread = thread::spawn(move || {
        let mut sender = CreditSender::connect(&Context::default(), at).unwrap();
        for _ in 0..500 {
            sender.send_deadline([7; 100], soon()).unwrap();
        }
        // Larger than the window: it goes alone.
        sender.send_deadline(vec![8; 5000], soon()).unwrap();
        // It is not lost by closing, but the receiver would no longer be told when it has gone.
        while sender.credit() == 0 {
            let _ = sender.send_deadline("", soon());
        }
        sender.close();
    });
    // Nothing is consumed: ten come, and no more.
    let mut held: Vec<_> = (0..10)
        .map(|_| receiver.recv_deadline(soon()).unwrap())
        .collect();
    assert_eq!(receiver.held(), 1000);
    assert!(receiver.recv_deadline(Instant::now()).is_none());
    let mut count = 0;
    while let Some(delivery) = held.pop().or_else(|| receiver.recv_deadline(soon())) {
        let large = delivery.message.byte_len() == 5000;
        assert!(receiver.held() <= 1000, "{}", receiver.held());
        receiver.consumed(&delivery);
        if large {
            break;
        }
        count += 1;
    }
    assert_eq!(count, 500);
    assert!(
        receiver.recv_deadline(soon()).is_some(),
        "the last, empty one"
    );
    assert_eq!(receiver.counters().malformed, 0);
    thread.join().unwrap();
}

/// A sender is gone before the receiver takes what it has sent: word of that comes after the last message, however many
/// there are.
#[test]
fn what_was_sent_before_a_sender_went_is_received() {
    const MESSAGES: usize = 900;
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut monitor = router.monitor();
    let mut shell = RouterShell::new(router, CreditInlet::new(1 << 20));
    let thread = thread::spawn(move || {
        let mut sender = CreditSender::connect(&Context::default(), at).unwrap();
        for _ in 0..MESSAGES {
            sender.send_deadline("message", soon()).unwrap();
        }
        sender.close();
    });
    let InletEvent::Delivery(first) = shell.next_event(soon()).unwrap() else {
        unreachable!("there are no others");
    };
    assert_eq!(first.message, "message".into());
    while !matches!(
        monitor.recv_timeout(LONG),
        Some(SocketEvent::Disconnected { .. })
    ) {}
    for _ in 1..MESSAGES {
        assert!(shell.next_event(soon()).is_some());
    }
    assert_eq!(shell.engine().counters().malformed, 0);
    thread.join().unwrap();
}

/// It is told at once, and those after it go their way, whether or not it is larger than the window, too.
#[test]
fn a_message_larger_than_the_socket_sends() {
    for window in [1000, 1 << 30] {
        let context = Context::default();
        let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], window).unwrap();
        let at = receiver.endpoints()[0].clone();
        let thread = thread::spawn(move || {
            let mut sender = CreditSender::connect(&Context::default(), at).unwrap();
            for _ in 0..2 {
                let octets = (64 << 20) + 1;
                let unsent = sender.send_deadline(vec![0; octets], soon()).unwrap_err();
                let told = (octets as u64, 64 << 20);
                assert!(
                    matches!(&unsent, CreditSendError::TooLarge { size, limit, .. } if (*size, *limit) == told),
                    "{unsent}"
                );
                assert_eq!(unsent.into_message().byte_len(), octets);
                assert_eq!(sender.credit(), window);
            }
            sender.send_deadline("small", soon()).unwrap();
            sender.close();
        });
        let delivery = receiver.recv_deadline(soon()).unwrap();
        assert_eq!(delivery.message, "small".into());
        assert_eq!(receiver.counters().messages, 1);
        thread.join().unwrap();
    }
}

/// The window is larger than what the sockets hold: it goes on as soon as they have room, long before the receiver
/// has a reason to grant anything.
#[test]
fn a_window_beyond_what_sockets_hold() {
    let context = Context::default();
    let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], 1 << 30).unwrap();
    let at = receiver.endpoints()[0].clone();
    let (full, is_full) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut sender = CreditSender::connect(&Context::default(), at).unwrap();
        sender.send_deadline("first", soon()).unwrap();
        let mut sent = 1;
        // A socket that takes nothing though there is credit.
        while sender.send_deadline([7; 1000], Instant::now()).is_ok() {
            sent += 1;
        }
        assert!(sender.credit() > 1 << 29);
        full.send(sent + 3000).unwrap();
        for _ in 0..3000 {
            sender.send_deadline("more", soon()).unwrap();
        }
        sender.close();
    });
    assert!(receiver.recv_deadline(soon()).is_some());
    for _ in 1..is_full.recv().unwrap() {
        let delivery = receiver.recv_deadline(soon()).unwrap();
        receiver.consumed(&delivery);
    }
    thread.join().unwrap();
}
