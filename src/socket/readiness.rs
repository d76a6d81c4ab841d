//! Whether a socket can be received from or sent to, without doing it.

use std::ops::BitOr;
use std::task::{Context, Poll};

use super::builder::sealed::Sealed;
use crate::io::Monitor;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    readable: bool,
    writable: bool,
}

impl Interest {
    /// That something can be received (of a descriptor: read).
    pub const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };

    /// That something can be sent (of a descriptor: written).
    pub const WRITABLE: Interest = Interest {
        readable: false,
        writable: true,
    };

    /// Either.
    pub const BOTH: Interest = Interest {
        readable: true,
        writable: true,
    };

    /// What is part of both.
    pub(super) fn among(self, other: Interest) -> Option<Interest> {
        let common = Interest {
            readable: self.readable && other.readable,
            writable: self.writable && other.writable,
        };
        (common.readable || common.writable).then_some(common)
    }

    /// Whether [`Interest::READABLE`] is part of it.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.readable
    }

    /// Whether [`Interest::WRITABLE`] is part of it.
    #[must_use]
    pub fn is_writable(self) -> bool {
        self.writable
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest {
            readable: self.readable | other.readable,
            writable: self.writable | other.writable,
        }
    }
}

/// What can be done with a socket, or a descriptor, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Readiness {
    /// Something can be received, or receiving tells of a lost peer.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.readable
    }

    /// Something can be sent, or sending tells of a lost peer.
    #[must_use]
    pub fn is_writable(self) -> bool {
        self.writable
    }

    pub(super) fn among(self, interest: Interest) -> Readiness {
        Readiness {
            readable: self.readable && interest.readable,
            writable: self.writable && interest.writable,
        }
    }

    /// Neither.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.readable && !self.writable
    }
}

/// Sockets whose readiness can be asked for and waited for. Every socket is one, and a [`Monitor`]; it cannot
/// be implemented elsewhere.
///
/// Readiness is a state: asking for it, or waiting for it, takes nothing and changes nothing, and it is there
/// as long as nobody receives (or sends). What is readable can be received without waiting, with one
/// exception: a message that is received only to be discarded (one that a SUB has unsubscribed from, a late
/// reply, several frames where one is allowed) counts until a receive has discarded it. What is sent to
/// nobody or dropped at a high-water mark needs no readiness: PUB, XPUB, XSUB, RADIO, ROUTER, SERVER, PEER and
/// STREAM are always writable, though the peer that a message is for may be at its mark. A REQ or REP is not
/// ready for what is out of turn, which fails at once: a REQ is readable while it awaits a reply, and a REP
/// writable while it owes one.
///
/// Wait with a [`Poller`](crate::Poller), with an [`EventFd`](crate::EventFd) in somebody else's event loop,
/// or with [`poll_ready`](Pollable::poll_ready) in a task.
pub trait Pollable: Sealed {
    /// What of `interest` is so, if anything; otherwise the task is woken when it may be.
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<Readiness>;

    /// What is so now.
    fn readiness(&mut self) -> Readiness;
}

impl Sealed for Monitor {}

/// Readable while there is an event, and from when there will never be one more.
impl Pollable for Monitor {
    fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Interest) -> Poll<Readiness> {
        match interest.readable && self.is_ready(cx.waker()) {
            true => Poll::Ready(self.readiness()),
            false => Poll::Pending,
        }
    }

    fn readiness(&mut self) -> Readiness {
        Readiness {
            readable: self.has_event_or_end(),
            writable: false,
        }
    }
}
