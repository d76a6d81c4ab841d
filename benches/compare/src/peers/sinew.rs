//! Sinew in its default settings: the process-wide context, marks of 1000, ordinary `send` and
//! `recv`.
//!
//! `sinew-busy` is the same with the option that lets a waiting thread look for messages instead of
//! sleeping.

use std::time::Duration;

use bytes::Bytes;

use super::fresh;
use super::raw::{numbers, whole};
use crate::drive::{flow, many, ping_pong, under_way, GAP};
use crate::idle::{self, Idle};
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Receiver, Replier, Requester, Sender, Subject};
use crate::tally::Rule;
use crate::work::{Pattern, Plan, Work};

/// This library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sinew {
    Default,
    Busy,
}

impl Subject for Sinew {
    fn name(&self) -> &'static str {
        match self {
            Sinew::Default => "sinew",
            Sinew::Busy => "sinew-busy",
        }
    }

    fn is_peer(&self) -> bool {
        false
    }

    fn offers(&self, work: &Work) -> Offer {
        match self {
            Sinew::Default => Offer::Yes,
            Sinew::Busy if !work.is_latency() || work.pattern == Pattern::Dealer(1) => Offer::NoRow,
            Sinew::Busy => Offer::Yes,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let at = fresh(work.transport);
        match work.pattern {
            Pattern::Flow(senders, receivers) => {
                let mut pulls = Vec::new();
                let mut bound = Vec::new();
                for _ in 0..receivers {
                    let mut pull = sinew::Pull::new();
                    bound.push(pull.bind(fresh(work.transport).as_str())?);
                    pulls.push(Pull(pull));
                }
                let mut pushes = Vec::new();
                for _ in 0..senders {
                    let mut push = sinew::Push::new();
                    for at in &bound {
                        push.connect(at)?;
                    }
                    push.wait_for_peers(receivers, PATIENCE)?;
                    pushes.push(Push(push));
                }
                match (pushes.pop(), pulls.pop()) {
                    (Some(push), Some(pull)) if (senders, receivers) == (1, 1) => {
                        flow(push, pull, plan)
                    }
                    (push, pull) => {
                        pushes.extend(push);
                        pulls.extend(pull);
                        many(pushes, pulls, Rule::Once, plan)
                    }
                }
            }
            Pattern::ByReference => {
                let mut pull = sinew::Pull::new();
                let at: sinew::Endpoint = pull.bind(at.as_str())?;
                let mut push = sinew::Push::new();
                push.connect(&at)?;
                let body = Bytes::from(vec![0x5a; plan.size]);
                flow(PushShared(push, body), PullShared(pull), &numbers(plan))
            }
            Pattern::Proxy => {
                let (mut front, mut back) = (sinew::Pull::new(), sinew::Push::new());
                let to: sinew::Endpoint = front.bind(at.as_str())?;
                let from: sinew::Endpoint = back.bind(fresh(work.transport).as_str())?;
                let _running = sinew::Proxy::new(front, back).spawn()?;
                let (mut push, mut pull) = (sinew::Push::new(), sinew::Pull::new());
                push.connect(&to)?;
                pull.connect(&from)?;
                flow(Push(push), Pull(pull), plan)
            }
            Pattern::RouterProxy => {
                let (mut front, mut back) = (sinew::Router::new(), sinew::Dealer::new());
                let to: sinew::Endpoint = front.bind(at.as_str())?;
                let from: sinew::Endpoint = back.bind(fresh(work.transport).as_str())?;
                let _running = sinew::Proxy::new(front, back).spawn()?;
                let (mut one, mut other) = (sinew::Dealer::new(), sinew::Dealer::new());
                one.connect(&to)?;
                other.connect(&from)?;
                flow(Named(one), Named(other), plan)
            }
            Pattern::ReqRep | Pattern::Gap => {
                let (req, rep, _) = self.lock_step(&at)?;
                let gap = (work.pattern == Pattern::Gap).then_some(GAP);
                ping_pong(Req(req), Rep(rep), plan, gap)
            }
            Pattern::Dealer(at_once) => {
                let mut router = sinew::Router::new();
                let at: sinew::Endpoint = router.bind(at.as_str())?;
                let mut dealer = sinew::Dealer::new();
                dealer.connect(&at)?;
                match at_once {
                    1 => ping_pong(Dealer(dealer), Router(router), plan, None),
                    _ => under_way(Dealer(dealer), Router(router), plan, at_once as u64),
                }
            }
            Pattern::IdleReqRep(idle) => {
                let (req, mut rep, at) = self.lock_step(&at)?;
                let held = Idle::attach(&at.to_string(), idle::Kind::Req, idle)?;
                rep.wait_for_peers(idle + 1, PATIENCE)?;
                held.settle(|| ping_pong(Req(req), Rep(rep), plan, None))
            }
            Pattern::IdleFlow(idle) => {
                let mut pull = sinew::Pull::new();
                let at: sinew::Endpoint = pull.bind(at.as_str())?;
                let mut push = sinew::Push::new();
                push.connect(&at)?;
                let held = Idle::attach(&at.to_string(), idle::Kind::Push, idle)?;
                pull.wait_for_peers(idle + 1, PATIENCE)?;
                held.settle(|| flow(Push(push), Pull(pull), plan))
            }
            Pattern::PubSub(count) => {
                let mut publisher = sinew::Pub::new();
                let at: sinew::Endpoint = publisher.bind(at.as_str())?;
                let mut subscribers = Vec::with_capacity(count);
                for _ in 0..count {
                    subscribers.push(Sub(subscriber(&at, "")?));
                }
                publisher.wait_for_subscribers(count, PATIENCE)?;
                many(vec![Pub(publisher)], subscribers, Rule::Rising, plan)
            }
            Pattern::Topics(topics) => {
                let mut publisher = sinew::Pub::new();
                let at: sinew::Endpoint = publisher.bind(at.as_str())?;
                let mut other = sinew::Sub::new();
                for topic in 0..topics {
                    other.subscribe(idle::topic(topic))?;
                }
                // The last, so that it is in force when all are.
                other.subscribe("ready")?;
                other.connect(&at)?;
                publisher.wait_for_subscribers_of("ready", 1, PATIENCE)?;
                let sub = subscriber(&at, "")?;
                publisher.wait_for_subscribers(2, PATIENCE)?;
                let sample = many(vec![Pub(publisher)], vec![Sub(sub)], Rule::Rising, plan)?;
                // It holds its topics to the end and has received nothing.
                match other.try_recv() {
                    Ok(_) => Err("a subscriber got what it had not subscribed to".into()),
                    Err(_) => Ok(sample),
                }
            }
        }
    }
}

