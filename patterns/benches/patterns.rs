//! What a pattern costs over bare sockets: calls per second with one and with 64 at a time, beside a bare DEALER and
//! ROUTER that do the same.
//!
//! ```sh
//! cargo bench -p sinew-patterns --bench patterns                 # prints a table
//! cargo bench -p sinew-patterns --bench patterns -- --write      # and into patterns/benches/RESULTS.md
//! cargo bench -p sinew-patterns --bench patterns -- --quick      # 100 ms each, to see that it runs
//! cargo bench -p sinew-patterns --bench patterns -- --only rpc   # rows with this in their name, for a profiler
//! ```
//!
//! Everybody has its turn in each of several rounds, and the medians are told. Over tcp on the loopback; bodies of
//! 64 octets. Figures of different runs cannot be compared. *Processor* is the time of all threads, of both sides, per
//! call with 64 at a time (Linux): what others do on the machine changes it least.
//!
//! One way, a DEALER sends and a ROUTER receives, by themselves and within `flow` with its grants, which is all that differs:
//! the same messages of one frame, the same marks of the sockets, and on both sides a time until when it waits. The window
//! is larger than what is on its way at any moment.
//!
//! Majordomo goes over two connections and back, through a broker. 7/MDP has no names for requests, so there each of 64
//! calls has a connection of its own, on both sides of the broker; what that costs by itself tells the row of bare
//! sockets with a connection per call. With the extension header client and worker have one connection each.
//!
//! A *hop* is what a broker costs on the way of one message, without client and worker of this crate: a bare DEALER asks, and
//! a bare DEALER answers, in the words of 7/MDP and one at a time. Half of what the round trip takes longer than one
//! from DEALER to ROUTER is one hop: two connections in place of one, another thread to be woken, and the broker's work.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use futures::FutureExt;
use sinew::{Context, Dealer, Endpoint, Message, Router};
use sinew_patterns::common::{CallOptions, RetryPolicy};
use sinew_patterns::flow::{CreditReceiver, CreditSender, GateConfig, GatedRouter};
use sinew_patterns::mdp::{self, Broker, BrokerConfig, BrokerEngine, Worker, WorkerConfig};
use sinew_patterns::rpc::{Client, ClientConfig, Dialect, Server, ServerConfig};
use sinew_patterns::Request;

const BODY: [u8; 64] = [7; 64];
/// Octets of the messages that go one way, and of the window that they may fill.
const STREAMED: [usize; 3] = [64, 1 << 10, 1 << 16];
const WINDOW: u64 = 16 << 20;

const FAR: Duration = Duration::from_secs(3600);

/// How long a turn is, and how many rounds there are.
#[derive(Clone, Copy)]
struct Plan {
    turn: Duration,
    rounds: usize,
}

