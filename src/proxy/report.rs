//! What a proxy leaves behind, and the orderly end of it.

use std::fmt;
use std::time::{Duration, Instant};

use super::reflect::Back;
use super::statistics::ProxyStatistics;
use crate::message::Message;
use crate::socket::{CloseReport, ProxySocket, Relay};
use crate::sync::clock;

/// What a proxy leaves behind: its sockets as they are, with what they hold.
///
/// Dropping it closes them in the background. [`close`](Self::close) waits until what they have to send is sent:
/// without it the end of the process may come first, and take the answer to `TERMINATE` along.
///
/// ```
/// use sinew::{Message, Proxy, Pull, Push, Rep, Req};
///
/// let front = Pull::builder().bind("tcp://127.0.0.1:*")?;
/// let back = Push::builder().bind("tcp://127.0.0.1:*")?;
/// let mut control = Rep::new();
/// let steering = control.bind("tcp://127.0.0.1:*")?;
/// let proxy = Proxy::new(front, back).control(control).spawn()?;
///
/// let mut master = Req::builder().connect(&steering)?;
/// master.send("TERMINATE")?;
/// let report = proxy.join();
/// assert!(report.control.is_some() && report.capture.is_none());
/// assert_eq!(report.close().unsent, 0);
/// assert_eq!(master.recv()?, Message::default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ProxyReport<F, B> {
    /// The first socket.
    pub front: F,
    /// The second, or [`Reflected`](crate::Reflected).
    pub back: B,
    /// The one that copies went to, if there was one.
    pub capture: Option<ProxyAside>,
    /// The one that the proxy was steered by, if there was one.
    pub control: Option<ProxyAside>,
    /// What the proxy has forwarded.
    pub statistics: ProxyStatistics,
    /// A message that the first socket had received and the second had no room for: at most one.
    pub for_back: Option<Message>,
    /// The same in the other direction.
    pub for_front: Option<Message>,
}

#[allow(
    private_bounds,
    reason = "what stands at the back is a socket, or none: nothing else can be made"
)]
impl<F: ProxySocket, B: Back> ProxyReport<F, B> {
    /// Closes all sockets: waits until everything is sent, for each at most for its linger time, which begins now
    /// for all of them. What was not sent is added up: messages of the first two sockets, copies for the third,
    /// and the messages that the proxy had in hand ([`for_back`](Self::for_back), [`for_front`](Self::for_front)).
    /// Answers of the control socket are waited for and not counted. Messages that were received and not
    /// read are discarded.
    pub fn close(self) -> CloseReport {
        self.close_by(None)
    }

    /// As [`close`](Self::close), and waits at most this long altogether, whatever the linger times are.
    pub fn close_timeout(self, timeout: Duration) -> CloseReport {
        self.close_by(Some(timeout))
    }

    fn close_by(self, timeout: Option<Duration>) -> CloseReport {
        let in_hand = [self.for_back, self.for_front];
        let mut unsent = in_hand.iter().flatten().count() as u64;
        let aside = |aside: ProxyAside| aside.0;
        let sockets: [(bool, Option<Box<dyn Relay>>); 4] = [
            (true, Some(Box::new(self.front))),
            (true, self.back.into_relay()),
            (true, self.capture.map(aside)),
            (false, self.control.map(aside)),
        ];
        // All times begin before the first wait, so that waits do not add up. I/O threads send what is queued also
        // for those whose turn has not come.
        let ends = sockets.map(|(counts, socket)| {
            let until = socket.as_deref().and_then(|socket| until(socket, timeout));
            (counts, until, socket)
        });
        for (counts, until, socket) in ends {
            let closed = socket.map_or_else(CloseReport::default, |socket| socket.end(until));
            unsent += if counts { closed.unsent } else { 0 };
        }
        CloseReport { unsent }
    }
}

/// A socket that stood beside a proxy: its capture, or its control.
pub struct ProxyAside(pub(super) Box<dyn Relay>);

