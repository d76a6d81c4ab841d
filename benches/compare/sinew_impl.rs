//! Sinew in its default settings: the process-wide context, marks of 1000, ordinary `send` and
//! `recv`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::drive::{fan_out, flow, ping_pong};
use crate::meter::Sample;
use crate::subject::{Fallible, Receiver, Replier, Requester, Sender, Subject};
use crate::work::{Pattern, Plan, Transport, Work};

/// This library.
pub(crate) struct Sinew;

impl Subject for Sinew {
    fn name(&self) -> &'static str {
        "sinew"
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Option<Sample>> {
        let at = fresh(work.transport);
        Ok(Some(match work.pattern {
            Pattern::PushPull => {
                let mut pull = sinew::Pull::new();
                let at: sinew::Endpoint = pull.bind(at.as_str())?;
                let mut push = sinew::Push::new();
                push.connect(&at)?;
                flow(Push(push), Pull(pull), plan)
            }
            Pattern::ReqRep => {
                let mut rep = sinew::Rep::new();
                let at: sinew::Endpoint = rep.bind(at.as_str())?;
                let mut req = sinew::Req::new();
                req.connect(&at)?;
                ping_pong(Req(req), Rep(rep), plan)
            }
            Pattern::PubSub(count) => {
                let mut publisher = sinew::Pub::new();
                let at: sinew::Endpoint = publisher.bind(at.as_str())?;
                let mut subscribers = Vec::with_capacity(count);
                for _ in 0..count {
                    let mut sub = sinew::Sub::new();
                    sub.subscribe("");
                    sub.connect(&at)?;
                    subscribers.push(Sub(sub));
                }
                publisher.wait_for_subscribers(count, Duration::from_secs(10))?;
                fan_out(Pub(publisher), subscribers, plan)
            }
        }))
    }
}

/// An endpoint nobody is bound to.
fn fresh(transport: Transport) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    match transport {
        Transport::Tcp => "tcp://127.0.0.1:0".to_owned(),
        Transport::Ipc => "ipc://*".to_owned(),
        Transport::Inproc => {
            let name = NAMES.fetch_add(1, Ordering::Relaxed);
            format!("inproc://compare-{name}")
        }
    }
}

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
