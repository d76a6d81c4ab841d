//! A bound socket with a good peer, which hostile peers are let loose on.

use std::collections::VecDeque;

use sinew::{
    DisconnectReason, Endpoint, Message, Monitor, Pub, Pull, Push, Rep, Req, SocketBuilder,
    SocketEvent, SocketStats, Sub,
};

use crate::WATCHDOG;

/// What every stage can do.
pub(crate) trait Stage {
    /// The type of the bound socket.
    fn ours(&self) -> &'static str;
    /// A type that may talk to it.
    fn theirs(&self) -> &'static str;
    fn endpoint(&self) -> &Endpoint;
    fn monitor(&mut self) -> &mut Monitor;
    fn stats(&self) -> SocketStats;
    /// The good peer and the bound socket exchange this many messages, and lose none.
    fn exchange(&mut self, count: u64);

    /// Waits for a connection to end that is not the good peer's.
    fn end(&mut self) -> End {
        let event = self.monitor().wait_for(WATCHDOG, |event| {
            matches!(
                event,
                SocketEvent::HandshakeFailed { .. } | SocketEvent::Disconnected { .. }
            )
        });
        match event {
            Some(SocketEvent::HandshakeFailed { reason, .. }) => End {
                shook_hands: false,
                reason,
            },
            Some(SocketEvent::Disconnected { reason, .. }) => End {
                shook_hands: true,
                reason,
            },
            other => panic!("no connection ended: {other:?}"),
        }
    }

    /// Waits for the end of a connection whose handshake failed.
    fn refusal(&mut self) -> DisconnectReason {
        let end = self.end();
        assert!(!end.shook_hands, "{end:?}");
        end.reason
    }

    /// Waits for the end of a connection that was established.
    fn disconnection(&mut self) -> DisconnectReason {
        let end = self.end();
        assert!(end.shook_hands, "{end:?}");
        end.reason
    }

    /// Nothing but the good peer is left, and nothing has happened to it.
    fn finish(&mut self) {
        self.exchange(10);
        while let Some(event) = self.monitor().try_recv() {
            assert!(
                !matches!(
                    event,
                    SocketEvent::HandshakeFailed { .. } | SocketEvent::Disconnected { .. }
                ),
                "{event:?}"
            );
        }
        assert_eq!(self.stats().peers, 1);
    }
}

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) shook_hands: bool,
    pub(crate) reason: DisconnectReason,
}

/// Both transports that a raw peer can use.
pub(crate) const TRANSPORTS: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];

/// A stage of each kind over each transport.
pub(crate) fn every_stage() -> Vec<Box<dyn Stage>> {
    let mut stages: Vec<Box<dyn Stage>> = Vec::new();
    for at in TRANSPORTS {
        stages.push(Box::new(PullStage::new(at)));
        stages.push(Box::new(PubStage::new(at)));
        stages.push(Box::new(RepStage::new(at)));
    }
    stages
}

/// A PULL socket that a good PUSH sends to.
pub(crate) struct PullStage {
    pub(crate) pull: Pull,
    pub(crate) push: Push,
    endpoint: Endpoint,
    monitor: Monitor,
    sent: u64,
    received: u64,
    /// Messages that are not the good peer's.
    pub(crate) others: VecDeque<Message>,
}

/// Begins the messages of good peers.
const GOOD: &[u8] = b"good ";

impl PullStage {
    pub(crate) fn new(at: &str) -> Self {
        PullStage::with(at, |builder| builder)
    }

    pub(crate) fn with(
        at: &str,
        options: impl FnOnce(SocketBuilder<Pull>) -> SocketBuilder<Pull>,
    ) -> Self {
        let mut pull = options(Pull::builder()).build().unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind(at).unwrap();
        let mut push = Push::new();
        push.connect(&endpoint).unwrap();
        pull.wait_for_peers(1, WATCHDOG).unwrap();
        established(&mut monitor);
        let mut stage = PullStage {
            pull,
            push,
            endpoint,
            monitor,
            sent: 0,
            received: 0,
            others: VecDeque::new(),
        };
        stage.exchange(10);
        stage
    }

    /// The good peer sends one message that has not been received yet.
    pub(crate) fn send(&mut self) {
        let message = numbered(self.sent);
        self.push.send_timeout(message, WATCHDOG).unwrap();
        self.sent += 1;
    }

