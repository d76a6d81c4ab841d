//! SUB-08: what has ended has given its threads and descriptors back. The one test of its process, for it counts those
//! of the process.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sinew::Context;
use sinew_patterns::common::{CallOptions, MemoryStore, StoreLimits};
use sinew_patterns::flow::{TokenClient, TokenConfig, TokenServer};
use sinew_patterns::mdp::{self, Broker, BrokerConfig, BrokerEngine, Worker, WorkerConfig};
use sinew_patterns::rpc::{Client, ClientConfig, Server, ServerConfig};

/// Reached only if something is left.
const WATCHDOG: Duration = Duration::from_secs(60);

fn entries(directory: &str) -> usize {
    // Not the descriptor with which it is read.
    fs::read_dir(directory).unwrap().count()
}

/// Threads and descriptors.
fn held() -> (usize, usize) {
    (entries("/proc/self/task"), entries("/proc/self/fd"))
}

/// Everything that has threads and sockets, at work once, and then drained or closed.
fn life() {
    let context = Context::builder().build().unwrap();
    let options = CallOptions {
        deadline: WATCHDOG,
        ..CallOptions::default()
    };
    let tcp = ["tcp://127.0.0.1:*"];

    let store = Arc::new(MemoryStore::new(StoreLimits::default()));
    let config = ServerConfig::default();
    let server = Server::bind_with_store(&context, &tcp, config, store).unwrap();
    let client = Client::connect(&context, server.endpoints(), ClientConfig::default()).unwrap();
    let handle = server.handle();
    let serving = thread::spawn(move || server.serve(|request| Ok(request.take_body())));
    client.call("x", &options).unwrap();
    client.close();
    handle.drain();
    serving.join().unwrap().unwrap();
    handle.join();

    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&context, &tcp, engine).unwrap();
    let at = broker.endpoints().to_vec();
    let worker = Worker::connect_slots(&context, &at, "x", WorkerConfig::default(), 3).unwrap();
    let handle = worker.handle();
    let serving = thread::spawn(move || worker.serve(|request| Ok(request.take_body())));
    let client = mdp::Client::connect(&context, &at, mdp::ClientConfig::default()).unwrap();
    client.call("x", "x", &options).unwrap();
    client.close();
    handle.drain();
    serving.join().unwrap().unwrap();
    handle.join();
    broker.handle().drain();
    broker.run();

    let server = TokenServer::bind(&context, &tcp, WATCHDOG).unwrap();
    server.set_bucket("x", 1e6, 100);
    let at = server.endpoints();
    let client = TokenClient::connect(&context, at, "x", TokenConfig::default()).unwrap();
    client.take(1, WATCHDOG).unwrap();
}

#[test]
fn threads_and_descriptors_come_back() {
    // What the process keeps once there was any traffic is there after the first time.
    life();
    let end = Instant::now() + WATCHDOG;
    let mut most = held();
    // The threads of the context end by themselves.
    while most.0 > 2 && Instant::now() < end {
        thread::yield_now();
        most = held();
    }
    assert_eq!(most.0, 2, "that of the process, and that of the test");
    for _ in 0..5 {
        life();
    }
    let mut now = held();
    while (now.0 > most.0 || now.1 > most.1) && Instant::now() < end {
        thread::yield_now();
        now = held();
    }
    assert!(
        now.0 <= most.0 && now.1 <= most.1,
        "{now:?}, before {most:?}"
    );
}
