//! What is measured: the works, and how many messages a measurement moves.

use std::fmt;
use std::time::Duration;

use crate::meter::Sample;

/// The shape of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One way, so many senders and so many receivers: messages per second.
    Flow(usize, usize),
    /// One way; the body goes by reference, beside a frame that numbers it.
    ByReference,
    /// Lock-step: microseconds per round trip.
    ReqRep,
    /// Lock-step, and a pause of a millisecond before each request.
    Gap,
    /// DEALER to ROUTER and back, so many messages under way: microseconds per round trip if that is one, otherwise round
    /// trips per second.
    Dealer(usize),
    /// One way, through a proxy in a thread of its own, PULL to PUSH.
    Proxy,
    /// The same between DEALER and ROUTER: a name comes before each message, and is carried on.
    RouterProxy,
    /// One publisher, this many subscribers: deliveries per second.
    PubSub(usize),
    /// One publisher and one subscriber to everything, while another holds this many topics.
    Topics(usize),
    /// Lock-step, while this many idle connections are attached to the replier.
    IdleReqRep(usize),
    /// One way, while this many idle connections are attached to the receiver.
    IdleFlow(usize),
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

/// One group of rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) pattern: Pattern,
    pub(crate) transport: Transport,
    /// Octets of a message's body.
    pub(crate) size: usize,
}

impl Work {
    pub(crate) const fn new(pattern: Pattern, transport: Transport, size: usize) -> Work {
        Work {
            pattern,
            transport,
            size,
        }
    }

