//! The token server and its clients on sockets.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Frame, Message, ToEndpoint};

use super::{RetryAfter, TokenConfig, TokenMint, TokenPurse};
use crate::common::{CallError, CallOptions, Idem, RetryPolicy, LONGEST};
use crate::rpc::{Client, ClientConfig, Dialect, Server, ServerConfig, ServerHandle};
use crate::shell::{Locked, Watched};
use crate::StartError;

/// Buckets that many processes share. It begins at once, and ends when it is dropped.
///
/// ```
/// use std::time::Duration;
/// use sinew::Context;
/// use sinew_patterns::flow::{TokenClient, TokenConfig, TokenServer};
///
/// let context = Context::default();
/// let server = TokenServer::bind(&context, &["tcp://127.0.0.1:*"], Duration::from_secs(1))?;
/// server.set_bucket("api", 1000.0, 10);
/// let client = TokenClient::connect(&context, server.endpoints(), "api", TokenConfig::default())?;
/// client.take(1, Duration::from_secs(60))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TokenServer {
    mint: Arc<Mutex<TokenMint>>,
    endpoints: Vec<Endpoint>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl TokenServer {
    /// A server without buckets, whose grants are good for so long. Clients that ask before their bucket is
    /// [set](Self::set_bucket) are told to come back soon; see [`bind_with`](Self::bind_with).
    ///
    /// # Errors
    /// If there is no endpoint, one cannot be bound, or a socket or a thread cannot be made.
    pub fn bind<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        lease: Duration,
    ) -> Result<Self, StartError> {
        Self::bind_with(context, at, TokenMint::new(lease))
    }

    /// A server of these buckets, which are there before the first client is.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use sinew::Context;
    /// use sinew_patterns::flow::{TokenMint, TokenServer};
    ///
    /// let mut mint = TokenMint::new(Duration::from_secs(1));
    /// mint.set_bucket("api", 1000.0, 10, Instant::now());
    /// let server = TokenServer::bind_with(&Context::default(), &["tcp://127.0.0.1:*"], mint)?;
    /// assert_eq!(server.endpoints().len(), 1);
    /// # Ok::<(), sinew_patterns::StartError>(())
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        mint: TokenMint,
    ) -> Result<Self, StartError> {
        let config = ServerConfig {
            dialect: Dialect::Plain,
            concurrency: 1,
            ..ServerConfig::default()
        };
        // Whoever asks hears of it, also when the queue is full.
        let server = Server::bind_refusing(context, at, config, TokenMint::busy())?;
        let mint = Arc::new(Mutex::new(mint));
        let (endpoints, handle) = (server.endpoints().to_vec(), server.handle());
        let minting = Arc::clone(&mint);
        let serve = move || {
            for request in server {
                let reply = lock(&minting).handle_request(Instant::now(), request.body());
                request.reply(reply);
            }
        };
        let thread = thread::Builder::new()
            .name("sinew-tokens".into())
            .spawn(serve);
        Ok(TokenServer {
            mint,
            endpoints,
            handle,
            thread: Some(thread.map_err(StartError::Thread)?),
        })
    }

    /// A bucket of this name, empty at first, in place of an earlier one: see
    /// [`TokenMint::set_bucket`].
    pub fn set_bucket(&self, name: impl AsRef<[u8]>, rate: f64, burst: u32) {
        lock(&self.mint).set_bucket(name, rate, burst, Instant::now());
    }

    /// Where it is bound to, with real ports.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Its endpoints are free from here on.
        self.handle.join();
    }
}

/// A client of one bucket of a [`TokenServer`]. Tokens are fetched ahead, so that taking one asks nobody as a
/// rule. Clones share what was fetched; tokens that are left when the last of them goes are given back.
#[derive(Clone)]
pub struct TokenClient(Arc<Shared>);

struct Shared {
    purse: Arc<Watched<TokenPurse>>,
    client: Client,
    options: CallOptions,
}

impl TokenClient {
    /// A client of this bucket. Nobody need be there yet.
    ///
    /// # Errors
    /// If there is no endpoint, one is malformed, or a socket or the thread cannot be made.
    pub fn connect<T: ToEndpoint>(
        context: &Context,
        servers: &[T],
        bucket: impl Into<Frame>,
        config: TokenConfig,
    ) -> Result<Self, StartError> {
        let calls = ClientConfig {
            retry: RetryPolicy {
                // The purse asks again by itself.
                breaker: None,
                ..RetryPolicy::default()
            },
            ..ClientConfig::default()
        };
        Ok(TokenClient(Arc::new(Shared {
            purse: Arc::new(Watched::new(TokenPurse::new(bucket, config))),
            client: Client::connect(context, servers, calls)?,
            options: CallOptions {
                deadline: config.timeout,
                // What is granted twice is lost.
                idem: Idem::Once,
                ..CallOptions::default()
            },
        })))
    }

