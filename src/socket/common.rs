//! The methods that sockets share, written once: every kind expands the ones it has.

/// Making a socket, its endpoints, and what it tells about itself.
macro_rules! shell_methods {
    ($kind:ident, $($half:ident),+) => {
        /// A socket with the default options, in the process-wide context.
        #[must_use]
        pub fn new() -> Self {
            Self::assemble(
                <Self as Assemble>::defaults(),
                Default::default(),
                crate::context::Context::default(),
            )
        }

        /// A builder with the default options.
        pub fn builder() -> SocketBuilder<Self> {
            SocketBuilder::new()
        }

        /// Binds to an endpoint, and returns the real one: wildcards and port 0 replaced. A socket can
        /// be bound and connected to any number of endpoints. A host name is looked up before this
        /// returns. The file of an `ipc` socket that nobody listens on any more is replaced.
        ///
        /// # Errors
        /// If the endpoint is malformed, taken, or the system refuses. The socket is unchanged.
        pub fn bind(
            &mut self,
            endpoint: impl crate::endpoint::ToEndpoint,
        ) -> Result<crate::endpoint::Endpoint, crate::error::BindError> {
            self.shell.bind(endpoint)
        }

        /// Connects to an endpoint. Nobody need be there yet: the connection is made, and made again,
        /// in the background. Connecting to the same endpoint twice makes two connections; for DEALER, SUB, PUB
        /// and REQ the second call does nothing, unless over inproc.
        ///
        /// A host name is looked up again for each attempt, on no I/O thread. Its addresses are tried one
        /// after the other, IPv6 and IPv4 in turn, beginning with the one that the system prefers.
        ///
        /// # Errors
        /// If the endpoint is malformed, or the inproc peer is of the wrong kind. What goes wrong
        /// later is an event of the [`monitor`](Self::monitor), and is tried again.
        pub fn connect(
            &mut self,
            endpoint: impl crate::endpoint::ToEndpoint,
        ) -> Result<crate::endpoint::Endpoint, crate::error::ConnectError> {
            self.shell.connect(endpoint)
        }

        /// Binds to a socket that listens already, such as one inherited from the process that started this
        /// one: a [`TcpListener`](std::net::TcpListener), a
        /// [`UnixListener`](std::os::unix::net::UnixListener) or an
        /// [`OwnedFd`](std::os::fd::OwnedFd). Returns the endpoint it is bound to, which
        /// [`unbind`](Self::unbind) takes. Options that concern accepted connections apply, except for
        /// buffers and devices, which are those of the listener. It is made non-blocking, for everyone who
        /// has a copy of it. An ipc file is never removed.
        ///
        /// # Errors
        /// If it is something else, does not listen, or the system refuses. It is closed then, and the
        /// socket is unchanged.
        pub fn bind_listener(
            &mut self,
            listener: impl Into<std::os::fd::OwnedFd>,
        ) -> Result<crate::endpoint::Endpoint, crate::error::BindError> {
            self.shell.bind_listener(listener.into())
        }

        /// Uses a connection that is made already: a [`TcpStream`](std::net::TcpStream), a
        /// [`UnixStream`](std::os::unix::net::UnixStream) (of a pair, too) or an
        /// [`OwnedFd`](std::os::fd::OwnedFd), on which nothing has been said yet. Its handshake begins now.
        /// Nothing is queued for it before that is complete, and when it is lost it is not made again.
        /// Returns the endpoint at its other end, which [`disconnect`](Self::disconnect) takes; that of a
        /// pair is made up.
        ///
        /// # Errors
        /// If it is something else, not connected, or the system refuses. It is closed then, and the
        /// socket is unchanged.
        pub fn connect_stream(
            &mut self,
            stream: impl Into<std::os::fd::OwnedFd>,
        ) -> Result<crate::endpoint::Endpoint, crate::error::ConnectError> {
            self.shell.connect_stream(stream.into())
        }

        /// Unbinds from an endpoint, the one [`bind`](Self::bind) returned or, if there is none of that text, one with an
        /// address that its host stands for (`tcp://localhost:5555` is bound as `tcp://127.0.0.1:5555`, say), and ends the
        /// connections accepted through it once what is queued for them is sent, at most after the linger time.
        /// The address is free when this returns. Over inproc, connections live on.
        ///
        /// Does not wait for those connections: a peer may be sent to for a moment longer, and receives
        /// that. What peers send until they notice is dropped and counted
        /// ([`dropped_unexpected`](crate::SocketStats::dropped_unexpected)).
        ///
        /// It waits for the I/O thread that listens to come to it, also when called from a task. That took 6 to 20 µs at
        /// the median, and as long as the scheduler kept the thread from running where there was too much to do:
        /// up to 0.3 s beside 64 threads that sent all the time, on two processors. No network and no peer
        /// makes it longer, unless the endpoint is given by a host name, which is looked up as by [`bind`](Self::bind),
        /// before this returns. A task that must not wait so long uses what its executor has for blocking calls.
        ///
        /// # Errors
        /// If this socket is not bound to it.
        pub fn unbind(
            &mut self,
            endpoint: impl crate::endpoint::ToEndpoint,
        ) -> Result<(), crate::error::UnknownEndpoint> {
            self.shell.close_endpoint(endpoint, true)
        }

        /// Ends every connection to an endpoint, once what is queued for it is sent, at most after the
        /// linger time. It is that given to [`connect`](Self::connect) or, if there is none of that text, one with an address
        /// that its host stands for, which is looked up before this returns if it is a name. Does not wait for that, but for an I/O thread as [`unbind`](Self::unbind) does: a peer may be
        /// sent to for a moment longer, and receives that. Messages that were received before can still be read; what peers send until they notice
        /// is dropped and counted ([`dropped_unexpected`](crate::SocketStats::dropped_unexpected)).
        ///
        /// # Errors
        /// If this socket is not connected to it.
        pub fn disconnect(
            &mut self,
            endpoint: impl crate::endpoint::ToEndpoint,
        ) -> Result<(), crate::error::UnknownEndpoint> {
            self.shell.close_endpoint(endpoint, false)
        }

        super::tuning::id_methods!(self => self.shell);

        /// The endpoints this socket is bound to, wildcards replaced.
        #[must_use]
        pub fn bound_endpoints(&self) -> Vec<crate::endpoint::Endpoint> {
            self.shell.endpoints(true)
        }

        /// The endpoints this socket connects to.
        #[must_use]
        pub fn connected_endpoints(&self) -> Vec<crate::endpoint::Endpoint> {
            self.shell.endpoints(false)
        }

        super::common::watch_methods!(self => self.shell.port);

        super::tuning::option_methods!($kind, self => self.shell);

        /// Waits until there are at least this many peers with a completed handshake. Peers over inproc
        /// count as soon as both sides are there.
        ///
        /// # Errors
        /// If there were fewer when the time was over.
        pub fn wait_for_peers(
            &mut self,
            count: usize,
            timeout: std::time::Duration,
        ) -> Result<(), crate::error::WaitTimeout> {
            let $kind { shell, $($half,)+ .. } = self;
            shell.wait_until("peers", count, timeout, || {
                $($half.refresh();)+
                shell.port.peer_count()
            })
        }

        /// As [`wait_for_peers`](Self::wait_for_peers), for a task, and as long as it takes, or until the context is
        /// shut down. Dropping the future ends the wait and changes nothing.
        pub async fn wait_for_peers_async(&mut self, count: usize) {
            super::task::until(None, |deadline| self.peers_reach(count, deadline)).await;
        }

        /// Whether there are so many peers; waits for more as the deadline of a task allows.
        pub(super) fn peers_reach(
            &mut self,
            count: usize,
            deadline: super::deadline::Deadline,
        ) -> bool {
            let $kind { shell, $($half,)+ .. } = self;
            shell.reaches(count, deadline, || {
                $($half.refresh();)+
                shell.port.peer_count()
            })
        }

        /// Takes note of who has come and gone, in both directions: they must not pile up in one of them while
        /// the application uses the other.
        pub(super) fn take_note(&mut self) {
            $(self.$half.refresh();)+
        }

        super::common::close_methods!($kind, $($half),+);
    };
}

