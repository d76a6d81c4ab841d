//! Clients that do not read, and what they cost.

use super::*;

const CLIENTS: u64 = 4;
const REQUESTS: u64 = 300;

/// Room for all that is asked.
fn queue() -> Limits {
    Limits {
        messages: 10_000,
        per_flow: 10_000,
        ..Limits::default()
    }
}

/// Clients that ask much, with this in front of the body, and read nothing of the answers.
fn ask(at: &Endpoint, envelope: &[&str]) -> Vec<Dealer> {
    let context = Context::builder().build().unwrap();
    let ask = |_| {
        let builder = Dealer::builder().context(&context).recv_hwm(1);
        let mut client = builder.connect(at).unwrap();
        for _ in 0..REQUESTS {
            let frames = envelope.iter().copied().chain(["x"]);
            client.send(Message::multipart(frames)).unwrap();
        }
        client
    };
    (0..CLIENTS).map(ask).collect()
}

/// The queues of connections hold what is usual here, and not what is usual for a socket: that would be all of it.
fn expect_little(context: &Context) {
    let held = context.memory_used().expect("it is counted");
    let all = CLIENTS * REQUESTS * REPLY as u64;
    assert!(held < CLIENTS << 19 && held < all / 4, "{held} octets");
}

const REPLY: usize = 10_000;

#[test]
fn clients_that_do_not_read_cost_bounded_memory() {
    let counting = || Context::builder().memory_budget(1 << 30).build().unwrap();
    let handler = |_: &mut Request| Ok(vec![0; REPLY].into());
    let context = counting();
    let config = ServerConfig {
        queue: queue(),
        ..ServerConfig::default()
    };
    let serving = serve_with(
        Server::bind(&context, &["ipc://*"], config).unwrap(),
        handler,
    );
    let clients = ask(&serving.at, &[""]);
    while serving.handle.counters().replies < CLIENTS * REQUESTS {
        thread::yield_now();
    }
    expect_little(&context);
    assert_eq!(serving.handle.counters().undeliverable, 0);
    drop(clients);
    serving.handle.stop();
    serving.thread.join().unwrap().unwrap();

    let context = counting();
    let config = BrokerConfig {
        policy: ServicePolicy {
            queue: queue(),
            ..ServicePolicy::default()
        },
        ..BrokerConfig::default()
    };
    let broker = Broker::bind(&context, &["ipc://*"], BrokerEngine::new(config)).unwrap();
    let at = broker.endpoints();
    let worker = Worker::connect(&Context::default(), at, "echo", worker_config(true)).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(handler));
    let clients = ask(&at[0], &["", "MDPC01", "echo"]);
    while broker.handle().counters().replies < CLIENTS * REQUESTS {
        thread::yield_now();
    }
    expect_little(&context);
    assert_eq!(broker.handle().counters().undeliverable, 0);
    drop(clients);
    handle.stop();
    thread.join().unwrap().unwrap();
}