    /// Takes tokens that are here, all or none, and fetches others in the background if they run out.
    ///
    /// # Errors
    /// If there are not so many here.
    pub fn try_take(&self, n: u32) -> Result<(), RetryAfter> {
        let mut purse = self.0.purse.lock();
        let taken = purse.try_take(Instant::now(), n);
        self.fetch(&mut purse);
        taken
    }

    /// Takes tokens, all or none, waiting for them at most so long. More tokens at once than
    /// [`TokenConfig::lease`] never come.
    ///
    /// # Errors
    /// If there were not so many in that time.
    pub fn take(&self, n: u32, timeout: Duration) -> Result<(), RetryAfter> {
        let (mut until, end) = begin(timeout);
        loop {
            let attempt = |purse: &mut Locked<'_, _>| self.attempt(purse, n, until, end);
            match self.0.purse.wait(Some(until), attempt) {
                Some(Attempt::Over(taken)) => return taken,
                Some(Attempt::Again(at)) => until = at,
                None => {}
            }
        }
    }

    /// The same for a task of any executor. If the future is dropped before it is ready, no tokens were taken; those it
    /// had fetched are here for others.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn take_async(&self, n: u32, timeout: Duration) -> Result<(), RetryAfter> {
        let (mut until, end) = begin(timeout);
        loop {
            let attempt = |purse: &mut Locked<'_, _>| self.attempt(purse, n, until, end);
            match self.0.purse.wait_async(Some(until), attempt).await {
                Some(Attempt::Over(taken)) => return taken,
                Some(Attempt::Again(at)) => until = at,
                None => {}
            }
        }
    }

    /// One attempt of who waits until then, in vain at the end. `None`: it goes on waiting.
    fn attempt(
        &self,
        purse: &mut Locked<'_, TokenPurse>,
        n: u32,
        until: Instant,
        end: Option<Instant>,
    ) -> Option<Attempt> {
        let now = Instant::now();
        let taken = purse.try_take(now, n);
        self.fetch(purse);
        if taken.is_ok() || end.is_some_and(|end| now >= end) {
            return Some(Attempt::Over(taken));
        }
        // A reply wakes it; if none is awaited, the time to ask again does, and otherwise nothing.
        let at = purse.asks_at(now).unwrap_or(now + LONGEST);
        let at = end.map_or(at, |end| at.min(end));
        (until <= now || at < until).then_some(Attempt::Again(at))
    }

    /// Tokens here.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.0.purse.lock().tokens()
    }

    /// Asks for tokens if that is due.
    fn fetch(&self, purse: &mut TokenPurse) {
        let Some(request) = purse.poll_request(Instant::now()) else {
            return;
        };
        let purse = Arc::clone(&self.0.purse);
        let settle = move |reply: Result<Message, CallError>| {
            let now = Instant::now();
            let mut locked = purse.lock();
            match reply {
                // Whatever is no reply counts as none, and is told by nothing else.
                Ok(reply) => drop(locked.handle_reply(now, &reply)),
                Err(_) => locked.handle_unreachable(now),
            }
            locked.tell_all();
        };
        self.0.client.call_then(request, &self.0.options, settle);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let give = self.purse.lock().give_back(Instant::now());
        if let Some(give) = give {
            // The client ends with its last call, or this one would be given up with it.
            let client = self.client.clone();
            let keep = move |_| drop(client);
            self.client.call_then(give, &self.options, keep);
        }
    }
}

impl fmt::Debug for TokenClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient").finish_non_exhaustive()
    }
}

/// What comes of an attempt to take tokens.
enum Attempt {
    Over(Result<(), RetryAfter>),
    /// It is worth while again at this time, and not only when the wait was to end.
    Again(Instant),
}

/// The time of the first attempt, and of the last; `None` for never.
fn begin(timeout: Duration) -> (Instant, Option<Instant>) {
    let now = Instant::now();
    (now, now.checked_add(timeout))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
