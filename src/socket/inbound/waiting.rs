//! Waiting for messages: who reads the connections meanwhile, and for how long it is worth looking before sleeping.

use std::sync::Weak;
use std::task::Waker;
use std::time::Instant;

use super::{RecvHalf, State, TASK_FLOW, TASK_TURNS};
use crate::io::{CallerPoll, Waits, MEMORY_IDLE};
use crate::socket::deadline::Deadline;
use crate::socket::favourites::{Favour, MOST};
use crate::socket::spin::Spin;
use crate::socket::{peer_key, pipe_key};
use crate::sync::atomic::Ordering;
use crate::sync::clock;

impl RecvHalf {
    /// Waits until a message may be there or something has changed; `false` if the time was over
    /// first, or the context was shut down. May return early for no reason.
    pub(super) fn wait(&mut self, deadline: Deadline) -> bool {
        if self.port.is_terminated() {
            return false;
        }
        match deadline {
            Deadline::Now | Deadline::Glance => self.wait_until(Some(clock::now())),
            Deadline::At(at) => self.wait_until(Some(at)),
            Deadline::Never => self.wait_until(None),
            Deadline::Task(waker) => self.wait_as_task(waker),
        }
    }

    fn wait_as_task(&mut self, waker: &Waker) -> bool {
        match self.lock_step {
            true => self.look_as_task(waker),
            false => self.wait_to_be_woken(waker),
        }
    }

    /// A task in lock-step looks for a while, as a thread does, and has itself polled again at once: to be woken takes
    /// two threads, most of a round trip.
    pub(super) fn look_as_task(&mut self, waker: &Waker) -> bool {
        let received = self.port.counters.messages_received.load(Ordering::Relaxed);
        if !self.task_spin.goes_on(received) {
            return self.wait_to_be_woken(waker);
        }
        if self.turns < TASK_TURNS {
            self.turns += 1;
            if (1..=MOST).contains(&self.linked.len()) {
                self.adopt_all(Waits::Task);
            }
            if let Some(caller) = &mut self.caller {
                caller.expect_input();
            }
            // Mail may say that there will be no message.
            let mail = self.port.inbound.is_pending();
            if self.pump() || self.look() || mail {
                return true;
            }
        }
        self.turns = 0;
        // Threads that have to share the processor get their turn. If only what is late yielded, it would wait for those
        // that are not, up to some milliseconds (999 in 1000 round trips within 60 to 110 µs this way, 60 to 1600 that way).
        std::thread::yield_now();
        waker.wake_by_ref();
        false
    }

    /// A task cannot wait for a descriptor itself: the I/O threads do, and read. But where many messages come between
    /// two waits, each full pipe would be a hop to an I/O thread and back; there the task reads, as long as there is
    /// something, and is told when there is again.
    pub(super) fn wait_to_be_woken(&mut self, waker: &Waker) -> bool {
        self.adopt_for_task();
        if self.turns < TASK_TURNS {
            self.turns += 1;
            if self.pump() {
                return true;
            }
        }
        let unfinished = self.caller.as_ref().is_some_and(CallerPoll::has_ready);
        self.turns = 0;
        if unfinished {
            // Other tasks have their turn. No event would tell of what is there to be read, or of the rest of a
            // message.
            waker.wake_by_ref();
            return false;
        }
        if self.arm() {
            return true;
        }
        if let Some(caller) = &self.caller {
            caller.task_waits();
        }
        self.port.inbound.event().poll(waker)
    }

    /// Who receives without waiting is not told of input as a task is: the I/O threads read for it.
    pub(super) fn forget_task(&mut self) {
        if let Some(caller) = self.caller.as_mut().filter(|caller| caller.is_task()) {
            caller.release();
        }
    }

    pub(super) fn adopt_for_task(&mut self) {
        self.favourites.clear();
        let received = self.port.counters.messages_received.load(Ordering::Relaxed);
        let came = received - self.noted;
        self.noted = received;
        let few = !self.linked.is_empty() && self.linked.len() <= MOST;
        if few && came >= TASK_FLOW {
            self.adopt_all(Waits::Task);
        } else if let Some(caller) = &mut self.caller {
            caller.retain_for_task();
        }
    }

    pub(super) fn wait_until(&mut self, deadline: Option<Instant>) -> bool {
        self.adopt_links();
        if self.pump() || self.spin(deadline) || self.follow(deadline) || self.arm() {
            return true;
        }
        let in_time = || deadline.map_or(true, |deadline| clock::now() < deadline);
        if let Some(caller) = self.caller.as_mut().filter(|caller| !caller.is_empty()) {
            // A pump whose turn was over in mid-message goes on: no event would tell of the rest. But
            // octets that keep coming are no message, and do not put the deadline off.
            if caller.has_ready() {
                return in_time();
            }
            if caller.wait(&self.port, deadline) {
                return self.pump() || in_time();
            }
            if !in_time() {
                return false;
            }
            // A long wait: the I/O threads read from here on.
            caller.release();
        }
        self.sleep(deadline)
    }

