//! The token server and its clients on sockets.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Frame, Message, ToEndpoint};

use super::{RetryAfter, TokenConfig, TokenMint, TokenPurse};
use crate::common::{CallError, CallOptions, Idem, RetryPolicy};
use crate::rpc::{Client, ClientConfig, Dialect, Server, ServerConfig, ServerHandle};
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
    /// A server without buckets, whose grants are good for so long.
    ///
    /// # Errors
    /// If there is no endpoint, one cannot be bound, or a socket or a thread cannot be made.
    pub fn bind<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        lease: Duration,
    ) -> Result<Self, StartError> {
        let config = ServerConfig {
            dialect: Dialect::Plain,
            concurrency: 1,
            ..ServerConfig::default()
        };
        let server = Server::bind(context, at, config)?;
        let mint = Arc::new(Mutex::new(TokenMint::new(lease)));
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
    purse: Arc<(Mutex<TokenPurse>, Condvar)>,
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
            purse: Arc::new((Mutex::new(TokenPurse::new(bucket, config)), Condvar::new())),
            client: Client::connect(context, servers, calls)?,
            options: CallOptions {
                deadline: config.timeout,
                // What is granted twice is lost.
                idem: Idem::Once,
                priority: 0,
            },
        })))
    }

    /// Takes tokens that are here, all or none, and fetches others in the background if they run out.
    ///
    /// # Errors
    /// If there are not so many here.
    pub fn try_take(&self, n: u32) -> Result<(), RetryAfter> {
        let mut purse = lock(&self.0.purse.0);
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
        let end = Instant::now().checked_add(timeout);
        let mut purse = lock(&self.0.purse.0);
        loop {
            let now = Instant::now();
            let Err(RetryAfter(wait)) = purse.try_take(now, n) else {
                self.fetch(&mut purse);
                return Ok(());
            };
            if end.is_some_and(|end| now >= end) {
                return Err(RetryAfter(wait));
            }
            self.fetch(&mut purse);
            let left = end.map_or(Duration::MAX, |end| end - now);
            // A reply wakes it; if none is awaited, the time to ask again does.
            let waited =
                (self.0.purse.1).wait_timeout(purse, left.min(wait.max(Duration::from_millis(1))));
            purse = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tokens here.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        lock(&self.0.purse.0).tokens()
    }

    /// Asks for tokens if that is due.
    fn fetch(&self, purse: &mut TokenPurse) {
        let Some(request) = purse.poll_request(Instant::now()) else {
            return;
        };
        let purse = Arc::clone(&self.0.purse);
        let settle = move |reply: Result<Message, CallError>| {
            let now = Instant::now();
            let mut locked = lock(&purse.0);
            match reply {
                // Whatever is no reply counts as none, and is told by nothing else.
                Ok(reply) => drop(locked.handle_reply(now, &reply)),
                Err(_) => locked.handle_unreachable(now),
            }
            drop(locked);
            purse.1.notify_all();
        };
        self.0.client.call_then(request, &self.0.options, settle);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let give = lock(&self.purse.0).give_back(Instant::now());
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
