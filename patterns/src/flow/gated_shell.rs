//! A gate in front of a ROUTER, on a socket.

use std::time::{Duration, Instant};

use sinew::{Message, Router};

use super::{Admitted, GateConfig, GateCounters, GatedEngine, Rejected, TicketId};
use crate::shell::RouterShell;

/// A ROUTER that gives no more requests at once than can be carried out, keeps a bounded number waiting, and
/// answers the others instead of leaving them in silence. It is driven by whoever receives from it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew::{Dealer, Router};
/// use sinew_patterns::flow::{GateConfig, GatedRouter};
///
/// let mut router = Router::new();
/// let endpoint = router.bind("tcp://127.0.0.1:*")?;
/// let config = GateConfig { inside: 1, ..GateConfig::default() };
/// let mut gated = GatedRouter::new(router, config, None, |_, why| Some(why.to_string().into()));
///
/// let mut dealer = Dealer::builder().connect(&endpoint)?;
/// dealer.send("work")?;
/// let request = gated.recv_deadline(Instant::now() + Duration::from_secs(60)).unwrap();
/// gated.done(request.ticket, Some("done".into()));
/// assert_eq!(dealer.recv()?, "done".into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GatedRouter(RouterShell<GatedEngine>);

impl GatedRouter {
    /// A gate in front of this socket, at which a request waits at most for `patience`. `refuse` makes the
    /// answer to those turned away from their request and the reason; with `None` they get none.
    #[must_use]
    pub fn new(
        router: Router,
        config: GateConfig,
        patience: Option<Duration>,
        refuse: impl Fn(&Message, Rejected) -> Option<Message> + Send + 'static,
    ) -> Self {
        GatedRouter(RouterShell::new(
            router,
            GatedEngine::new(config, patience, refuse),
        ))
    }

    /// Waits for the next request that gets in, at most until then.
    pub fn recv_deadline(&mut self, until: Instant) -> Option<Admitted> {
        self.0.next_event(until)
    }

    /// The same for a task of any executor, without a time. Dropping the future loses nothing.
    pub async fn recv_async(&mut self) -> Admitted {
        self.0.next_event_async().await
    }

    /// A request is done: its place is free, and this is sent to whoever asked, if it is there to take it
    /// ([`GateCounters::unsent`]).
    pub fn done(&mut self, ticket: TicketId, reply: Option<Message>) {
        self.0.engine().handle_done(Instant::now(), ticket, reply);
        self.0.flush();
    }

    /// How many are inside, how many wait in the queue, and with how many octets. With
    /// [`OnFull::Wait`](crate::common::OnFull::Wait) one more may wait in front of it, and nothing is read meanwhile.
    pub fn load(&mut self) -> (usize, usize, usize) {
        self.0.engine().load()
    }

    /// What was done so far.
    pub fn counters(&mut self) -> GateCounters {
        self.0.engine().counters()
    }
}
