//! libzmq 4.3.4 through the `zmq` crate, in its default settings: one I/O thread, marks of 1000.
//!
//! `send(…, 0)` as its guide has it, and one message value that every receive fills again. Bodies by
//! reference go by `zmq_msg_init_data` of constant data, for which the crate has no safe door.

use super::raw::{numbers, whole};
use crate::drive::{flow, many, ping_pong, under_way, GAP};
use crate::idle::{self, Idle};
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Receiver, Replier, Requester, Sender, Subject};
use crate::tally::Rule;
use crate::work::{Pattern, Plan, Transport, Work};

/// libzmq.
pub(crate) struct Libzmq;

impl Subject for Libzmq {
    fn name(&self) -> &'static str {
        "libzmq"
    }

    fn offers(&self, _: &Work) -> Offer {
        Offer::Yes
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let context = zmq::Context::new();
        // Who binds, who connects, and where; the far side receives or replies.
        let pair = |near, far| -> Fallible<(End, End, String)> {
            let far = context.socket(far)?;
            let at = bind(&far, work.transport)?;
            let near = context.socket(near)?;
            near.connect(&at)?;
            Ok((End::new(near), End::new(far), at))
        };
        match work.pattern {
            Pattern::Flow(1, 1) => {
                let (push, pull, _) = pair(zmq::PUSH, zmq::PULL)?;
                flow(push, pull, plan)
            }
            Pattern::Flow(senders, receivers) => {
                let mut pulls = Vec::new();
                let mut bound = Vec::new();
                for _ in 0..receivers {
                    let pull = context.socket(zmq::PULL)?;
                    bound.push(bind(&pull, work.transport)?);
                    pulls.push(End::new(pull));
                }
                let mut pushes = Vec::new();
                for _ in 0..senders {
                    let push = context.socket(zmq::PUSH)?;
                    for at in &bound {
                        push.connect(at)?;
                    }
                    pushes.push(End::new(push));
                }
                many(pushes, pulls, Rule::Once, plan)
            }
            Pattern::ByReference => {
                let (push, pull, _) = pair(zmq::PUSH, zmq::PULL)?;
                let body = vec![0x5a; plan.size].leak();
                flow(Shared(push, body), Shared(pull, body), &numbers(plan))
            }
            Pattern::Proxy => {
                let (front, back) = (context.socket(zmq::PULL)?, context.socket(zmq::PUSH)?);
                let (to, from) = (bind(&front, work.transport)?, bind(&back, work.transport)?);
                std::thread::spawn(move || zmq::proxy(&front, &back));
                let (push, pull) = (context.socket(zmq::PUSH)?, context.socket(zmq::PULL)?);
                push.connect(&to)?;
                pull.connect(&from)?;
                flow(End::new(push), End::new(pull), plan)
            }
            Pattern::RouterProxy => {
                let (front, back) = (context.socket(zmq::ROUTER)?, context.socket(zmq::DEALER)?);
                let (to, from) = (bind(&front, work.transport)?, bind(&back, work.transport)?);
                std::thread::spawn(move || zmq::proxy(&front, &back));
                let (one, other) = (context.socket(zmq::DEALER)?, context.socket(zmq::DEALER)?);
                one.connect(&to)?;
                other.connect(&from)?;
                flow(End::new(one), Named(End::new(other)), plan)
            }
            Pattern::ReqRep | Pattern::Gap => {
                let (req, rep, _) = pair(zmq::REQ, zmq::REP)?;
                let gap = (work.pattern == Pattern::Gap).then_some(GAP);
                ping_pong(req, rep, plan, gap)
            }
            Pattern::Dealer(at_once) => {
                let (dealer, router, _) = pair(zmq::DEALER, zmq::ROUTER)?;
                match at_once {
                    1 => ping_pong(dealer, Router(router), plan, None),
                    _ => under_way(dealer, Router(router), plan, at_once as u64),
                }
            }
            Pattern::IdleReqRep(idle) => {
                let (req, rep, at) = pair(zmq::REQ, zmq::REP)?;
                let held = Idle::attach(&at, idle::Kind::Req, idle)?;
                held.settle(|| ping_pong(req, rep, plan, None))
            }
            Pattern::IdleFlow(idle) => {
                let (push, pull, at) = pair(zmq::PUSH, zmq::PULL)?;
                let held = Idle::attach(&at, idle::Kind::Push, idle)?;
                held.settle(|| flow(push, pull, plan))
            }
            Pattern::PubSub(subscribers) => {
                let publisher = context.socket(zmq::PUB)?;
                let at = bind(&publisher, work.transport)?;
                let subscribers = (0..subscribers).map(|_| subscriber(&context, &at));
                let subscribers = subscribers.collect::<Fallible<Vec<_>>>()?;
                many(vec![End::new(publisher)], subscribers, Rule::Rising, plan)
            }
            Pattern::Topics(topics) => {
                let publisher = context.socket(zmq::PUB)?;
                let at = bind(&publisher, work.transport)?;
                let other = context.socket(zmq::SUB)?;
                // Subscriptions beyond the mark would be dropped.
                other.set_sndhwm(0)?;
                other.set_rcvtimeo(1)?;
                other.connect(&at)?;
                for topic in 0..topics {
                    other.set_subscribe(&idle::topic(topic))?;
                }
                // The last, so that it is in force when all are.
                other.set_subscribe(b"ready")?;
                loop {
                    publisher.send("ready", 0)?;
                    match other.recv_bytes(0) {
                        Ok(_) => break,
                        Err(zmq::Error::EAGAIN) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                let sub = subscriber(&context, &at)?;
                let sample = many(vec![End::new(publisher)], vec![sub], Rule::Rising, plan)?;
                // It holds its topics to the end; what is left for it is what made it ready.
                while let Ok(message) = other.recv_bytes(0) {
                    if message != b"ready" {
                        return Err("a subscriber got what it had not subscribed to".into());
                    }
                }
                Ok(sample)
            }
        }
    }
}

fn subscriber(context: &zmq::Context, at: &str) -> Fallible<End> {
    let sub = context.socket(zmq::SUB)?;
    sub.set_subscribe(b"")?;
    sub.connect(at)?;
    Ok(End::new(sub))
}

/// Binds to a fresh endpoint and says which.
fn bind(socket: &zmq::Socket, transport: Transport) -> Fallible<String> {
    match transport {
        Transport::Tcp => socket.bind("tcp://127.0.0.1:*")?,
        Transport::Ipc | Transport::Inproc => socket.bind(&super::fresh(transport))?,
    }
    let endpoint = socket.get_last_endpoint()?;
    Ok(endpoint.map_err(|_| "an endpoint is text")?)
}

/// A socket and the message it receives into.
struct End {
    socket: zmq::Socket,
    message: zmq::Message,
}

impl End {
    fn new(socket: zmq::Socket) -> End {
        End {
            socket,
            message: zmq::Message::new(),
        }
    }
}

impl Sender for End {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.socket.send(payload, 0)?)
    }
}

