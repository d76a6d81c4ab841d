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

/// Waits until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG.deadline;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::yield_now();
    }
}

/// A server with one handler, which holds every request until what is returned beside it is dropped; and where it tells that
/// it has one.
fn held(queue: Limits) -> (Serving, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let config = ServerConfig {
        concurrency: 1,
        queue,
        ..ServerConfig::default()
    };
    let (begun, begins) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let serving = serve("tcp://127.0.0.1:*", config, move |request| {
        // Whoever waits for the first of them may be done.
        let _ = begun.send(());
        let _ = gate.lock().unwrap().recv();
        Ok(request.take_body())
    });
    (serving, go_on, begins)
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
        let (serving, go_on, begins) = held(queue);
        let counters = || serving.handle.counters();
        let mut gone = Dealer::builder().connect(&serving.at).unwrap();
        for _ in 0..10 {
            gone.send(Message::multipart(["", "x"])).unwrap();
        }
        begins.recv_timeout(LONG.deadline).unwrap();
        until("one waits", || counters().waited > 0);
        // One is carried out, two are in the queue, and one is in front of it.
        assert_eq!(counters().requests, 4);
        gone.close();
        // All that it had sent is read and given up, but for what is carried out.
        until("all are given up", || {
            serving.handle.load().0 == 0 && counters().cancelled == 10
        });
        drop(go_on);
        let client = Client::connect(
            &Context::default(),
            std::slice::from_ref(&serving.at),
            ext(),
        );
        assert_eq!(client.unwrap().call("x", &LONG).unwrap(), "x".into());
        assert_eq!((counters().started, counters().rejected), (2, 0));
        serving.drain();
    }
}

/// What waits for room and is late makes room for the next to wait, though no handler is done.
#[test]
fn a_full_server_reads_on_when_what_waited_is_late() {
    const LATE: u64 = 10;
    for queue in bounds() {
        let (serving, go_on, begins) = held(queue);
        let mut client = Dealer::builder().connect(&serving.at).unwrap();
        for _ in 0..3 {
            client.send(Message::multipart(["", "x"])).unwrap();
        }
        begins.recv_timeout(LONG.deadline).unwrap();
        let mut ext = Ext::default();
        ext.deadline = Some(Duration::from_millis(20));
        let ext = ext.encode().unwrap();
        for _ in 0..LATE {
            let request = [Frame::default(), ext.clone(), "x".into()];
            client.send(Message::multipart(request)).unwrap();
        }
        for _ in 0..LATE {
            let answer = client.recv_timeout(LONG.deadline).unwrap();
            let ext = Ext::decode(&answer.frames()[1]).unwrap().unwrap();
            assert_eq!(ext.status, Some(Status::Expired));
        }
        let counters = serving.handle.counters();
        assert_eq!((counters.waited, counters.expired), (LATE, LATE));
        assert_eq!((counters.started, counters.rejected), (1, 0));
        drop(go_on);
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
            until("all are there", || gate.outside() == 14);
            assert_eq!(gate.load(), (2, 2, 2 * (1 + FRAME_COST)));
            drop(held);
        });
        let counters = gate.counters();
        assert_eq!((counters.admitted, counters.full), (18, 0));
        assert!(counters.waited >= 14, "{counters:?}");
        assert_eq!((gate.load(), gate.outside()), ((0, 0, 0), 0));
    }
}