impl ProxyAside {
    /// Closes the socket: waits until everything is sent, at most for the linger time.
    pub fn close(self) -> CloseReport {
        let until = until(&*self.0, None);
        self.0.end(until)
    }

    /// As [`close`](Self::close), and waits at most this long, whatever the linger time is.
    pub fn close_timeout(self, timeout: Duration) -> CloseReport {
        let until = until(&*self.0, Some(timeout));
        self.0.end(until)
    }

    /// The socket itself.
    ///
    /// # Errors
    /// What this was called on, if it is of another kind.
    ///
    /// ```
    /// use sinew::{Proxy, Pub, Pull, Push};
    ///
    /// let capture = Pub::builder().bind("inproc://copies-of-everything")?;
    /// let front = Pull::builder().bind("tcp://127.0.0.1:*")?;
    /// let back = Push::builder().bind("tcp://127.0.0.1:*")?;
    /// let report = Proxy::new(front, back).capture(capture).spawn()?.stop();
    /// let capture: Pub = report.capture.expect("there was one").downcast().expect("it was a Pub");
    /// assert_eq!(capture.bound_endpoints().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downcast<S: ProxySocket>(self) -> Result<S, Self> {
        match self.0.as_any().is::<S>() {
            true => match self.0.into_any().downcast() {
                Ok(socket) => Ok(*socket),
                Err(_) => unreachable!("it has just been asked what it is"),
            },
            false => Err(self),
        }
    }
}

impl fmt::Debug for ProxyAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProxyAside")
            .field(&self.0.port().socket_type)
            .finish()
    }
}

/// Until when a socket that is closed now may send; `None` is for ever.
fn until(socket: &dyn Relay, timeout: Option<Duration>) -> Option<Instant> {
    match timeout {
        Some(timeout) => clock::now().checked_add(timeout),
        None => socket.port().linger_deadline(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::proxy::Proxy;
    use crate::socket::{Pair, Pull, Push};

    const MOMENT: Duration = Duration::from_millis(1);

    fn report() -> ProxyReport<Pull, Push> {
        ProxyReport {
            front: Pull::new(),
            back: Push::new(),
            capture: None,
            control: None,
            statistics: ProxyStatistics::default(),
            for_back: None,
            for_front: None,
        }
    }

    /// With a message in it that goes nowhere.
    fn full_pair(name: &str) -> ProxyAside {
        let mut pair = Pair::builder().connect(name).unwrap();
        pair.send("to nobody").unwrap();
        ProxyAside(Box::new(pair))
    }

    #[test]
    fn what_was_in_hand_is_unsent() {
        let mut report = report();
        report.back.connect("inproc://report-nobody").unwrap();
        report.back.send("queued").unwrap();
        report.for_back = Some("in hand".into());
        report.for_front = Some("the other way".into());
        assert_eq!(report.close_timeout(MOMENT).unsent, 3);
    }

    #[test]
    fn copies_are_counted_and_answers_are_not() {
        let mut report = report();
        report.capture = Some(full_pair("inproc://report-capture"));
        report.control = Some(full_pair("inproc://report-control"));
        assert_eq!(report.close_timeout(MOMENT).unsent, 1);
        assert_eq!(
            full_pair("inproc://report-aside")
                .close_timeout(MOMENT)
                .unsent,
            1
        );
    }

    #[test]
    fn sockets_beside_come_back_as_what_they_were() {
        let proxy = Proxy::new(Pull::new(), Push::new())
            .capture(Push::new())
            .control(Pair::new());
        let report = proxy.spawn().unwrap().stop();
        let capture = report.capture.unwrap();
        assert_eq!(format!("{capture:?}"), "ProxyAside(Push)");
        let capture = capture.downcast::<Pair>().unwrap_err();
        assert!(capture.downcast::<Push>().is_ok());
        assert!(report.control.unwrap().downcast::<Pair>().is_ok());
    }
}
