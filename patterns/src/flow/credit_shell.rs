//! Credit on sockets.

use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Message, Router, SendFailure, ToEndpoint};
use thiserror::Error;

use super::{CreditCounters, CreditInlet, CreditOutlet, Delivery, InletEvent, OutletEvent};
use crate::common::Port;
use crate::shell::{endpoints, Driver, RouterShell, Sockets, StartError, Turn, LINGER};

/// Sends to a [`CreditReceiver`], and no more than that has room for: a slow receiver makes `send` wait, and
/// nothing piles up on the way. It is driven by whoever sends with it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew::Context;
/// use sinew_patterns::flow::{CreditReceiver, CreditSender};
///
/// let (context, soon) = (Context::default(), Instant::now() + Duration::from_secs(60));
/// let mut receiver = CreditReceiver::bind(&context, &["tcp://127.0.0.1:*"], 1 << 20)?;
/// let at = receiver.endpoints()[0].clone();
/// let sender = std::thread::spawn(move || {
///     let mut sender = CreditSender::connect(&context, at).unwrap();
///     sender.send_deadline("hello", soon).unwrap();
///     sender.close();
/// });
/// let delivery = receiver.recv_deadline(soon).unwrap();
/// assert_eq!(delivery.message, "hello".into());
/// receiver.consumed(&delivery);
/// # sender.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CreditSender(Driver<CreditOutlet, std::convert::Infallible>);

/// Why a [`CreditSender`] did not send a message. It is in here, untouched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreditSendError {
    /// There was no credit for it in time.
    #[error("no credit for the message in time")]
    NoCredit(Message),
    /// It is larger than the socket sends, whatever credit there is.
    #[error("a message or frame of {size} octets, expected at most {limit}")]
    TooLarge {
        /// The message.
        message: Message,
        /// Octets in the frame, or in all frames.
        size: u64,
        /// The most there may be.
        limit: u64,
    },
}

impl CreditSendError {
    /// The message that was not sent.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            CreditSendError::NoCredit(message) | CreditSendError::TooLarge { message, .. } => {
                message
            }
        }
    }
}

impl CreditSender {
    /// A sender to this receiver, which need not be there yet.
    ///
    /// # Errors
    /// If the endpoint is malformed, or the socket cannot be made.
    pub fn connect(context: &Context, receiver: impl ToEndpoint) -> Result<Self, StartError> {
        let receiver = endpoints(&[receiver])?.remove(0);
        let mut sockets = Sockets::new(context, LINGER);
        sockets.open(Port(0), &receiver)?;
        Ok(CreditSender(Driver::new(CreditOutlet::new(), sockets)))
    }

    /// Sends a message, waiting for credit at most until then. What was sent over a connection that is lost
    /// afterwards may have been received or not.
    ///
    /// A message that is larger than the receiver's window goes alone. The socket has a bound of its own, the default of
    /// [`max_send_size`](sinew::SocketBuilder::max_send_size): 64 MiB in one frame, 128 MiB in all of them. What is larger is not
    /// sent, costs no credit, and stops nothing that comes after it.
    ///
    /// # Errors
    /// With the message, which was not sent: if there was no credit by then, or as soon as there is credit for it and the
    /// socket says that it is too large.
    pub fn send_deadline(
        &mut self,
        message: impl Into<Message>,
        until: Instant,
    ) -> Result<(), CreditSendError> {
        let mut message = message.into();
        loop {
            message = match self.attempt(message)? {
                None => return Ok(()),
                Some(message) => message,
            };
            // Also what says that there is no connection any more.
            match self.0.next(Some(until)) {
                Turn::Event(_) => {}
                Turn::Over => return Err(CreditSendError::NoCredit(message)),
                Turn::Command(never) => match never {},
            }
        }
    }

    /// The same for a task of any executor, without a time. If the future is dropped before it is ready, the message
    /// was not sent.
    ///
    /// # Errors
    /// With the message, if it is larger than the socket sends.
    pub async fn send_async(&mut self, message: impl Into<Message>) -> Result<(), CreditSendError> {
        let mut message = message.into();
        while let Some(unsent) = self.attempt(message)? {
            message = unsent;
            match self.0.next_async().await {
                // Also what says that there is no connection any more.
                Turn::Event(_) | Turn::Over => {}
                Turn::Command(never) => match never {},
            }
        }
        Ok(())
    }

    /// The message, if it cannot be sent now.
    fn attempt(&mut self, message: Message) -> Result<Option<Message>, CreditSendError> {
        match self.0.engine.try_transmit(message) {
            Err(message) => Ok(Some(message)),
            Ok(transmit) => match self.0.transmit(transmit) {
                true => Ok(None),
                false => self.unsent(),
            },
        }
    }

