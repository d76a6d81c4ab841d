//! Sinew in its other forms, to show what they cost beside the plain one: `sinew-async`, the same sockets
//! used by tasks of a multi-threaded tokio runtime; and `sinew-shared`, handles that many threads could use,
//! which for requests is a `Requester`. Default settings.

use super::fresh;
use super::raw::{numbers, whole};
use crate::drive::{flow, ping_pong, GAP};
use crate::machine::Side;
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Receiver, Replier, Requester, Sender, Subject};
use crate::tasks::{self, AsyncReceiver, AsyncReplier, AsyncRequester, AsyncSender};
use crate::work::{Pattern, Plan, Transport, Work};

/// This library, otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Other {
    Async,
    Shared,
}

impl Subject for Other {
    fn name(&self) -> &'static str {
        match self {
            Other::Async => "sinew-async",
            Other::Shared => "sinew-shared",
        }
    }

    fn is_peer(&self) -> bool {
        false
    }

    fn is_quick(&self) -> bool {
        false
    }

    fn offers(&self, work: &Work) -> Offer {
        match work.pattern {
            Pattern::Flow(1, 1) if matches!(work.size, 64 | 16_384 | 1_048_576) => Offer::Yes,
            Pattern::ReqRep if work.size == 64 => Offer::Yes,
            Pattern::Gap => Offer::Yes,
            Pattern::Dealer(_) if *self == Other::Async => Offer::Yes,
            Pattern::ByReference if *self == Other::Async => Offer::Yes,
            _ => Offer::NoRow,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        match self {
            Other::Async => run_async(work, *plan),
            Other::Shared => run_shared(work, plan),
        }
    }
}

fn one_way(transport: Transport) -> Fallible<(sinew::Push, sinew::Pull)> {
    let mut pull = sinew::Pull::new();
    let at: sinew::Endpoint = pull.bind(fresh(transport).as_str())?;
    let mut push = sinew::Push::new();
    push.connect(&at)?;
    Ok((push, pull))
}

fn run_async(work: &Work, plan: Plan) -> Fallible<Sample> {
    match work.pattern {
        Pattern::ReqRep | Pattern::Gap => {
            let mut rep = sinew::Rep::new();
            let at: sinew::Endpoint = rep.bind(fresh(work.transport).as_str())?;
            let mut req = sinew::Req::new();
            req.connect(&at)?;
            tasks::lock_step(
                &tasks::side_runtime(Side::Requester)?,
                tasks::ask(Req(req), plan, work.pattern == Pattern::Gap),
                &tasks::side_runtime(Side::Replier)?,
                tasks::answer(Rep(rep)),
            )
        }
        Pattern::Dealer(at_once) => {
            let mut router = sinew::Router::new();
            let at: sinew::Endpoint = router.bind(fresh(work.transport).as_str())?;
            let mut dealer = sinew::Dealer::new();
            dealer.connect(&at)?;
            let (dealer, router) = (Dealer(dealer), Router(router));
            if at_once == 1 {
                return tasks::lock_step(
                    &tasks::side_runtime(Side::Requester)?,
                    tasks::ask(dealer, plan, false),
                    &tasks::side_runtime(Side::Replier)?,
                    tasks::answer(router),
                );
            }
            let runtime = tasks::runtime()?;
            let _answers = runtime.spawn(tasks::answer(router));
            runtime.block_on(runtime.spawn(tasks::ask_at_once(dealer, plan, at_once as u64)))?
        }
        Pattern::ByReference => tasks::runtime()?.block_on(async {
            let (push, pull) = one_way(work.transport)?;
            let body = bytes::Bytes::from(vec![0x5a; plan.size]);
            let fed = tokio::spawn(tasks::feed(PushShared(push, body), numbers(&plan)));
            let mut pull = PullShared(pull);
            let drained = async move { tasks::drain(&mut pull, numbers(&plan)).await };
            let sample = tokio::spawn(drained).await?;
            fed.await?;
            sample
        }),
        _ => tasks::runtime()?.block_on(async {
            let (push, pull) = one_way(work.transport)?;
            let fed = tokio::spawn(tasks::feed(Push(push), plan));
            let mut pull = Pull(pull);
            let drained = async move { tasks::drain(&mut pull, plan).await };
            let sample = tokio::spawn(drained).await?;
            fed.await?;
            sample
        }),
    }
}

fn run_shared(work: &Work, plan: &Plan) -> Fallible<Sample> {
    match work.pattern {
        Pattern::ReqRep | Pattern::Gap => {
            let mut rep = sinew::Rep::new();
            let at: sinew::Endpoint = rep.bind(fresh(work.transport).as_str())?;
            let requester = sinew::Requester::new();
            requester.connect(&at)?;
            let gap = (work.pattern == Pattern::Gap).then_some(GAP);
            ping_pong(Many(requester), Rep(rep), plan, gap)
        }
        _ => {
            let (push, pull) = one_way(work.transport)?;
            let (push, pull) = (sinew::Shared::new(push), sinew::Shared::new(pull));
            flow(SharedPush(push), SharedPull(pull), plan)
        }
    }
}

struct Body(sinew::Message);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

struct Push(sinew::Push);

impl AsyncSender for Push {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send_async(payload).await?)
    }
}

struct Pull(sinew::Pull);

impl AsyncReceiver for Pull {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv_async().await?))
    }
}

struct PushShared(sinew::Push, bytes::Bytes);

impl AsyncSender for PushShared {
    async fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let mut message = sinew::Message::new(number);
        message.push_back(self.1.clone());
        Ok(self.0.send_async(message).await?)
    }
}

struct PullShared(sinew::Pull);

impl AsyncReceiver for PullShared {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        let message = self.0.recv_async().await?;
        let [_, body] = message.frames() else {
            return Err("not two frames".into());
        };
        whole(body.as_ref())?;
        Ok(Body(message))
    }
}

struct Req(sinew::Req);

impl AsyncSender for Req {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send_async(payload).await?)
    }
}

impl AsyncReceiver for Req {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv_async().await?))
    }
}

impl AsyncRequester for Req {
    async fn pause(&mut self) {
        tokio::time::sleep(GAP).await;
    }
}

struct Rep(sinew::Rep);

impl AsyncReplier for Rep {
    async fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv_async().await?;
        Ok(self.0.send_async(message).await?)
    }
}

impl Replier for Rep {
    fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv()?;
        Ok(self.0.send(message)?)
    }
}

struct Dealer(sinew::Dealer);

impl AsyncSender for Dealer {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send_async(payload).await?)
    }
}

impl AsyncReceiver for Dealer {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv_async().await?))
    }
}

impl AsyncRequester for Dealer {
    async fn pause(&mut self) {
        tokio::time::sleep(GAP).await;
    }
}

struct Router(sinew::Router);

impl AsyncReplier for Router {
    async fn serve(&mut self) -> Fallible<()> {
        let (id, message) = self.0.recv_from_async().await?;
        Ok(self.0.send_to_async(&id, message).await?)
    }
}

struct Many(sinew::Requester);

impl Requester for Many {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let reply = self.0.request(payload)?;
        Ok(look(reply.as_bytes()))
    }
}

struct SharedPush(sinew::Shared<sinew::Push>);

impl Sender for SharedPush {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload)?)
    }
}

struct SharedPull(sinew::Shared<sinew::Pull>);

impl Receiver for SharedPull {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let message = self.0.recv()?;
        Ok(look(message.as_bytes()))
    }
}