    /// `pushpull/tcp/64`, or a leading part of it that ends before a `/` or a `-`.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let whole = self.to_string();
        whole.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(['/', '-']) || name.ends_with('/')
        })
    }

    /// The work whose figure a goal holds against that of this one, so that both are measured in turn: what else the
    /// machine does differs from minute to minute.
    pub(crate) fn beside(&self) -> Work {
        let Work {
            transport, size, ..
        } = *self;
        match self.pattern {
            Pattern::Flow(..) | Pattern::IdleFlow(_) | Pattern::ByReference => {
                Work::new(Pattern::Flow(1, 1), transport, size)
            }
            Pattern::IdleReqRep(_) => Work::new(Pattern::ReqRep, transport, size),
            Pattern::Topics(_) => Work::new(Pattern::Topics(1_000), transport, size),
            _ => *self,
        }
    }

    /// Whether the figure is a time.
    pub(crate) fn is_latency(&self) -> bool {
        matches!(
            self.pattern,
            Pattern::ReqRep | Pattern::Gap | Pattern::Dealer(1) | Pattern::IdleReqRep(_)
        )
    }

    pub(crate) fn unit(&self) -> &'static str {
        if self.is_latency() {
            "us"
        } else {
            "msg/s"
        }
    }

    /// Whether `--quick` measures it.
    pub(crate) fn is_quick(&self) -> bool {
        use Transport::{Inproc, Ipc, Tcp};
        let Work {
            pattern,
            transport,
            size,
        } = *self;
        match pattern {
            Pattern::Flow(1, 1) => match transport {
                Tcp => matches!(size, 64 | 1024 | 16_384),
                Ipc | Inproc => size == 64,
            },
            Pattern::ReqRep => transport != Inproc && size == 64,
            Pattern::PubSub(8) => transport == Tcp,
            _ => false,
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
            Pattern::Flow(1, 1) => f.write_str("pushpull"),
            Pattern::Flow(senders, receivers) => write!(f, "{senders}to{receivers}"),
            Pattern::ByReference => f.write_str("byref"),
            Pattern::ReqRep => f.write_str("reqrep"),
            Pattern::Gap => f.write_str("gap"),
            Pattern::Dealer(1) => f.write_str("dealerrouter"),
            Pattern::Dealer(under_way) => write!(f, "dealerrouter{under_way}"),
            Pattern::Proxy => f.write_str("proxy"),
            Pattern::RouterProxy => f.write_str("proxyrouter"),
            Pattern::PubSub(subscribers) => write!(f, "pubsub{subscribers}"),
            Pattern::Topics(topics) => write!(f, "topics{topics}"),
            Pattern::IdleReqRep(idle) => write!(f, "idle{idle}-reqrep"),
            Pattern::IdleFlow(idle) => write!(f, "idle{idle}-pushpull"),
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
    use Pattern::{
        ByReference, Dealer, Flow, Gap, IdleFlow, IdleReqRep, Proxy, PubSub, ReqRep, RouterProxy,
        Topics,
    };
    use Transport::{Inproc, Ipc, Tcp};
    let mut works = Vec::new();
    for transport in [Tcp, Ipc, Inproc] {
        for size in [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 1 << 20] {
            works.push(Work::new(Flow(1, 1), transport, size));
        }
    }
    works.push(Work::new(ByReference, Inproc, 1 << 20));
    works.push(Work::new(ReqRep, Tcp, 1));
    for transport in [Tcp, Ipc, Inproc] {
        works.push(Work::new(ReqRep, transport, 64));
    }
    works.push(Work::new(Gap, Tcp, 64));
    for transport in [Tcp, Ipc] {
        for under_way in [1, 64] {
            works.push(Work::new(Dealer(under_way), transport, 64));
        }
    }
    for subscribers in [1, 8, 32, 64] {
        works.push(Work::new(PubSub(subscribers), Tcp, 64));
    }
    for transport in [Ipc, Inproc] {
        for subscribers in [1, 8] {
            works.push(Work::new(PubSub(subscribers), transport, 64));
        }
    }
    for (senders, receivers) in [(4, 1), (1, 4), (4, 4)] {
        works.push(Work::new(Flow(senders, receivers), Tcp, 64));
    }
    for size in [64, 16 << 10] {
        works.push(Work::new(Proxy, Tcp, size));
    }
    works.push(Work::new(RouterProxy, Tcp, 64));
    works.push(Work::new(IdleReqRep(10_000), Tcp, 64));
    works.push(Work::new(IdleFlow(10_000), Tcp, 64));
    for topics in [1_000, 1_000_000] {
        works.push(Work::new(Topics(topics), Tcp, 64));
    }
    works
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
            Pattern::Gap => 50,
            Pattern::ReqRep | Pattern::Dealer(1) | Pattern::IdleReqRep(_) => 1_000,
            Pattern::ByReference => 100_000,
            // 64 MiB, or as many messages as libzmq moves in some 25 ms.
            _ => ((64 << 20) / work.size as u64).min(100_000),
        };
        Plan {
            size: work.size,
            warmup: count / 4,
            count,
        }
    }

    /// Whether it is so much longer than another that the result of that one says little of it.
    pub(crate) fn dwarfs(&self, trial: &Plan) -> bool {
        self.count / 4 > trial.count
    }

    /// A measurement of about this duration, going by an earlier one.
    pub(crate) fn lasting(target: Duration, work: &Work, sample: &Sample) -> Plan {
        let target = target.as_secs_f64();
        let count = match work.pattern {
            // Going by the pause: a round trip is short beside it. Longer than the others, for the sake
            // of the percentiles.
            Pattern::Gap => 2.0 * target * 900.0,
            _ if work.is_latency() => 1e6 / sample.value * target,
            _ => sample.value * target,
        };
        // Below some hundred messages the ends of the run would weigh too much.
        let count = (count as u64).max(200);
        Plan {
            size: work.size,
            warmup: (count / 10).max(100),
            count,
        }
    }

    /// The same at a multiple of the length.
    pub(crate) fn times(&self, by: u64) -> Plan {
        Plan {
            size: self.size,
            warmup: self.warmup * by,
            count: self.count * by,
        }
    }

    /// The same at a fraction of the length.
    pub(crate) fn divided(&self, by: u64) -> Plan {
        Plan {
            size: self.size,
            warmup: (self.warmup / by).max(100),
            count: (self.count / by).max(200),
        }
    }
}
