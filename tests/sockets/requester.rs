//! Many requests at once: each ends exactly once, whatever becomes of peers and of those who wait.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use futures::task::noop_waker_ref;
use sinew::{
    BindError, ConnectError, Message, PendingRequest, RecvError, Rep, RequestError, RequestOptions,
    Requester, Router, SendFailure, Shared, WaitEnd,
};

use crate::support::{await_true, number_of, numbered, task, Net, Random, KINDS, LONG, SHORT};

/// Answers so many requests with themselves.
fn echo(mut rep: Rep, count: u32) {
    for _ in 0..count {
        let request = rep.recv_timeout(LONG).unwrap();
        rep.send(request).unwrap();
    }
    rep.close();
}

#[test]
fn each_request_gets_its_own_reply_from_plain_repliers() {
    for &net in KINDS {
        // Each has its third, however fast the others are.
        let requester = Requester::builder().window(None).bind(net.fresh()).unwrap();
        let endpoint = requester.bound_endpoints().remove(0);
        let servers: Vec<_> = (0..3)
            .map(|_| Rep::builder().connect(&endpoint).unwrap())
            .collect();
        requester.wait_for_peers(3, LONG).unwrap();
        let servers: Vec<_> = servers
            .into_iter()
            .map(|rep| task(move || echo(rep, 1000)))
            .collect();
        let pending: Vec<_> = (0..3000)
            .map(|n| (n, requester.submit(numbered(1, n))))
            .collect();
        for (n, request) in pending {
            assert_eq!(number_of(&request.wait().unwrap()), (1, n), "{net:?}");
        }
        assert_eq!(requester.outstanding(), 0);
        servers.into_iter().for_each(|server| server.join());
    }
}

#[test]
fn replies_may_come_in_any_order_and_to_tasks() {
    let mut router = Router::builder().bind("tcp://127.0.0.1:*").unwrap();
    let requester = Requester::builder()
        .window(NonZeroU32::new(1000))
        .connect(&router.bound_endpoints()[0])
        .unwrap();
    let server = task(move || {
        let mut requests: Vec<_> = (0..1000)
            .map(|_| router.recv_from_timeout(LONG).unwrap())
            .collect();
        while let Some((from, request)) = requests.pop() {
            router.send_to(&from, request).unwrap();
        }
        router.close();
    });
    let replies = block_on(join_all((0..1000).map(|n| {
        let requester = requester.clone();
        async move { (n, requester.request_async(numbered(0, n)).await) }
    })));
    assert_eq!(replies.len(), 1000);
    for (n, reply) in replies {
        assert_eq!(number_of(&reply.unwrap()), (0, n));
    }
    server.join();
}

#[test]
fn a_lost_peer_ends_its_requests_or_they_go_to_another() {
    for &net in KINDS {
        let mut first = Rep::builder().bind(net.fresh()).unwrap();
        let second = Rep::builder().bind(net.fresh()).unwrap();
        let requester = Requester::builder()
            .connect(&first.bound_endpoints()[0])
            .unwrap();
        let once = requester.submit("once");
        let again = requester.submit_with("again", RequestOptions::default().retries(1));
        assert_eq!(first.recv_timeout(LONG).unwrap().as_bytes(), b"once");
        requester.connect(&second.bound_endpoints()[0]).unwrap();
        requester.wait_for_peers(2, LONG).unwrap();
        drop(first);
        let lost = RequestError::Recv(RecvError::PeerLost);
        assert_eq!(once.wait(), Err(lost), "{net:?}");
        let server = task(move || echo(second, 1));
        assert_eq!(again.wait().unwrap().as_bytes(), b"again");
        server.join();
    }
}

#[test]
fn time_ends_what_nobody_takes_and_what_nobody_answers() {
    let requester = Requester::builder()
        .request_timeout(SHORT)
        .bind("tcp://127.0.0.1:*")
        .unwrap();
    let error = requester.request("to nobody").unwrap_err();
    let RequestError::Send(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.reason(), SendFailure::Timeout);
    assert_eq!(error.into_message().as_bytes(), b"to nobody");

    let mut silent = Rep::builder()
        .connect(&requester.bound_endpoints()[0])
        .unwrap();
    requester.wait_for_peers(1, LONG).unwrap();
    let patient = RequestOptions::default().timeout(LONG);
    let kept = requester.submit_with("kept", patient);
    assert_eq!(
        requester.request("to a deaf one"),
        Err(RequestError::Recv(RecvError::Timeout))
    );
    // A reply that nobody waits for any more disturbs nothing.
    for _ in 0..2 {
        let request = silent.recv_timeout(LONG).unwrap();
        silent.send(request).unwrap();
    }
    assert_eq!(kept.wait().unwrap().as_bytes(), b"kept");
    await_true("the late reply is counted", || {
        requester.stats().dropped_unexpected == 1
    });
    assert_eq!(requester.outstanding(), 0);
}