impl Sinew {
    fn lock_step(self, at: &str) -> Fallible<(sinew::Req, sinew::Rep, sinew::Endpoint)> {
        let busy = self == Sinew::Busy;
        let mut rep = sinew::Rep::builder().busy_poll(busy).build()?;
        let mut req = sinew::Req::builder().busy_poll(busy).build()?;
        let at: sinew::Endpoint = rep.bind(at)?;
        req.connect(&at)?;
        Ok((req, rep, at))
    }
}

fn subscriber(at: &sinew::Endpoint, topic: &str) -> Fallible<sinew::Sub> {
    let mut sub = sinew::Sub::new();
    sub.subscribe(topic)?;
    sub.connect(at)?;
    Ok(sub)
}

/// For ten thousand handshakes, or a million subscriptions.
const PATIENCE: Duration = Duration::from_secs(40);

struct Push(sinew::Push);

impl Sender for Push {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload)?)
    }
}

struct Pull(sinew::Pull);

impl Receiver for Pull {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message: sinew::Message = self.0.recv()?;
        Ok(look(message.as_bytes()))
    }
}

/// Receives a name before each message.
struct Named(sinew::Dealer);

impl Sender for Named {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload)?)
    }
}

impl Receiver for Named {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message: sinew::Message = self.0.recv()?;
        let [_name, body] = message.frames() else {
            return Err("not a name and a body".into());
        };
        Ok(look(body.as_ref()))
    }
}

struct PushShared(sinew::Push, Bytes);

impl Sender for PushShared {
    fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let mut message = sinew::Message::new(number);
        message.push_back(self.1.clone());
        Ok(self.0.send(message)?)
    }
}

struct PullShared(sinew::Pull);

impl Receiver for PullShared {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message: sinew::Message = self.0.recv()?;
        let [number, body] = message.frames() else {
            return Err("not two frames".into());
        };
        whole(body.as_ref())?;
        Ok(look(number.as_ref()))
    }
}

struct Req(sinew::Req);

impl Requester for Req {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.0.send(payload)?;
        let message: sinew::Message = self.0.recv()?;
        Ok(look(message.as_bytes()))
    }
}

struct Rep(sinew::Rep);

impl Replier for Rep {
    fn serve(&mut self) -> Fallible<()> {
        let message: sinew::Message = self.0.recv()?;
        Ok(self.0.send(message)?)
    }
}

struct Dealer(sinew::Dealer);

impl Sender for Dealer {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload)?)
    }
}

impl Receiver for Dealer {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message: sinew::Message = self.0.recv()?;
        Ok(look(message.as_bytes()))
    }
}

impl Requester for Dealer {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.send(payload)?;
        self.recv(look)
    }
}

struct Router(sinew::Router);

impl Replier for Router {
    fn serve(&mut self) -> Fallible<()> {
        let (id, message) = self.0.recv_from()?;
        Ok(self.0.send_to(&id, message)?)
    }
}

struct Pub(sinew::Pub);

impl Sender for Pub {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload)?)
    }
}

struct Sub(sinew::Sub);

impl Receiver for Sub {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message: sinew::Message = self.0.recv()?;
        Ok(look(message.as_bytes()))
    }
}
