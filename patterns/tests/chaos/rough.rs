//! Every pattern over a network that is slow, late, resets connections, repeats messages, breaks off in their midst and
//! brings octets that nobody sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Message};
use sinew_patterns::flow::{
    CreditReceiver, CreditSender, TokenClient, TokenConfig, TokenMint, TokenServer,
};
use sinew_patterns::mdp::ServicePolicy;

use crate::majordomo::{self, any_port};
use crate::network::{key, serve};
use crate::proxy::{Proxy, Spoil};
use crate::remote::{broker, heartbeat, policy, Remote, Victim};
use crate::requests::{client, plain_client, LONG};

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rough {
    Slow,
    Late,
    Resets,
    Repeats,
    Halves,
    /// Octets between messages.
    Adds(&'static [u8]),
}

const ALL: [Rough; 9] = [
    Rough::Slow,
    Rough::Late,
    Rough::Resets,
    Rough::Repeats,
    Rough::Halves,
    // No frame: reserved flags.
    Rough::Adds(&[0xff; 40]),
    // A frame of eight exbioctets.
    Rough::Adds(&[2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    // A command that nobody knows.
    Rough::Adds(b"\x04\x09\x08RUBBISH!"),
    // Whole messages of somebody else: of one frame, of an empty one, and a request as a REQ makes it.
    Rough::Adds(b"\0\x03abc\0\0\x01\0\0\x08ABCDEFGH"),
];

/// Attempts that are lost without a word are made again after this.
const ATTEMPT: Duration = Duration::from_millis(250);

impl Rough {
    /// From now on it is so.
    fn begin(self, proxy: &Proxy) {
        match self {
            Rough::Slow => proxy.slow(50_000),
            Rough::Late => proxy.delay(Duration::from_millis(2)),
            _ => {}
        }
    }

    /// It happens once more.
    fn strike(self, proxy: &Proxy) {
        match self {
            Rough::Slow | Rough::Late => {}
            Rough::Resets => proxy.reset(),
            Rough::Repeats => proxy.spoil(&Spoil::Twice),
            Rough::Halves => proxy.spoil(&Spoil::Half),
            Rough::Adds(octets) => proxy.spoil(&Spoil::Before(octets.to_vec())),
        }
    }

    /// It did happen.
    fn check(self, proxy: &Proxy, strikes: u32) {
        let spoils = match self {
            Rough::Slow | Rough::Late | Rough::Resets => false,
            Rough::Repeats | Rough::Halves | Rough::Adds(_) => true,
        };
        assert!(strikes > 0, "{self:?}");
        assert_eq!(proxy.spoilt() > 0, spoils, "{self:?}");
    }

    /// Strikes again and again, each time that so much more was done, until it is all done.
    fn weather<T>(self, proxy: &Proxy, threads: Vec<JoinHandle<T>>, done: impl Fn() -> u64) {
        const STEP: u64 = 10;
        let mut next = STEP;
        let mut strikes = 0;
        while !threads.iter().all(JoinHandle::is_finished) {
            if done() >= next {
                next += STEP;
                strikes += 1;
                self.strike(proxy);
            }
            thread::yield_now();
        }
        for thread in threads {
            thread.join().unwrap_or_else(|_| panic!("{self:?}"));
        }
        self.check(proxy, strikes);
    }
}

/// Calls by four threads, each of which has its own reply.
fn calls<F>(rough: Rough, proxy: &Proxy, call: F)
where
    F: Fn(u64, Message) -> Message + Clone + Send + 'static,
{
    rough.begin(proxy);
    let done = Arc::new(AtomicU64::new(0));
    let threads = (0..4).map(|thread| {
        let (call, done) = (call.clone(), Arc::clone(&done));
        thread::spawn(move || {
            for turn in 0..20 {
                let number = thread * 1000 + turn;
                let body = Message::from(number.to_string());
                assert_eq!(call(number, body.clone()), body);
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    rough.weather(proxy, threads.collect(), || done.load(Ordering::Relaxed));
}

/// RPC-01, RPC-02, RPC-06: each call has its own reply, and what has a key is carried out once.
#[test]
fn requests() {
    for rough in ALL {
        let server = serve();
        let proxy = Proxy::to(&server.at);
        let client = client(&[proxy.endpoint()], ATTEMPT);
        let calling = client.clone();
        calls(rough, &proxy, move |number, body| {
            calling.call(body, &key(number)).unwrap()
        });
        let counters = client.counters();
        assert_eq!((counters.calls, counters.replies), (80, 80), "{rough:?}");
        let mut effects = server.end();
        // What somebody else asked for.
        effects.remove("ABCDEFGH");
        assert_eq!(effects.len(), 80, "{rough:?}");
        assert!(effects.values().all(|count| *count == 1), "{effects:?}");
    }
}

/// MDP-01, MDP-07: each call has its own reply, and in the end the broker holds nothing.
fn services(rough: Rough, between_workers: bool) {
    let broker = broker(&Context::default(), &any_port());
    if between_workers {
        // A call may lose all the workers that it is given by default, if strikes follow upon another fast enough.
        let policy = ServicePolicy {
            max_deliveries: u32::MAX,
            ..policy(heartbeat())
        };
        broker.handle().set_policy("work", policy);
    }
    let at = broker.endpoints()[0].clone();
    let proxy = Proxy::to(&at);
    let (ours, theirs) = match between_workers {
        true => (&at, proxy.endpoint()),
        false => (proxy.endpoint(), &at),
    };
    let _workers = [(); 2].map(|()| Remote::worker(std::slice::from_ref(theirs)));
    let client = majordomo::client(std::slice::from_ref(ours), ATTEMPT);
    let calling = client.clone();
    calls(rough, &proxy, move |_, body| {
        calling.call("work", body, &LONG).unwrap()
    });
    assert_eq!(client.counters().failures, 0);
    let handle = broker.handle();
    while handle
        .service("work")
        .is_some_and(|work| work.ready + work.in_flight > 0)
    {
        thread::yield_now();
    }
    assert!(handle.services().len() <= 1, "{:?}", handle.services());
}

#[test]
fn services_of_clients() {
    for rough in ALL {
        services(rough, false);
    }
}

#[test]
fn services_of_workers() {
    for rough in ALL {
        services(rough, true);
    }
}

/// FLW-01, FLW-03: tokens keep coming, and never more than are minted.
#[test]
fn tokens() {
    const RATE: f64 = 1000.0;
    for rough in ALL {
        let begin = Instant::now();
        let context = Context::default();
        let mut mint = TokenMint::new(Duration::from_secs(60));
        mint.set_bucket("b", RATE, 1000, begin);
        let server = TokenServer::bind_with(&context, &[any_port()], mint).unwrap();
        let proxy = Proxy::to(&server.endpoints()[0]);
        let config = TokenConfig {
            lease: 5,
            retry: Duration::from_millis(5),
            timeout: ATTEMPT / 4,
            ..TokenConfig::default()
        };
        let client = TokenClient::connect(&context, &[proxy.endpoint()], "b", config).unwrap();
        rough.begin(&proxy);
        let done = Arc::new(AtomicU64::new(0));
        let taking = Arc::clone(&done);
        let taker = thread::spawn(move || {
            for _ in 0..200 {
                client.take(1, LONG.deadline).unwrap();
                taking.fetch_add(1, Ordering::Relaxed);
            }
        });
        rough.weather(&proxy, vec![taker], || done.load(Ordering::Relaxed));
        let minted = begin.elapsed().as_secs_f64() * RATE;
        assert!(minted >= 200.0, "{rough:?}: {minted}");
    }
}

/// FLW-04, FLW-07: everybody has an answer, and nobody is inside in the end.
#[test]
fn a_gate() {
    for rough in ALL {
        let (mut gate, at) = Victim::bound("gate");
        let proxy = Proxy::to(&at);
        let client = plain_client(&[proxy.endpoint()], ATTEMPT);
        calls(rough, &proxy, move |_, body| {
            let reply = client.call(body.clone(), &LONG).unwrap();
            assert!(reply == "done".into() || reply == "full".into());
            body
        });
        until_empty(gate.remote());
    }
}

fn until_empty(gate: &mut Remote) {
    loop {
        gate.tell("load");
        if gate.says("load") == "0 0 0" {
            return;
        }
    }
}

/// FLW-06: what comes comes in order, no more than a window is held for a connection, and credit comes back with the
/// next one.
#[test]
fn credit() {
    for rough in ALL {
        credit_over(rough);
    }
}

fn credit_over(rough: Rough) {
    const WINDOW: u64 = 1000;
    let context = Context::default();
    let mut receiver = CreditReceiver::bind(&context, &[any_port()], WINDOW).unwrap();
    let proxy = Proxy::to(&receiver.endpoints()[0]);
    rough.begin(&proxy);
    let over = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn({
        let (over, at): (_, Endpoint) = (Arc::clone(&over), proxy.endpoint().clone());
        move || {
            let mut sender = CreditSender::connect(&context, at).unwrap();
            let mut number = 0u64;
            while !over.load(Ordering::Relaxed) {
                let message = [&number.to_be_bytes()[..], &[7; 92]].concat();
                let until = Instant::now() + ATTEMPT;
                number += u64::from(sender.send_deadline(message, until).is_ok());
            }
        }
    });
    let (mut count, mut strikes, mut last) = (0, 0, None);
    let begin = Instant::now();
    while count < 150 {
        assert!(begin.elapsed() < LONG.deadline, "{rough:?}: after {count}");
        let Some(delivery) = receiver.recv_deadline(Instant::now() + ATTEMPT) else {
            // What was spoilt may have cost its connection all that it had: nobody knows but a new one.
            proxy.cut();
            continue;
        };
        // Of connections that are gone nothing counts any more, and there is one at a time.
        assert!(receiver.held() <= 2 * WINDOW, "{rough:?}");
        receiver.consumed(&delivery);
        let octets = delivery.message.as_bytes();
        if octets.len() != 100 {
            assert!(matches!(rough, Rough::Adds(_)), "{rough:?}: {octets:?}");
            continue;
        }
        let number = u64::from_be_bytes(octets[..8].try_into().unwrap());
        let in_order = match rough {
            Rough::Repeats => last <= Some(number),
            _ => last < Some(number),
        };
        assert!(in_order, "{rough:?}: {number} after {last:?}");
        last = Some(number);
        count += 1;
        if count % 20 == 0 {
            strikes += 1;
            rough.strike(&proxy);
        }
    }
    rough.check(&proxy, strikes);
    if matches!(rough, Rough::Slow | Rough::Late) {
        assert_eq!(last, Some(149), "nothing is lost");
    }
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}