#[test]
fn who_takes_too_long_is_not_the_only_one_asked() {
    let requester = Requester::builder()
        .request_timeout(LONG)
        .attempt_timeout(SHORT)
        .retries(1)
        .bind("inproc://requester-slow")
        .unwrap();
    let mut reps: Vec<_> = (0..2)
        .map(|_| {
            let endpoint = "inproc://requester-slow";
            Rep::builder().connect(endpoint).unwrap()
        })
        .collect();
    requester.wait_for_peers(2, LONG).unwrap();
    let request = requester.submit("x");
    // Both are asked; the first to reply is the one that was asked second.
    for rep in &mut reps {
        rep.recv_timeout(LONG).unwrap();
    }
    reps[1].send("from the second").unwrap();
    assert_eq!(request.wait().unwrap().as_bytes(), b"from the second");
}

/// Whoever's turn it would be when the time is over.
#[test]
fn who_has_been_asked_is_not_asked_again_while_another_has_room() {
    for &net in KINDS {
        let requester = Requester::builder()
            .request_timeout(LONG)
            .attempt_timeout(SHORT)
            .retries(1)
            .bind(net.fresh())
            .unwrap();
        let endpoint = requester.bound_endpoints().remove(0);
        let mut silent = [(); 2].map(|()| Router::builder().connect(&endpoint).unwrap());
        requester.wait_for_peers(2, LONG).unwrap();
        for count in [1, 2, 7] {
            let pending: Vec<_> = (0..count)
                .map(|n| requester.submit(numbered(0, n)))
                .collect();
            for router in &mut silent {
                let mut asked = HashSet::new();
                for _ in 0..count {
                    let (_, request) = router.recv_from_timeout(LONG).unwrap();
                    let body = Message::from(request.frames()[2].clone());
                    assert!(asked.insert(number_of(&body)), "{net:?}: asked twice");
                }
            }
            for request in pending {
                let timeout = RequestError::Recv(RecvError::Timeout);
                assert_eq!(request.wait(), Err(timeout), "{net:?}");
            }
        }
    }
}

#[test]
fn a_peer_that_does_not_answer_has_its_window_and_no_more() {
    for &net in KINDS {
        let requester = Requester::builder()
            .window(NonZeroU32::new(3))
            .bind(net.fresh())
            .unwrap();
        let endpoint = requester.bound_endpoints().remove(0);
        let silent = Rep::builder().connect(&endpoint).unwrap();
        requester.wait_for_peers(1, LONG).unwrap();
        let mut pending: VecDeque<_> = (0..20).map(|n| requester.submit(numbered(0, n))).collect();
        let others: Vec<_> = pending.split_off(3).into();
        // What waits for a place has one when a request is cancelled, when somebody comes, ...
        drop(pending.pop_front());
        await_true("the first in line has taken the place", || {
            requester.stats().messages_sent == 4
        });
        let server = Rep::builder().connect(&endpoint).unwrap();
        let server = task(move || echo(server, 16));
        let mut held: Vec<u32> = Vec::new();
        let mut others = others.into_iter().zip(3..);
        let (taken, _) = others.next().unwrap();
        for (request, n) in others {
            assert_eq!(number_of(&request.wait().unwrap()), (0, n), "{net:?}");
            held.push(n);
        }
        assert_eq!(held.len(), 16);
        server.join();
        // ... and when who has it is gone.
        let again = RequestOptions::default().retries(u32::MAX);
        let next = requester.submit_with(numbered(1, 0), again);
        let server = task({
            let endpoint = endpoint.clone();
            move || echo(Rep::builder().connect(&endpoint).unwrap(), 1)
        });
        assert_eq!(number_of(&next.wait().unwrap()), (1, 0), "{net:?}");
        server.join();
        drop(silent);
        let lost = Err(RequestError::Recv(RecvError::PeerLost));
        for request in pending.into_iter().chain([taken]) {
            assert_eq!(request.wait(), lost, "{net:?}");
        }
        assert_eq!(requester.outstanding(), 0);
    }
}

