//! SUB-07, RPC-11: everything that waits has a form for tasks, on tokio, on smol and on no runtime at all, and a future
//! that is dropped loses nothing.

#[path = "tasks/storms.rs"]
mod storms;

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use sinew::{Context, Dealer, Message, Router};
use sinew_patterns::common::{CallError, CallOptions, Fault};
use sinew_patterns::flow::{
    CreditReceiver, CreditSender, Gate, GateConfig, GatedRouter, Rejected, TokenClient,
    TokenConfig, TokenServer,
};
use sinew_patterns::mdp::{self, Broker, BrokerConfig, BrokerEngine, Worker, WorkerConfig};
use sinew_patterns::rpc::{
    Client, ClientConfig, Dialect, Server, ServerConfig, ServerEngine, ServerEvent,
};
use sinew_patterns::{Request, RouterShell};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: Duration = Duration::from_secs(60);

fn options() -> CallOptions {
    CallOptions {
        deadline: LONG,
        ..CallOptions::default()
    }
}

/// Runs it on tokio with threads and without, on smol, and on a thread that parks; none has timers or I/O of its own.
fn everywhere<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    use tokio::runtime::Builder;
    let boxed = || -> Task {
        let task = task();
        Box::pin(async move {
            let late = sinew::sleep_until(Instant::now() + LONG);
            let end = futures::future::select(Box::pin(task), late).await;
            assert!(matches!(end, futures::future::Either::Left(_)), "it hangs");
        })
    };
    let threads = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    threads.block_on(threads.spawn(boxed())).unwrap();
    Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(boxed());
    smol::block_on(smol::spawn(boxed()));
    futures::executor::block_on(boxed());
}

/// Polls once, with a waker that nobody listens to, and gives up.
fn given_up<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut TaskContext::from_waker(futures::task::noop_waker_ref())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn echo(mut request: Request) {
    match request.body().as_bytes() {
        b"panic" => panic!("a handler of this test panics"),
        b"fail" => request.fail(Fault::failed("no luck")),
        b"parts" => {
            assert!(request.partial_async("1").await);
            request.reply("2");
        }
        _ => {
            let body = request.take_body();
            request.reply(body);
        }
    }
}

fn client(server: &Server) -> Client {
    let config = ClientConfig {
        dialect: Dialect::Ext,
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), server.endpoints(), config).unwrap()
}

#[test]
fn a_server_serves_in_a_task() {
    everywhere(|| async {
        let server = Server::bind(
            &Context::default(),
            &["tcp://127.0.0.1:*"],
            ServerConfig::default(),
        )
        .unwrap();
        let (client, handle) = (client(&server), server.handle());
        let calls = async {
            let bodies = (0..50).map(|number| Message::from(number.to_string()));
            let calls = bodies.map(|body| {
                let call = client.call_async(body.clone(), &options());
                async move { assert_eq!(call.await.unwrap(), body) }
            });
            futures::future::join_all(calls).await;
            let parts = client.call_async("parts", &options()).await.unwrap();
            assert_eq!(parts, Message::multipart(["1", "2"]));
            for (what, why) in [("fail", "no luck"), ("panic", "the handler gave no reply")] {
                match client.call_async(what, &options()).await {
                    Err(CallError::Remote(fault)) => assert_eq!(fault.reason, why),
                    other => panic!("{other:?}"),
                }
            }
            handle.drain();
        };
        futures::future::join(server.serve_async(echo), calls).await;
        handle.join_async().await;
        assert_eq!(handle.counters().replies, 0, "it has ended");
    });
}

