//! Groups (48/RADDSH): RADIO sends each message to every peer that has joined its group, DISH
//! receives the messages of the groups it has joined.
//!
//! On a stream a message is two frames: the name of the group, and the body. So it is in the pipes, and
//! so anything else that carries messages between a pipe and its peers (datagrams, for one) finds and
//! leaves them there; of peers that cannot join, [`Hooks::unfiltered_up`] tells.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::builder::sealed::Assemble;
use super::common::{peer_methods, pollable, shell_methods, socket_traits};
use super::deadline::{Deadline, Discarded};
use super::fan_out::{FanOut, FanOutOptions};
use super::inbound::RecvHalf;
use super::relay::{relay, Relay};
use super::shell::Shell;
use super::task;
use super::topics::{Matching, Topics};
use super::upstream::{Form, Upstream};
use super::SocketBuilder;
use crate::config::{OptionError, SocketConfig};
use crate::context::Context;
use crate::error::{GroupError, GroupSendError, RecvError, SendError, SendFailure, WaitTimeout};
use crate::io::{Hooks, Port, MAX_DATAGRAM};
use crate::message::{Frame, Group, Message};
use crate::socket_type::SocketType;

/// Sends each message, which is one frame, to every peer that has joined its group.
///
/// Source: 48/RADDSH.
///
/// `send` does not wait: a peer at its high-water mark does not get the message, which is counted
/// ([`SocketStats::dropped_full`](crate::SocketStats::dropped_full)). With the option
/// [`no_drop`](SocketBuilder::no_drop) it waits instead. A message for a group that nobody has joined is
/// discarded, which is counted too.
///
/// Connected to a `udp://` endpoint, a host or a multicast group, it sends every message there as a datagram,
/// whatever its group: nobody can join over that. One of more than 8192 octets, with the name of its group
/// and one more, is then an error
/// ([`DatagramTooLarge`](crate::SendFailure::DatagramTooLarge)) and goes to nobody.
///
/// Peers join and leave whether or not this socket is being used. A peer may join about a million (2^20) groups, or
/// as many as [`max_groups`](SocketBuilder::max_groups) says, at the cost of as many subscriptions at a
/// [`Pub`](crate::Pub). One that joins more is disconnected
/// ([`DisconnectReason::SubscriptionLimit`](crate::DisconnectReason::SubscriptionLimit)). A DISH over inproc goes without the
/// group instead, which this socket's monitors are told
/// ([`SubscriptionRefused`](crate::SocketEvent::SubscriptionRefused)) and
/// [`subscriptions_refused`](crate::SocketStats::subscriptions_refused) counts; `join` succeeds nevertheless. When it
/// leaves another group there is room, and it gets what was refused: names that are short first.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Dish, Radio};
///
/// let mut radio = Radio::new();
/// let endpoint = radio.bind("tcp://127.0.0.1:*")?;
/// let mut dish = Dish::new();
/// dish.connect(&endpoint)?;
/// dish.join("weather")?;
/// radio.wait_for_members("weather", 1, Duration::from_secs(10))?;
///
/// radio.send("sports", "tennis")?;
/// radio.send("weather", "rain")?;
/// let (group, body) = dish.recv()?;
/// assert_eq!((group.as_bytes(), &body[..]), (&b"weather"[..], &b"rain"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Radio {
    out: FanOut,
    shell: Shell,
}

/// Options of RADIO alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct RadioOptions {
    fan_out: FanOutOptions,
}

super::options::kind_options!(Radio: no_drop: bool = |options| options.fan_out.no_drop);

impl SocketBuilder<Radio> {
    /// Whether `send` waits while any peer that is to get the message is at its high-water mark, instead
    /// of leaving that peer out. Default: no.
    pub fn no_drop(mut self, no_drop: bool) -> Self {
        self.options.fan_out.no_drop = no_drop;
        self
    }

    /// How many groups one peer may join, from 1 to 4294967295. A peer that joins more is disconnected; one over
    /// inproc goes without, as [`Radio`] says. Default: 1048576.
    pub fn max_groups(mut self, groups: u32) -> Self {
        self.config.subscriptions.groups = groups;
        self
    }
}

impl Assemble for Radio {
    type Options = RadioOptions;