impl Receiver for End {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.socket.recv(&mut self.message, 0)?;
        Ok(look(&self.message))
    }
}

impl Requester for End {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.send(payload)?;
        self.recv(look)
    }
}

impl Replier for End {
    fn serve(&mut self) -> Fallible<()> {
        self.socket.recv(&mut self.message, 0)?;
        // The message itself goes back, without a copy; the next receive has a new one.
        let message = std::mem::replace(&mut self.message, zmq::Message::new());
        Ok(self.socket.send(message, 0)?)
    }
}

/// Sends the name that comes before each message back before it.
struct Router(End);

impl Replier for Router {
    fn serve(&mut self) -> Fallible<()> {
        self.0.socket.recv(&mut self.0.message, 0)?;
        let name = std::mem::replace(&mut self.0.message, zmq::Message::new());
        self.0.socket.send(name, zmq::SNDMORE)?;
        self.0.serve()
    }
}

/// A socket that receives a name before each message.
struct Named(End);

impl Receiver for Named {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.0.recv(|_name| ())?;
        match self.0.socket.get_rcvmore()? {
            true => self.0.recv(look),
            false => Err("a name and no body".into()),
        }
    }
}

/// A socket that sends, or expects, this body beside each number.
struct Shared(End, &'static [u8]);

impl Sender for Shared {
    fn send(&mut self, number: &[u8]) -> Fallible<()> {
        self.0.socket.send(number, zmq::SNDMORE)?;
        send_constant(&mut self.0.socket, self.1)
    }
}

impl Receiver for Shared {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let number: [u8; 8] = self.0.recv(|number| number.try_into())??;
        self.0.recv(whole)??;
        Ok(look(&number))
    }
}

/// Sends a body that is neither copied nor freed.
#[allow(unsafe_code, reason = "zmq_msg_init_data has no safe door")]
fn send_constant(socket: &mut zmq::Socket, body: &'static [u8]) -> Fallible<()> {
    let mut message = zmq_sys::zmq_msg_t::default();
    // SAFETY: the body lives as long as the process and, without a function to free it, is only read.
    // The message is initialized before it is sent; the socket is open and used by this thread only. A
    // message that was sent belongs to the library, one that was not owns nothing.
    let sent = unsafe {
        let data = body.as_ptr().cast_mut().cast();
        zmq_sys::zmq_msg_init_data(&mut message, data, body.len(), None, std::ptr::null_mut());
        zmq_sys::zmq_msg_send(&mut message, socket.as_mut_ptr(), 0)
    };
    if sent < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}