/// So many calls at a time, or messages of so many octets, for so long; calls or messages per second.
type Run = fn(usize, Duration) -> f64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let plan = match has("--quick") {
        true => Plan {
            turn: Duration::from_millis(100),
            rounds: 1,
        },
        false => Plan {
            turn: Duration::from_secs(1),
            rounds: 5,
        },
    };
    let only = (arguments
        .iter()
        .skip_while(|argument| *argument != "--only")
        .nth(1))
    .cloned();
    let rows: [(&str, Run); 7] = [
        ("bare DEALER to ROUTER", bare),
        ("bare, a connection per call", apart),
        ("`flow::GatedRouter`", gated),
        ("`rpc`, plain", |depth, turn| {
            rpc(depth, turn, Dialect::Plain)
        }),
        ("`rpc`, EXT", |depth, turn| rpc(depth, turn, Dialect::Ext)),
        ("`mdp`, 7/MDP", |depth, turn| majordomo(depth, turn, false)),
        ("`mdp`, EXT", |depth, turn| majordomo(depth, turn, true)),
    ];
    if let Some(only) = only {
        for (name, run) in rows.iter().filter(|(name, _)| name.contains(&only)) {
            let alone = run(1, plan.turn);
            let (begin, before) = (Instant::now(), processor_time());
            let rate = run(64, 5 * plan.turn);
            let calls = rate * begin.elapsed().as_secs_f64();
            let spent = (processor_time() - before) / calls * 1e6;
            println!(
                "{name}: {:.1} µs one at a time; 64 at a time: {rate:.0}/s, {spent:.2} µs of processors each",
                1e6 / alone
            );
        }
        if "hop".contains(&only) {
            let (bare, through) = (bare(1, plan.turn), through_a_broker(1, plan.turn));
            println!("a hop: {:.1} µs", hop(bare, through));
        }
        if "flow credit".contains(&only) {
            let streams: [(&str, Run); 2] = [("bare", bare_stream), ("credit", credit)];
            for size in STREAMED {
                for (name, run) in streams {
                    let (begin, before) = (Instant::now(), processor_time());
                    let rate = run(size, plan.turn);
                    let messages = rate * begin.elapsed().as_secs_f64();
                    let spent = (processor_time() - before) / messages * 1e9;
                    println!("{name}, {size}: {rate:.0}/s, {spent:.0} ns of processors each");
                }
            }
        }
        return;
    }
    let mut figures = BTreeMap::<(usize, usize), Vec<f64>>::new();
    let mut costs = BTreeMap::<usize, Vec<f64>>::new();
    let mut streams = BTreeMap::<(usize, usize), Vec<f64>>::new();
    let mut through = Vec::new();
    for _ in 0..plan.rounds {
        through.push(through_a_broker(1, plan.turn));
        for (row, (_, run)) in rows.iter().enumerate() {
            for depth in [1, 64] {
                let (begin, before) = (Instant::now(), processor_time());
                let rate = run(depth, plan.turn);
                if depth > 1 {
                    let calls = rate * begin.elapsed().as_secs_f64();
                    let spent = processor_time() - before;
                    costs.entry(row).or_default().push(spent / calls * 1e6);
                }
                figures.entry((row, depth)).or_default().push(rate);
            }
        }
        for size in STREAMED {
            for (row, run) in [bare_stream, credit].into_iter().enumerate() {
                let rate = run(size, plan.turn);
                streams.entry((size, row)).or_default().push(rate);
            }
        }
    }
    let mut table = String::from(
        "| calls | one at a time | round trip | added | 64 at a time | to bare | processor | to bare |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut of = |row, depth| median(figures.get_mut(&(row, depth)).expect("it was run"));
    let bare = (of(0, 1), of(0, 64));
    let costs: Vec<f64> = costs.values_mut().map(|costs| median(costs)).collect();
    for (row, (name, _)) in rows.iter().enumerate() {
        let (one, many) = (of(row, 1), of(row, 64));
        let micros = |rate: f64| 1e6 / rate;
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {name} | {one:.0}/s | {:.1} µs | {:+.1} µs | {many:.0}/s | {:.2} × | {:.2} µs | {:.1} × |",
            micros(one),
            micros(one) - micros(bare.0),
            many / bare.1,
            costs[row],
            costs[row] / costs[0],
        );
    }
    let through = median(&mut through);
    let _ = writeln!(
        table,
        "\nThe broker of `mdp` between bare DEALERs: {through:.0}/s one at a time, {:.1} µs for the round trip, \
         {:.1} µs for a hop.",
        1e6 / through,
        hop(bare.0, through)
    );
    table += "\n| one way | body | messages | to bare |\n| --- | --- | --- | --- |\n";
    for size in STREAMED {
        let mut of = |row| median(streams.get_mut(&(size, row)).expect("it was run"));
        let bare = of(0);
        for (row, name) in ["bare DEALER to ROUTER", "`flow` credit"]
            .iter()
            .enumerate()
        {
            let rate = of(row);
            let _ = writeln!(
                table,
                "| {name} | {size} | {rate:.0}/s | {:.2} × |",
                rate / bare
            );
        }
    }
    println!("{table}");
    if has("--write") {
        let head = format!(
            "# What the patterns cost\n\nMedians of {} rounds of {:?} each, bodies of 64 octets over tcp on the \
             loopback, {} cores.\nWritten by `cargo bench -p sinew-patterns --bench patterns -- --write`.\n\n",
            plan.rounds,
            plan.turn,
            thread::available_parallelism().map_or(0, usize::from),
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
        std::fs::write(path, head + &table).expect("the results can be written");
    }
}

/// Seconds of processor time that this process has taken; nothing where there is no `/proc`.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have anything in it, user and system time are the 12th and 13th field, in
    // hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Something that runs beside until it is told to stop.
struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Beside {
    fn start(mut turn: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn();
            }
        });
        Beside { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
    }
}

