//! SUB-07, RPC-11: storms of futures that are given up, for every method that waits. Each is given up when it is first
//! told to wait, or the second or third time, or before it is polled at all. Whatever was to be had is had by those
//! that are not given up, once.

use std::collections::BTreeSet;
use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::{join, join_all, select, Either};
use futures::StreamExt;
use sinew::{Context, Dealer, Message, Router};
use sinew_patterns::common::CallOptions;
use sinew_patterns::flow::{
    CreditReceiver, CreditSender, Gate, GateConfig, GatedRouter, TokenClient, TokenConfig,
    TokenServer,
};
use sinew_patterns::mdp::{self, Broker, BrokerConfig, BrokerEngine, Worker, WorkerConfig};
use sinew_patterns::rpc::{
    CallError, Requester, RequesterConfig, Server, ServerConfig, ServerEngine, ServerEvent,
};
use sinew_patterns::{Request, RouterShell};

use super::{client, echo, everywhere, options, LONG};

const STORM: u32 = 60;

/// Gives up when it is told to wait for the last of so many times.
async fn waits<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 1 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        }
    })
    .await
}

/// One turn of a storm: some are given up, until one is not.
async fn at_last<T, F: Future<Output = T>>(turn: u32, mut future: impl FnMut() -> F) -> T {
    for times in 0..turn % 3 {
        if let Some(output) = waits(times, future()).await {
            return output;
        }
    }
    future().await
}

/// The same where whoever awaits is borrowed.
macro_rules! at_last {
    ($turn:expr, $future:expr) => {{
        let mut output = None;
        for times in 0..$turn % 3 {
            if output.is_none() {
                output = waits(times, $future).await;
            }
        }
        match output {
            Some(output) => output,
            None => $future.await,
        }
    }};
}

fn server() -> Server {
    let config = ServerConfig::default();
    Server::bind(&Context::default(), &["tcp://127.0.0.1:*"], config).unwrap()
}

fn broker_and_worker(slots: usize) -> (Broker, Worker, mdp::Client) {
    let context = Context::default();
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine).unwrap();
    let at = broker.endpoints().to_vec();
    let config = WorkerConfig::default();
    let worker = Worker::connect_slots(&context, &at, "echo", config, slots).unwrap();
    let client = mdp::Client::connect(&context, &at, mdp::ClientConfig::default()).unwrap();
    (broker, worker, client)
}

/// Calls that are given up end, and those that are not have their own replies.
async fn calls<F>(call: impl Fn(Message, CallOptions) -> F)
where
    F: Future<Output = Result<Message, sinew_patterns::common::CallError>>,
{
    let turns = (0..STORM).map(|turn| {
        let body = Message::from(turn.to_string());
        let call = &call;
        async move {
            let reply = at_last(turn, || call(body.clone(), options())).await;
            assert_eq!(reply.unwrap(), body);
        }
    });
    join_all(turns).await;
}

#[test]
fn calls_of_a_server() {
    everywhere(|| async {
        let server = server();
        let (client, handle) = (client(&server), server.handle());
        let calling = async {
            calls(|body, options| client.call_async(body, &options)).await;
            handle.drain();
        };
        join(server.serve_async(echo), calling).await;
        handle.join_async().await;
        // A call that is made now ends when the deadline says so, and with it every one before.
        let late = CallOptions {
            deadline: Duration::from_millis(1),
            ..options()
        };
        assert!(client.call_async("late", &late).await.is_err());
        let counters = client.counters();
        assert_eq!(counters.calls, counters.replies + counters.failures);
    });
}

/// A requester has one call at a time; one that is given up leaves nothing behind that the next would take for its own.
#[test]
fn calls_of_a_requester() {
    everywhere(|| async {
        let (server, context) = (server(), Context::default());
        let (at, handle) = (server.endpoints().to_vec(), server.handle());
        let config = RequesterConfig::default();
        let mut requester = Requester::connect(&context, &at, config).unwrap();
        let calling = async {
            for turn in 0..STORM {
                let body = Message::from(turn.to_string());
                let reply = at_last!(turn, requester.call_async(body.clone(), &options()));
                assert_eq!(reply.unwrap(), body);
            }
            assert_eq!(requester.counters().replies, u64::from(STORM));
            requester.close_async().await;
            handle.drain();
        };
        join(server.serve_async(echo), calling).await;
        handle.join_async().await;
        // Nobody is there: that is known at the deadline, also by a task.
        let mut alone = Requester::connect(&context, &at, config).unwrap();
        let soon = CallOptions {
            deadline: Duration::from_millis(1),
            ..options()
        };
        let error = alone.call_async("hello", &soon).await.unwrap_err();
        assert!(
            matches!(error, CallError::Disconnected { attempts: 0, .. }),
            "{error:?}"
        );
    });
}

