//! zeromq (zmq.rs), as its examples have it: sockets used from tasks of a multi-threaded tokio runtime,
//! default options. It has no high-water marks to set.

use std::sync::Arc;
use std::time::Duration;

use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket, SocketRecv, SocketSend,
    SubSocket, ZmqMessage,
};

use super::fresh;
use crate::drive::GAP;
use crate::machine::Side;
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Subject};
use crate::tally::{Rule, Tally};
use crate::tasks::{self, AsyncReceiver, AsyncReplier, AsyncRequester, AsyncSender};
use crate::work::{Pattern, Plan, Transport, Work};

/// zmq.rs.
pub(crate) struct ZeromqRs;

impl Subject for ZeromqRs {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn is_quick(&self) -> bool {
        false
    }

    fn offers(&self, work: &Work) -> Offer {
        match work.pattern {
            Pattern::IdleReqRep(_)
            | Pattern::IdleFlow(_)
            | Pattern::Topics(_)
            | Pattern::Proxy
            | Pattern::RouterProxy
            | Pattern::Dealer(_) => Offer::NoRow,
            _ if work.transport == Transport::Inproc => Offer::No("no inproc"),
            _ => Offer::Yes,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let plan = *plan;
        let at = fresh(work.transport);
        let runtime = tasks::runtime()?;
        match work.pattern {
            Pattern::Flow(1, 1) => runtime.block_on(async {
                let mut pull = PullSocket::new();
                let at = pull.bind(&at).await?;
                let mut push = PushSocket::new();
                push.connect(&at.to_string()).await?;
                let fed = tokio::spawn(tasks::feed(End(push), plan));
                let drained = async move { tasks::drain(&mut End(pull), plan).await };
                let sample = tokio::spawn(drained).await?;
                fed.await?;
                sample
            }),
            Pattern::ReqRep | Pattern::Gap => {
                let gap = work.pattern == Pattern::Gap;
                let asking = tasks::side_runtime(Side::Requester)?;
                let answering = tasks::side_runtime(Side::Replier)?;
                // A connection's tasks belong to the runtime it is made in.
                let mut rep = RepSocket::new();
                let at = answering.block_on(rep.bind(&at))?;
                let mut req = ReqSocket::new();
                asking.block_on(req.connect(&at.to_string()))?;
                let asked = tasks::ask(End(req), plan, gap);
                let answered = tasks::answer(End(rep));
                tasks::lock_step(&asking, asked, &answering, answered)
            }
            Pattern::Flow(senders, receivers) => {
                let tally = Arc::new(Tally::new(senders, receivers, Rule::Once, &plan));
                runtime.block_on(async {
                    let mut bound = Vec::new();
                    for index in 0..receivers {
                        let mut pull = PullSocket::new();
                        bound.push(pull.bind(&fresh(work.transport)).await?);
                        tasks::in_thread(tasks::drain_tally(End(pull), tally.counter(index)));
                    }
                    let mut pushes = Vec::new();
                    for _ in 0..senders {
                        let mut push = PushSocket::new();
                        for at in &bound {
                            push.connect(&at.to_string()).await?;
                        }
                        pushes.push(push);
                    }
                    for (index, push) in pushes.into_iter().enumerate() {
                        let tally = Arc::clone(&tally);
                        tasks::in_thread(tasks::feed_tally(End(push), index, tally, plan.size));
                    }
                    Fallible::Ok(())
                })?;
                tally.measure()
            }
            Pattern::PubSub(count) => {
                let tally = Arc::new(Tally::new(1, count, Rule::Rising, &plan));
                runtime.block_on(async {
                    let mut publisher = PubSocket::new();
                    let at = publisher.bind(&at).await?;
                    for index in 0..count {
                        let mut sub = SubSocket::new();
                        sub.connect(&at.to_string()).await?;
                        sub.subscribe("").await?;
                        tasks::in_thread(tasks::drain_tally(End(sub), tally.counter(index)));
                    }
                    // Its subscriptions are on their way; it says no more about them.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let fed = tasks::feed_tally(End(publisher), 0, Arc::clone(&tally), plan.size);
                    tasks::in_thread(fed);
                    Fallible::Ok(())
                })?;
                tally.measure()
            }
            _ => Err("not offered".into()),
        }
    }
}

struct End<S>(S);

impl<S: SocketSend> AsyncSender for End<S> {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(ZmqMessage::from(payload.to_vec())).await?)
    }
}

/// The first frame of a message.
struct Body(ZmqMessage);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.get(0).map_or(&[], |frame| frame)
    }
}

impl<S: SocketRecv> AsyncReceiver for End<S> {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv().await?))
    }
}

impl AsyncRequester for End<ReqSocket> {
    async fn pause(&mut self) {
        tokio::time::sleep(GAP).await;
    }
}

impl AsyncReplier for End<RepSocket> {
    async fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv().await?;
        Ok(self.0.send(message).await?)
    }
}
