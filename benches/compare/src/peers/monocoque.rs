//! monocoque-rs on its default backend (io_uring through compio), thread-per-core as it recommends: a
//! `LocalRuntime` in a thread for each half.
//!
//! `monocoque` sends in its default, eager mode and receives with `recv`. `monocoque-flush` is its opt-in
//! mode for throughput (README "Quick Start", example `recv_into_zero_alloc`): write coalescing with one
//! `flush` after the last message, `recv_into` and `try_recv_into` with one buffer.

use std::future::Future;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use monocoque::rt::{self, LocalRuntime, TcpListener, UnixListener, UnixStream};
use monocoque::zmq::{
    PubSocket, PullFanIn, PullSocket, PushFanOut, PushSocket, RepSocket, ReqSocket, SubSocket,
};
use monocoque::SocketOptions;

use super::socket_file;
use crate::child;
use crate::drive::GAP;
use crate::machine::{self, Side};
use crate::meter::Sample;
use crate::subject::{Fallible, Offer, Subject};
use crate::tally::{Rule, Tally};
use crate::tasks::{self, AsyncReceiver, AsyncReplier, AsyncRequester, AsyncSender};
use crate::work::{Pattern, Plan, Transport, Work};

/// monocoque-rs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Monocoque {
    Default,
    Coalescing,
}