/// What a socket tells about itself and its peers, with its port found like this.
macro_rules! watch_methods {
    ($this:ident => $port:expr) => {
        /// Names this socket in a [`ContextSnapshot`](crate::ContextSnapshot).
        #[must_use]
        pub fn id(&$this) -> crate::io::SocketId {
            $port.id
        }

        /// A stream of what happens to this socket's connections from now on.
        #[must_use]
        pub fn monitor(&$this) -> crate::io::Monitor {
            $port.monitor(crate::io::MonitorOptions::default())
        }

        /// As [`monitor`](Self::monitor), of what the options ask for.
        #[must_use]
        pub fn monitor_with(&$this, options: crate::io::MonitorOptions) -> crate::io::Monitor {
            $port.monitor(options)
        }

        /// What this socket has done so far.
        #[must_use]
        pub fn stats(&$this) -> super::SocketStats {
            super::SocketStats::of(&$port)
        }

        /// Who is connected now, in the order of their connections, each with what has gone through its connection:
        /// a snapshot of all peers. Takes time and memory for each of them. Waits for no peer, and holds none up.
        #[must_use]
        pub fn connections(&$this) -> Vec<crate::io::ConnectionSnapshot> {
            $port.connections()
        }
    };
}

/// The end of a socket with these halves.
macro_rules! close_methods {
    ($kind:ident, $($half:ident),+) => {
        /// Closes the socket: waits until everything is sent, at most for the linger time. Messages that
        /// were received and not read are discarded.
        pub fn close(self) -> super::CloseReport {
            let deadline = self.shell.linger_deadline();
            self.close_by(deadline)
        }

        /// As [`close`](Self::close), and waits at most this long, whatever the linger time is.
        ///
        /// ```
        /// use std::time::Duration;
        /// use sinew::Push;
        ///
        /// let mut push = Push::builder().connect("inproc://nobody-is-there")?;
        /// push.send("work")?;
        /// let report = push.close_timeout(Duration::from_millis(5));
        /// assert_eq!(report.unsent, 1);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn close_timeout(self, timeout: std::time::Duration) -> super::CloseReport {
            self.close_by(crate::sync::clock::now().checked_add(timeout))
        }

        fn close_by(mut self, deadline: Option<std::time::Instant>) -> super::CloseReport {
            let time = super::deadline::Deadline::by(deadline);
            let $kind { shell, $($half,)+ .. } = &mut self;
            $(super::shell::Ending::flush($half, time);)+
            shell.forget_unsent(0 $(+ super::shell::Ending::finish($half))+);
            shell.close(deadline)
        }

        /// As [`close`](Self::close), for a task. Dropped before it is done, the socket is closed as when it is
        /// dropped: what is queued is sent in the background, at most for the linger time.
        pub async fn close_async(mut self) -> super::CloseReport {
            let deadline = self.shell.linger_deadline();
            let $kind { shell, $($half,)+ .. } = &mut self;
            super::task::until(deadline, |time| {
                true $(&& super::shell::Ending::flush($half, time))+
            })
            .await;
            shell.forget_unsent(0 $(+ super::shell::Ending::finish($half))+);
            shell.close_async(deadline).await
        }
    };
}

