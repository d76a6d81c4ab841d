//! What is our own on the wire, with other sides in Python that were written from `docs/protocols`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{
    CacheConfig, CallError, CallOptions, Fault, Headers, Heartbeat, Idem, Limits, MsgId, Scope,
    Status,
};
use sinew_patterns::flow::{
    CreditReceiver, CreditSender, TokenClient, TokenConfig, TokenMint, TokenServer,
};
use sinew_patterns::mdp::{self, Broker, BrokerConfig, BrokerEngine, ServicePolicy, Worker};
use sinew_patterns::rpc::{self, Dialect, Server, ServerConfig};
use sinew_patterns::{Replies, Request};

use crate::peers;
use crate::process::{python, Running};
use crate::{retry, root, LONG};

/// A programme that has the extension header in front.
fn programme(text: &str, arguments: &[&str]) -> Option<Running> {
    let mut command = python(&root(), &[peers::EXT, text].concat())?;
    Some(Running::start_talking(command.args(arguments)))
}

fn in_full(replies: Replies) -> Vec<Message> {
    replies.map(|reply| reply.unwrap()).collect()
}

/// What the tests ask of servers and workers of ours.
fn handle(request: &mut Request, count: &AtomicU32) -> Result<Message, Fault> {
    match request.body().frames()[0].as_slice() {
        b"parts" => {
            for part in 0..3 {
                assert!(request.partial(part.to_string()));
            }
            Ok("last".into())
        }
        b"fail" => Err(Fault::failed("no luck")),
        b"count" => {
            let before = count.fetch_add(1, Ordering::Relaxed);
            Ok((before + 1).to_string().into())
        }
        b"headers" => {
            let headers = request.headers();
            let texts = [headers.trace(), headers.content_type(), headers.tag()];
            let texts = texts.into_iter().flatten().map(str::as_bytes);
            let octets = [headers.key(), headers.other("own")];
            Ok(Message::multipart(
                texts
                    .chain(octets.into_iter().flatten())
                    .map(<[u8]>::to_vec),
            ))
        }
        b"hang" => {
            assert!(request.partial("begun"));
            // Until its client gives it up; the deadline is the watchdog.
            while !request.is_cancelled() {
                thread::yield_now();
            }
            Ok(Message::default())
        }
        _ => Ok(request.take_body()),
    }
}

fn server(config: ServerConfig) -> (String, rpc::ServerHandle, thread::JoinHandle<u32>) {
    let server = Server::bind(&Context::default(), &["tcp://127.0.0.1:*"], config).unwrap();
    let (at, end) = (server.endpoints()[0].to_string(), server.handle());
    let thread = thread::spawn(move || {
        let count = AtomicU32::new(0);
        server.serve(|request| handle(request, &count)).unwrap();
        count.into_inner()
    });
    (at, end, thread)
}

#[test]
fn a_client_of_requests() {
    let (at, end, serving) = server(ServerConfig {
        cache: Some(CacheConfig::default()),
        ..ServerConfig::default()
    });
    let (narrow, narrow_end, narrow_serving) = server(ServerConfig {
        concurrency: 1,
        queue: Limits {
            messages: 1,
            ..Limits::default()
        },
        ..ServerConfig::default()
    });
    let Some(client) = programme(peers::RPC_CLIENT, &[&at, &narrow]) else {
        return;
    };
    assert_eq!(client.line(), "done");
    client.finish();
    let counters = end.counters();
    assert_eq!(
        (counters.expired, counters.early, counters.conflicts),
        (2, 1, 1)
    );
    // What the programme has in the loop of what is refused, and two after it.
    assert_eq!((counters.dups, counters.malformed), (2, 12));
    let counters = narrow_end.counters();
    assert_eq!((counters.rejected, counters.cancelled), (1, 1));
    end.drain();
    narrow_end.drain();
    let carried_out = serving.join().unwrap();
    assert_eq!(carried_out, 2, "each key was carried out once");
    narrow_serving.join().unwrap();
}

