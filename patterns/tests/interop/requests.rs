//! `rpc` with REP sockets of libzmq and pyzmq, and through libzmq's proxy.

use std::collections::VecDeque;
use std::thread;

use sinew::{Context, Endpoint, Message};
use sinew_patterns::rpc::{Client, ClientConfig};
use sinew_patterns::Replies;

use crate::process::{python, Running};
use crate::{retry, root, LONG};

/// RPC-08.
pub(crate) const CALLS: usize = 10_000;

pub(crate) fn client(at: &[Endpoint]) -> Client {
    let config = ClientConfig {
        retry: retry(LONG.deadline),
        in_flight: 64,
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), at, config).unwrap()
}

/// So many calls, 64 of them with the servers at once, each with a body of several frames.
pub(crate) fn ask(client: &Client, calls: usize) {
    let mut pending = VecDeque::new();
    for number in 0..calls {
        if pending.len() == 256 {
            answered(pending.pop_front());
        }
        let body = Message::multipart(["body".to_owned(), number.to_string()]);
        pending.push_back((body.clone(), client.call_streaming(body, &LONG)));
    }
    while !pending.is_empty() {
        answered(pending.pop_front());
    }
}

fn answered(call: Option<(Message, Replies)>) {
    let (body, mut replies) = call.expect("there is one");
    assert_eq!(replies.next().unwrap().unwrap(), body);
}

/// A REP of libzmq that echoes until it is told to stop.
fn rep(context: &zmq::Context, connect: Option<&str>) -> (String, thread::JoinHandle<()>) {
    let socket = context.socket(zmq::REP).unwrap();
    match connect {
        Some(at) => socket.connect(at).unwrap(),
        None => socket.bind("tcp://127.0.0.1:*").unwrap(),
    }
    let at = socket.get_last_endpoint().unwrap().unwrap();
    let thread = thread::spawn(move || loop {
        let request = socket.recv_multipart(0).unwrap();
        let last = request == [b"stop".to_vec()];
        socket.send_multipart(request, 0).unwrap();
        if last {
            break;
        }
    });
    (at, thread)
}

/// RPC-08: REPs of libzmq, bound, and behind a ROUTER and DEALER that libzmq's own proxy joins.
#[test]
fn rep_of_libzmq_and_its_proxy() {
    let context = zmq::Context::new();
    let (at, thread) = rep(&context, None);
    let client = client(&[at.parse().unwrap()]);
    ask(&client, CALLS);
    assert_eq!(client.call("stop", &LONG).unwrap(), "stop".into());
    thread.join().unwrap();
    assert_eq!(client.counters().attempts, CALLS as u64 + 1);
    client.close();

    let front = context.socket(zmq::ROUTER).unwrap();
    front.bind("tcp://127.0.0.1:*").unwrap();
    let back = context.socket(zmq::DEALER).unwrap();
    back.bind("inproc://back").unwrap();
    let at: Endpoint = (front.get_last_endpoint().unwrap().unwrap())
        .parse()
        .unwrap();
    let steer = context.socket(zmq::PAIR).unwrap();
    steer.bind("inproc://steer").unwrap();
    let mut steered = context.socket(zmq::PAIR).unwrap();
    steered.connect("inproc://steer").unwrap();
    let proxy = thread::spawn(move || {
        let (mut front, mut back) = (front, back);
        zmq::proxy_steerable(&mut front, &mut back, &mut steered).unwrap();
    });
    let reps: Vec<_> = (0..3)
        .map(|_| rep(&context, Some("inproc://back")).1)
        .collect();
    let client = self::client(&[at]);
    ask(&client, CALLS);
    // In turn, so each of them has one.
    for _ in &reps {
        assert_eq!(client.call("stop", &LONG).unwrap(), "stop".into());
    }
    reps.into_iter().for_each(|rep| rep.join().unwrap());
    let counters = client.counters();
    assert_eq!(
        (counters.attempts, counters.malformed),
        (CALLS as u64 + 3, 0)
    );
    steer.send("TERMINATE", 0).unwrap();
    proxy.join().unwrap();
}

/// RPC-08, KB: REPs of pyzmq, one of which is killed.
#[test]
fn rep_of_pyzmq() {
    let programme = "
import zmq
rep = zmq.Context.instance().socket(zmq.REP); rep.bind('tcp://127.0.0.1:*')
print(rep.last_endpoint.decode().rstrip('\\0'))
while True: rep.send_multipart(rep.recv_multipart())
";
    let Some(mut command) = python(&root(), programme) else {
        return;
    };
    let servers = [(); 2].map(|()| Running::start(&mut command));
    let at = servers
        .each_ref()
        .map(|server| server.line().parse().unwrap());
    let client = client(&at);
    ask(&client, CALLS);
    let [first, _second] = servers;
    drop(first);
    ask(&client, 500);
    let counters = client.counters();
    assert_eq!(
        (counters.replies, counters.failures),
        (CALLS as u64 + 500, 0)
    );
}