/// Blocking, non-blocking, deadline and asynchronous forms of receiving. For sockets that pass everything on that they
/// receive: the pipe that holds the next message, if that is at hand.
macro_rules! recv_methods {
    () => {
        super::common::recv_methods!(|_socket| None);
    };
    (|$socket:ident| $at_hand:expr) => {
        #[inline(always)]
        fn at_hand(&mut self) -> Option<&mut crate::pipe::Reader> {
            let $socket = self;
            $at_hand
        }

        /// Receives the next message, waiting for it (for ever, unless the option `recv_timeout` says
        /// otherwise).
        ///
        /// # Errors
        /// See [`RecvError`]; nothing is consumed then.
        #[inline]
        pub fn recv(&mut self) -> Result<Message, RecvError> {
            let timeout = self.shell.settings.config.recv_timeout;
            match timeout {
                None => self.recv_by(Deadline::Never),
                Some(_) => self.recv_by(Deadline::after(timeout)),
            }
        }

        /// Receives a message if one is there.
        ///
        /// # Errors
        /// [`RecvError::WouldBlock`] if none is; see [`RecvError`] for others.
        #[inline]
        pub fn try_recv(&mut self) -> Result<Message, RecvError> {
            self.recv_by(Deadline::Now)
        }

        /// Receives the next message, waiting at most this long.
        ///
        /// # Errors
        /// [`RecvError::Timeout`] if none came in time; see [`RecvError`] for others.
        pub fn recv_timeout(&mut self, timeout: std::time::Duration) -> Result<Message, RecvError> {
            self.recv_by(Deadline::after(Some(timeout)))
        }

        /// Receives the next message, waiting at most until this time.
        ///
        /// # Errors
        /// [`RecvError::Timeout`] if none came in time; see [`RecvError`] for others.
        pub fn recv_deadline(
            &mut self,
            deadline: std::time::Instant,
        ) -> Result<Message, RecvError> {
            self.recv_by(Deadline::At(deadline))
        }

        /// Receives the next message, for a task of any executor, or of none: waiting is left to the I/O
        /// threads. The option `recv_timeout` applies.
        ///
        /// # Cancel safety
        /// Nothing is consumed before the future is ready: dropping it loses nothing.
        ///
        /// # Errors
        /// See [`RecvError`]; nothing is consumed then.
        #[inline]
        pub fn recv_async(
            &mut self,
        ) -> impl std::future::Future<Output = Result<Message, RecvError>> + '_ {
            let timeout = |socket: &Self| socket.shell.settings.config.recv_timeout;
            super::task::Receive::new(self, Self::at_hand, timeout, Self::recv_by)
        }

        /// Receives a message if one is there; otherwise the task is woken when it may be worth another try.
        /// What [`recv_async`](Self::recv_async) is made of. The option `recv_timeout` does not apply.
        ///
        /// # Errors
        /// See [`RecvError`]; nothing is consumed then.
        pub fn poll_recv(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<Message, RecvError>> {
            super::task::poll_receive(cx, |deadline| self.recv_by(deadline))
        }
    };
}