    /// What the socket did not take.
    #[cold]
    fn unsent(&mut self) -> Result<Option<Message>, CreditSendError> {
        let refusal = self.0.sockets.refusal(Port(0));
        match (self.returned(), refusal) {
            (Some(message), Some(SendFailure::MessageTooLarge { size, limit })) => {
                Err(CreditSendError::TooLarge {
                    message,
                    size,
                    limit,
                })
            }
            (returned, _) => Ok(returned),
        }
    }

    /// Octets that may be sent now, as far as is known without looking.
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.0.engine.credit()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CreditCounters {
        self.0.engine.counters()
    }

    /// Closes the socket, and waits at most a second for what is left to be sent.
    pub fn close(mut self) {
        self.0.sockets.close_all();
    }

    /// The message, if the socket did not take it.
    fn returned(&mut self) -> Option<Message> {
        use crate::common::Engine;
        while let Some(event) = self.0.engine.poll_event() {
            if let OutletEvent::Returned(message) = event {
                return Some(message);
            }
        }
        None
    }
}

/// Receives from any number of [`CreditSender`]s, and holds at most a window of each. It is driven by whoever
/// receives from it.
///
/// # How large a window is to be
///
/// What is on its way has taken credit, and so have grants that are: a window that is smaller than what the connection
/// holds makes the sender wait for grants. With messages of a 64th of the window at most,
///
/// > window = bandwidth × round trip
///
/// is enough for 95 % of what goes without credit, where the round trip is that of a message and of the grant for it, and
/// with them what the consumer takes until it has consumed it. With larger messages add twice the largest of them, for one may be
/// half sent, or not fit into what is left. Half the window is half the throughput. For instance 1 Gbit/s and a round trip of
/// 20 ms are 2.5 MB, and 2.5 MB more for messages of 1.25 MB. A consumer that is slower than the connection wants no more
/// than what it consumes in a round trip. The window is granted again by 32nds, so that none of it lies about.
#[derive(Debug)]
pub struct CreditReceiver {
    shell: RouterShell<CreditInlet>,
    endpoints: Vec<Endpoint>,
    /// Messages until the next look at what else there is to do.
    until_look: u32,
}

impl CreditReceiver {
    /// A receiver that is bound to these endpoints; `window` is how many octets of each sender it holds at most: see
    /// [above](CreditReceiver#how-large-a-window-is-to-be). 0 counts as 1. One message that is larger than the window may
    /// come alone.
    ///
    /// # Errors
    /// If there is no endpoint, one cannot be bound, or the socket cannot be made.
    pub fn bind<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        window: u64,
    ) -> Result<Self, StartError> {
        let mut router = Router::builder()
            .context(context)
            .linger(Duration::ZERO)
            .build()?;
        let bound = endpoints(at)?.into_iter().map(|at| router.bind(at));
        let endpoints = bound.collect::<Result<_, _>>()?;
        let mut shell = RouterShell::new(router, CreditInlet::new(window));
        // The others are taken one by one.
        shell.take_at_once(1);
        Ok(CreditReceiver {
            shell,
            endpoints,
            until_look: 0,
        })
    }

    /// Where it is bound to, with real ports.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Waits for the next message, at most until then.
    pub fn recv_deadline(&mut self, until: Instant) -> Option<Delivery> {
        if let Some(delivery) = self.take() {
            return Some(delivery);
        }
        match self.shell.next_event(until)? {
            InletEvent::Delivery(delivery) => Some(delivery),
        }
    }

    /// The same for a task of any executor, without a time. Dropping the future loses nothing.
    pub async fn recv_async(&mut self) -> Delivery {
        if let Some(delivery) = self.take() {
            return delivery;
        }
        match self.shell.next_event_async().await {
            InletEvent::Delivery(delivery) => delivery,
        }
    }

    /// Takes a message as from a bare socket, if there is one, and no look at anything else is due: to the consumer
    /// without a stay in the engine's queue.
    #[inline]
    fn take(&mut self) -> Option<Delivery> {
        if self.until_look == 0 {
            self.until_look = LOOK_EVERY;
            self.shell.took(LOOK_EVERY as usize);
            return None;
        }
        self.until_look -= 1;
        let (router, inlet) = self.shell.parts();
        let delivery = router.try_recv_with(|from, message| inlet.take(from.as_bytes(), message));
        let delivery = delivery.ok().flatten();
        if delivery.is_none() {
            // What is next is a wait, which looks at everything.
            self.until_look = LOOK_EVERY;
        }
        delivery
    }

    /// A message was consumed: its sender may send others.
    pub fn consumed(&mut self, delivery: &Delivery) {
        self.shell.engine().handle_consumed(delivery);
        self.shell.flush();
    }

    /// Octets held of all senders: what came and was not consumed.
    pub fn held(&mut self) -> u64 {
        self.shell.engine().held()
    }

    /// What was done so far.
    pub fn counters(&mut self) -> CreditCounters {
        self.shell.engine().counters()
    }
}

/// Messages between two looks at comings and goings and at the time.
const LOOK_EVERY: u32 = 256;