    /// Receives everything the good peer has sent.
    pub(crate) fn receive(&mut self) {
        while self.received < self.sent {
            let message = self.pull.recv_timeout(WATCHDOG).unwrap_or_else(|error| {
                panic!("message {} of {}: {error}", self.received, self.sent)
            });
            if message.as_bytes().starts_with(GOOD) {
                assert_eq!(message.as_bytes(), numbered(self.received));
                self.received += 1;
            } else {
                self.others.push_back(message);
            }
        }
    }

    /// The next message that is not the good peer's.
    pub(crate) fn other(&mut self) -> Message {
        match self.others.pop_front() {
            Some(message) => message,
            None => self.pull.recv_timeout(WATCHDOG).unwrap(),
        }
    }
}

fn numbered(number: u64) -> Vec<u8> {
    [GOOD, &number.to_be_bytes()].concat()
}

fn established(monitor: &mut Monitor) {
    let done = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::HandshakeSucceeded { .. })
    });
    assert!(done.is_some(), "the good peer did not connect");
}

impl Stage for PullStage {
    fn ours(&self) -> &'static str {
        "PULL"
    }

    fn theirs(&self) -> &'static str {
        "PUSH"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    fn stats(&self) -> SocketStats {
        self.pull.stats()
    }

    fn exchange(&mut self, count: u64) {
        for _ in 0..count {
            self.send();
        }
        self.receive();
    }
}

/// A PUB socket that a good SUB has subscribed to.
pub(crate) struct PubStage {
    pub(crate) publisher: Pub,
    sub: Sub,
    endpoint: Endpoint,
    monitor: Monitor,
    sent: u64,
}

impl PubStage {
    pub(crate) fn new(at: &str) -> Self {
        PubStage::with(at, |builder| builder)
    }

    pub(crate) fn with(
        at: &str,
        options: impl FnOnce(SocketBuilder<Pub>) -> SocketBuilder<Pub>,
    ) -> Self {
        let mut publisher = options(Pub::builder()).build().unwrap();
        let mut monitor = publisher.monitor();
        let endpoint = publisher.bind(at).unwrap();
        let mut sub = Sub::new();
        sub.subscribe(GOOD).unwrap();
        sub.connect(&endpoint).unwrap();
        publisher.wait_for_subscribers(1, WATCHDOG).unwrap();
        established(&mut monitor);
        let mut stage = PubStage {
            publisher,
            sub,
            endpoint,
            monitor,
            sent: 0,
        };
        stage.exchange(10);
        stage
    }
}

impl Stage for PubStage {
    fn ours(&self) -> &'static str {
        "PUB"
    }

    fn theirs(&self) -> &'static str {
        "SUB"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    fn stats(&self) -> SocketStats {
        self.publisher.stats()
    }

    fn exchange(&mut self, count: u64) {
        // In steps far below the high-water mark, so that nothing may be dropped.
        for _ in 0..count {
            self.publisher.send(numbered(self.sent)).unwrap();
            let message = self.sub.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(message.as_bytes(), numbered(self.sent));
            self.sent += 1;
        }
    }
}

/// A REP socket that a good REQ asks.
pub(crate) struct RepStage {
    pub(crate) rep: Rep,
    req: Req,
    endpoint: Endpoint,
    monitor: Monitor,
    sent: u64,
}

impl RepStage {
    pub(crate) fn new(at: &str) -> Self {
        let mut rep = Rep::new();
        let mut monitor = rep.monitor();
        let endpoint = rep.bind(at).unwrap();
        let mut req = Req::new();
        req.connect(&endpoint).unwrap();
        established(&mut monitor);
        let mut stage = RepStage {
            rep,
            req,
            endpoint,
            monitor,
            sent: 0,
        };
        stage.exchange(10);
        stage
    }
}

impl Stage for RepStage {
    fn ours(&self) -> &'static str {
        "REP"
    }

    fn theirs(&self) -> &'static str {
        "REQ"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    fn stats(&self) -> SocketStats {
        self.rep.stats()
    }

    fn exchange(&mut self, count: u64) {
        for _ in 0..count {
            self.req
                .send_timeout(numbered(self.sent), WATCHDOG)
                .unwrap();
            let request = self.rep.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(request.as_bytes(), numbered(self.sent));
            self.rep.send_timeout(request, WATCHDOG).unwrap();
            let reply = self.req.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(reply.as_bytes(), numbered(self.sent));
            self.sent += 1;
        }
    }
}