#[test]
fn calls_of_a_service_and_its_requests() {
    everywhere(|| async {
        let (broker, mut worker, client) = broker_and_worker(4);
        let (handle, broker) = (worker.handle(), broker.handle());
        let calling = async {
            calls(|body, options| client.call_async("echo", body, &options)).await;
            handle.drain();
        };
        let serving = async {
            // Half of the storm is here: whoever waits for a request gives up again and again.
            for turn in 0.. {
                match at_last!(turn, worker.next_async()) {
                    Some(request) => echo(request).await,
                    None => break,
                }
            }
        };
        join(serving, calling).await;
        for turn in 0..3 {
            waits(turn, handle.join_async()).await;
        }
        handle.join_async().await;
        broker.drain();
        for turn in 0..3 {
            waits(turn, broker.join_async()).await;
        }
        broker.join_async().await;
    });
}

#[test]
fn parts_of_replies() {
    const PARTS: u32 = 20;
    everywhere(|| async {
        let server = server();
        let (client, handle) = (client(&server), server.handle());
        let calling = async {
            let mut replies = client.call_streaming("parts", &options());
            for turn in 0..=PARTS {
                let reply = at_last!(turn, replies.next_async());
                assert_eq!(reply.unwrap().unwrap(), turn.to_string().into());
            }
            assert!(replies.next_async().await.is_none());
            let replies = client.call_streaming("parts", &options()).into_stream();
            let replies: Vec<Message> = replies.map(Result::unwrap).collect().await;
            let expected = (0..=PARTS).map(|turn| turn.to_string().into());
            assert_eq!(replies, expected.collect::<Vec<Message>>());
            handle.drain();
        };
        // A part is sent by the call of the method, whether or not the future lives to tell.
        let serving = server.serve_async(|mut request: Request| async move {
            for part in 0..PARTS {
                waits(part % 3, request.partial_async(part.to_string())).await;
            }
            request.reply(PARTS.to_string());
        });
        join(serving, calling).await;
    });
}

/// The server's own futures: those that wait for requests, the one that serves, and those that wait for the end.
#[test]
fn requests_and_the_end_of_a_server() {
    everywhere(|| async {
        let mut server = server();
        let client = client(&server);
        let handle = server.handle();
        let bodies: Vec<_> = (0..STORM).map(|n| n.to_string()).collect();
        let all = bodies
            .iter()
            .map(|body| client.call_async(body.as_str(), &options()));
        let serving = async {
            for turn in 0..STORM {
                let request = at_last!(turn, server.next_async());
                echo(request.expect("it has not ended")).await;
            }
        };
        let (replies, ()) = join(join_all(all), serving).await;
        for (body, reply) in bodies.iter().zip(replies) {
            assert_eq!(reply.unwrap(), body.as_str().into());
        }
        for times in 0..2 {
            // It has not ended, and giving up to wait for that does not end it.
            assert!(waits(times, handle.join_async()).await.is_none());
        }
        let call = client.call_async("last", &options());
        // With the future that serves, the server ends.
        waits(1, server.serve_async(echo)).await;
        handle.join_async().await;
        drop(call);
    });
}