impl Subject for Monocoque {
    fn name(&self) -> &'static str {
        match self {
            Monocoque::Default => "monocoque",
            Monocoque::Coalescing => "monocoque-flush",
        }
    }

    fn offers(&self, work: &Work) -> Offer {
        match (work.pattern, work.transport) {
            (
                Pattern::IdleReqRep(_)
                | Pattern::IdleFlow(_)
                | Pattern::Topics(_)
                | Pattern::Proxy
                | Pattern::RouterProxy
                | Pattern::Dealer(_),
                _,
            ) => Offer::NoRow,
            (Pattern::Flow(..), Transport::Tcp | Transport::Ipc) => match work.pattern {
                Pattern::Flow(4, 4) => {
                    Offer::No("PUSH and PULL with many peers both only accept, and cannot meet")
                }
                _ => Offer::Yes,
            },
            // The mode is one of PUSH.
            _ if *self == Monocoque::Coalescing => Offer::NoRow,
            (_, Transport::Inproc) => Offer::No("no inproc for these sockets"),
            (Pattern::PubSub(_), Transport::Ipc) => Offer::No("PUB binds to tcp only"),
            _ => Offer::Yes,
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let plan = *plan;
        let batching = *self == Monocoque::Coalescing;
        match (work.pattern, work.transport) {
            (Pattern::Flow(1, 1), Transport::Ipc) => {
                let (tell, path) = mpsc::channel();
                halves(
                    move || async move {
                        let path: String = path.recv()?;
                        let stream = UnixStream::connect(&path).await?;
                        let push = PushSocket::from_unix_stream_with_options(
                            stream,
                            options().with_write_coalescing(batching),
                        );
                        tasks::feed(Push(push.await?), plan).await;
                        stay().await
                    },
                    || async move {
                        let path = socket_file(0);
                        let listener = UnixListener::bind(&path).await?;
                        tell.send(path)?;
                        let (stream, _) = listener.accept().await?;
                        let pull =
                            PullSocket::from_unix_stream_with_options(stream, options()).await?;
                        tasks::drain(&mut Pull::new(pull, batching), plan).await
                    },
                )
            }
            (Pattern::Flow(1, 1), _) => {
                let (tell, at) = mpsc::channel();
                halves(
                    move || async move {
                        let push = PushSocket::connect_with_options(
                            at.recv()?,
                            options().with_write_coalescing(batching),
                        );
                        tasks::feed(Push(push.await?), plan).await;
                        stay().await
                    },
                    || async move {
                        let listener = TcpListener::bind("127.0.0.1:0").await?;
                        tell.send(listener.local_addr()?)?;
                        let (stream, _) = listener.accept().await?;
                        let pull = PullSocket::from_tcp_with_options(stream, options()).await?;
                        tasks::drain(&mut Pull::new(pull, batching), plan).await
                    },
                )
            }
            (Pattern::ReqRep | Pattern::Gap, Transport::Ipc) => {
                let (tell, path) = mpsc::channel();
                let gap = work.pattern == Pattern::Gap;
                halves(
                    move || async move {
                        let path = socket_file(0);
                        let listener = UnixListener::bind(&path).await?;
                        tell.send(path)?;
                        let (stream, _) = listener.accept().await?;
                        let rep = RepSocket::from_unix_stream_with_options(stream, options());
                        machine::pin(Side::Replier)?;
                        tasks::answer(Rep(rep.await?)).await;
                        Ok(())
                    },
                    || async move {
                        let path: String = path.recv()?;
                        let stream = UnixStream::connect(&path).await?;
                        let req = ReqSocket::from_unix_stream_with_options(stream, options());
                        machine::pin(Side::Requester)?;
                        tasks::ask(Req(req.await?), plan, gap).await
                    },
                )
            }
            (Pattern::ReqRep | Pattern::Gap, _) => {
                let (tell, at) = mpsc::channel();
                let gap = work.pattern == Pattern::Gap;
                halves(
                    move || async move {
                        let listener = TcpListener::bind("127.0.0.1:0").await?;
                        tell.send(listener.local_addr()?.to_string())?;
                        let (stream, _) = listener.accept().await?;
                        let rep = RepSocket::from_tcp_with_options(stream, options()).await?;
                        machine::pin(Side::Replier)?;
                        tasks::answer(Rep(rep)).await;
                        Ok(())
                    },
                    || async move {
                        let at: String = at.recv()?;
                        let req = ReqSocket::connect_with_options(&at, options()).await?;
                        machine::pin(Side::Requester)?;
                        tasks::ask(Req(req), plan, gap).await
                    },
                )
            }
            (Pattern::Flow(senders, 1), _) => {
                let tally = Arc::new(Tally::new(senders, 1, Rule::Once, &plan));
                let (tell, at) = mpsc::channel();
                let counter = tally.counter(0);
                local(move || async move {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    for _ in 0..senders {
                        tell.send(listener.local_addr()?)?;
                    }
                    let pull = PullFanIn::accept_workers(&listener, senders, options()).await?;
                    tasks::drain_tally(FanIn(pull), counter).await;
                    Ok(())
                });
                for index in 0..senders {
                    let tally = Arc::clone(&tally);
                    let at = at.recv()?;
                    local(move || async move {
                        let options = options().with_write_coalescing(batching);
                        let push = PushSocket::connect_with_options(at, options).await?;
                        tasks::feed_tally(Push(push), index, tally, plan.size).await;
                        stay().await
                    });
                }
                tally.measure()
            }
            (Pattern::Flow(_, receivers), _) => {
                let tally = Arc::new(Tally::new(1, receivers, Rule::Once, &plan));
                let (tell, at) = mpsc::channel();
                let one = Arc::clone(&tally);
                local(move || async move {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    for _ in 0..receivers {
                        tell.send(listener.local_addr()?)?;
                    }
                    let options = options().with_write_coalescing(batching);
                    let push = PushFanOut::accept_workers(&listener, receivers, options).await?;
                    tasks::feed_tally(Push(push), 0, one, plan.size).await;
                    stay().await
                });
                for index in 0..receivers {
                    let counter = tally.counter(index);
                    let at = at.recv()?;
                    local(move || async move {
                        let pull = PullSocket::connect_with_options(at, options()).await?;
                        tasks::drain_tally(Pull::new(pull, batching), counter).await;
                        Ok(())
                    });
                }
                tally.measure()
            }
            (Pattern::PubSub(count), _) => {
                let tally = Arc::new(Tally::new(1, count, Rule::Rising, &plan));
                let (tell, at) = mpsc::channel();
                let one = Arc::clone(&tally);
                local(move || async move {
                    let mut publisher =
                        PubSocket::bind_with_options("127.0.0.1:0", options()).await?;
                    for _ in 0..count {
                        tell.send(publisher.local_addr()?.to_string())?;
                        publisher.accept_subscriber().await?;
                    }
                    // As in its examples: the subscriptions are still on their way.
                    rt::sleep(Duration::from_millis(100)).await;
                    tasks::feed_tally(Pub(publisher), 0, one, plan.size).await;
                    Ok(())
                });
                for index in 0..count {
                    let counter = tally.counter(index);
                    let at: String = at.recv()?;
                    local(move || async move {
                        let mut sub = SubSocket::connect_with_options(&at, options()).await?;
                        sub.subscribe(b"").await?;
                        tasks::drain_tally(Sub(sub), counter).await;
                        Ok(())
                    });
                }
                tally.measure()
            }
            _ => Err("not offered".into()),
        }
    }
}

fn options() -> SocketOptions {
    SocketOptions::default()
        .with_send_hwm(1000)
        .with_recv_hwm(1000)
}

