//! The one loop that drives engines on sockets.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::inbox::{Inbox, Popped};
use super::sockets::Sockets;
use crate::common::{Engine, Port};

/// An engine, its sockets, and what other threads want of it.
#[derive(Debug)]
pub(crate) struct Driver<E, C> {
    pub(crate) engine: E,
    pub(crate) sockets: Sockets,
    commands: Arc<Inbox<C>>,
}

/// What a driver stops for.
#[derive(Debug)]
pub(crate) enum Turn<V, C> {
    /// The engine has something to tell.
    Event(V),
    /// Another thread wants something.
    Command(C),
    /// The time is over.
    Over,
}

/// Tells a driver what is wanted, from any thread.
#[derive(Debug)]
pub(crate) struct Sender<C> {
    commands: Arc<Inbox<C>>,
    waker: Waker,
}

impl<C> Clone for Sender<C> {
    fn clone(&self) -> Self {
        Sender {
            commands: Arc::clone(&self.commands),
            waker: self.waker.clone(),
        }
    }
}

impl<C> Sender<C> {
    /// Gives the command back if the driver is gone.
    pub(crate) fn send(&self, command: C) -> Result<(), C> {
        self.commands.push(command)?;
        self.waker.wake_by_ref();
        Ok(())
    }
}

/// Something to be done with the engine, on its thread.
pub(crate) type With<E> = Box<dyn FnOnce(&mut E) + Send>;

impl<C> Sender<C> {
    /// Asks something of the engine, and waits for the answer. `None` if the driver is gone.
    pub(crate) fn ask<E, R: Send + 'static>(
        &self,
        command: impl FnOnce(With<E>) -> C,
        question: impl FnOnce(&mut E) -> R + Send + 'static,
    ) -> Option<R> {
        let inbox = Arc::<Inbox<R>>::default();
        let owed = Owed(Arc::clone(&inbox));
        let with: With<E> = Box::new(move |engine| owed.pay(question(engine)));
        // If nobody takes it, what is owed is dropped with it.
        let _ = self.send(command(with));
        match inbox.pop(None) {
            Popped::Item(answer) => Some(answer),
            Popped::Closed | Popped::Late => None,
        }
    }
}

/// An answer that somebody waits for. If it is dropped without, they are told that there is none.
#[derive(Debug)]
pub(crate) struct Owed<T>(pub(crate) Arc<Inbox<T>>);

impl<T> Owed<T> {
    pub(crate) fn pay(self, answer: T) {
        let _ = self.0.push(answer);
    }
}

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<E: Engine, C> Driver<E, C> {
    pub(crate) fn new(engine: E, sockets: Sockets) -> Self {
        Driver {
            engine,
            sockets,
            commands: Arc::default(),
        }
    }

    pub(crate) fn sender(&self) -> Sender<C> {
        Sender {
            commands: Arc::clone(&self.commands),
            waker: self.sockets.waker(),
        }
    }

    /// Works until there is something to tell, at most until this time, or for ever. With a time in the
    /// past it does what can be done without waiting.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Turn<E::Event, C> {
        loop {
            self.flush();
            if let Some(event) = self.engine.poll_event() {
                return Turn::Event(event);
            }
            if let Some(command) = self.commands.try_pop() {
                return Turn::Command(command);
            }
            let busy = self.receive();
            let now = Instant::now();
            self.engine.handle_timeout(now);
            self.flush();
            if let Some(event) = self.engine.poll_event() {
                return Turn::Event(event);
            }
            if until.is_some_and(|until| now >= until) {
                return Turn::Over;
            }
            if !busy {
                let wake = self.engine.poll_timeout().into_iter().chain(until).min();
                self.sockets.wait(wake);
            }
        }
    }

    /// Sends what the engine wants sent. Never waits: what a peer cannot take now goes back to the engine.
    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            if !self.sockets.send(&transmit) {
                self.engine.handle_refused(Instant::now(), transmit);
            }
        }
    }

    /// Takes what has come, up to a number of messages; whether there was anything.
    fn receive(&mut self) -> bool {
        // What a lost peer had sent before is there when its loss is told, and is taken first.
        let events = self.sockets.take_events();
        let mut busy = !events.is_empty();
        let mut port = Port(0);
        let mut rounds = 0;
        for _ in 0..AT_ONCE {
            let Some((from, peer, message)) = self.sockets.try_recv(port) else {
                // Those before it may have got something meanwhile.
                if port == Port(0) || rounds == ROUNDS {
                    break;
                }
                (port, rounds) = (Port(0), rounds + 1);
                continue;
            };
            busy = true;
            self.engine
                .handle_message(Instant::now(), from, peer.as_ref(), message);
            self.flush();
            // The next port has its turn.
            port = Port(from.0.saturating_add(1));
        }
        for (port, event) in events {
            self.engine.handle_peer(Instant::now(), port, event);
            self.flush();
        }
        busy
    }
}

impl<E, C> Driver<E, C> {
    /// From here on whoever wants something learns that it will not be done.
    pub(crate) fn refuse_commands(&self) {
        self.commands.discard();
    }
}

impl<E, C> Drop for Driver<E, C> {
    fn drop(&mut self) {
        self.refuse_commands();
    }
}

/// Messages between two looks at comings and goings.
const AT_ONCE: usize = 256;

/// How often all ports have their turn between two looks.
const ROUNDS: usize = 16;