    pub(super) fn sleep(&mut self, deadline: Option<Instant>) -> bool {
        let received = self.port.counters.messages_received.load(Ordering::Relaxed);
        if self.peers == self.linked.len() || self.trimmed == Some(received) {
            return self.port.inbound.event().wait(deadline);
        }
        let idle = clock::now() + MEMORY_IDLE;
        if deadline.is_some_and(|deadline| deadline <= idle) {
            return self.port.inbound.event().wait(deadline);
        }
        if self.port.inbound.event().wait(Some(idle)) || clock::now() < idle {
            return true;
        }
        // What pipes over inproc keep no I/O thread gives back.
        for pipe in self.pipes.iter().flatten() {
            if pipe.link.is_none() {
                pipe.reader.trim_spare();
            }
        }
        self.trimmed = Some(received);
        // Something may have come in the last moment, of which the wait then did not tell.
        true
    }

    /// Looks for a message for a while, if that is worth it.
    pub(super) fn spin(&mut self, deadline: Option<Instant>) -> bool {
        let mut spin = std::mem::replace(&mut self.spin, Spin::Off);
        let found = spin.until(deadline, || self.look_around());
        self.spin = spin;
        found
    }

    /// Looks once, also at connections that this half reads and has not been told about.
    pub(in crate::socket) fn look_around(&mut self) -> bool {
        if let Some(caller) = &mut self.caller {
            caller.expect_input();
        }
        // Who only interrupts the wait leaves no mail.
        self.port.inbound.is_pending()
            || self.port.inbound.event().take()
            || self.pump()
            || self.look()
    }

    /// Waits a moment for more of a stream, if all senders are in this process. Who waits for answers looks for them at
    /// once.
    fn follow(&mut self, deadline: Option<Instant>) -> bool {
        if !self.linked.is_empty() || !matches!(self.spin, Spin::Off) {
            return false;
        }
        let came = self.port.counters.messages_received.load(Ordering::Relaxed);
        let mut follow = std::mem::take(&mut self.follow);
        let found = follow.look(came, deadline, || {
            self.port.inbound.is_pending() || self.look()
        });
        self.follow = follow;
        found
    }

    /// Takes reading of connections over: of all if they are few, otherwise of those whose messages this
    /// half keeps waiting for.
    pub(in crate::socket) fn adopt_links(&mut self) {
        if self.linked.len() > MOST {
            return self.adopt_favourites();
        }
        self.favourites.clear();
        if self.linked.is_empty() {
            if let Some(caller) = &mut self.caller {
                caller.release();
            }
            return;
        }
        self.adopt_all(Waits::Thread);
    }

    pub(super) fn adopt_all(&mut self, waits: Waits) {
        let caller = self.caller.get_or_insert_with(CallerPoll::default);
        for index in &self.linked {
            let Some(Some(pipe)) = self.pipes.get(*index as usize) else {
                continue;
            };
            if let Some(link) = pipe.link.as_ref().and_then(Weak::upgrade) {
                caller.adopt(pipe_key(pipe.key), &link, waits);
            }
        }
    }

    #[cold]
    pub(super) fn adopt_favourites(&mut self) {
        if let Some(caller) = &mut self.caller {
            // There were few connections before, and this half read them all.
            if caller.len() > self.favourites.keys().len() {
                caller.release();
            }
        }
        let received = self.port.counters.messages_received.load(Ordering::Relaxed);
        if received != self.noted {
            self.noted = received;
            match self.favourites.note(self.from) {
                Favour::Nothing => {}
                Favour::Begin(_, dropped) => {
                    let caller = self.caller.get_or_insert_with(CallerPoll::default);
                    if let Some(dropped) = dropped {
                        caller.forget(pipe_key(dropped));
                    }
                }
                Favour::End => {
                    if let Some(caller) = &mut self.caller {
                        caller.release();
                    }
                }
            }
        }
        let Some(caller) = &mut self.caller else {
            return;
        };
        for key in self.favourites.keys() {
            let pipe = self.pipes.get(key.index as usize).and_then(Option::as_ref);
            let pipe = pipe.filter(|pipe| pipe.key == *key);
            if let Some(link) = pipe.and_then(|pipe| pipe.link.as_ref()?.upgrade()) {
                caller.adopt(pipe_key(*key), &link, Waits::Thread);
            }
        }
    }

    /// Runs the in-pumps that this half drives; whether anything is readable.
    pub(super) fn pump(&mut self) -> bool {
        let Some(caller) = &mut self.caller else {
            return false;
        };
        caller.take_told();
        if !caller.has_ready() {
            return false;
        }
        let (pipes, resting) = (&mut self.pipes, &mut self.resting);
        caller.pump(|key| {
            let key = peer_key(key);
            // What this thread writes itself needs no signal.
            if let Some(pipe) = pipes.get_mut(key.index as usize).and_then(Option::as_mut) {
                if pipe.key == key && pipe.state == State::Armed {
                    pipe.state = State::Resting;
                    pipe.reader.disarm();
                    resting.push(key);
                }
            }
        });
        self.look()
    }
}