/// How long somebody beside waits before it looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// So many calls at a time for so long, over a DEALER; calls per second.
fn pump(at: &Endpoint, depth: usize, turn: Duration) -> f64 {
    let mut dealer = Dealer::builder().connect(at).expect("it connects");
    let body = Message::multipart([&b""[..], &BODY]);
    for _ in 0..depth {
        dealer.send(body.clone()).expect("there is room");
    }
    dealer.recv().expect("there is a reply");
    dealer.send(body.clone()).expect("there is room");
    let (begin, mut calls) = (Instant::now(), 0u64);
    while begin.elapsed() < turn {
        dealer.recv().expect("there is a reply");
        dealer.send(body.clone()).expect("there is room");
        calls += 1;
    }
    calls as f64 / begin.elapsed().as_secs_f64()
}

fn bare(depth: usize, turn: Duration) -> f64 {
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").expect("it binds");
    let beside = Beside::start(move || {
        if let Ok((from, message)) = router.recv_from_timeout(LOOK) {
            // The other side may be gone.
            let _ = router.send_to(&from, message);
        }
    });
    let rate = pump(&at, depth, turn);
    beside.stop();
    rate
}

/// The same with a DEALER for each call at a time.
fn apart(depth: usize, turn: Duration) -> f64 {
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").expect("it binds");
    let beside = Beside::start(move || {
        if let Ok((from, message)) = router.recv_from_timeout(LOOK) {
            // The other side may be gone.
            let _ = router.send_to(&from, message);
        }
    });
    let body = Message::multipart([&b""[..], &BODY]);
    let begin = Instant::now();
    let callers = (0..depth).map(|_| {
        let (mut dealer, body) = (Dealer::builder().connect(&at).expect("it connects"), &body);
        async move {
            let mut calls = 0u64;
            while begin.elapsed() < turn {
                dealer
                    .send_async(body.clone())
                    .await
                    .expect("there is room");
                dealer.recv_async().await.expect("there is a reply");
                calls += 1;
            }
            calls
        }
    });
    let calls = futures::executor::block_on(futures::future::join_all(callers));
    let rate = calls.iter().sum::<u64>() as f64 / begin.elapsed().as_secs_f64();
    beside.stop();
    rate
}

fn gated(depth: usize, turn: Duration) -> f64 {
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").expect("it binds");
    let mut gated = GatedRouter::new(router, GateConfig::default(), None, |_, _| None);
    let beside = Beside::start(move || {
        if let Some(request) = gated.recv_deadline(Instant::now() + LOOK) {
            gated.done(request.ticket, Some(request.message));
        }
    });
    let rate = pump(&at, depth, turn);
    beside.stop();
    rate
}

/// So many calls at a time for so long, in one task, which begins the next call when one has ended; calls per second.
fn pipelined<F: Future<Output = ()>>(depth: usize, turn: Duration, call: impl Fn() -> F) -> f64 {
    futures::executor::block_on(async {
        call().await;
        let mut running: FuturesUnordered<F> = (0..depth).map(|_| call()).collect();
        let (begin, mut calls) = (Instant::now(), 0u64);
        while begin.elapsed() < turn {
            running.next().await;
            running.push(call());
            calls += 1;
        }
        let rate = calls as f64 / begin.elapsed().as_secs_f64();
        while running.next().await.is_some() {}
        rate
    })
}

/// Nothing is asked twice.
fn options() -> (CallOptions, RetryPolicy) {
    let options = CallOptions {
        deadline: FAR,
        ..CallOptions::default()
    };
    let retry = RetryPolicy {
        attempt_timeout: FAR,
        ..RetryPolicy::default()
    };
    (options, retry)
}

async fn echo(mut request: Request) {
    let body = request.take_body();
    request.reply(body);
}

fn rpc(depth: usize, turn: Duration, dialect: Dialect) -> f64 {
    let (options, retry) = options();
    let context = Context::default();
    let config = ServerConfig {
        concurrency: depth,
        ..ServerConfig::default()
    };
    let server = Server::bind(&context, &["tcp://127.0.0.1:*"], config).expect("it binds");
    let (at, handle) = (server.endpoints().to_vec(), server.handle());
    let thread = thread::spawn(|| futures::executor::block_on(server.serve_async(echo)));
    let config = ClientConfig {
        dialect,
        retry,
        ..ClientConfig::default()
    };
    let client = Client::connect(&context, &at, config).expect("it connects");
    let rate = pipelined(depth, turn, || {
        client.call_async(BODY, &options).map(|reply| {
            reply.expect("there is a reply");
        })
    });
    client.close();
    handle.stop();
    thread.join().expect("it does not panic");
    rate
}

