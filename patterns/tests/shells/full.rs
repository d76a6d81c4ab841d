//! Servers that read no more when their queue is full, and clients that wait.

use super::*;
use sinew_patterns::common::{OnFull, FRAME_COST};

const CLIENTS: usize = 4;
const REQUESTS: usize = 200;

/// Full in messages, and full in octets.
fn bounds() -> [Limits; 2] {
    let waits = Limits {
        on_full: OnFull::Wait,
        ..Limits::default()
    };
    [
        Limits {
            messages: 2,
            ..waits
        },
        Limits {
            bytes: 2 * (1 + FRAME_COST),
            ..waits
        },
    ]
}

/// SUB-06: nobody is declined, however much more is asked than there is room for, and the queue keeps its bounds.
#[test]
fn a_full_server_lets_its_clients_wait() {
    for queue in bounds() {
        let config = ServerConfig {
            concurrency: 2,
            queue,
            ..ServerConfig::default()
        };
        let serving = serve("tcp://127.0.0.1:*", config, |request| {
            Ok(request.take_body())
        });
        let handle = serving.handle.clone();
        let (done, all_done) = mpsc::channel();
        for _ in 0..CLIENTS {
            let (at, done) = (serving.at.clone(), done.clone());
            thread::spawn(move || {
                let mut dealer = Dealer::builder().connect(&at).unwrap();
                for number in 0..REQUESTS {
                    let number = number.to_be_bytes();
                    let request: [&[u8]; 3] = [&number, b"", b"x"];
                    dealer.send(Message::multipart(request)).unwrap();
                }
                let replies: Vec<Message> = (0..REQUESTS)
                    .map(|_| dealer.recv_timeout(LONG.deadline).unwrap())
                    .collect();
                done.send(replies).unwrap();
            });
        }
        for _ in 0..CLIENTS {
            let replies = loop {
                let (waiting, octets, running) = handle.load();
                assert!(waiting <= queue.messages && octets <= queue.bytes && running <= 2);
                match all_done.try_recv() {
                    Ok(replies) => break replies,
                    Err(mpsc::TryRecvError::Empty) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            // Each once.
            let mut numbers: Vec<_> = replies.iter().map(|r| r.frames()[0].to_vec()).collect();
            numbers.sort();
            let all = (0..REQUESTS).map(|number| number.to_be_bytes().to_vec());
            assert_eq!(numbers, all.collect::<Vec<_>>());
        }
        let counters = handle.counters();
        let all = (CLIENTS * REQUESTS) as u64;
        assert_eq!((counters.requests, counters.replies), (all, all));
        assert_eq!((counters.rejected, counters.silent), (0, 0));
        assert!(counters.waited > 0, "{counters:?}");
        serving.drain();
    }
}

/// While nothing is read for want of room, a client that is lost is noticed, and what it has makes room for others.
#[test]
fn a_full_server_notices_who_is_gone() {
    for queue in bounds() {
        let config = ServerConfig {
            concurrency: 1,
            queue,
            ..ServerConfig::default()
        };
        let (begun, begins) = mpsc::channel();
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let serving = serve("tcp://127.0.0.1:*", config, move |request| {
            begun.send(()).unwrap();
            // Until this is dropped.
            let _ = gate.lock().unwrap().recv();
            Ok(request.take_body())
        });
        let mut gone = Dealer::builder().connect(&serving.at).unwrap();
        for _ in 0..10 {
            gone.send(Message::multipart(["", "x"])).unwrap();
        }
        begins.recv_timeout(LONG.deadline).unwrap();
        while serving.handle.counters().waited == 0 {
            thread::yield_now();
        }
        // One is carried out, two are in the queue, and one is in front of it.
        assert_eq!(serving.handle.counters().requests, 4);
        gone.close();
        // All that it had sent is read and given up, but for what is carried out.
        while serving.handle.load().0 > 0 || serving.handle.counters().cancelled < 10 {
            thread::yield_now();
        }
        drop(go_on);
        let client = Client::connect(
            &Context::default(),
            std::slice::from_ref(&serving.at),
            ext(),
        );
        assert_eq!(client.unwrap().call("x", &LONG).unwrap(), "x".into());
        let counters = serving.handle.counters();
        assert_eq!((counters.started, counters.rejected), (2, 0));
        serving.drain();
    }
}

/// The same for tasks and threads at a gate: nobody is turned away.
#[test]
fn a_full_gate_lets_all_of_them_wait() {
    use sinew_patterns::flow::{Admission, Gate, GateConfig};

    for queue in bounds() {
        let gate = Gate::new(GateConfig {
            inside: 2,
            queue,
            admission: Admission::Fifo,
            ..GateConfig::default()
        });
        let held = [(); 2].map(|()| gate.enter("holder", 1, LONG.deadline).unwrap());
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let bytes = 1 + FRAME_COST;
                    let permit = gate.enter("x", bytes, LONG.deadline).unwrap();
                    let others = inside.fetch_add(1, Ordering::Relaxed);
                    assert!(others < 2);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                });
            }
            while gate.outside() < 14 {
                thread::yield_now();
            }
            assert_eq!(gate.load(), (2, 2, 2 * (1 + FRAME_COST)));
            drop(held);
        });
        let counters = gate.counters();
        assert_eq!((counters.admitted, counters.full), (18, 0));
        assert!(counters.waited >= 14, "{counters:?}");
        assert_eq!((gate.load(), gate.outside()), ((0, 0, 0), 0));
    }
}
