//! Who receives replies: the requester's thread, or a caller that waits for one.
//!
//! The thread receives for all, and wakes who waits for a reply, which takes about as long as the rest of a round trip. A
//! caller that makes one request after the other, with no others beside them, may as well look for its reply itself, as a
//! REQ does. For that the thread *lends* what receives: it lays it on a desk and sleeps. Each caller takes it from there,
//! looks for 50 µs, and lays it back. If it has found nothing, or others have begun requests, it wakes the thread, which
//! takes it back; and so does who begins a request and does not look. The thread also takes it back when nobody has taken
//! it for some time, so that peers and late replies are never left unattended for long.
//!
//! Whoever has it does the same: hands out replies and the news of lost peers, ends what is due, sends what waits for room.

use std::time::Duration;

use super::{wake_all, Core};
use crate::io::DropCause;
use crate::message::Message;
use crate::routing::PeerKey;
use crate::socket::deadline::Deadline;
use crate::socket::inbound::RecvHalf;
use crate::socket::spin::{several_processors, Budget, WHILE};
use crate::sync::{clock, lock};

/// What receives, for whoever does.
pub(super) struct Receiving {
    inbound: RecvHalf,
    /// Empty between two calls, as is the other.
    received: Vec<(PeerKey, Message)>,
    lost: Vec<PeerKey>,
}

impl Receiving {
    pub(super) fn new(inbound: RecvHalf) -> Box<Self> {
        Box::new(Receiving {
            inbound,
            received: Vec::new(),
            lost: Vec::new(),
        })
    }
}

/// Who will receive the reply to a request that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Thread,
    /// Who begins it.
    Caller,
    /// The thread, if it is woken.
    Nobody,
}

/// Whether the thread lends what receives.
#[derive(Debug)]
pub(super) struct Lending {
    /// With one processor, or with a thread that looks for ever, there is nothing to be gained.
    off: bool,
    at: At,
    budget: Budget,
    /// Somebody has looked since the thread last asked.
    seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Thread,
    /// The thread is to lend it when nobody waits for a reply.
    Wanted,
    /// On the desk, or in the hands of a caller.
    Desk,
}

impl Lending {
    pub(super) fn new(busy_poll: bool) -> Self {
        Lending {
            off: busy_poll || !several_processors(),
            at: At::Thread,
            budget: Budget::default(),
            seen: false,
        }
    }

    /// A request begins; `may_look`: who begins it waits for it, and no other is under way.
    pub(super) fn begins(&mut self, may_look: bool) -> Reads {
        let looks = may_look && !self.off && !self.budget.rests();
        if self.at == At::Desk {
            self.seen |= looks;
            return match looks {
                true => Reads::Caller,
                false => Reads::Nobody,
            };
        }
        self.at = match looks {
            true => At::Wanted,
            false => At::Thread,
        };
        Reads::Thread
    }

    /// Whether it is worth asking for [`Lending::lends`].
    fn is_wanted(&self) -> bool {
        self.at == At::Wanted
    }

    /// Whether the thread lays it on the desk, at which nobody waits for a reply.
    fn lends(&mut self) -> bool {
        let lends = self.at == At::Wanted;
        if lends {
            self.at = At::Desk;
            self.seen = true;
        }
        lends
    }

    /// Whether anybody has looked since the last call.
    fn is_seen(&mut self) -> bool {
        std::mem::take(&mut self.seen)
    }

    /// The thread has it.
    fn is_back(&mut self) {
        self.at = At::Thread;
    }

    /// A caller has looked.
    fn looked(&mut self, found: bool) {
        match found {
            true => self.budget.paid(),
            false => self.budget.failed(),
        }
    }
}

/// What there is to be done after a turn of whoever receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There is more.
    Again,
    Wait,
    /// No more: the requester was closed.
    End,
}

/// Replies that are handed out under one lock.
const BATCH: usize = 256;

/// A thread that has lent what receives looks this often whether anybody still takes it.
const LENT: Duration = Duration::from_millis(20);

impl Core {
    /// Receives replies and keeps the time until the requester is closed.
    pub(super) fn run(&self, mut receiving: Box<Receiving>) {
        loop {
            let (next, until) = self.attend(&mut receiving, |state| {
                // Requests that end leave a time behind that is not too late for the next one; to tell the thread of it
                // would cost each of them a wake-up.
                let former = state.sleeps_until.filter(|at| *at > clock::now());
                state.sleeps_until = state.requests.next_due().or(former);
                (state.sleeps_until, state.lending.is_wanted())
            });
            match (next, until) {
                (Next::End, _) => return,
                (Next::Again, _) => {}
                (Next::Wait, Some((until, false))) => {
                    // Late or early, the loop looks at everything.
                    let _ = receiving.inbound.await_more(Deadline::by(until));
                }
                (Next::Wait, until) => {
                    let mut state = lock(&self.state);
                    if state.requests.len() == 0 && state.lending.lends() {
                        // With the state locked: who begins a request finds it there.
                        *lock(&self.desk) = Some(receiving);
                        drop(state);
                        receiving = match self.take_back() {
                            Some(receiving) => receiving,
                            None => return,
                        };
                    } else {
                        drop(state);
                        let until = until.and_then(|(until, _)| until);
                        let _ = receiving.inbound.await_more(Deadline::by(until));
                    }
                }
            }
        }
    }