fn majordomo(depth: usize, turn: Duration, ext: bool) -> f64 {
    let (options, retry) = options();
    let context = Context::default();
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine).expect("it binds");
    let at = broker.endpoints().to_vec();
    let config = WorkerConfig {
        ext,
        ..WorkerConfig::default()
    };
    let worker = Worker::connect_slots(&context, &at, "echo", config, depth).expect("it connects");
    let handle = worker.handle();
    let thread = thread::spawn(|| futures::executor::block_on(worker.serve_async(echo)));
    let config = mdp::ClientConfig {
        ext,
        retry,
        lanes: 64,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, config).expect("it connects");
    let rate = pipelined(depth, turn, || {
        client.call_async("echo", BODY, &options).map(|reply| {
            reply.expect("there is a reply");
        })
    });
    client.close();
    handle.stop();
    thread.join().expect("it does not panic");
    rate
}

/// Calls per second of a DEALER that asks a broker, behind which a DEALER answers.
fn through_a_broker(_: usize, turn: Duration) -> f64 {
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&Context::default(), &["tcp://127.0.0.1:*"], engine);
    let broker = broker.expect("it binds");
    let at = &broker.endpoints()[0];
    let mut worker = Dealer::builder().connect(at).expect("it connects");
    let ready: [&[u8]; 4] = [b"", b"MDPW01", b"\x01", b"echo"];
    worker
        .send(Message::multipart(ready))
        .expect("there is room");
    let beside = Beside::start(move || {
        if let Ok(request) = worker.recv_timeout(LOOK) {
            // A request comes back as a reply; it sends no heartbeats, so there are none.
            let mut frames = request.into_frames();
            frames[2] = [3].into();
            let _ = worker.send(Message::multipart(frames));
        }
    });
    let mut client = Dealer::builder().connect(at).expect("it connects");
    let call = Message::multipart([&b""[..], b"MDPC01", b"echo", &BODY]);
    let mut ask = || {
        client.send(call.clone()).expect("there is room");
        client.recv().expect("there is a reply");
    };
    ask();
    let (begin, mut calls) = (Instant::now(), 0u64);
    while begin.elapsed() < turn {
        ask();
        calls += 1;
    }
    let rate = calls as f64 / begin.elapsed().as_secs_f64();
    beside.stop();
    rate
}

/// Microseconds of one of the two hops, from round trips per second without a broker and with one.
fn hop(bare: f64, through: f64) -> f64 {
    (1e6 / through - 1e6 / bare) / 2.0
}

fn bare_stream(size: usize, turn: Duration) -> f64 {
    let body = Message::from(vec![7; size]);
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").expect("it binds");
    let mut dealer = Dealer::builder().connect(&at).expect("it connects");
    let beside = Beside::start(move || {
        // If there is no room it waits; whether to stop is asked between two messages.
        let _ = dealer.send_timeout(body.clone(), LOOK);
    });
    router.recv().expect("there is a message");
    let (begin, mut count) = (Instant::now(), 0u64);
    while begin.elapsed() < turn {
        count += u64::from(router.recv_from_timeout(LOOK).is_ok());
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    beside.stop();
    rate
}

fn credit(size: usize, turn: Duration) -> f64 {
    let body = Message::from(vec![7; size]);
    let context = Context::default();
    let mut receiver =
        CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], WINDOW).expect("it binds");
    let at = receiver.endpoints()[0].clone();
    let mut sender = CreditSender::connect(&context, at).expect("it connects");
    let beside = Beside::start(move || {
        // Without credit it waits; whether to stop is asked between two messages.
        let _ = sender.send_deadline(body.clone(), Instant::now() + LOOK);
    });
    let mut take = || {
        let delivery = receiver.recv_deadline(Instant::now() + LOOK);
        if let Some(delivery) = &delivery {
            receiver.consumed(delivery);
        }
        u64::from(delivery.is_some())
    };
    while take() == 0 {}
    let (begin, mut count) = (Instant::now(), 0u64);
    while begin.elapsed() < turn {
        count += take();
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    beside.stop();
    rate
}