/// Waiting for messages, by a thread that waits for something else as well.
macro_rules! wait_methods {
    () => {
        /// Waits until a message may be received without waiting, at most until then (for ever, if that is `None`),
        /// and takes nothing. `false` if there is none: the time is over, or somebody has called the
        /// [`interrupter`](Self::interrupter), or it was woken for no reason.
        ///
        /// It waits as a receive does that blocks: a connection is read by this thread, without a hop to another. Before
        /// it sleeps it looks for 25 to 50 µs, as long as that pays: to be woken takes that long, by another thread, too.
        /// So it is what a thread waits in that has one socket, and is told by other threads what else to do;
        /// for several sockets there is the [`Poller`](crate::Poller). Who sends one message at most between two waits writes it
        /// itself, too.
        pub fn wait_readable(&mut self, until: Option<std::time::Instant>) -> bool {
            self.take_note();
            if self.inbound.has_next() {
                return true;
            }
            let deadline = Deadline::by(until);
            if deadline.is_wait() {
                self.out.will_wait();
            }
            self.inbound.wait_readable(deadline)
        }

        /// Ends [`wait_readable`](Self::wait_readable): the current one, or else the next, unless a receive waits before
        /// that, which goes on. To be called from any thread, at any time; several calls may be one.
        ///
        /// ```
        /// use sinew::Router;
        ///
        /// let mut router = Router::new();
        /// let interrupter = router.interrupter();
        /// let thread = std::thread::spawn(move || interrupter.wake());
        /// assert!(!router.wait_readable(None), "no message, but something else to do");
        /// # thread.join().unwrap();
        /// ```
        #[must_use]
        pub fn interrupter(&self) -> std::task::Waker {
            super::inbound::interrupter(&self.shell.port)
        }
    };
}