/// Runs one half in a thread and a runtime of its own.
fn local<F: Future<Output = Fallible<()>>>(half: impl FnOnce() -> F + Send + 'static) {
    thread::spawn(move || {
        let done = LocalRuntime::new().map(|runtime| runtime.block_on(half()));
        child::or_fail(done.map_err(Into::into).and_then(|done| done));
    });
}

/// Runs the measured half in this thread and the other in its own.
fn halves<F: Future<Output = Fallible<()>>, M: Future<Output = Fallible<Sample>>>(
    far: impl FnOnce() -> F + Send + 'static,
    measured: impl FnOnce() -> M,
) -> Fallible<Sample> {
    local(far);
    LocalRuntime::new()?.block_on(measured())
}

/// Keeps a half and its sockets until the process ends.
async fn stay() -> Fallible<()> {
    std::future::pending().await
}

/// A sending half for each kind of stream.
macro_rules! sends {
    ($name:ident: $($socket:ty),+) => {$(
        impl AsyncSender for $name<$socket> {
            async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
                Ok(self.0.send(vec![Bytes::copy_from_slice(payload)]).await?)
            }

            async fn flush(&mut self) -> Fallible<()> {
                Ok(self.0.flush().await?)
            }
        }
    )+};
}

struct Push<S>(S);

sends!(Push: PushSocket<rt::TcpStream>, PushSocket<UnixStream>, PushFanOut);

struct Pub(PubSocket);

impl AsyncSender for Pub {
    async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(vec![Bytes::copy_from_slice(payload)]).await?)
    }
}

/// The body of a message of one frame; what held it can be used again.
fn body(frames: &mut Vec<Bytes>) -> Fallible<Bytes> {
    Ok(frames.pop().ok_or("a message has a frame")?)
}

/// The body of what `recv` returns.
fn received(message: Option<Vec<Bytes>>) -> Fallible<Bytes> {
    body(&mut message.ok_or("the connection was closed")?)
}

struct Pull<S> {
    socket: S,
    /// Received into by the mode for throughput.
    buffer: Option<Vec<Bytes>>,
}

impl<S> Pull<S> {
    fn new(socket: S, batching: bool) -> Self {
        Pull {
            socket,
            buffer: batching.then(Vec::new),
        }
    }
}

/// A receiving half for each kind of stream.
macro_rules! pulls {
    ($($socket:ty),+) => {$(
        impl AsyncReceiver for Pull<$socket> {
            type Body = Bytes;

            async fn recv(&mut self) -> Fallible<Bytes> {
                if let Some(buffer) = &mut self.buffer {
                    // What is decoded already, before anything is waited for.
                    if !self.socket.try_recv_into(buffer)? && !self.socket.recv_into(buffer).await? {
                        return Err("the connection was closed".into());
                    }
                    return body(buffer);
                }
                received(self.socket.recv().await?)
            }
        }
    )+};
}

pulls!(PullSocket<rt::TcpStream>, PullSocket<UnixStream>);

/// A socket with only the plain way to receive.
macro_rules! receives {
    ($($name:ident: $socket:ty),+) => {$(
        impl AsyncReceiver for $name<$socket> {
            type Body = Bytes;

            async fn recv(&mut self) -> Fallible<Bytes> {
                received(self.0.recv().await?)
            }
        }
    )+};
}

struct FanIn<S>(S);

struct Sub<S>(S);

struct Req<S>(S);

receives!(FanIn: PullFanIn, Sub: SubSocket<rt::TcpStream>);
receives!(Req: ReqSocket<rt::TcpStream>, Req: ReqSocket<UnixStream>);

struct Rep<S>(S);

/// Both halves of a lock-step exchange, for each kind of stream.
macro_rules! lock_step {
    ($($stream:ty),+) => {$(
        impl AsyncSender for Req<ReqSocket<$stream>> {
            async fn send(&mut self, payload: &[u8]) -> Fallible<()> {
                Ok(self.0.send(vec![Bytes::copy_from_slice(payload)]).await?)
            }
        }

        impl AsyncRequester for Req<ReqSocket<$stream>> {
            async fn pause(&mut self) {
                rt::sleep(GAP).await;
            }
        }

        impl AsyncReplier for Rep<RepSocket<$stream>> {
            async fn serve(&mut self) -> Fallible<()> {
                let frames = self.0.recv().await?.ok_or("the connection was closed")?;
                Ok(self.0.send(frames).await?)
            }
        }
    )+};
}

lock_step!(rt::TcpStream, UnixStream);
