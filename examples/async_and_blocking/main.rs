//! The same sockets in threads and in tasks: of two executors, and of none.

#[path = "../support/mod.rs"]
mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use sinew::{Endpoint, Message, Rep, Req};
use support::{joined, no_options, Result};

const USAGE: &str = "usage: async_and_blocking
Asks a server from a thread and from tasks of several executors.";

const REQUESTS: usize = 4;

fn main() -> Result {
    no_options(USAGE)?;
    let mut rep = Rep::new();
    let endpoint = rep.bind("tcp://127.0.0.1:*")?;
    let server = thread::spawn(move || serve(rep));

    let mut req = Req::builder().connect(&endpoint)?;
    req.send("1")?;
    println!("blocking:     {:?}", req.recv()?);
    let tokio = tokio::runtime::Builder::new_current_thread().build()?;
    println!("tokio:        {:?}", tokio.block_on(ask(&endpoint, "2"))?);
    println!(
        "futures:      {:?}",
        futures::executor::block_on(ask(&endpoint, "3"))?
    );
    println!("no executor:  {:?}", block_on(ask(&endpoint, "4"))?);
    joined(server.join())
}

fn serve(mut rep: Rep) -> Result {
    for _ in 0..REQUESTS {
        let request = rep.recv()?;
        rep.send([b"echo ", request.as_bytes()].concat())?;
    }
    rep.close();
    Ok(())
}

async fn ask(endpoint: &Endpoint, what: &str) -> Result<Message> {
    let mut req = Req::builder().connect(endpoint)?;
    req.send_async(what).await?;
    Ok(req.recv_async().await?)
}

/// No executor at all: the I/O threads of Sinew wake this one.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