#[test]
fn a_request_that_is_dropped_is_cancelled() {
    let mut rep = Rep::builder().bind("tcp://127.0.0.1:*").unwrap();
    let requester = Requester::builder()
        .connect(&rep.bound_endpoints()[0])
        .unwrap();
    let mut request = Box::pin(requester.request_async("x"));
    let mut cx = Context::from_waker(noop_waker_ref());
    assert!(request.as_mut().poll(&mut cx).is_pending());
    assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    assert_eq!(requester.outstanding(), 1);
    drop(request);
    assert_eq!(requester.outstanding(), 0);
    rep.send("late").unwrap();
    let server = task(move || echo(rep, 1));
    assert_eq!(requester.request("y").unwrap().as_bytes(), b"y");
    server.join();
}

#[test]
fn closing_ends_what_is_outstanding() {
    let rep = Rep::builder().bind("tcp://127.0.0.1:*").unwrap();
    let requester = Requester::builder()
        .connect(&rep.bound_endpoints()[0])
        .unwrap();
    requester.wait_for_peers(1, LONG).unwrap();
    let pending = requester.submit("x");
    let clone = requester.clone();
    requester.close();
    assert_eq!(pending.wait(), Err(RequestError::Recv(RecvError::Closed)));
    // What nobody was asked comes back.
    let Err(RequestError::Send(error)) = clone.request("y") else {
        panic!("it says that the request was sent");
    };
    assert_eq!(error.reason(), SendFailure::Closed);
    assert_eq!(error.into_message().as_bytes(), b"y");
}

/// Nothing that a handle asks for waits for who will never come.
#[test]
fn closing_ends_what_other_handles_wait_for_and_refuses_endpoints() {
    let requester = Requester::builder().bind("tcp://127.0.0.1:*").unwrap();
    let other = requester.clone();
    let mut monitor = other.monitor();
    let events = task(move || while monitor.recv().is_some() {});
    let blocked = task({
        let requester = requester.clone();
        move || requester.wait_for_peers(1, LONG)
    });
    let mut waiting = pin!(other.wait_for_peers_async(1));
    let mut cx = Context::from_waker(noop_waker_ref());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    requester.close();

    let Poll::Ready(Err(ended)) = waiting.poll(&mut cx) else {
        panic!("it waits, or says that there is a peer");
    };
    assert_eq!((ended.present, ended.wanted), (0, 1));
    assert_eq!(ended.reason, WaitEnd::Closed);
    assert_eq!(
        ended.to_string(),
        "0 of 1 peers were there when the socket was closed"
    );
    assert_eq!(blocked.join(), Err(ended));
    assert_eq!(other.wait_for_peers(1, LONG), Err(ended));
    assert_eq!(block_on(other.wait_for_peers_async(1)), Err(ended));
    events.join();

    let endpoint = "tcp://127.0.0.1:*";
    let refused = other.bind(endpoint);
    assert!(matches!(refused, Err(BindError::Closed)), "{refused:?}");
    for endpoint in ["tcp://127.0.0.1:9", "inproc://requester-closed"] {
        let refused = other.connect(endpoint);
        assert!(matches!(refused, Err(ConnectError::Closed)), "{refused:?}");
    }
    assert_eq!(other.clone().close().unsent, 0);
}

// ---- many that end in every way -----------------------------------------------------------------

/// The waker of one request. Tells whoever polls, and counts.
struct Bell {
    n: u32,
    rung: AtomicUsize,
    polls: Sender<u32>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::AcqRel);
        // Nobody polls any more when all have ended.
        let _ = self.polls.send(self.n);
    }
}

/// Requests that are polled when they ask for it, and dropped from elsewhere.
struct Crowd {
    /// Each until it has ended.
    pending: Vec<Mutex<Option<PendingRequest>>>,
    bells: Vec<Arc<Bell>>,
    answered: Vec<AtomicUsize>,
    cancelled: Vec<AtomicUsize>,
    /// Of both.
    ended: AtomicUsize,
}