    fn assemble(config: SocketConfig, mut options: RadioOptions, context: Context) -> Self {
        options.fan_out.matching = Matching::Group;
        let topics = Topics::of_groups(&config);
        let port = Port::new(
            SocketType::Radio,
            config,
            Arc::clone(&topics) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        Radio {
            out: FanOut::new(&port, &topics, options.fan_out),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &RadioOptions) -> Result<(), OptionError> {
        self.out.set_options(FanOutOptions {
            matching: Matching::Group,
            ..options.fan_out
        });
        Ok(())
    }
}

impl Radio {
    shell_methods!(Radio, out);

    /// Sends a message to everyone who has joined the group. Waits only with the option `no_drop`, for ever
    /// unless the option `send_timeout` says otherwise.
    ///
    /// # Errors
    /// If the name is no group's, or a peer had no room in time; the message is in the error then.
    pub fn send(
        &mut self,
        group: impl AsRef<[u8]>,
        body: impl Into<Frame>,
    ) -> Result<(), GroupSendError> {
        let deadline = Deadline::after(self.shell.settings.config.send_timeout);
        self.send_by(group.as_ref(), body.into(), deadline)
    }

    /// As [`send`](Self::send), but never waits.
    ///
    /// # Errors
    /// As for [`send`](Self::send), with [`WouldBlock`](crate::SendFailure::WouldBlock) as the reason.
    pub fn try_send(
        &mut self,
        group: impl AsRef<[u8]>,
        body: impl Into<Frame>,
    ) -> Result<(), GroupSendError> {
        self.send_by(group.as_ref(), body.into(), Deadline::Now)
    }

    /// As [`send`](Self::send), but waits at most this long.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_timeout(
        &mut self,
        group: impl AsRef<[u8]>,
        body: impl Into<Frame>,
        timeout: Duration,
    ) -> Result<(), GroupSendError> {
        let deadline = Deadline::after(Some(timeout));
        self.send_by(group.as_ref(), body.into(), deadline)
    }

    /// As [`send`](Self::send), but waits at most until this time.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_deadline(
        &mut self,
        group: impl AsRef<[u8]>,
        body: impl Into<Frame>,
        deadline: Instant,
    ) -> Result<(), GroupSendError> {
        self.send_by(group.as_ref(), body.into(), Deadline::At(deadline))
    }

    /// As [`send`](Self::send), for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// A message is sent as a whole when the future is ready, and not at all before: dropping the future
    /// drops the message.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_async(
        &mut self,
        group: impl AsRef<[u8]>,
        body: impl Into<Frame>,
    ) -> Result<(), GroupSendError> {
        let timeout = self.shell.settings.config.send_timeout;
        let message = self.compose(group.as_ref(), body.into())?;
        let Err(first) = self.out.send_by(message, Deadline::Now) else {
            return Ok(());
        };
        let out = &mut self.out;
        task::transmit(first, timeout, |message, deadline| {
            out.send_by(message, deadline)
        })
        .await?;
        Ok(())
    }

    /// Sends what is in `message`, two frames that are a group and a body, and takes it out, as
    /// [`send`](Self::send) does. With the option `no_drop` it may have to wait: then it stays there, and the
    /// task is woken when it may be worth another try. With nothing in it there is nothing to do. The option
    /// `send_timeout` does not apply.
    ///
    /// # Errors
    /// [`NoGroup`](crate::SendFailure::NoGroup) if it is no such message; see
    /// [`SendFailure`]. The message is in the error.
    pub fn poll_send(
        &mut self,
        cx: &mut std::task::Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        if let Some(given) = message.take() {
            *message = Some(self.recompose(given)?);
        }
        task::poll_transmit(cx, message, |message, deadline| {
            self.out.send_by(message, deadline)
        })
    }

    /// Sends a message that is a group and a body, unless it has to wait.
    pub(super) fn try_send_message(&mut self, message: Message) -> Result<(), SendError> {
        let message = self.recompose(message)?;
        self.out.send_by(message, Deadline::Now)
    }

    /// The message, if its frames are a group and a body.
    fn recompose(&self, message: Message) -> Result<Message, SendError> {
        match message.frames() {
            [group, body] if Group::new(&**group).is_ok() => {
                self.check_size(group.len(), body.len())
                    .map_err(|reason| SendError::new(reason, message.clone()))?;
                Ok(message)
            }
            _ => Err(SendError::new(SendFailure::NoGroup, message)),
        }
    }

    /// How many peers would get a message for this group.
    #[must_use]
    pub fn member_count(&self, group: impl AsRef<[u8]>) -> usize {
        self.out.count(group.as_ref())
    }

    /// How many different groups have been joined.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.out.topic_count()
    }

    /// Waits until at least this many peers would get a message for this group.
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew::{Dish, Radio};
    ///
    /// let mut radio = Radio::new();
    /// let endpoint = radio.bind("inproc://radio-members")?;
    /// let mut dish = Dish::builder().connect(&endpoint)?;
    /// dish.join("news")?;
    /// radio.wait_for_members("news", 1, Duration::from_secs(60))?;
    /// let error = radio.wait_for_members("news", 2, Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "1 of 2 members were there when the time was over");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_members(
        &mut self,
        group: impl AsRef<[u8]>,
        count: usize,
        timeout: Duration,
    ) -> Result<(), WaitTimeout> {
        let (out, shell, group) = (&mut self.out, &self.shell, group.as_ref());
        shell.wait_until("members", count, timeout, || out.subscribers_of(group))
    }

    /// As [`wait_for_members`](Self::wait_for_members), for a task, and as long as it takes. Dropping the future
    /// ends the wait and changes nothing.
    pub async fn wait_for_members_async(&mut self, group: impl AsRef<[u8]>, count: usize) {
        let (out, shell, group) = (&mut self.out, &self.shell, group.as_ref());
        task::until(None, |deadline| {
            shell.reaches(count, deadline, || out.subscribers_of(group))
        })
        .await;
    }

    fn send_by(
        &mut self,
        group: &[u8],
        body: Frame,
        deadline: Deadline,
    ) -> Result<(), GroupSendError> {
        let message = self.compose(group, body)?;
        Ok(self.out.send_by(message, deadline)?)
    }

    /// The message of a group.
    fn compose(&self, group: &[u8], body: Frame) -> Result<Message, GroupSendError> {
        let group = Group::new(group)?;
        let fits = self.check_size(group.as_bytes().len(), body.len());
        let message = Message::multipart([Frame::from(group.as_bytes()), body]);
        match fits {
            Ok(()) => Ok(message),
            Err(reason) => Err(SendError::new(reason, message).into()),
        }
    }

    /// Datagrams have a size.
    fn check_size(&self, group: usize, body: usize) -> Result<(), SendFailure> {
        let octets = 1 + group + body;
        let limit = MAX_DATAGRAM;
        match octets > limit && self.shell.has_datagrams() {
            true => Err(SendFailure::DatagramTooLarge { octets, limit }),
            false => Ok(()),
        }
    }
}

