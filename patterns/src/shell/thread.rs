//! A driver on a thread of its own, told what is wanted through commands.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sinew::{BindError, BuildError, ConnectError};
use thiserror::Error;

use super::driver::{Driver, Owed, Sender, Turn};
use super::inbox::Inbox;
use crate::common::{Engine, StoreError};

/// What is done with the events of an engine, and with commands.
pub(crate) trait Desk: Send + 'static {
    type Engine: Engine + Send;
    type Command: Send;

    fn handle_event(
        &mut self,
        driver: &mut Driver<Self::Engine, Self::Command>,
        event: <Self::Engine as Engine>::Event,
    ) -> ControlFlow<()>;

    fn handle_command(
        &mut self,
        driver: &mut Driver<Self::Engine, Self::Command>,
        command: Self::Command,
    ) -> ControlFlow<()>;

    /// All that had come was handled: those who wait for something of it can be told, all at once.
    fn settle(&mut self) {}
}

/// The thread. Dropping this does not end it: a command does.
pub(crate) struct Running<C> {
    sender: Sender<C>,
    /// Closed by the thread when it ends, by a panic, too.
    ended: Arc<Inbox<Infallible>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<C: Send + 'static> Running<C> {
    pub(crate) fn start<D: Desk<Command = C>>(
        name: &str,
        mut driver: Driver<D::Engine, C>,
        mut desk: D,
    ) -> Result<Self, StartError>
    where
        D::Engine: 'static,
    {
        let sender = driver.sender();
        let ended = Arc::<Inbox<Infallible>>::default();
        let end = Owed(Arc::clone(&ended));
        let run = move || {
            let _end = end;
            let mut busy = true;
            loop {
                let flow = match driver.known() {
                    Some(Turn::Event(event)) => desk.handle_event(&mut driver, event),
                    Some(Turn::Command(command)) => desk.handle_command(&mut driver, command),
                    Some(Turn::Over) => ControlFlow::Continue(()),
                    None => {
                        desk.settle();
                        if !busy {
                            driver.wait();
                        }
                        busy = driver.work();
                        ControlFlow::Continue(())
                    }
                };
                if flow.is_break() {
                    break;
                }
            }
            driver.flush();
            // Those who ask for something now are told that nobody will answer, and not kept waiting
            // while the sockets send what is left.
            drop(desk);
            driver.refuse_commands();
            driver.sockets.close_all();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        Ok(Running {
            sender,
            ended,
            thread: Mutex::new(Some(thread.map_err(StartError::Thread)?)),
        })
    }

    pub(crate) fn sender(&self) -> &Sender<C> {
        &self.sender
    }

    /// The same as [`join`](Self::join) for a task.
    pub(crate) async fn join_async(&self) {
        let _ = self.ended.pop_async().await;
        self.join();
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // Whether it panicked was reported by the panic itself.
            let _ = thread.join();
        }
    }
}

impl<C> fmt::Debug for Running<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// Why a client, server, worker or broker could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A socket could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An endpoint could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An endpoint could not be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No endpoint was given.
    #[error("no endpoint was given, expected at least one")]
    NoEndpoint,
    /// The store of keys cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[source] io::Error),
}