impl Crowd {
    fn submit(requester: &Requester, count: u32) -> (Self, Receiver<u32>) {
        let (polls, asked_for) = channel();
        let bell = |n| {
            let (rung, polls) = (AtomicUsize::new(0), polls.clone());
            Arc::new(Bell { n, rung, polls })
        };
        let none = || Vec::from_iter((0..count).map(|_| AtomicUsize::new(0)));
        let crowd = Crowd {
            pending: (0..count)
                .map(|n| Mutex::new(Some(requester.submit(numbered(3, n)))))
                .collect(),
            bells: (0..count).map(bell).collect(),
            answered: none(),
            cancelled: none(),
            ended: AtomicUsize::new(0),
        };
        (crowd, asked_for)
    }

    /// Polls it unless it has ended; one that is given back goes on, and another is cancelled.
    fn poll(
        &self,
        n: u32,
        waker: &Waker,
        if_pending: impl FnOnce(PendingRequest) -> Option<PendingRequest>,
    ) {
        let mut place = self.pending[n as usize].lock().unwrap();
        let Some(mut request) = place.take() else {
            return;
        };
        let outcomes = match Pin::new(&mut request).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(reply) => {
                assert_eq!(number_of(&reply.unwrap()), (3, n), "of another request");
                &self.answered
            }
            Poll::Pending => {
                *place = if_pending(request);
                if place.is_some() {
                    return;
                }
                &self.cancelled
            }
        };
        drop(place);
        outcomes[n as usize].fetch_add(1, Ordering::AcqRel);
        self.ended.fetch_add(1, Ordering::AcqRel);
        // Whoever waits for the end of all looks again.
        self.bells[n as usize].polls.send(n).unwrap();
    }

    fn poll_when_woken(&self, asked_for: &Receiver<u32>) {
        let poll = |n: u32| {
            let waker = Waker::from(Arc::clone(&self.bells[n as usize]));
            self.poll(n, &waker, Some);
        };
        for n in 0..self.pending.len() as u32 {
            poll(n);
        }
        while self.ended.load(Ordering::Acquire) < self.pending.len() {
            let n = asked_for.recv_timeout(LONG);
            poll(n.expect("a request has ended, and nobody was woken"));
        }
    }

    /// Drops it if it has not ended yet.
    fn cancel(&self, n: u32) {
        self.poll(n, noop_waker_ref(), |request| {
            drop(request);
            None
        });
    }

    /// How many have been answered, and how many cancelled: each once, and one or the other.
    fn outcomes(&self) -> (usize, usize) {
        let load = |counts: &[AtomicUsize]| {
            let counts = counts.iter().map(|count| count.load(Ordering::Acquire));
            Vec::from_iter(counts)
        };
        let (answered, cancelled) = (load(&self.answered), load(&self.cancelled));
        for (n, bell) in self.bells.iter().enumerate() {
            assert_eq!(answered[n] + cancelled[n], 1, "of {n}");
            assert!(bell.rung.load(Ordering::Acquire) <= 1, "{n} ended twice");
            await_true("nobody keeps the waker of what has ended", || {
                Arc::strong_count(bell) == 1
            });
        }
        (answered.iter().sum(), cancelled.iter().sum())
    }
}