/// Receives the messages of the groups it has joined.
///
/// Source: 48/RADDSH.
///
/// Bound to a `udp://` endpoint, an address of this host or a multicast group, it receives datagrams and
/// keeps those of the groups it has joined.
///
/// What was sent to a group before it was left, or comes as a datagram to one that was not joined, waits like
/// any message, up to `recv_hwm` per peer, until [`recv`](Dish::recv) looks at it and skips it.
///
/// A new DISH has joined no group and receives nothing. Membership is state: it is told to every publisher,
/// also to one that comes (back) later.
///
/// ```
/// use sinew::{Dish, GroupError};
///
/// let mut dish = Dish::new();
/// dish.join("news")?;
/// assert!(matches!(dish.join("news"), Err(GroupError::AlreadyJoined { .. })));
/// dish.leave("news")?;
/// assert!(matches!(dish.leave("news"), Err(GroupError::NotJoined { .. })));
/// # Ok::<(), GroupError>(())
/// ```
#[derive(Debug)]
pub struct Dish {
    inbound: RecvHalf,
    /// For filtering; the publishers are told from `upstream`.
    groups: HashSet<Group>,
    upstream: Arc<Upstream>,
    shell: Shell,
}

impl Assemble for Dish {
    type Options = ();

    fn defaults() -> SocketConfig {
        SocketConfig {
            // As for SUB: it has nothing to send but membership.
            linger: Some(Duration::ZERO),
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let upstream = Upstream::new(Form::Groups, config.subscriptions);
        let port = Port::new(
            SocketType::Dish,
            config,
            Arc::clone(&upstream) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        Dish {
            inbound: RecvHalf::new(Arc::clone(&port)),
            groups: HashSet::new(),
            upstream,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Dish {
    shell_methods!(Dish, inbound);

    /// Joins a group: messages that are sent to it from now on are received.
    ///
    /// # Errors
    /// If the name is no group's, the group is joined already, or there are as many as a RADIO with default options
    /// allows one peer (1048576, 64 MiB of names).
    pub fn join(&mut self, group: impl AsRef<[u8]>) -> Result<(), GroupError> {
        let group = Group::new(group)?;
        if self.groups.contains(&group) {
            return Err(GroupError::AlreadyJoined { group });
        }
        if self.upstream.subscribe(group.as_bytes()).is_err() {
            return Err(GroupError::TooManyGroups {
                limit: self.groups.len(),
            });
        }
        self.groups.insert(group);
        Ok(())
    }

    /// Leaves a group. Its messages are not received any more, even if they are here already.
    ///
    /// # Errors
    /// If the name is no group's, or the group is not joined.
    pub fn leave(&mut self, group: impl AsRef<[u8]>) -> Result<(), GroupError> {
        let group = Group::new(group)?;
        if !self.groups.remove(&group) {
            return Err(GroupError::NotJoined { group });
        }
        self.upstream.unsubscribe(group.as_bytes(), false);
        Ok(())
    }

    /// The groups that are joined, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// Receives the next message and the group it was sent to, waiting for it (for ever, unless the option
    /// `recv_timeout` says otherwise).
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv(&mut self) -> Result<(Group, Frame), RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        self.recv_by(Deadline::after(timeout))
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if none is; see [`RecvError`] for others.
    pub fn try_recv(&mut self) -> Result<(Group, Frame), RecvError> {
        self.recv_by(Deadline::Now)
    }

    /// Receives the next message, waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time; see [`RecvError`] for others.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<(Group, Frame), RecvError> {
        self.recv_by(Deadline::after(Some(timeout)))
    }

    /// Receives the next message, waiting at most until this time.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time; see [`RecvError`] for others.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<(Group, Frame), RecvError> {
        self.recv_by(Deadline::At(deadline))
    }

    /// Receives the next message and the group it was sent to, for a task of any executor, or of none. The
    /// option `recv_timeout` applies.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_async(&mut self) -> Result<(Group, Frame), RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        task::receive(timeout, |deadline| self.recv_by(deadline)).await
    }

    /// Receives a message if one is there; otherwise the task is woken when it may be worth another try. The
    /// option `recv_timeout` does not apply.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn poll_recv(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<(Group, Frame), RecvError>> {
        task::poll_receive(cx, |deadline| self.recv_by(deadline))
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<(Group, Frame), RecvError> {
        let mut discarded = Discarded::default();
        loop {
            let message = self.inbound.recv(deadline)?;
            // The publisher filters too, but what it sent may have been left since, and datagrams come
            // from one who does not.
            let joined = self.groups.get(message.as_bytes()).cloned();
            if message.frame_count() != 2 {
                // Connections are held to it; whatever else fills a pipe is not trusted to.
                self.inbound.drop_last();
            } else if let (Some(group), Some(body)) = (joined, message.into_iter().nth(1)) {
                return Ok((group, body));
            }
            discarded.one(deadline)?;
        }
    }
}

socket_traits!(Radio);
socket_traits!(Dish);

/// A message of two frames: the group, and the body.
impl Relay for Radio {
    fn port(&self) -> &Arc<Port> {
        &self.shell.port
    }

    relay!(@ends);

    fn tend(&mut self) {
        self.out.refresh();
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn give(&mut self, message: Message) -> Result<(), SendError> {
        let [group, body] = message.frames() else {
            return Err(SendError::new(SendFailure::NotAddressed, message));
        };
        let (group, body) = (group.clone(), body.clone());
        match self.send_by(&group, body, Deadline::Now) {
            Ok(()) => Ok(()),
            Err(GroupSendError::Send(error)) => Err(error),
            Err(GroupSendError::Group(_)) => {
                Err(SendError::new(SendFailure::NotAddressed, message))
            }
        }
    }

    fn arm_out(&mut self, _: &Message) -> bool {
        self.out.arm_matched()
    }
}

/// As for [`Radio`].
impl Relay for Dish {
    fn port(&self) -> &Arc<Port> {
        &self.shell.port
    }

    relay!(@ends);

    fn tend(&mut self) {
        self.inbound.refresh();
    }

    fn release_links(&mut self) {
        self.inbound.release_links();
    }

    fn take(&mut self) -> Option<Message> {
        let (group, body) = self.recv_by(Deadline::Now).ok()?;
        Some(Message::multipart([Frame::from(group.as_bytes()), body]))
    }

    fn arm_in(&mut self) -> bool {
        self.inbound.arm_for_event()
    }
}
peer_methods!(Dish, inbound);
pollable!(Radio, |_socket, _time| read: false, write: true);
pollable!(Dish, |socket, time| read: socket.inbound.is_ready(time), write: false);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Dish, Radio};
    use crate::io::{DisconnectReason, SocketEvent};

    const WATCHDOG: Duration = Duration::from_secs(20);

    #[test]
    fn who_joins_more_groups_than_it_may_is_disconnected() {
        let mut radio = Radio::builder().max_groups(2).build().unwrap();
        let mut monitor = radio.monitor();
        let endpoint = radio.bind("tcp://127.0.0.1:*").unwrap();
        let mut dish = Dish::builder().connect(&endpoint).unwrap();
        dish.join("first").unwrap();
        dish.join("second").unwrap();
        radio.wait_for_members("second", 1, WATCHDOG).unwrap();
        assert_eq!(radio.group_count(), 2);
        dish.join("third").unwrap();
        let end = monitor.wait_for(WATCHDOG, |event| {
            matches!(event, SocketEvent::Disconnected { .. })
        });
        let Some(SocketEvent::Disconnected { reason, .. }) = end else {
            panic!("no end: {end:?}");
        };
        assert_eq!(reason, DisconnectReason::SubscriptionLimit);
    }
}
