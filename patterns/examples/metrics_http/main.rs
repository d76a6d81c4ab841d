//! What a context counts, and what a broker's services are doing, as a page in the format OpenMetrics, over HTTP.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use sinew::{Context, FigureKind, Pull, Push};
use sinew_patterns::common::CallOptions;
use sinew_patterns::mdp::{Broker, BrokerConfig, BrokerEngine, BrokerHandle};
use sinew_patterns::mdp::{Client, ClientConfig, Worker, WorkerConfig};
use support::{Options, Result, PATIENCE};

const USAGE: &str = "usage: metrics_http [--listen 127.0.0.1:0] [--serve]
Moves some messages, has a broker at work, and fetches the page that tells of them; with --serve it goes on answering.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let listen = options.value("--listen", "127.0.0.1:0".to_owned())?;
    let serve = options.flag("--serve");
    options.end()?;
    let (mut pull, endpoint) = Pull::builder().bound("tcp://127.0.0.1:*")?;
    let mut push = Push::builder().connect(&endpoint)?;
    for n in 0..1000u32 {
        push.send(n.to_le_bytes())?;
        pull.recv_timeout(PATIENCE)?;
    }
    let context = Context::default();
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine)?;
    let (at, handle) = (broker.endpoints(), broker.handle());
    let mut worker = Worker::connect(&context, at, "echo", WorkerConfig::default())?;
    let client = Client::connect(&context, at, ClientConfig::default())?;
    let calls = [(); 3].map(|()| client.call_streaming("echo", "hello", &CallOptions::default()));
    // The worker has one of three, and is slow; the others are on their way to wait behind it.
    let request = worker.next().ok_or("the worker has ended")?;
    while handle.service("echo").map_or(0, |echo| echo.ready) < 2 {
        std::thread::yield_now();
    }
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    println!("http://{address}/metrics");
    let server = std::thread::spawn(move || answer(&listener, &handle, serve));
    if !serve {
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        connection.read_to_string(&mut response)?;
        let says = |wanted: &str| {
            let line = response.lines().find(|line| line.starts_with(wanted));
            line.and_then(|line| line.rsplit(' ').next())
                .unwrap_or("none")
        };
        let received = format!("sinew_messages_received_total{{socket=\"{}\"", pull.id());
        println!(
            "the page says {} were received, {} are in flight and {} wait",
            says(&received),
            says("sinew_mdp_in_flight{service=\"echo\"}"),
            says("sinew_mdp_ready{service=\"echo\"}")
        );
    }
    server.join().map_err(|_| "the server has failed")??;
    drop((request, calls));
    Ok(())
}

/// Answers one request after the other: for one that asks every few seconds that is enough.
fn answer(listener: &TcpListener, broker: &BrokerHandle, again: bool) -> Result {
    loop {
        let (connection, _) = listener.accept()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        // One that goes away while it is answered is no reason to end.
        if let Err(error) = reply(&connection, broker) {
            eprintln!("a request failed: {error}");
        }
        if !again {
            return Ok(());
        }
    }
}

fn reply(mut connection: &TcpStream, broker: &BrokerHandle) -> Result {
    // The head of a request, of which nothing matters; of more than this there is no end.
    let head = BufReader::new(connection.take(16 * 1024));
    for line in head.lines() {
        if line?.is_empty() {
            break;
        }
    }
    let page = page(&Context::default(), broker);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    write!(
        connection,
        "HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    )?;
    Ok(())
}

/// Families of figures, each with all threads, sockets or services that have it.
fn page(context: &Context, broker: &BrokerHandle) -> String {
    let mut page = Page::default();
    let snapshot = context.snapshot();
    let threads = snapshot.threads.iter().map(|thread| {
        let labels = format!("thread=\"{}\"", thread.name);
        ("thread_", labels, thread.figures())
    });
    let sockets = snapshot.sockets.iter().map(|socket| {
        let labels = format!("socket=\"{}\",type=\"{}\"", socket.id, socket.socket_type);
        ("", labels, socket.figures())
    });
    for (prefix, labels, figures) in threads.chain(sockets) {
        for figure in figures {
            let kind = match figure.kind {
                FigureKind::Counter => "counter",
                _ => "gauge",
            };
            let name = format!("{prefix}{}", figure.name);
            page.add(&name, kind, figure.help, &labels, figure.value as f64);
        }
    }
    for name in broker.services() {
        let Some(stats) = broker.service(&name) else {
            continue;
        };
        // A service may be called whatever a worker likes; one that is asked for in vain, whatever a client likes.
        let name = String::from_utf8_lossy(&name).replace('\\', "\\\\");
        let name = name.replace('"', "\\\"").replace('\n', "\\n");
        let labels = format!("service=\"{name}\"");
        let oldest = stats
            .oldest
            .map_or(0.0, |since| since.elapsed().as_secs_f64());
        for (name, kind, help, value) in [
            (
                "mdp_ready",
                "gauge",
                "Requests that wait.",
                stats.ready as f64,
            ),
            (
                "mdp_in_flight",
                "gauge",
                "Requests that workers have.",
                stats.in_flight as f64,
            ),
            (
                "mdp_oldest_seconds",
                "gauge",
                "How long the oldest waits.",
                oldest,
            ),
            (
                "mdp_workers",
                "gauge",
                "Workers, by slots.",
                stats.workers as f64,
            ),
            (
                "mdp_replies",
                "counter",
                "Requests answered.",
                stats.replies as f64,
            ),
        ] {
            page.add(name, kind, help, &labels, value);
        }
    }
    page.text()
}

/// Each family has its type before its samples.
#[derive(Default)]
struct Page(BTreeMap<String, (&'static str, String, Vec<String>)>);

impl Page {
    fn add(&mut self, name: &str, kind: &'static str, help: &str, labels: &str, value: f64) {
        let name = format!("sinew_{name}");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let sample = format!("{name}{suffix}{{{labels}}} {value}\n");
        let family = self.0.entry(name);
        let (_, _, samples) = family.or_insert((kind, help.to_owned(), Vec::new()));
        samples.push(sample);
    }

    fn text(self) -> String {
        let families = self.0.into_iter().map(|(name, (kind, help, samples))| {
            let samples = samples.concat();
            format!("# TYPE {name} {kind}\n# HELP {name} {help}\n{samples}")
        });
        families.collect::<String>() + "# EOF\n"
    }
}
