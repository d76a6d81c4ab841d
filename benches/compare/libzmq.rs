//! libzmq 4.3.4 through the `zmq` crate, in its default settings: one I/O thread, marks of 1000.
//!
//! One context per measurement, `send(…, 0)` as its guide has it, and one message value that every
//! receive fills again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drive::{fan_out, flow, ping_pong};
use crate::meter::Sample;
use crate::subject::{Fallible, Receiver, Replier, Requester, Sender, Subject};
use crate::work::{Pattern, Plan, Transport, Work};

/// libzmq.
pub(crate) struct Libzmq;

impl Subject for Libzmq {
    fn name(&self) -> &'static str {
        "libzmq"
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Option<Sample>> {
        let context = zmq::Context::new();
        let pair = |near, far| -> Fallible<(End, End)> {
            let far = context.socket(far)?;
            let at = bind(&far, work.transport)?;
            let near = context.socket(near)?;
            near.connect(&at)?;
            Ok((End::new(near), End::new(far)))
        };
        Ok(Some(match work.pattern {
            Pattern::PushPull => {
                let (push, pull) = pair(zmq::PUSH, zmq::PULL)?;
                flow(push, pull, plan)
            }
            Pattern::ReqRep => {
                let (req, rep) = pair(zmq::REQ, zmq::REP)?;
                ping_pong(req, rep, plan)
            }
            Pattern::PubSub(subscribers) => {
                // A publisher that sees subscriptions, to know when all are there.
                let publisher = context.socket(zmq::XPUB)?;
                publisher.set_xpub_verbose(true)?;
                // What was not delivered when the measurement ended is of no interest.
                publisher.set_linger(0)?;
                // A subscription that never comes is an error with a name.
                publisher.set_rcvtimeo(10_000)?;
                let at = bind(&publisher, work.transport)?;
                let subscribers = (0..subscribers)
                    .map(|_| {
                        let sub = context.socket(zmq::SUB)?;
                        sub.set_linger(0)?;
                        sub.set_subscribe(b"")?;
                        sub.connect(&at)?;
                        Ok(End::new(sub))
                    })
                    .collect::<Fallible<Vec<_>>>()?;
                for _ in &subscribers {
                    publisher.recv_bytes(0)?;
                }
                fan_out(End::new(publisher), subscribers, plan)
            }
        }))
    }
}

/// Binds to a fresh endpoint and says which.
fn bind(socket: &zmq::Socket, transport: Transport) -> Fallible<String> {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    match transport {
        Transport::Tcp => socket.bind("tcp://127.0.0.1:*")?,
        Transport::Ipc => socket.bind("ipc://*")?,
        Transport::Inproc => {
            let name = NAMES.fetch_add(1, Ordering::Relaxed);
            socket.bind(&format!("inproc://compare-{name}"))?;
        }
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