/// Blocking, non-blocking, deadline and asynchronous forms of sending.
macro_rules! send_methods {
    () => {
        /// Sends a message, waiting for a peer that can take it (for ever, unless the option
        /// `send_timeout` says otherwise).
        ///
        /// # Errors
        /// See [`SendFailure`](crate::SendFailure); the message is in the error.
        #[inline]
        pub fn send(&mut self, message: impl IntoMessage) -> Result<(), SendError> {
            let timeout = self.shell.settings.config.send_timeout;
            match timeout {
                None => self.send_by(message, Deadline::Never),
                Some(_) => self.send_by(message, Deadline::after(timeout)),
            }
        }

        /// Sends a message if a peer can take it now.
        ///
        /// # Errors
        /// [`WouldBlock`](crate::SendFailure::WouldBlock) if none can; the message is in the error.
        #[inline]
        pub fn try_send(&mut self, message: impl IntoMessage) -> Result<(), SendError> {
            self.send_by(message, Deadline::Now)
        }

        /// Sends a message, waiting at most this long for a peer that can take it.
        ///
        /// # Errors
        /// [`Timeout`](crate::SendFailure::Timeout) if none could; the message is in the error.
        pub fn send_timeout(
            &mut self,
            message: impl IntoMessage,
            timeout: std::time::Duration,
        ) -> Result<(), SendError> {
            self.send_by(message, Deadline::after(Some(timeout)))
        }

        /// Sends a message, waiting at most until this time for a peer that can take it.
        ///
        /// # Errors
        /// [`Timeout`](crate::SendFailure::Timeout) if none could; the message is in the error.
        pub fn send_deadline(
            &mut self,
            message: impl IntoMessage,
            deadline: std::time::Instant,
        ) -> Result<(), SendError> {
            self.send_by(message, Deadline::At(deadline))
        }

        /// Sends a message, for a task of any executor, or of none. A peer that can take it takes it at once;
        /// otherwise the task waits for one. The option `send_timeout` applies.
        ///
        /// A PUSH writes borrowed octets of 64 KiB or more from where they are. If the kernel has no room for them it may hold
        /// its thread for as long as a copy might take: 0.2 ms for each MiB that is begun and one more, at most 1 ms. What is
        /// still to be written before them counts as well.
        ///
        /// # Cancel safety
        /// A message is sent as a whole when the future is ready, and not at all before: dropping the future
        /// drops the message. To keep it, use [`poll_send`](Self::poll_send), or send a clone.
        ///
        /// # Errors
        /// See [`SendFailure`](crate::SendFailure); the message is in the error.
        #[inline]
        pub fn send_async<'a, M: IntoMessage + 'a>(
            &'a mut self,
            message: M,
        ) -> impl std::future::Future<Output = Result<(), SendError>> + 'a {
            super::task::Transmit::new(
                self,
                message,
                |socket: &Self| socket.shell.settings.config.send_timeout,
                |socket: &mut Self, message, deadline: Deadline<'_>| {
                    socket.send_by(message, deadline)
                },
                |socket: &mut Self, message, deadline: Deadline<'_>| {
                    socket.send_by(message, deadline)
                },
            )
        }

        /// Sends what is in `message`, and takes it out, if a peer can take it. Otherwise it stays there, and the
        /// task is woken when it may be worth another try. With nothing in it there is nothing to do. What
        /// [`send_async`](Self::send_async) is made of. The option `send_timeout` does not apply.
        ///
        /// # Errors
        /// See [`SendFailure`](crate::SendFailure); the message is in the error.
        pub fn poll_send(
            &mut self,
            cx: &mut std::task::Context<'_>,
            message: &mut Option<Message>,
        ) -> std::task::Poll<Result<(), SendError>> {
            super::task::poll_transmit(cx, message, |message, deadline| {
                self.send_by(message, deadline)
            })
        }
    };
}