/// Workers die with requests in hand, requesters lose patience at any time, and every request ends once.
#[test]
fn ten_thousand_at_once_while_workers_die_and_requests_are_cancelled() {
    const REQUESTS: u32 = 10_000;
    const LOOKED_AT: usize = 2500;
    // At most so many for each that is looked at, so that most are found pending, however fast the workers are; and
    // at least one, so that they are at work.
    const REPLIES: usize = 3;
    let requester = Requester::builder()
        .request_timeout(LONG)
        .retries(u32::MAX)
        .bind("tcp://127.0.0.1:*")
        .unwrap();
    let endpoint = requester.bound_endpoints().remove(0);
    let over = Arc::new(AtomicBool::new(false));
    let deaths = Arc::new(AtomicUsize::new(0));
    let replies = Arc::new(AtomicUsize::new(0));
    let looked_at = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..4usize)
        .map(|worker| {
            let (over, deaths) = (Arc::clone(&over), Arc::clone(&deaths));
            let (replies, looked_at) = (Arc::clone(&replies), Arc::clone(&looked_at));
            let endpoint = endpoint.clone();
            task(move || {
                let mut handled = worker * 7;
                'life: while !over.load(Ordering::Acquire) {
                    let mut rep = Rep::builder().connect(&endpoint).unwrap();
                    while !over.load(Ordering::Acquire) {
                        let Ok(request) = rep.recv_timeout(SHORT) else {
                            continue;
                        };
                        handled += 1;
                        if handled % 501 == 0 {
                            // With a request in hand, and more behind it.
                            deaths.fetch_add(1, Ordering::Relaxed);
                            continue 'life;
                        }
                        let replies = replies.fetch_add(1, Ordering::AcqRel);
                        await_true("more are looked at", || {
                            let looked_at = looked_at.load(Ordering::Acquire);
                            looked_at == LOOKED_AT || replies <= REPLIES * looked_at
                        });
                        rep.send(request).unwrap();
                    }
                }
            })
        })
        .collect();
    let (crowd, asked_for) = Crowd::submit(&requester, REQUESTS);
    let crowd = Arc::new(crowd);
    let cancelling = task({
        let crowd = Arc::clone(&crowd);
        move || {
            let mut random = Random::new(17);
            let mut order: Vec<u32> = (0..REQUESTS).collect();
            for n in (1..order.len()).rev() {
                order.swap(n, random.below(n as u64 + 1) as usize);
            }
            for &n in &order[..LOOKED_AT] {
                crowd.cancel(n);
                let looked_at = 1 + looked_at.fetch_add(1, Ordering::AcqRel);
                await_true("others are answered", || {
                    replies.load(Ordering::Acquire) >= looked_at
                });
            }
        }
    });
    crowd.poll_when_woken(&asked_for);
    cancelling.join();
    let (answered, cancelled) = crowd.outcomes();
    assert_eq!(answered + cancelled, REQUESTS as usize);
    assert!(
        cancelled >= REQUESTS as usize / 10,
        "{cancelled} were pending"
    );
    assert_eq!(requester.outstanding(), 0);
    assert!(deaths.load(Ordering::Relaxed) > 0);
    over.store(true, Ordering::Release);
    workers.into_iter().for_each(|worker| worker.join());
}

// ---- wakers that do more than to wake -----------------------------------------------------------

/// Owns a request, as the waker of a task does that is not to be run any more.
struct Owner(#[allow(dead_code, reason = "it is dropped with its owner")] Mutex<PendingRequest>);
impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_task_that_ends_with_its_waker_may_have_requests_of_its_own() {
    let requester = Requester::builder().bind(Net::Inproc.fresh()).unwrap();
    let asking = requester.clone();
    let done = task(move || {
        let owner = || Waker::from(Arc::new(Owner(Mutex::new(asking.submit("its own")))));
        let mut request = asking.submit("asked");
        for _ in 0..2 {
            let waker = owner();
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut request).poll(&mut cx).is_pending());
        }
        // With the last waker.
        drop(request);
    });
    done.join();
    assert_eq!(requester.outstanding(), 0);
}

struct Broken;
impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("the waker of a test");
    }
}

#[test]
fn a_waker_that_panics_does_not_concern_other_requests() {
    let rep = Rep::builder().bind(Net::Inproc.fresh()).unwrap();
    let requester = Requester::builder()
        .connect(&rep.bound_endpoints()[0])
        .unwrap();
    let mut broken = requester.submit(numbered(0, 0));
    let waker = Waker::from(Arc::new(Broken));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut broken).poll(&mut cx).is_pending());
    let server = task(move || echo(rep, 2));
    let next = task(move || number_of(&requester.request(numbered(0, 1)).unwrap()));
    assert_eq!(next.join(), (0, 1));
    assert_eq!(number_of(&broken.wait().unwrap()), (0, 0));
    server.join();
}

// ---- shared sockets -----------------------------------------------------------------------------