#[test]
fn a_server_of_requests() {
    let Some(server) = programme(peers::RPC_SERVER, &[]) else {
        return;
    };
    let at: Endpoint = server.line().parse().unwrap();
    let config = rpc::ClientConfig {
        dialect: Dialect::Ext,
        retry: retry(LONG.deadline),
        ..rpc::ClientConfig::default()
    };
    let client =
        rpc::Client::connect(&Context::default(), std::slice::from_ref(&at), config).unwrap();
    let pending: Vec<_> = (0..200)
        .map(|number| {
            let body = Message::multipart(["body".to_owned(), number.to_string()]);
            (body.clone(), client.call_streaming(body, &LONG))
        })
        .collect();
    for (body, mut replies) in pending {
        assert_eq!(replies.next().unwrap().unwrap(), body);
    }
    // Each of them came with two messages that are no replies, and one to a name that is none of ours.
    assert_eq!(client.counters().malformed, 600);
    let parts = in_full(client.call_streaming("parts", &LONG));
    assert_eq!(parts, ["0", "1", "2", "last"].map(Message::from));
    assert_eq!(client.counters().stale_replies, 1);

    let error = |body: &str| client.call(body, &LONG).unwrap_err();
    let remote = |error| match error {
        CallError::Remote(fault) => (fault.status, fault.reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        remote(error("fail")),
        (Status::Failed, "no luck".to_owned())
    );
    assert_eq!(
        remote(error("odd")),
        (Status::Other(599), "as 500".to_owned())
    );
    let gone = CallError::NoService {
        maybe_executed: false,
    };
    assert_eq!(error("gone"), gone);
    assert!(matches!(error("late"), CallError::TimedOut { .. }));
    for again in ["busy", "not here"] {
        assert_eq!(client.call(again, &LONG).unwrap(), again.into());
    }

    let headers = Headers::new()
        .with_trace("00-1-2-01")
        .and_then(|headers| headers.with_content_type("text/plain"))
        .and_then(|headers| headers.with_tag("blue"))
        .and_then(|headers| headers.with_key("account"))
        .and_then(|headers| headers.with("own", "mine"))
        .unwrap();
    let options = CallOptions {
        headers,
        priority: 7,
        ..LONG
    };
    let told = ["00-1-2-01", "text/plain", "blue", "account", "mine", "7"];
    assert_eq!(
        client.call("headers", &options).unwrap(),
        Message::multipart(told)
    );
    let once = CallOptions {
        idem: Idem::Once,
        ..LONG
    };
    assert_eq!(client.call("once", &once).unwrap(), "once".into());

    // Given up: the server hears of it.
    let hanging = client.call_streaming("hang", &LONG);
    assert_eq!(server.line(), "hangs");
    drop(hanging);
    assert_eq!(server.line(), "cancelled hang");

    // Its first reply is lost: asked again under the same id, it is not carried out again.
    let config = rpc::ClientConfig {
        retry: retry(Duration::from_millis(20)),
        ..config
    };
    let impatient = rpc::Client::connect(&Context::default(), &[at], config).unwrap();
    for number in 1..=2u8 {
        let keyed = CallOptions {
            idem: Idem::Key(MsgId([number; 16])),
            ..LONG
        };
        let reply = impatient.call("key", &keyed).unwrap();
        assert_eq!(reply, number.to_string().into());
    }
    assert!(impatient.counters().retries >= 2);
    server.finish();
}

const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(50),
    liveness: 1200,
    scope: Scope::Process,
};

fn broker() -> Broker {
    let policy = ServicePolicy {
        unregistered_ttl: Duration::ZERO,
        ..ServicePolicy::default()
    };
    let mut engine = BrokerEngine::new(BrokerConfig {
        heartbeat: HEARTBEAT,
        cache: Some(CacheConfig::default()),
        policy,
        ..BrokerConfig::default()
    });
    let patient = ServicePolicy {
        unregistered_ttl: LONG.deadline,
        ..policy
    };
    engine.set_policy("echo", patient);
    engine.set_policy("later", patient);
    Broker::bind(&Context::default(), &["tcp://127.0.0.1:*"], engine).unwrap()
}

