//! omq-tokio, in the two ways of its documentation: async sockets of a `Context` used from tasks of a
//! multi-threaded tokio runtime (README), and as `omq-blocking` the blocking sockets of the same
//! `Context`, one thread for each (module `blocking`). One I/O thread, marks of 1000: its defaults.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{blocking, Context, Endpoint, Message, Options, SocketType};

use super::fresh;
use super::raw::{numbers, whole};
use crate::drive::{flow, many, ping_pong, GAP};
use crate::machine::Side;
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Receiver, Replier, Requester, Sender, Subject};
use crate::tally::{Rule, Tally};
use crate::tasks::{self, AsyncReceiver, AsyncReplier, AsyncRequester, AsyncSender};
use crate::work::{Pattern, Plan, Transport, Work};

/// omq-tokio.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Omq {
    Async,
    Blocking,
}

impl Subject for Omq {
    fn name(&self) -> &'static str {
        match self {
            Omq::Async => "omq-tokio",
            Omq::Blocking => "omq-blocking",
        }
    }

    fn is_quick(&self) -> bool {
        *self == Omq::Async
    }

    fn offers(&self, work: &Work) -> Offer {
        match work.pattern {
            // These two compare Sinew and libzmq.
            Pattern::IdleReqRep(_)
            | Pattern::IdleFlow(_)
            | Pattern::Topics(_)
            | Pattern::Proxy
            | Pattern::RouterProxy
            | Pattern::Dealer(_) => Offer::NoRow,
            _ => Offer::Yes,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        match self {
            Omq::Async => run_async(work, *plan),
            Omq::Blocking => run_blocking(work, plan),
        }
    }
}

/// Its own default is to throw away what is queued when a socket closes; ours never close.
fn options() -> Options {
    Options::default()
}

const PATIENCE: Duration = Duration::from_secs(10);

fn run_async(work: &Work, plan: Plan) -> Fallible<Sample> {
    let runtime = tasks::runtime()?;
    let context = Context::new();
    let socket = |kind| context.socket(kind, options());
    let transport = work.transport;
    let pair = async |near, far| -> Fallible<(omq_tokio::Socket, omq_tokio::Socket)> {
        let far = socket(far);
        let at = far.bind(fresh(transport).as_str()).await?;
        let near = socket(near);
        near.connect(at).await?;
        ready(&near, transport, 1).await?;
        Ok((near, far))
    };
    match work.pattern {
        Pattern::Flow(1, 1) => runtime.block_on(async {
            let (push, pull) = pair(SocketType::Push, SocketType::Pull).await?;
            let fed = tokio::spawn(tasks::feed(Async(push), plan));
            let drained = async move { tasks::drain(&mut Async(pull), plan).await };
            let sample = tokio::spawn(drained).await?;
            fed.await?;
            sample
        }),
        Pattern::ByReference => runtime.block_on(async {
            let (push, pull) = pair(SocketType::Push, SocketType::Pull).await?;
            let body = Bytes::from(vec![0x5a; plan.size]);
            let fed = tokio::spawn(tasks::feed(AsyncShared(push, body), numbers(&plan)));
            let mut pull = AsyncShared(pull, Bytes::new());
            let drained = async move { tasks::drain(&mut pull, numbers(&plan)).await };
            let sample = tokio::spawn(drained).await?;
            fed.await?;
            sample
        }),
        Pattern::ReqRep | Pattern::Gap => {
            let (req, rep) = runtime.block_on(pair(SocketType::Req, SocketType::Rep))?;
            let gap = work.pattern == Pattern::Gap;
            tasks::lock_step(
                &tasks::side_runtime(Side::Requester)?,
                tasks::ask(Async(req), plan, gap),
                &tasks::side_runtime(Side::Replier)?,
                tasks::answer(Async(rep)),
            )
        }
        Pattern::Flow(senders, receivers) => {
            let tally = Arc::new(Tally::new(senders, receivers, Rule::Once, &plan));
            runtime.block_on(async {
                let mut pulls = Vec::new();
                let mut bound: Vec<Endpoint> = Vec::new();
                for _ in 0..receivers {
                    let pull = socket(SocketType::Pull);
                    bound.push(pull.bind(fresh(transport).as_str()).await?);
                    pulls.push(pull);
                }
                let mut pushes = Vec::new();
                for _ in 0..senders {
                    let push = socket(SocketType::Push);
                    for at in &bound {
                        push.connect(at).await?;
                    }
                    ready(&push, transport, receivers).await?;
                    pushes.push(push);
                }
                spread(&tally, pushes, pulls, plan);
                Fallible::Ok(())
            })?;
            tally.measure()
        }
        Pattern::PubSub(count) => {
            let tally = Arc::new(Tally::new(1, count, Rule::Rising, &plan));
            runtime.block_on(async {
                let publisher = socket(SocketType::Pub);
                let at = publisher.bind(fresh(transport).as_str()).await?;
                let mut subscribers = Vec::new();
                for _ in 0..count {
                    let sub = socket(SocketType::Sub);
                    sub.subscribe("").await?;
                    sub.connect(&at).await?;
                    subscribers.push(sub);
                }
                publisher.wait_subscribed(count as u64, PATIENCE).await?;
                spread(&tally, vec![publisher], subscribers, plan);
                Fallible::Ok(())
            })?;
            tally.measure()
        }
        _ => Err("not offered".into()),
    }
}