#[test]
fn shared_sockets_serve_threads_and_tasks() {
    use sinew::{Pull, Push};
    for &net in KINDS {
        let pull = Pull::builder().bind(net.fresh()).unwrap();
        let push = Push::builder()
            .send_hwm(100)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        let (pull, push) = (Shared::new(pull), Shared::new(push));
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let push = push.clone();
                task(move || {
                    for n in 0..2000 {
                        if n % 2 == 0 {
                            push.send(numbered(sender, n)).unwrap();
                        } else {
                            block_on(push.send_async(numbered(sender, n))).unwrap();
                        }
                    }
                })
            })
            .collect();
        let receivers: Vec<_> = (0..4)
            .map(|receiver| {
                let pull = pull.clone();
                task(move || {
                    let receive = |n: u32| match (n + receiver) % 2 {
                        0 => pull.recv_timeout(LONG).unwrap(),
                        _ => block_on(pull.recv_async()).unwrap(),
                    };
                    (0..2000)
                        .map(|n| number_of(&receive(n)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join());
        let mut all = HashSet::new();
        for receiver in receivers {
            let mut last = [None; 4];
            for (sender, n) in receiver.join() {
                // What one handle receives is in order.
                assert!(last[sender as usize] < Some(n), "{net:?}");
                last[sender as usize] = Some(n);
                assert!(all.insert((sender, n)));
            }
        }
        assert_eq!(all.len(), 8000);
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(pull.recv_timeout(Duration::ZERO), Err(RecvError::Timeout));
    }
}

#[test]
fn a_place_in_the_line_is_given_up_with_the_future() {
    use sinew::Pair;
    let mut one = Pair::builder().bind("inproc://shared-line").unwrap();
    let other = Shared::new(Pair::builder().connect("inproc://shared-line").unwrap());
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut first = Box::pin(other.recv_async());
    let mut second = Box::pin(other.recv_async());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    // Who receives does not hold up who sends.
    other.send("from the other").unwrap();
    assert_eq!(
        one.recv_timeout(LONG).unwrap().as_bytes(),
        b"from the other"
    );
    let handle = other.clone();
    let third = task(move || handle.recv_timeout(LONG));
    drop(first);
    one.send("for the second").unwrap();
    one.send("for the third").unwrap();
    let message: Message = block_on(second).unwrap();
    let texts = HashSet::from([
        message.as_bytes().to_vec(),
        third.join().unwrap().as_bytes().to_vec(),
    ]);
    assert_eq!(
        texts,
        HashSet::from([b"for the second".to_vec(), b"for the third".to_vec()])
    );
    let other = other.into_inner().unwrap();
    other.close();
}

#[test]
fn who_waits_on_the_socket_itself_takes_no_wake_up_from_those_in_line() {
    use sinew::Pair;
    let mut one = Pair::builder().bind(Net::Inproc.fresh()).unwrap();
    let other = Pair::builder().connect(&one.bound_endpoints()[0]).unwrap();
    let other = Shared::new(other);
    let woken = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut first = Box::pin(other.recv_async());
    let mut poll = || first.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    let waited = other.with(|pair| pair.recv_timeout(Duration::from_millis(1)));
    assert_eq!(waited, Err(RecvError::Timeout));
    // As an executor does.
    if woken.0.swap(false, Ordering::AcqRel) {
        assert!(poll().is_pending());
    }
    one.send("for the first").unwrap();
    await_true("the wake-up", || woken.0.load(Ordering::Acquire));
    assert!(poll().is_ready());
}

#[derive(Default)]
struct Flag(AtomicBool);
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Each by itself, and any number of them.
#[test]
fn many_can_wait_for_peers_of_one_requester() {
    for &net in KINDS {
        let requester = Requester::builder().bind(net.fresh()).unwrap();
        let endpoint = requester.bound_endpoints().remove(0);
        let short = requester.wait_for_peers(1, SHORT).unwrap_err();
        assert_eq!((short.present, short.wanted), (0, 1));
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let requester = requester.clone();
                task(move || match n % 2 {
                    0 => requester.wait_for_peers(1 + n / 2, LONG).unwrap(),
                    _ => block_on(requester.wait_for_peers_async(1 + n / 2)).unwrap(),
                })
            })
            .collect();
        let reps: Vec<_> = (0..2)
            .map(|_| Rep::builder().connect(&endpoint).unwrap())
            .collect();
        waiting.into_iter().for_each(|waiting| waiting.join());
        drop(reps);
    }
}

#[test]
fn a_request_can_be_waited_for_again() {
    let requester = Requester::builder().bind("tcp://127.0.0.1:*").unwrap();
    let mut rep = Rep::builder()
        .connect(&requester.bound_endpoints()[0])
        .unwrap();
    let mut request = requester.submit("x");
    for wait in [Duration::ZERO, SHORT] {
        request = request.wait_timeout(wait).unwrap_err();
        assert_eq!(requester.outstanding(), 1);
    }
    let received = rep.recv_timeout(LONG).unwrap();
    rep.send(received).unwrap();
    let reply = request.wait_timeout(LONG).unwrap();
    assert_eq!(reply.unwrap().as_bytes(), b"x");
    // Its own end is no end of the wait.
    let short = RequestOptions::default().timeout(SHORT);
    let request = requester.submit_with("nobody answers", short);
    let ended = request.wait_timeout(LONG).unwrap();
    assert_eq!(ended, Err(RequestError::Recv(RecvError::Timeout)));
}
