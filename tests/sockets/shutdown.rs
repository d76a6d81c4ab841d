//! The end of a context: what waits for its sockets is told, and what is still open has a name.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use sinew::{
    BindError, BuildError, ConnectError, Context, Dealer, Dgram, Dish, Interest, Pair, PollItem,
    Poller, Proxy, Pub, Pull, Push, RecvError, Rep, Req, RequestError, Requester, Router,
    SendFailure, Server, Shared, SocketType, Split, Sub, WaitEnd, XPub, XSub,
};

use crate::support::{await_true, task, Net, Task, KINDS, LONG, SHORT};

fn context() -> Context {
    Context::builder().build().unwrap()
}

/// Calls that would never end. Whether the context is shut down before one of them waits or after, it ends.
#[test]
fn whatever_waits_ends_with_an_error() {
    let context = context();
    let mut receiving: Vec<Task<Result<(), RecvError>>> = Vec::new();
    macro_rules! receives {
        ($($kind:ident: $receive:ident),*) => {$(
            let mut socket = $kind::builder().context(&context).build().unwrap();
            receiving.push(task(move || {
                let first = socket.$receive().map(|_| ());
                // And again.
                assert_eq!(socket.$receive().map(|_| ()), first);
                first
            }));
        )*};
    }
    receives!(Pull: recv, Sub: recv, Rep: recv, Dealer: recv, Router: recv_from, Router: recv);
    receives!(Pair: recv, Server: recv, XPub: recv_event, XSub: recv, Dish: recv);
    let mut sending: Vec<Task<()>> = Vec::new();
    macro_rules! sends {
        ($($kind:ident),*) => {$(
            let mut socket = $kind::builder().context(&context).build().unwrap();
            sending.push(task(move || {
                for _ in 0..2 {
                    let refused = socket.send("kept").unwrap_err();
                    assert_eq!(refused.reason(), SendFailure::Terminated);
                    assert!(!refused.is_timeout());
                    assert_eq!(refused.into_message().as_bytes(), b"kept");
                }
            }));
        )*};
    }
    sends!(Push, Dealer, Req, Pair);
    let mut waiting = Push::builder().context(&context).build().unwrap();
    let waiting = task(move || waiting.wait_for_peers(1, LONG).unwrap_err().present);
    context.shutdown();
    assert!(context.is_shut_down());
    for task in receiving {
        assert_eq!(task.join(), Err(RecvError::Terminated));
    }
    for task in sending {
        task.join();
    }
    assert_eq!(waiting.join(), 0);
}

/// Of connections, which a blocked receive reads itself.
#[test]
fn who_waits_for_a_peer_is_told_too() {
    for &net in KINDS {
        let context = context();
        let mut pull = Pull::builder().context(&context).bind(net.fresh()).unwrap();
        let mut push = Push::builder()
            .context(&context)
            .send_hwm(1)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        push.send("first").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"first");
        let receiving = task(move || (pull.recv(), pull));
        context.shutdown();
        let (ended, mut pull) = receiving.join();
        assert_eq!(ended, Err(RecvError::Terminated), "{net:?}");
        // What needs no waiting still works, as long as there is room for it.
        let mut sent = 0u32;
        let refused = loop {
            match push.send(vec![0; 100_000]) {
                Ok(()) => sent += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.reason(), SendFailure::Terminated, "{net:?}");
        let mut received = 0;
        await_true("what was sent is received", || {
            received += u32::from(pull.try_recv().is_ok());
            received == sent
        });
        assert_eq!(pull.try_recv(), Err(RecvError::Terminated), "{net:?}");
        let late = pull.recv_timeout(LONG);
        assert_eq!(late, Err(RecvError::Terminated), "{net:?}");
    }
}

#[derive(Default)]
struct Woken(AtomicU32);
impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tasks_are_woken_and_told() {
    let context = context();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let mut push = Push::builder().context(&context).build().unwrap();
    let mut peers = Push::builder().context(&context).build().unwrap();
    let woken = [(); 3].map(|()| Arc::new(Woken::default()));
    let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
    let mut tasks = wakers.each_ref().map(std::task::Context::from_waker);
    {
        let mut receive = pin!(pull.recv_async());
        let mut send = pin!(push.send_async("kept"));
        let mut wait = pin!(peers.wait_for_peers_async(1));
        assert!(receive.as_mut().poll(&mut tasks[0]).is_pending());
        assert!(send.as_mut().poll(&mut tasks[1]).is_pending());
        assert!(wait.as_mut().poll(&mut tasks[2]).is_pending());
        context.shutdown();
        for woken in &woken {
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        }
        assert_eq!(
            receive.as_mut().poll(&mut tasks[0]),
            Poll::Ready(Err(RecvError::Terminated))
        );
        match send.as_mut().poll(&mut tasks[1]) {
            Poll::Ready(Err(error)) => {
                assert_eq!(error.reason(), SendFailure::Terminated);
                assert_eq!(error.into_message().as_bytes(), b"kept");
            }
            other => panic!("{other:?}"),
        }
        assert!(wait.as_mut().poll(&mut tasks[2]).is_ready());
    }
    // A future that was dropped before has left nothing that is in the way.
    drop(pull.recv_async());
    assert_eq!(pull.recv(), Err(RecvError::Terminated));
}