/// A thread for each socket.
fn spread(
    tally: &Arc<Tally>,
    senders: Vec<omq_tokio::Socket>,
    receivers: Vec<omq_tokio::Socket>,
    plan: Plan,
) {
    for (index, receiver) in receivers.into_iter().enumerate() {
        tasks::in_thread(tasks::drain_tally(Async(receiver), tally.counter(index)));
    }
    for (index, sender) in senders.into_iter().enumerate() {
        let tally = Arc::clone(tally);
        tasks::in_thread(tasks::feed_tally(Async(sender), index, tally, plan.size));
    }
}

/// Within a process a connection is there at once, and never counted.
async fn ready(socket: &omq_tokio::Socket, transport: Transport, peers: usize) -> Fallible<()> {
    if transport != Transport::Inproc {
        socket.wait_connected(peers, PATIENCE).await?;
    }
    Ok(())
}

struct Async(omq_tokio::Socket);

impl AsyncSender for Async {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(Message::from_slice(payload)).await?)
    }
}

/// The first part of a message.
struct Body(Message);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.part_slice(0).unwrap_or_default()
    }
}

impl AsyncReceiver for Async {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv().await?))
    }
}

impl AsyncRequester for Async {
    async fn pause(&mut self) {
        tokio::time::sleep(GAP).await;
    }
}

impl AsyncReplier for Async {
    async fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv().await?;
        Ok(self.0.send(message).await?)
    }
}

struct AsyncShared(omq_tokio::Socket, Bytes);

impl AsyncSender for AsyncShared {
    async fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let parts = [Bytes::copy_from_slice(number), self.1.clone()];
        Ok(self.0.send(Message::multipart(parts)).await?)
    }
}

impl AsyncReceiver for AsyncShared {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        let message = self.0.recv().await?;
        whole(message.part_slice(1).ok_or("not two parts")?)?;
        Ok(Body(message))
    }
}

fn run_blocking(work: &Work, plan: &Plan) -> Fallible<Sample> {
    let context = Context::new();
    let socket = |kind| context.blocking_socket(kind, options());
    let transport = work.transport;
    let pair = |near, far| -> Fallible<(blocking::Socket, blocking::Socket)> {
        let far = socket(far);
        let at = far.bind(fresh(transport).as_str())?;
        let near = socket(near);
        near.connect(at)?;
        if transport != Transport::Inproc {
            near.wait_connected(1, PATIENCE)?;
        }
        Ok((near, far))
    };
    match work.pattern {
        Pattern::Flow(1, 1) => {
            let (push, pull) = pair(SocketType::Push, SocketType::Pull)?;
            flow(Blocking(push), Blocking(pull), plan)
        }
        Pattern::ByReference => {
            let (push, pull) = pair(SocketType::Push, SocketType::Pull)?;
            let body = Bytes::from(vec![0x5a; plan.size]);
            let push = BlockingShared(push, body);
            flow(push, BlockingShared(pull, Bytes::new()), &numbers(plan))
        }
        Pattern::ReqRep | Pattern::Gap => {
            let (req, rep) = pair(SocketType::Req, SocketType::Rep)?;
            let gap = (work.pattern == Pattern::Gap).then_some(GAP);
            ping_pong(Blocking(req), Blocking(rep), plan, gap)
        }
        Pattern::Flow(senders, receivers) => {
            let mut pulls = Vec::new();
            let mut bound: Vec<Endpoint> = Vec::new();
            for _ in 0..receivers {
                let pull = socket(SocketType::Pull);
                bound.push(pull.bind(fresh(transport).as_str())?);
                pulls.push(Blocking(pull));
            }
            let mut pushes = Vec::new();
            for _ in 0..senders {
                let push = socket(SocketType::Push);
                for at in &bound {
                    push.connect(at)?;
                }
                push.wait_connected(receivers, PATIENCE)?;
                pushes.push(Blocking(push));
            }
            many(pushes, pulls, Rule::Once, plan)
        }
        Pattern::PubSub(count) => {
            let publisher = socket(SocketType::Pub);
            let at = publisher.bind(fresh(transport).as_str())?;
            let mut subscribers = Vec::new();
            for _ in 0..count {
                let sub = socket(SocketType::Sub);
                sub.subscribe("")?;
                sub.connect(&at)?;
                subscribers.push(Blocking(sub));
            }
            publisher.wait_subscribed(count as u64, PATIENCE)?;
            many(vec![Blocking(publisher)], subscribers, Rule::Rising, plan)
        }
        _ => Err("not offered".into()),
    }
}

struct Blocking(blocking::Socket);

impl Sender for Blocking {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(Message::from_slice(payload))?)
    }
}

impl Receiver for Blocking {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message = self.0.recv()?;
        Ok(look(Body(message).as_ref()))
    }
}

impl Requester for Blocking {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.send(payload)?;
        self.recv(look)
    }
}

impl Replier for Blocking {
    fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv()?;
        Ok(self.0.send(message)?)
    }
}

struct BlockingShared(blocking::Socket, Bytes);

impl Sender for BlockingShared {
    fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let parts = [Bytes::copy_from_slice(number), self.1.clone()];
        Ok(self.0.send(Message::multipart(parts))?)
    }
}

impl Receiver for BlockingShared {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message = self.0.recv()?;
        whole(message.part_slice(1).ok_or("not two parts")?)?;
        Ok(look(Body(message).as_ref()))
    }
}