fn dialect(name: &str) -> mdp::Dialect {
    match name {
        "1" => mdp::Dialect::V1,
        _ => mdp::Dialect::V2,
    }
}

fn a_worker(version: &str) {
    let broker = broker();
    let at = broker.endpoints()[0].clone();
    let Some(worker) = programme(peers::MDP_WORKER, &[&at.to_string(), version]) else {
        return;
    };
    let config = mdp::ClientConfig {
        dialect: dialect(version),
        ext: true,
        retry: retry(LONG.deadline),
        ..mdp::ClientConfig::default()
    };
    let context = Context::default();
    let client = mdp::Client::connect(&context, std::slice::from_ref(&at), config).unwrap();
    // The worker answers when it has two of them, the second first.
    for number in 0..50 {
        let body = |which: u32| Message::multipart([number.to_string(), which.to_string()]);
        let [first, second] = [0, 1].map(|which| client.call_streaming("echo", body(which), &LONG));
        assert_eq!(in_full(second), [body(1)]);
        assert_eq!(in_full(first), [body(0)]);
    }
    let parts = in_full(client.call_streaming("echo", "parts", &LONG));
    assert_eq!(parts, ["0", "1", "2", "last"].map(Message::from));
    let Err(CallError::Remote(fault)) = client.call("echo", "fail", &LONG) else {
        panic!("it fails");
    };
    assert_eq!(
        (fault.status, &fault.reason[..]),
        (Status::Failed, "no luck")
    );
    let headers = Headers::new().with_tag("blue").unwrap();
    let keyed = CallOptions {
        idem: Idem::Key(MsgId([9; 16])),
        headers: headers.with("own", "mine").unwrap(),
        ..LONG
    };
    let told = Message::multipart(["blue", "mine"]);
    for _ in 0..2 {
        assert_eq!(client.call("echo", "headers", &keyed).unwrap(), told);
    }
    // A client without headers, and a reply that looks like one.
    let plain = mdp::ClientConfig {
        ext: false,
        ..config
    };
    let plain = mdp::Client::connect(&context, &[at], plain).unwrap();
    let reply = plain.call("echo", "plain", &LONG).unwrap();
    assert_eq!(reply, Message::from(&b"\xaa\xae\x01 looks like one"[..]));
    assert_eq!(worker.line(), "heartbeats");
    let handle = broker.handle();
    assert_eq!(handle.service("echo").unwrap().workers, 2);
    worker.finish();
    let counters = handle.counters();
    assert_eq!((counters.malformed, counters.banned), (0, 0));
    assert_eq!((counters.dups, counters.redelivered), (1, 0));
}

#[test]
fn a_worker_of_majordomo() {
    a_worker("1");
}

#[test]
fn a_worker_of_the_second_majordomo() {
    a_worker("2");
}

fn a_client(version: &str) {
    let broker = broker();
    let at = broker.endpoints()[0].clone();
    let config = mdp::WorkerConfig {
        dialect: dialect(version),
        ext: true,
        heartbeat: HEARTBEAT,
        ..mdp::WorkerConfig::default()
    };
    let context = Context::default();
    let worker =
        Worker::connect_slots(&context, std::slice::from_ref(&at), "echo", config, 4).unwrap();
    let end = worker.handle();
    let serving = thread::spawn(move || {
        let count = AtomicU32::new(0);
        worker.serve(|request| handle(request, &count)).unwrap();
        count.into_inner()
    });
    // It asks whether the service is there.
    let asking = mdp::Client::connect(
        &context,
        std::slice::from_ref(&at),
        mdp::ClientConfig::default(),
    );
    asking
        .unwrap()
        .call("echo", "are you there?", &LONG)
        .unwrap();
    let Some(client) = programme(peers::MDP_CLIENT, &[&at.to_string(), version]) else {
        return;
    };
    assert_eq!(client.line(), "done");
    client.finish();
    end.drain();
    let carried_out = serving.join().unwrap();
    assert_eq!(carried_out, 1, "the key was carried out once");
    let counters = broker.handle().counters();
    assert_eq!((counters.cancelled, counters.malformed), (1, 2));
    assert_eq!((counters.expired, counters.early), (2, 1));
}

