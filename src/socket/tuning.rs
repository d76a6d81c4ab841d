//! What changes of a socket in use, written once: its options, and its endpoints one by one. Every kind expands this.

/// What was bound and connected, by its id; with the shell found like this.
macro_rules! id_methods {
    ($this:ident => $shell:expr) => {
        /// Names the last [`bind`](Self::bind) or [`connect`](Self::connect) of this socket that succeeded, as its events
        /// do; `None` before the first. Of a `connect` that did nothing, since there was such a connection, that one.
        ///
        /// ```
        /// use sinew::Push;
        ///
        /// let mut push = Push::new();
        /// push.connect("tcp://127.0.0.1:5557")?;
        /// let first = push.last_endpoint_id().unwrap();
        /// push.connect("tcp://127.0.0.1:5557")?;
        /// push.disconnect_id(first)?;
        /// assert_eq!(push.connected_endpoints().len(), 1); // the second
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[must_use]
        pub fn last_endpoint_id(&$this) -> Option<crate::io::EndpointId> {
            $shell.last_endpoint_id()
        }

        /// As [`unbind`](Self::unbind), of what one `bind` has begun.
        ///
        /// # Errors
        /// If this socket is not bound by it (any more).
        pub fn unbind_id(
            &mut $this,
            id: crate::io::EndpointId,
        ) -> Result<(), crate::error::UnknownEndpoint> {
            $shell.close_id(id, true)
        }

        /// As [`disconnect`](Self::disconnect), of what one `connect` has begun: another connection to the same endpoint
        /// stays.
        ///
        /// # Errors
        /// If this socket is not connected by it (any more).
        pub fn disconnect_id(
            &mut $this,
            id: crate::io::EndpointId,
        ) -> Result<(), crate::error::UnknownEndpoint> {
            $shell.close_id(id, false)
        }

        /// Unbinds from an endpoint as [`unbind`](Self::unbind) does, and leaves the connections that were accepted through
        /// it as they are; also those whose handshake is not done yet. They end as others do: with their peers, or with
        /// this socket.
        ///
        /// # Errors
        /// If this socket is not bound to it.
        pub fn stop_accepting(
            &mut $this,
            endpoint: impl crate::endpoint::ToEndpoint,
        ) -> Result<(), crate::error::UnknownEndpoint> {
            $shell.stop_accepting(endpoint)
        }
    };
}

/// Reading and changing options, likewise.
macro_rules! option_methods {
    ($kind:ident, $this:ident => $shell:expr) => {
        /// The options as they are now.
        #[must_use]
        pub fn options(&$this) -> super::SocketOptions<Self> {
            super::SocketOptions::of(&$shell)
        }

        /// Changes options of this socket: those of the builder that `change` sets.
        ///
        /// High-water marks, timeouts, `linger` and `max_connections` act at once, as
        /// [`set_send_hwm`](Self::set_send_hwm) and its like say. What is said to peers that come or go, or heard of
        /// them (`hello_message` and the like), is so for those that come or go from now on. All other options are
        /// for what is bound and connected from now on: what was before, connections that it makes again
        /// included, keeps those it began with. Over inproc, what a peer is told in its handshake counts when the
        /// connection is made. Options that one kind of socket has alone act at once: on the next message that is sent
        /// or received, the next peer that comes, the next subscription (`relaxed`, `correlated`, `mandatory`, `duplicate_id`,
        /// `no_drop`, `invert_matching`, `verbose`, `verboser`, `manual`, `manual_last_value`, `verbose_unsubscribe`).
        ///
        /// Some are for the whole life of a socket: `context`, `conflate`, `busy_poll`, `attach_properties`, `max_send_size`,
        /// `max_topics`, `max_topic_length`, `max_groups`, `raw`, and whether a REP has a `duplicate_id` at all.
        ///
        /// ```
        #[doc = concat!("let mut socket = sinew::", stringify!($kind), "::new();")]
        /// socket.reconfigure(|options| options.tos(0x10).backlog(100))?;
        /// # Ok::<(), sinew::OptionError>(())
        /// ```
        ///
        /// # Errors
        /// If an option has an impossible value or cannot be changed. Nothing is changed then.
        pub fn reconfigure(
            &mut $this,
            change: impl FnOnce(SocketBuilder<Self>) -> SocketBuilder<Self>,
        ) -> Result<(), crate::config::OptionError> {
            SocketBuilder::reconfigure($this, change)?;
            $this.take_note();
            Ok(())
        }

        /// Changes how many messages (and octets) may be queued per peer for sending, also for the peers there are. A
        /// mark below what is queued drops nothing: nothing more is sent to that peer until enough has left. Of no
        /// effect on a socket that conflates.
        ///
        /// # Errors
        /// If the mark is 0.
        pub fn set_send_hwm(
            &mut $this,
            hwm: impl Into<crate::config::HighWaterMark>,
        ) -> Result<(), crate::config::OptionError> {
            $this.reconfigure(|options| options.send_hwm(hwm))
        }

        /// Changes how many received messages (and octets) may be queued per peer, also for the peers there are. A mark
        /// below what is queued drops nothing: nothing more is read from that peer until enough has been
        /// received. Of no effect on a socket that conflates.
        ///
        /// # Errors
        /// If the mark is 0.
        pub fn set_recv_hwm(
            &mut $this,
            hwm: impl Into<crate::config::HighWaterMark>,
        ) -> Result<(), crate::config::OptionError> {
            $this.reconfigure(|options| options.recv_hwm(hwm))
        }

        /// Changes how long queued messages outlive the socket, or an endpoint that is unbound or disconnected; `None`
        /// for ever. It counts when that is done.
        ///
        /// # Errors
        /// None.
        pub fn set_linger(
            &mut $this,
            linger: impl Into<Option<std::time::Duration>>,
        ) -> Result<(), crate::config::OptionError> {
            $this.reconfigure(|options| options.linger(linger))
        }
    };
}

pub(super) use {id_methods, option_methods};