/// A handler that waits does not keep the others waiting, and no more than so many wait at once.
#[test]
fn handlers_run_side_by_side() {
    everywhere(|| async {
        let config = ServerConfig {
            concurrency: 3,
            ..ServerConfig::default()
        };
        let server = Server::bind(&Context::default(), &["tcp://127.0.0.1:*"], config).unwrap();
        let (client, handle) = (client(&server), server.handle());
        let (running, most) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let high = Arc::clone(&most);
        // Each handler waits until there are three of them, so fewer at once would hang.
        let (came, waits) = async_barrier(3);
        let serving = server.serve_async(move |request| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let (came, waits) = (came.clone(), waits.clone());
            async move {
                let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                came.await_all(&waits).await;
                running.fetch_sub(1, Ordering::Relaxed);
                request.reply("done");
            }
        });
        let calls = async {
            let calls = (0..9).map(|_| client.call_async("x", &options()));
            for end in futures::future::join_all(calls).await {
                assert_eq!(end.unwrap(), Message::from("done"));
            }
            handle.drain();
        };
        futures::future::join(serving, calls).await;
        assert_eq!(high.load(Ordering::Relaxed), 3);
    });
}

#[derive(Clone)]
struct Barrier(smol::channel::Sender<()>, u32, Arc<AtomicU32>);

/// All of so many go on when the last of them has come.
fn async_barrier(of: u32) -> (Barrier, smol::channel::Receiver<()>) {
    let (sender, receiver) = smol::channel::unbounded();
    (Barrier(sender, of, Arc::default()), receiver)
}

impl Barrier {
    async fn await_all(&self, go: &smol::channel::Receiver<()>) {
        if (self.2.fetch_add(1, Ordering::Relaxed) + 1) % self.1 == 0 {
            for _ in 0..self.1 {
                self.0.send(()).await.unwrap();
            }
        }
        go.recv().await.unwrap();
    }
}

/// Futures that wait for a request are given up again and again; every request comes out of one.
#[test]
fn no_request_is_lost_with_a_future() {
    everywhere(|| async {
        let mut server = Server::bind(
            &Context::default(),
            &["tcp://127.0.0.1:*"],
            ServerConfig::default(),
        )
        .unwrap();
        let client = client(&server);
        let calls = (0..20).map(|n| client.call_async(Message::from(n.to_string()), &options()));
        let calls = futures::future::join_all(calls);
        let serve = async {
            for turn in 0..20 {
                let early = (turn % 2 == 0).then(|| given_up(server.next_async()));
                let request = match early.flatten() {
                    Some(request) => request,
                    None => server.next_async().await,
                };
                echo(request.expect("it has not ended")).await;
            }
        };
        let (replies, ()) = futures::future::join(calls, serve).await;
        for (number, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.unwrap(), Message::from(number.to_string()));
        }
        // One that is dropped with its server's future is answered all the same.
        let left = client.call_async("left", &options());
        let serving = server.serve_async(|request| async move {
            futures::future::pending::<()>().await;
            drop(request);
        });
        let dropped = async {
            let mut serving = Box::pin(serving);
            let soon = sinew::sleep_until(Instant::now() + Duration::from_millis(1));
            let _ = futures::future::select(serving.as_mut(), soon).await;
        };
        dropped.await;
        drop(left);
    });
}

#[test]
fn a_worker_serves_in_a_task() {
    everywhere(|| async {
        let context = Context::default();
        let engine = BrokerEngine::new(BrokerConfig::default());
        let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine).unwrap();
        let at = broker.endpoints().to_vec();
        let worker =
            Worker::connect_slots(&context, &at, "echo", WorkerConfig::default(), 2).unwrap();
        let handle = worker.handle();
        let client = mdp::Client::connect(&context, &at, mdp::ClientConfig::default()).unwrap();
        let calls = async {
            let bodies = (0..10).map(|number| Message::from(number.to_string()));
            let calls = bodies.map(|body| {
                let call = client.call_async("echo", body.clone(), &options());
                async move { assert_eq!(call.await.unwrap(), body) }
            });
            futures::future::join_all(calls).await;
            handle.drain();
        };
        futures::future::join(worker.serve_async(echo), calls).await;
        handle.join_async().await;
        broker.handle().drain();
        broker.handle().join_async().await;
    });
}

