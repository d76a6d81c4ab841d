//! Tokens, gates and credit on real sockets and threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Context, Dealer, Endpoint, Message, Req, Router};
use sinew_patterns::flow::{
    Admission, CreditReceiver, CreditSender, Gate, GateConfig, GatedRouter, Rejected, TokenBucket,
    TokenClient, TokenConfig, TokenMint, TokenServer, Unreachable,
};

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
    // What was granted is good for its lease; after that each does what it was told.
    while closed.tokens() > 0 {
        closed.try_take(1).unwrap();
    }
    assert!(closed.take(1, Duration::from_millis(20)).is_err());
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
    let mut router = Router::new();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut config = GateConfig {
        inside: 2,
        admission: Admission::PerClientFair,
        ..GateConfig::default()
    };
    config.queue.messages = 4;
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
    assert!(full > 0 && served >= 6, "{full} {served}");
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