/// Options of the sockets that publish by topic; their options have a field `fan_out`.
macro_rules! publisher_options {
    ($kind:ident) => {
        super::options::kind_options!($kind: no_drop: bool = |options| options.fan_out.no_drop, invert_matching: bool = |options| matches!(options.fan_out.matching, Matching::Inverted));

        impl SocketBuilder<$kind> {
            /// Whether `send` waits while any subscriber that is to get the message is at its high-water
            /// mark, instead of leaving that subscriber out. Default: no.
            pub fn no_drop(mut self, no_drop: bool) -> Self {
                self.options.fan_out.no_drop = no_drop;
                self
            }

            /// Whether a message goes to the subscribers that have *no* subscription it begins with,
            /// instead of to those that have one. The subscribers must have the same option. Default: no.
            pub fn invert_matching(mut self, inverted: bool) -> Self {
                self.options.fan_out.matching = match inverted {
                    true => Matching::Inverted,
                    false => Matching::Prefix,
                };
                self
            }

            /// Whether only the first frame of a message from a subscriber may be a subscription, and not
            /// every frame of it. Of use with peers that send several frames at once; commands, which
            /// peers with ZMTP 3.1 send, are not concerned. Default: no.
            pub fn only_first_subscribe(mut self, only_first: bool) -> Self {
                self.config.only_first_subscribe = only_first;
                self
            }

            /// A message that every new peer is sent before anything else, whatever it is subscribed to. A SUB
            /// drops it unless its own subscriptions match. No larger than [`max_send_size`](Self::max_send_size) allows.
            /// Default: none.
            pub fn welcome_message(mut self, message: impl Into<Option<crate::message::Message>>) -> Self {
                self.config.welcome = message.into();
                self
            }

            /// How many different topics one peer may subscribe to, from 1 to 4294967295. A peer that wants more is
            /// disconnected, one over inproc goes without: see the type of the socket. Default: 1048576.
            pub fn max_topics(mut self, topics: u32) -> Self {
                self.config.subscriptions.topics = topics;
                self
            }

            /// The longest topic that a peer may subscribe to, in octets, from 1 to 67108864. What becomes of
            /// longer ones is as with [`max_topics`](Self::max_topics). Default: 65536.
            pub fn max_topic_length(mut self, octets: u32) -> Self {
                self.config.subscriptions.topic_bytes = octets;
                self
            }
        }
    };
}

/// Options of the sockets that subscribe to topics.
macro_rules! subscriber_options {
    ($kind:ident) => {
        impl SocketBuilder<$kind> {
            /// How many different topics this socket may subscribe to. A publisher ends the connection to a peer with
            /// more than its own option of this name allows, which is as many by default: what is raised here is to be
            /// raised there. Default: 1048576.
            pub fn max_topics(mut self, topics: u32) -> Self {
                self.config.subscriptions.topics = topics;
                self
            }

            /// The longest topic that this socket may subscribe to, in octets, up to 67108864. What is raised here is to
            /// be raised at the publishers, as with [`max_topics`](Self::max_topics). Default: 65536.
            pub fn max_topic_length(mut self, octets: u32) -> Self {
                self.config.subscriptions.topic_bytes = octets;
                self
            }
        }
    };
}

/// What sockets that publish by topic tell about their subscribers; they have a field `out`.
macro_rules! publisher_methods {
    () => {
        /// Waits until at least this many peers hold a subscription, whichever it is.
        ///
        /// # Errors
        /// If there were fewer when the time was over.
        pub fn wait_for_subscribers(
            &mut self,
            count: usize,
            timeout: Duration,
        ) -> Result<(), WaitTimeout> {
            let (out, shell) = (&mut self.out, &self.shell);
            shell.wait_until("subscribers", count, timeout, || out.subscribers())
        }

        /// How many peers would get a message that begins with `topic`.
        #[must_use]
        pub fn subscriber_count(&self, topic: impl AsRef<[u8]>) -> usize {
            self.out.count(topic.as_ref())
        }

        /// [`subscriber_count`](Self::subscriber_count) of each of these topics, in their order: which of them are worth
        /// being produced. Takes less time than asking for one after the other where there are thousands of topics, as
        /// [`send_batch`](Self::send_batch) does.
        #[must_use]
        pub fn subscriber_counts(&self, topics: &[impl AsRef<[u8]>]) -> Vec<usize> {
            self.out.counts(topics)
        }

        /// Waits until at least this many peers would get a message that begins with `topic`.
        ///
        /// # Errors
        /// If there were fewer when the time was over.
        pub fn wait_for_subscribers_of(
            &mut self,
            topic: impl AsRef<[u8]>,
            count: usize,
            timeout: Duration,
        ) -> Result<(), WaitTimeout> {
            let (out, shell, topic) = (&mut self.out, &self.shell, topic.as_ref());
            shell.wait_until("subscribers", count, timeout, || out.subscribers_of(topic))
        }

        /// As [`wait_for_subscribers`](Self::wait_for_subscribers), for a task, and as long as it takes.
        /// Dropping the future ends the wait and changes nothing.
        pub async fn wait_for_subscribers_async(&mut self, count: usize) {
            let (out, shell) = (&mut self.out, &self.shell);
            super::task::until(None, |deadline| {
                shell.reaches(count, deadline, || out.subscribers())
            })
            .await;
        }

        /// As [`wait_for_subscribers_of`](Self::wait_for_subscribers_of), for a task, and as long as it takes.
        /// Dropping the future ends the wait and changes nothing.
        pub async fn wait_for_subscribers_of_async(
            &mut self,
            topic: impl AsRef<[u8]>,
            count: usize,
        ) {
            let (out, shell, topic) = (&mut self.out, &self.shell, topic.as_ref());
            super::task::until(None, |deadline| {
                shell.reaches(count, deadline, || out.subscribers_of(topic))
            })
            .await;
        }

        /// How many different topics peers hold.
        #[must_use]
        pub fn topic_count(&self) -> usize {
            self.out.topic_count()
        }
    };
}