#[test]
fn a_gate_lets_tasks_in() {
    everywhere(|| async {
        let gate = Gate::new(GateConfig {
            inside: 1,
            ..GateConfig::default()
        });
        let enter = |who: &'static str| gate.enter_async(who, 10, LONG);
        let first = enter("a").await.unwrap();
        let second = enter("b");
        let mut second = Box::pin(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(given_up(enter("c")).is_none());
        assert_eq!(gate.load(), (1, 1, 10), "who gave up waits no more");
        drop(first);
        let second = second.await.unwrap();
        // One that is let in and dropped before it knows gives its place back.
        let mut third = Box::pin(enter("d"));
        assert!(futures::poll!(third.as_mut()).is_pending());
        drop(second);
        drop(third);
        assert_eq!(gate.load(), (0, 0, 0));
        let held = gate.try_enter("e", 0).unwrap();
        let late = gate.enter_async("f", 0, Duration::from_millis(2)).await;
        assert_eq!(late.unwrap_err(), Rejected::Late);
        drop(held);
        assert_eq!(gate.load(), (0, 0, 0));
    });
}

#[test]
fn tokens_are_taken_in_tasks() {
    everywhere(|| async {
        let context = Context::default();
        let lease = Duration::from_secs(10);
        let server = TokenServer::bind(&context, &["tcp://127.0.0.1:*"], lease).unwrap();
        server.set_bucket("api", 1e6, 1000);
        let config = TokenConfig::default();
        let client = TokenClient::connect(&context, server.endpoints(), "api", config).unwrap();
        for _ in 0..20 {
            if given_up(client.take_async(1, LONG)).is_none() {
                client.take_async(1, LONG).await.unwrap();
            }
        }
        let nothing = client.take_async(u32::MAX, Duration::from_millis(2)).await;
        assert!(nothing.is_err());
    });
}

#[test]
fn an_engine_is_driven_by_a_task() {
    everywhere(|| async {
        let mut router = Router::new();
        let at = router.bind("tcp://127.0.0.1:*").unwrap();
        let mut shell = RouterShell::new(router, ServerEngine::new(ServerConfig::default()));
        let mut dealer = Dealer::builder().connect(&at).unwrap();
        for number in 0..20u32 {
            assert!(given_up(shell.next_event_async()).is_none(), "nobody asked");
            let asked = Message::multipart([String::new(), number.to_string()]);
            dealer.send_async(asked.clone()).await.unwrap();
            let ServerEvent::Request(request) = shell.next_event_async().await else {
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
fn a_gated_router_is_driven_by_a_task() {
    everywhere(|| async {
        let mut router = Router::new();
        let at = router.bind("tcp://127.0.0.1:*").unwrap();
        let config = GateConfig {
            inside: 1,
            ..GateConfig::default()
        };
        let mut gated = GatedRouter::new(router, config, Some(Duration::from_millis(2)), |_, _| {
            Some("late".into())
        });
        let mut dealer = Dealer::builder().connect(&at).unwrap();
        dealer.send("first").unwrap();
        dealer.send("second").unwrap();
        let first = gated.recv_async().await;
        // The second is turned away while nobody comes: the engine's time wakes the task.
        let turned_away = async { dealer.recv_async().await.unwrap() };
        let waiting = gated.recv_async();
        match futures::future::select(Box::pin(turned_away), Box::pin(waiting)).await {
            futures::future::Either::Left((answer, _)) => assert_eq!(answer, "late".into()),
            futures::future::Either::Right(_) => panic!("there is no room inside"),
        }
        gated.done(first.ticket, Some("done".into()));
        assert_eq!(dealer.recv_async().await.unwrap(), "done".into());
    });
}

#[test]
fn credit_between_tasks() {
    everywhere(|| async {
        let context = Context::default();
        let window = 200;
        let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], window).unwrap();
        let mut sender = CreditSender::connect(&context, receiver.endpoints()[0].clone()).unwrap();
        let send = async {
            for number in 0..50u8 {
                sender.send_async(vec![number; 50]).await.unwrap();
            }
        };
        let receive = async {
            for number in 0..50u8 {
                let delivery = receiver.recv_async().await;
                assert_eq!(delivery.message.as_bytes(), [number; 50]);
                assert!(receiver.held() <= window);
                receiver.consumed(&delivery);
            }
        };
        futures::future::join(send, receive).await;
    });
}
