//! An HTTP service that answers by asking a pool of workers, which come and go.
//!
//! Workers are processes with a REP socket that connect to the service. Each request is sent to one of them by a
//! [`Requester`], any number at once over one socket, and ends with 200, or at its deadline with an error that
//! says why: no client waits for ever, whatever workers do.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::Router;
use pico_args::Arguments;
use sinew::{Rep, RequestError, RequestOptions, Requester, SendFailure};
use tokio::net::{TcpListener, TcpSocket};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: sinew-axum-service [--listen 127.0.0.1:8080] [--workers 3]
       sinew-axum-service worker ENDPOINT [--stuck]
GET /square/N asks one worker after the other, for at most 10 s; GET /once/N asks one; GET /soon/N waits 200 ms.";

fn main() -> Result {
    let mut arguments = Arguments::from_env();
    if arguments.contains(["-h", "--help"]) {
        println!("{USAGE}");
        return Ok(());
    }
    if arguments.subcommand()?.as_deref() == Some("worker") {
        let stuck = arguments.contains("--stuck");
        return worker(&arguments.free_from_str::<String>()?, stuck);
    }
    let listen = arguments.opt_value_from_str("--listen")?;
    let workers = arguments.opt_value_from_str("--workers")?.unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    runtime.block_on(serve(listen, workers))
}

async fn serve(listen: SocketAddr, workers: usize) -> Result {
    let requester = Requester::new();
    let endpoint = requester.bind("tcp://127.0.0.1:*")?;
    let pool = (0..workers).map(|_| start_worker(&endpoint.to_string()));
    let _pool = pool.collect::<Result<Vec<_>>>()?;
    let service = Router::new()
        .route("/square/{n}", get(square))
        .route("/once/{n}", get(once))
        .route("/soon/{n}", get(soon))
        .with_state(requester.clone());
    let listener = listen_to(listen)?;
    println!("http://{}", listener.local_addr()?);
    println!("{endpoint}");
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            // Without the signal there is no other end than that of the process.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    let stats = requester.stats();
    println!(
        "{} asked, {} answered",
        stats.messages_sent, stats.messages_received
    );
    Ok(())
}

/// Clients that have connected and were not accepted yet. `TcpListener::bind` allows 128; of a thousand that come
/// at once the kernel then resets one now and then.
const BACKLOG: u32 = 4096;

fn listen_to(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What a worker does may be done twice: one that is lost, or takes too long, is replaced by the next.
async fn square(requester: State<Requester>, n: Path<u64>) -> (StatusCode, String) {
    let options = RequestOptions::default()
        .timeout(Duration::from_secs(10))
        .attempt_timeout(Duration::from_secs(5))
        .retries(3);
    ask(&requester, *n, options).await
}

/// What a worker does may not be done twice.
async fn once(requester: State<Requester>, n: Path<u64>) -> (StatusCode, String) {
    let options = RequestOptions::default().timeout(Duration::from_secs(10));
    ask(&requester, *n, options).await
}

async fn soon(requester: State<Requester>, n: Path<u64>) -> (StatusCode, String) {
    let options = RequestOptions::default().timeout(Duration::from_millis(200));
    ask(&requester, *n, options).await
}

async fn ask(requester: &Requester, n: u64, options: RequestOptions) -> (StatusCode, String) {
    let reply = requester.request_with_async(n.to_string(), options).await;
    match reply {
        Ok(reply) => {
            let text = String::from_utf8_lossy(reply.as_bytes()).into_owned();
            (StatusCode::OK, text)
        }
        Err(error) => (status_of(&error), error.to_string()),
    }
}

/// Who could not be asked was not asked (503, and may be asked again); who was asked may have done it (504, and 503
/// if it is gone).
fn status_of(error: &RequestError) -> StatusCode {
    match error {
        RequestError::Recv(sinew::RecvError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Squares numbers. A stuck one takes requests and never replies.
fn worker(endpoint: &str, stuck: bool) -> Result {
    let mut rep = Rep::builder().connect(endpoint)?;
    loop {
        let request = rep.recv()?;
        let n: u64 = std::str::from_utf8(request.as_bytes())?.parse()?;
        // This is what the work takes.
        std::thread::sleep(Duration::from_millis(1));
        if stuck {
            loop {
                std::thread::park();
            }
        }
        let reply = (u128::from(n) * u128::from(n)).to_string();
        // Nobody waits for the reply if the service has gone; another may come.
        match rep.send(reply) {
            Err(error) if error.reason() != SendFailure::PeerLost => return Err(error.into()),
            _ => {}
        }
    }
}

/// A worker that ends with the service.
struct Worker(Child);

fn start_worker(endpoint: &str) -> Result<Worker> {
    let this = std::env::current_exe()?;
    let child = Command::new(this).args(["worker", endpoint]).spawn()?;
    Ok(Worker(child))
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