/// The traits of every socket.
macro_rules! socket_traits {
    ($kind:ident) => {
        impl super::builder::sealed::Sealed for $kind {}

        impl Default for $kind {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

/// The option to keep only the newest message.
macro_rules! conflate_option {
    ($kind:ident) => {
        impl SocketBuilder<$kind> {
            /// Whether only the newest message is kept for each peer (or from it, where this socket
            /// receives), in place of a queue: a message that has not left this process, or has not
            /// been received from the socket, when the next one comes is dropped, whole, and counted
            /// ([`SocketStats::dropped_conflated`](crate::SocketStats::dropped_conflated)). High-water
            /// marks are ignored then. The newest message is always the one that is received in the
            /// end. With [`Conflate::ByTopic`](crate::Conflate::ByTopic) all that is so for each
            /// topic, and there are no more topics than the high-water mark allows. If both ends of an inproc
            /// connection conflate, the fewer messages are kept. Default: no.
            pub fn conflate(mut self, conflate: impl Into<crate::config::Conflate>) -> Self {
                self.config.conflate = conflate.into();
                self
            }
        }
    };
}

/// What makes a socket readable and writable: expressions of the socket, and of how far to wait for it.
macro_rules! pollable {
    ($kind:ident, |$socket:ident, $time:ident| read: $read:expr, write: $write:expr) => {
        impl super::readiness::Pollable for $kind {
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
                interest: super::readiness::Interest,
            ) -> std::task::Poll<super::readiness::Readiness> {
                let time = super::deadline::Deadline::Task(cx.waker());
                match self.ready_by(interest, time) {
                    nothing if nothing.is_empty() => std::task::Poll::Pending,
                    something => std::task::Poll::Ready(something),
                }
            }

            fn readiness(&mut self) -> super::readiness::Readiness {
                let interest = super::readiness::Interest::BOTH;
                self.ready_by(interest, super::deadline::Deadline::Now)
            }
        }

        impl $kind {
            pub(super) fn ready_by(
                &mut self,
                interest: super::readiness::Interest,
                $time: super::deadline::Deadline,
            ) -> super::readiness::Readiness {
                self.take_note();
                let $socket = self;
                let ready = super::readiness::Readiness {
                    readable: interest.is_readable() && $read,
                    writable: interest.is_writable() && $write,
                };
                // After the wakers were left: a call would not wait, but fail.
                let port = &super::builder::sealed::Assemble::shell($socket).port;
                match port.is_terminated() {
                    true => super::readiness::Readiness {
                        readable: interest.is_readable() && port.flow().receives,
                        writable: interest.is_writable() && port.flow().sends,
                    },
                    false => ready,
                }
            }
        }
    };
}

/// Who sent what was received.
macro_rules! peer_methods {
    ($kind:ident, $($half:ident).+) => {
        impl $kind {
            /// What is known of the peer that the last received message came from; `None` before the first
            /// one. Found out when asked for, so that receiving costs nothing more.
            #[must_use]
            pub fn last_peer(&mut self) -> Option<std::sync::Arc<crate::message::PeerProperties>> {
                self.$($half).+.last_peer()
            }
        }
    };
}

pub(super) use {close_methods, conflate_option, peer_methods, pollable};
pub(super) use {
    publisher_methods, publisher_options, recv_methods, send_methods, shell_methods, socket_traits,
    subscriber_options, wait_methods, watch_methods,
};
