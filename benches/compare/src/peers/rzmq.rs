//! rzmq, as its README has it: one `Context`, sockets used from tasks of a multi-threaded tokio runtime,
//! the standard session (its io_uring backend is a Cargo feature, and off). Marks of 1000, which it is
//! told: its own are 256.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rzmq::socket::options::{LAST_ENDPOINT, RCVHWM, SNDHWM, SUBSCRIBE};
use rzmq::{Context, Msg, Socket, SocketType};

use super::fresh;
use super::raw::{numbers, whole};
use crate::drive::GAP;
use crate::machine::Side;
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Subject};
use crate::tally::{Rule, Tally};
use crate::tasks::{self, AsyncReceiver, AsyncReplier, AsyncRequester, AsyncSender};
use crate::work::{Pattern, Plan, Transport, Work};

/// rzmq.
pub(crate) struct Rzmq;

impl Subject for Rzmq {
    fn name(&self) -> &'static str {
        "rzmq"
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
            _ => Offer::Yes,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let plan = *plan;
        let runtime = tasks::runtime()?;
        let _inside = runtime.enter();
        let context = Context::new()?;
        let context = &context;
        match work.pattern {
            Pattern::Flow(1, 1) => runtime.block_on(async {
                let (push, pull) = pair(context, SocketType::Push, SocketType::Pull, work).await?;
                let fed = tokio::spawn(tasks::feed(End(push), plan));
                let drained = async move { tasks::drain(&mut End(pull), plan).await };
                let sample = tokio::spawn(drained).await?;
                fed.await?;
                sample
            }),
            Pattern::ByReference => runtime.block_on(async {
                let (push, pull) = pair(context, SocketType::Push, SocketType::Pull, work).await?;
                let body = Bytes::from(vec![0x5a; plan.size]);
                let fed = tokio::spawn(tasks::feed(Shared(push, body), numbers(&plan)));
                let mut pull = Shared(pull, Bytes::new());
                let drained = async move { tasks::drain(&mut pull, numbers(&plan)).await };
                let sample = tokio::spawn(drained).await?;
                fed.await?;
                sample
            }),
            Pattern::ReqRep | Pattern::Gap => {
                let gap = work.pattern == Pattern::Gap;
                let asking = tasks::side_runtime(Side::Requester)?;
                let answering = tasks::side_runtime(Side::Replier)?;
                // A socket's sessions are tasks of the runtime it is made in.
                let (rep, at) = answering.block_on(async {
                    let rep = socket(context, SocketType::Rep).await?;
                    let at = bind(&rep, work.transport).await?;
                    Fallible::Ok((rep, at))
                })?;
                let req = asking.block_on(async {
                    let req = socket(context, SocketType::Req).await?;
                    req.connect(&at).await?;
                    tokio::time::sleep(SETTLED).await;
                    Fallible::Ok(req)
                })?;
                let asked = tasks::ask(End(req), plan, gap);
                let answered = tasks::answer(End(rep));
                tasks::lock_step(&asking, asked, &answering, answered)
            }
            Pattern::Flow(senders, receivers) => {
                let tally = Arc::new(Tally::new(senders, receivers, Rule::Once, &plan));
                runtime.block_on(async {
                    let mut pulls = Vec::new();
                    let mut bound = Vec::new();
                    for _ in 0..receivers {
                        let pull = socket(context, SocketType::Pull).await?;
                        bound.push(bind(&pull, work.transport).await?);
                        pulls.push(pull);
                    }
                    let mut pushes = Vec::new();
                    for _ in 0..senders {
                        let push = socket(context, SocketType::Push).await?;
                        for at in &bound {
                            push.connect(at).await?;
                        }
                        pushes.push(push);
                    }
                    tokio::time::sleep(SETTLED).await;
                    spread(&tally, pushes, pulls, plan);
                    Fallible::Ok(())
                })?;
                tally.measure()
            }
            Pattern::PubSub(count) => {
                let tally = Arc::new(Tally::new(1, count, Rule::Rising, &plan));
                runtime.block_on(async {
                    let publisher = socket(context, SocketType::Pub).await?;
                    let at = bind(&publisher, work.transport).await?;
                    let mut subscribers = Vec::new();
                    for _ in 0..count {
                        let sub = socket(context, SocketType::Sub).await?;
                        sub.set_option_raw(SUBSCRIBE, b"").await?;
                        sub.connect(&at).await?;
                        subscribers.push(sub);
                    }
                    tokio::time::sleep(SETTLED).await;
                    spread(&tally, vec![publisher], subscribers, plan);
                    Fallible::Ok(())
                })?;
                tally.measure()
            }
            _ => Err("not offered".into()),
        }
    }
}

/// Its examples sleep for 50 to 100 ms after they have connected.
const SETTLED: Duration = Duration::from_millis(100);

async fn socket(context: &Context, kind: SocketType) -> Fallible<Socket> {
    let socket = context.socket(kind)?;
    socket.set_option(SNDHWM, 1000_i32).await?;
    socket.set_option(RCVHWM, 1000_i32).await?;
    Ok(socket)
}

async fn bind(socket: &Socket, transport: Transport) -> Fallible<String> {
    let at = fresh(transport);
    socket.bind(&at).await?;
    if transport != Transport::Tcp {
        return Ok(at);
    }
    let bound = String::from_utf8(socket.get_option(LAST_ENDPOINT).await?)?;
    Ok(bound.trim_end_matches('\0').to_owned())
}

async fn pair(
    context: &Context,
    near: SocketType,
    far: SocketType,
    work: &Work,
) -> Fallible<(Socket, Socket)> {
    let far = socket(context, far).await?;
    let at = bind(&far, work.transport).await?;
    let near = socket(context, near).await?;
    near.connect(&at).await?;
    tokio::time::sleep(SETTLED).await;
    Ok((near, far))
}

/// A thread for each socket.
fn spread(tally: &Arc<Tally>, senders: Vec<Socket>, receivers: Vec<Socket>, plan: Plan) {
    for (index, receiver) in receivers.into_iter().enumerate() {
        tasks::in_thread(tasks::drain_tally(End(receiver), tally.counter(index)));
    }
    for (index, sender) in senders.into_iter().enumerate() {
        let tally = Arc::clone(tally);
        tasks::in_thread(tasks::feed_tally(End(sender), index, tally, plan.size));
    }
}

struct End(Socket);

impl AsyncSender for End {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(Msg::from_vec(payload.to_vec())).await?)
    }
}

struct Body(Msg);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.data().unwrap_or_default()
    }
}

impl AsyncReceiver for End {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        Ok(Body(self.0.recv().await?))
    }
}

impl AsyncRequester for End {
    async fn pause(&mut self) {
        tokio::time::sleep(GAP).await;
    }
}

impl AsyncReplier for End {
    async fn serve(&mut self) -> Fallible<()> {
        let message = self.0.recv().await?;
        Ok(self.0.send(message).await?)
    }
}

struct Shared(Socket, Bytes);

impl AsyncSender for Shared {
    async fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let frames = vec![
            Msg::from_vec(number.to_vec()),
            Msg::from_bytes(self.1.clone()),
        ];
        Ok(self.0.send_multipart(frames).await?)
    }
}

impl AsyncReceiver for Shared {
    type Body = Body;

    async fn recv(&mut self) -> Fallible<Body> {
        let frames = self.0.recv_multipart().await?;
        let Ok([number, body]) = <[Msg; 2]>::try_from(frames) else {
            return Err("not two frames".into());
        };
        whole(body.data().unwrap_or_default())?;
        Ok(Body(number))
    }
}
