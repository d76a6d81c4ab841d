//! What is measured: the rows of the table, and how many messages a measurement moves.

use std::fmt;
use std::time::Duration;

use crate::meter::Sample;

/// The shape of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One way, one sender and one receiver: messages per second.
    PushPull,
    /// Lock-step: microseconds per round trip.
    ReqRep,
    /// One publisher, this many subscribers: deliveries per second.
    PubSub(usize),
}

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Loopback.
    Tcp,
    /// A Unix stream socket.
    Ipc,
    /// Two threads and no kernel.
    Inproc,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) pattern: Pattern,
    pub(crate) transport: Transport,
    /// Octets of a message's body.
    pub(crate) size: usize,
}

impl Work {
    const fn new(pattern: Pattern, transport: Transport, size: usize) -> Work {
        Work {
            pattern,
            transport,
            size,
        }
    }

    /// `pushpull/tcp/64`, or a leading part of it.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let whole = self.to_string();
        whole
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || name.ends_with('/'))
    }

    /// Whether it is measured when no work is named. Fan-out is not: libzmq's publisher has been seen to
    /// stop for good under it, which would cost the whole run.
    pub(crate) fn is_standard(&self) -> bool {
        !matches!(self.pattern, Pattern::PubSub(_))
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self.pattern {
            Pattern::PushPull | Pattern::PubSub(_) => "msg/s",
            Pattern::ReqRep => "us",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pattern, self.transport, self.size)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::PushPull => f.write_str("pushpull"),
            Pattern::ReqRep => f.write_str("reqrep"),
            Pattern::PubSub(subscribers) => write!(f, "pubsub{subscribers}"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Ipc => "ipc",
            Transport::Inproc => "inproc",
        })
    }
}

/// Every work, in the order of the table.
pub(crate) fn all() -> Vec<Work> {
    use Pattern::{PubSub, PushPull, ReqRep};
    use Transport::{Inproc, Ipc, Tcp};
    vec![
        Work::new(PushPull, Tcp, 64),
        Work::new(PushPull, Tcp, 1 << 10),
        Work::new(PushPull, Tcp, 16 << 10),
        Work::new(PushPull, Tcp, 1 << 20),
        Work::new(PushPull, Ipc, 64),
        Work::new(PushPull, Inproc, 64),
        Work::new(ReqRep, Tcp, 1),
        Work::new(ReqRep, Tcp, 64),
        Work::new(ReqRep, Ipc, 64),
        Work::new(ReqRep, Inproc, 64),
        Work::new(PubSub(1), Tcp, 64),
        Work::new(PubSub(8), Tcp, 64),
        Work::new(PubSub(64), Tcp, 64),
    ]
}

/// How many messages one measurement moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Octets of a message's body.
    pub(crate) size: usize,
    /// Messages before the clock starts.
    pub(crate) warmup: u64,
    /// Messages between the two looks at the clock.
    pub(crate) count: u64,
}

impl Plan {
    /// A short measurement whose result is only used to choose the length of the others.
    pub(crate) fn calibration(work: &Work) -> Plan {
        let count = match work.pattern {
            Pattern::ReqRep => 2_000,
            // 64 MiB, or as many messages as libzmq moves in some 50 ms.
            Pattern::PushPull | Pattern::PubSub(_) => ((64 << 20) / work.size as u64).min(200_000),
        };
        Plan {
            size: work.size,
            warmup: count / 4,
            count,
        }
    }

    /// A measurement of about this duration, going by an earlier one.
    pub(crate) fn lasting(target: Duration, work: &Work, sample: &Sample) -> Plan {
        let per_second = match work.pattern {
            Pattern::ReqRep => 1e6 / sample.value,
            Pattern::PushPull | Pattern::PubSub(_) => sample.value,
        };
        // Below some hundred messages the ends of the run would weigh too much.
        let count = ((per_second * target.as_secs_f64()) as u64).max(400);
        Plan {
            size: work.size,
            warmup: (count / 10).max(100),
            count,
        }
    }
}