    /// Sleeps until the thread is to receive again. `None`: the requester was closed.
    fn take_back(&self) -> Option<Box<Receiving>> {
        loop {
            let patrol = clock::now() + LENT;
            let told = self.port.inbound.event().wait(Some(patrol));
            let mut state = lock(&self.state);
            let taken = match told || !state.lending.is_seen() {
                // If a caller has it, that one will tell.
                true => lock(&self.desk).take(),
                false => None,
            };
            if taken.is_some() {
                state.lending.is_back();
                return taken;
            }
            if state.closed {
                return None;
            }
        }
    }

    /// For a caller: looks for the reply to its request for a while, if what receives is on the desk.
    pub(super) fn look_for(&self, id: u64) {
        let Some(mut receiving) = lock(&self.desk).take() else {
            return;
        };
        let end = clock::now() + WHILE;
        receiving.inbound.adopt_links();
        let found = loop {
            if receiving.inbound.look_around() {
                let ended = |state: &mut super::State| state.requests.has_ended(id);
                match self.attend(&mut receiving, ended) {
                    (Next::End, _) => break false,
                    (_, Some(true)) => break true,
                    _ => {}
                }
            }
            std::thread::yield_now();
            if clock::now() >= end {
                break false;
            }
        };
        *lock(&self.desk) = Some(receiving);
        let mut state = lock(&self.state);
        state.lending.looked(found);
        let (closed, awaited) = (state.closed, state.requests.len() > 0);
        drop(state);
        if closed {
            // The thread may have ended already.
            let left = lock(&self.desk).take();
            drop(left);
        }
        if closed || awaited {
            self.port.inbound.event().notify();
        }
    }

    /// A turn of whoever receives. In the end `then` is called, unless the requester was closed.
    fn attend<R>(
        &self,
        receiving: &mut Receiving,
        then: impl FnOnce(&mut super::State) -> R,
    ) -> (Next, Option<R>) {
        let Receiving {
            inbound,
            received,
            lost,
        } = receiving;
        while received.len() < BATCH {
            let Ok(message) = inbound.try_recv() else {
                break;
            };
            received.push((inbound.from(), message));
        }
        let mut again = received.len() == BATCH;
        // Replies of a peer came before it was lost. Those of others do not put the news off.
        lost.extend(std::iter::from_fn(|| inbound.take_lost_and_read()));
        let mut ended = Vec::new();
        let mut state = lock(&self.state);
        if self.port.is_terminated() {
            drop(state);
            self.close();
            return (Next::End, None);
        }
        if state.closed {
            return (Next::End, None);
        }
        let mut unexpected = Vec::new();
        for (from, message) in received.drain(..) {
            match state.requests.accept(from, message) {
                Some(tag) => ended.push(tag),
                None => unexpected.push(from),
            }
        }
        for peer in lost.drain(..) {
            state.requests.lost(peer, &mut ended);
        }
        state.requests.expire(clock::now(), &mut ended);
        if !state.send_unsent() {
            // Room for requests is a reason to look, too.
            again |= self.port.outbound.event().poll(&self.room);
        }
        let result = then(&mut state);
        drop(state);
        // A monitor may be woken, as those who asked may: without the lock.
        let count = unexpected.len() as u64;
        self.port.dropped(DropCause::Unexpected, count);
        for from in unexpected {
            inbound.note_unwanted(from);
        }
        wake_all(ended);
        let next = match again {
            true => Next::Again,
            false => Next::Wait,
        };
        (next, Some(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lending() -> Lending {
        Lending {
            off: false,
            ..Lending::new(false)
        }
    }

    #[test]
    fn it_is_lent_to_who_waits_for_one_reply_after_the_other() {
        let mut lending = lending();
        assert_eq!(lending.begins(false), Reads::Thread);
        assert!(!lending.lends(), "nobody wants it");
        assert_eq!(lending.begins(true), Reads::Thread);
        assert!(lending.is_wanted() && lending.lends());
        assert!(!lending.lends(), "it is lent already");
        for _ in 0..3 {
            assert_eq!(lending.begins(true), Reads::Caller);
            lending.looked(true);
        }
        assert_eq!(lending.begins(false), Reads::Nobody);
        lending.is_back();
        assert_eq!(lending.begins(false), Reads::Thread);
        assert_eq!(lending.begins(true), Reads::Thread);
        assert_eq!(lending.begins(false), Reads::Thread);
        assert!(!lending.lends(), "other requests are made meanwhile");
    }

    #[test]
    fn the_thread_sees_that_nobody_takes_what_it_has_lent() {
        let mut lending = lending();
        lending.begins(true);
        assert!(lending.lends());
        assert!(lending.is_seen(), "it was wanted just now");
        assert_eq!(lending.begins(true), Reads::Caller);
        assert!(lending.is_seen());
        assert!(!lending.is_seen());
    }

    #[test]
    fn who_looks_in_vain_does_not_ask_for_it_for_a_while() {
        let mut lending = lending();
        lending.begins(true);
        let mut asked = 0;
        while lending.begins(true) == Reads::Thread && lending.is_wanted() {
            assert!(lending.lends());
            assert_eq!(lending.begins(true), Reads::Caller);
            lending.looked(false);
            lending.is_back();
            asked += 1;
            assert!(asked < 10);
        }
        assert!(asked > 1);
        assert!(!lending.lends());
        let again = (0..200).find(|_| {
            assert_eq!(lending.begins(true), Reads::Thread);
            lending.is_wanted()
        });
        assert!(again.is_some(), "it may pay by now");
    }

    #[test]
    fn who_looks_for_ever_is_not_relieved() {
        let mut lending = Lending::new(true);
        assert_eq!(lending.begins(true), Reads::Thread);
        assert!(!lending.lends());
    }
}
