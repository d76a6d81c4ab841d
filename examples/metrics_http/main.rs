//! What a context counts, as a page in the format OpenMetrics, over HTTP.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use sinew::{Context, Figure, FigureKind, Pull, Push};
use support::{Options, Result, PATIENCE};

const USAGE: &str = "usage: metrics_http [--listen 127.0.0.1:0] [--serve]
Moves some messages and fetches the page that tells of them; with --serve it goes on answering.";

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
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    println!("http://{address}/metrics");
    let server = std::thread::spawn(move || answer(&listener, serve));
    if !serve {
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        connection.read_to_string(&mut response)?;
        let wanted = format!("sinew_messages_received_total{{socket=\"{}\"", pull.id());
        let mut lines = response.lines();
        let line = lines.find(|line| line.starts_with(&wanted));
        let count = line.and_then(|line| line.rsplit(' ').next());
        println!("the page says {} were received", count.unwrap_or("none"));
    }
    server.join().map_err(|_| "the server has failed")?
}

/// Answers one request after the other: for one that asks every few seconds that is enough.
fn answer(listener: &TcpListener, again: bool) -> Result {
    loop {
        let (connection, _) = listener.accept()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        // One that goes away while it is answered is no reason to end.
        if let Err(error) = reply(&connection) {
            eprintln!("a request failed: {error}");
        }
        if !again {
            return Ok(());
        }
    }
}

fn reply(mut connection: &TcpStream) -> Result {
    // The head of a request, of which nothing matters; of more than this there is no end.
    let head = BufReader::new(connection.take(16 * 1024));
    for line in head.lines() {
        if line?.is_empty() {
            break;
        }
    }
    let page = page(&Context::default());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    write!(
        connection,
        "HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    )?;
    Ok(())
}

/// Families of figures, each with all sockets or threads that have it.
fn page(context: &Context) -> String {
    let mut families = BTreeMap::<String, (Figure, Vec<(String, u64)>)>::new();
    let mut add = |prefix: &str, labels: &str, figures: Vec<Figure>| {
        for figure in figures {
            let name = format!("sinew_{prefix}{}", figure.name);
            let (_, samples) = families.entry(name).or_insert((figure, Vec::new()));
            samples.push((labels.to_owned(), figure.value));
        }
    };
    let snapshot = context.snapshot();
    for thread in &snapshot.threads {
        let labels = format!("thread=\"{}\"", thread.name);
        add("thread_", &labels, thread.figures());
    }
    for socket in &snapshot.sockets {
        let labels = format!("socket=\"{}\",type=\"{}\"", socket.id, socket.socket_type);
        add("", &labels, socket.figures());
    }
    let mut page = String::new();
    for (name, (figure, samples)) in families {
        let (kind, suffix) = match figure.kind {
            FigureKind::Counter => ("counter", "_total"),
            _ => ("gauge", ""),
        };
        let _ = writeln!(page, "# TYPE {name} {kind}\n# HELP {name} {}", figure.help);
        for (labels, value) in samples {
            let _ = writeln!(page, "{name}{suffix}{{{labels}}} {value}");
        }
    }
    page + "# EOF\n"
}