#[test]
fn pollers_shared_handles_and_parts_are_told() {
    let context = context();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let polling = task(move || {
        let mut poller = Poller::new().unwrap();
        let mut items = [PollItem::socket(&mut pull, Interest::BOTH)];
        let events = poller.wait(&mut items, None).unwrap();
        assert!(events.is_readable(0) && !events.is_writable(0));
        pull.recv()
    });
    let shared = Shared::new(Pull::builder().context(&context).build().unwrap());
    let handles: Vec<_> = (0..3)
        .map(|_| {
            let shared = shared.clone();
            task(move || shared.recv())
        })
        .collect();
    let dealer = Dealer::builder().context(&context).build().unwrap();
    let (mut sending, mut receiving) = dealer.split();
    let sending = task(move || sending.send("x").unwrap_err().reason());
    let receiving = task(move || receiving.recv());
    let (mut lonely, _rest) = (Dealer::builder().context(&context).build().unwrap()).split();
    let waiting = task(move || lonely.wait_for_peers(1, LONG).unwrap_err().reason);
    context.shutdown();
    assert_eq!(waiting.join(), WaitEnd::Terminated);
    assert_eq!(polling.join(), Err(RecvError::Terminated));
    for handle in handles {
        assert_eq!(handle.join(), Err(RecvError::Terminated));
    }
    assert_eq!(sending.join(), SendFailure::Terminated);
    assert_eq!(receiving.join(), Err(RecvError::Terminated));
}

#[test]
fn requests_end_whether_they_were_sent_or_not() {
    let context = context();
    let (mut rep, endpoint) = Rep::builder().bound("tcp://127.0.0.1:*").unwrap();
    let begin = || Requester::builder().context(&context).build().unwrap();
    let (asking, alone) = (begin(), begin());
    asking.connect(&endpoint).unwrap();
    let sent = asking.submit("sent");
    assert_eq!(rep.recv().unwrap().as_bytes(), b"sent");
    let unsent = alone.submit("unsent");
    context.shutdown();
    assert_eq!(sent.wait(), Err(RequestError::Recv(RecvError::Terminated)));
    for request in [unsent, alone.submit("late")] {
        match request.wait() {
            Err(RequestError::Send(error)) => {
                assert_eq!(error.reason(), SendFailure::Terminated);
            }
            Err(RequestError::Recv(RecvError::Terminated)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn monitors_and_proxies_come_to_their_end() {
    let context = context();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind("inproc://shutdown-proxy").unwrap();
    assert!(monitor.recv().is_some(), "it listens");
    let watching = task(move || monitor.recv());
    let push = Push::builder().context(&context).build().unwrap();
    let proxy = Proxy::new(pull, push).spawn().unwrap();
    context.shutdown();
    assert_eq!(watching.join(), None);
    let (pull, _) = {
        let report = task(move || proxy.join()).join();
        (report.front, report.back)
    };
    assert_eq!(pull.bound_endpoints(), [endpoint]);
    assert_eq!(pull.monitor().recv(), None);
}

#[test]
fn nothing_new_begins() {
    let context = context();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let mut publisher = Pub::builder().context(&context).build().unwrap();
    context.shutdown();
    context.shutdown();
    for &net in KINDS {
        let refused = pull.bind(net.fresh());
        assert!(matches!(refused, Err(BindError::Terminated)), "{net:?}");
        let refused = pull.connect(net.unbound());
        assert!(matches!(refused, Err(ConnectError::Terminated)), "{net:?}");
    }
    let refused = Dgram::builder().context(&context).build();
    assert!(matches!(refused, Err(BuildError::Terminated)));
    // What never waits is as ever.
    publisher.send("to nobody").unwrap();
    // Other contexts go on.
    assert_eq!(Pull::new().try_recv(), Err(RecvError::WouldBlock));
}

#[test]
fn what_is_still_open_has_a_name_and_is_sent_to_the_end() {
    let context = context();
    context.wait_closed(Duration::ZERO).unwrap();
    let endpoint = Net::Tcp4.unbound();
    let mut push = Push::builder()
        .context(&context)
        .linger(LONG)
        .connect(&endpoint)
        .unwrap();
    let pull = Pull::builder().context(&context).build().unwrap();
    push.send("kept").unwrap();
    let closing = {
        let context = context.clone();
        task(move || context.wait_closed(LONG))
    };
    context.shutdown();
    let open = context.wait_closed(Duration::ZERO).unwrap_err().sockets;
    assert_eq!(open.len(), 2);
    assert_eq!(open[0].socket_type, SocketType::Push);
    assert_eq!(open[0].endpoints, push.connected_endpoints());
    assert_eq!((open[0].id, open[0].is_lingering), (push.id(), false));
    assert_eq!(open[1].socket_type, SocketType::Pull);
    drop((push, pull));
    let open = context.wait_closed(SHORT).unwrap_err();
    let text = open.to_string();
    assert!(text.starts_with("1 sockets are open: PUSH "), "{text}");
    let ending = format!("at `{endpoint}`, which still sends");
    assert!(text.ends_with(&ending), "{text}");
    assert!(open.sockets[0].is_lingering);

    let mut elsewhere = Pull::builder().bind(&endpoint).unwrap();
    assert_eq!(elsewhere.recv_timeout(LONG).unwrap().as_bytes(), b"kept");
    closing.join().unwrap();
}