#[test]
fn a_client_of_majordomo() {
    a_client("1");
}

#[test]
fn a_client_of_the_second_majordomo() {
    a_client("2");
}

#[test]
fn a_client_of_tokens() {
    let mut mint = TokenMint::new(Duration::from_secs(30));
    mint.set_bucket("api", 100.0, 5, Instant::now());
    let server = TokenServer::bind_with(&Context::default(), &["tcp://127.0.0.1:*"], mint).unwrap();
    let at = server.endpoints()[0].to_string();
    let Some(client) = programme(peers::TOKEN_CLIENT, &[&at]) else {
        return;
    };
    assert_eq!(client.line(), "done");
    client.finish();
}

#[test]
fn a_server_of_tokens() {
    let Some(server) = programme(peers::TOKEN_SERVER, &[]) else {
        return;
    };
    let at: Endpoint = server.line().parse().unwrap();
    let config = TokenConfig {
        lease: 10,
        timeout: LONG.deadline,
        ..TokenConfig::default()
    };
    let client = TokenClient::connect(&Context::default(), &[at], "api", config).unwrap();
    // It grants 4, 4 and 2, whenever less than half of a fetch is left, and then nothing.
    for _ in 0..7 {
        client.take(1, LONG.deadline).unwrap();
    }
    while client.tokens() < 3 {
        thread::yield_now();
    }
    drop(client);
    assert_eq!(server.line(), "given 3");
    server.finish();
}

#[test]
fn a_sender_by_credit() {
    let context = Context::default();
    let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], 1000).unwrap();
    let at = receiver.endpoints()[0].to_string();
    let Some(sender) = programme(peers::CREDIT_SENDER, &[&at]) else {
        return;
    };
    let mut next = || {
        let until = Instant::now() + LONG.deadline;
        let delivery = receiver.recv_deadline(until).expect("a message");
        assert!(receiver.held() <= 1000);
        receiver.consumed(&delivery);
        delivery.message
    };
    for number in 0..300 {
        let message = next();
        assert_eq!(message.frames()[0], *number.to_string().as_str());
        assert_eq!(message.frame_count(), 3);
    }
    assert_eq!(next().byte_len(), 3000);
    assert_eq!(next().byte_len(), 0);
    let grants = receiver.counters().grants;
    let told = sender.line();
    let (done, heard) = told.split_once(' ').unwrap();
    assert_eq!(done, "done");
    let heard: u64 = heard.parse().unwrap();
    assert!(heard > 0 && heard <= grants, "{heard} of {grants}");
    assert_eq!(receiver.counters().malformed, 0);
    sender.finish();
}

#[test]
fn a_receiver_by_credit() {
    let Some(receiver) = programme(peers::CREDIT_RECEIVER, &["300"]) else {
        return;
    };
    let at: Endpoint = receiver.line().parse().unwrap();
    let mut sender = CreditSender::connect(&Context::default(), at).unwrap();
    for number in 0..300usize {
        let size = match number {
            // Larger than the window, and than what is left of it.
            100 => 3000,
            200 => 900,
            _ => number % 90,
        };
        let message = Message::multipart([number.to_string().into_bytes(), vec![0; size]]);
        let until = Instant::now() + LONG.deadline;
        assert!(sender.send_deadline(message, until).is_ok());
    }
    assert_eq!(receiver.line(), "done");
    assert_eq!(sender.counters().malformed, 0);
    receiver.finish();
}