/// With the future that serves, a worker ends, and what it had is another's.
#[test]
fn the_end_of_a_worker() {
    everywhere(|| async {
        let (broker, worker, client) = broker_and_worker(1);
        let handle = worker.handle();
        let mut call = Box::pin(client.call_async("echo", "x", &options()));
        // It has the request, and never ends with it.
        let begun = smol::channel::bounded(1);
        let serving = worker.serve_async(|request| {
            let begun = begun.0.clone();
            async move {
                begun.send(()).await.unwrap();
                futures::future::pending::<()>().await;
                drop(request);
            }
        });
        let both = select(Box::pin(serving), call.as_mut());
        match select(both, Box::pin(begun.1.recv())).await {
            Either::Left(_) => panic!("nobody replies, and nobody ends"),
            Either::Right((begun, _)) => begun.unwrap(),
        }
        handle.join_async().await;
        // Given up, its request failed; or it was given back to the broker, where another one takes it.
        let at = broker.endpoints().to_vec();
        let config = WorkerConfig::default();
        let other = Worker::connect(&Context::default(), &at, "echo", config).unwrap();
        let other_handle = other.handle();
        let calling = async {
            let _ = call.await;
            let reply = client.call_async("echo", "y", &options()).await;
            assert_eq!(reply.unwrap(), "y".into());
            other_handle.drain();
        };
        join(other.serve_async(echo), calling).await;
    });
}

#[test]
fn events_of_an_engine() {
    everywhere(|| async {
        let mut router = Router::new();
        let at = router.bind("tcp://127.0.0.1:*").unwrap();
        let mut shell = RouterShell::new(router, ServerEngine::new(ServerConfig::default()));
        let mut dealer = Dealer::builder().connect(&at).unwrap();
        for turn in 0..STORM {
            let asked = Message::multipart([String::new(), turn.to_string()]);
            dealer.send_async(asked.clone()).await.unwrap();
            let ServerEvent::Request(request) = at_last!(turn, shell.next_event_async()) else {
                panic!("nothing else can have happened");
            };
            let engine = shell.engine();
            engine.handle_reply(Instant::now(), request.id, request.body);
            shell.flush();
            assert_eq!(dealer.recv_async().await.unwrap(), asked);
        }
    });
}

#[test]
fn who_is_let_in() {
    everywhere(|| async {
        let gate = Gate::new(GateConfig {
            inside: 2,
            ..GateConfig::default()
        });
        let turns = (0..STORM).map(|turn| {
            let gate = gate.clone();
            async move {
                let permit = at_last(turn, || gate.enter_async("who", 1, LONG)).await;
                // Others run while it is inside.
                waits(1, futures::future::pending::<()>()).await;
                drop(permit.unwrap());
            }
        });
        join_all(turns).await;
        assert_eq!(gate.load(), (0, 0, 0));
    });
}

#[test]
fn tokens() {
    everywhere(|| async {
        let context = Context::default();
        let lease = Duration::from_secs(10);
        let server = TokenServer::bind(&context, &["tcp://127.0.0.1:*"], lease).unwrap();
        server.set_bucket("api", 1e6, 1000);
        let config = TokenConfig {
            lease: 1,
            ..TokenConfig::default()
        };
        let client = TokenClient::connect(&context, server.endpoints(), "api", config).unwrap();
        for turn in 0..STORM {
            let taken = at_last(turn, || client.take_async(1, LONG)).await;
            assert!(taken.is_ok(), "{turn}");
        }
    });
}

#[test]
fn messages_with_credit() {
    everywhere(|| async {
        let context = Context::default();
        let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], 100).unwrap();
        let at = receiver.endpoints()[0].clone();
        let mut sender = CreditSender::connect(&context, at).unwrap();
        let send = async {
            for turn in 0..STORM {
                // One that is given up was not sent.
                at_last!(turn, sender.send_async(vec![turn as u8; 30])).unwrap();
            }
        };
        let receive = async {
            let mut seen = BTreeSet::new();
            for turn in 0..STORM {
                let delivery = at_last!(turn, receiver.recv_async());
                assert_eq!(delivery.message.as_bytes(), [turn as u8; 30]);
                assert!(seen.insert(turn));
                receiver.consumed(&delivery);
            }
        };
        join(send, receive).await;
    });
}

#[test]
fn whom_a_gate_before_a_router_lets_in() {
    everywhere(|| async {
        let mut router = Router::new();
        let at = router.bind("tcp://127.0.0.1:*").unwrap();
        let mut gated = GatedRouter::new(router, GateConfig::default(), Some(LONG), |_, _| None);
        let mut dealer = Dealer::builder().connect(&at).unwrap();
        for turn in 0..STORM {
            let asked = Message::from(turn.to_string());
            dealer.send_async(asked.clone()).await.unwrap();
            let admitted = at_last!(turn, gated.recv_async());
            gated.done(admitted.ticket, Some(asked.clone()));
            assert_eq!(dealer.recv_async().await.unwrap(), asked);
        }
    });
}
