//! Majordomo on libzmq's C interface, written from the frames of 7/MDP: a broker, a worker and a client.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zmq::{Context, Socket, SocketType};

use crate::process::none_is_starting;

const WORKER: &[u8] = b"MDPW01";
const CLIENT: &[u8] = b"MDPC01";
const READY: &[u8] = b"\x01";
const REQUEST: &[u8] = b"\x02";
const REPLY: &[u8] = b"\x03";
const HEARTBEAT: &[u8] = b"\x04";
const DISCONNECT: &[u8] = b"\x05";

/// Between two heartbeats, and how long one who hears nothing stays.
const BEAT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that goes on until it is stopped; it panics then if it did meanwhile.
pub(crate) struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Beside {
    pub(crate) fn start(run: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || run(&stopped));
        Beside { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn socket(context: &Context, kind: SocketType) -> Socket {
    let socket = context.socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket
}

fn send(socket: &Socket, frames: &[&[u8]], body: &[Vec<u8>]) {
    let frames = frames.iter().copied().chain(body.iter().map(Vec::as_slice));
    socket.send_multipart(frames, 0).unwrap();
}

/// A message that comes in time.
fn recv(socket: &Socket, wait: Duration) -> Option<Vec<Vec<u8>>> {
    let ready = socket.poll(zmq::POLLIN, wait.as_millis() as i64).unwrap();
    (ready > 0).then(|| socket.recv_multipart(0).unwrap())
}

/// A broker at this endpoint: one request per worker, heartbeats to idle workers. Who is not known is sent away.
/// When it is stopped nobody hears of it, as if it were killed.
pub(crate) fn broker(at: &str) -> Beside {
    let at = at.to_owned();
    let (bound, is_bound) = std::sync::mpsc::channel();
    let beside = Beside::start(move |stop| {
        // A context of its own: when it is gone the endpoint is free.
        let context = Context::new();
        let router = socket(&context, zmq::ROUTER);
        none_is_starting();
        router.bind(&at).unwrap();
        bound.send(()).unwrap();
        let mut known = BTreeSet::new();
        let mut idle = VecDeque::<Vec<u8>>::new();
        let mut waiting = VecDeque::new();
        let mut beat = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if let Some(mut frames) = recv(&router, BEAT / 2) {
                let mut body = frames.split_off(4);
                let [who, empty, header, command] = <[Vec<u8>; 4]>::try_from(frames).unwrap();
                assert!(empty.is_empty());
                if header == CLIENT {
                    assert_eq!(command, b"echo");
                    waiting.push_back((who, body));
                } else {
                    assert_eq!(header, WORKER);
                    match &command[..] {
                        READY => {
                            assert_eq!(body, [b"echo".to_vec()]);
                            assert!(known.insert(who.clone()), "it is here already");
                            idle.push_back(who);
                        }
                        DISCONNECT => {
                            known.remove(&who);
                            idle.retain(|other| *other != who);
                        }
                        _ if !known.contains(&who) => {
                            send(&router, &[&who, b"", WORKER, DISCONNECT], &[]);
                        }
                        REPLY => {
                            let reply = body.split_off(2);
                            assert!(body[1].is_empty() && !reply.is_empty());
                            send(&router, &[&body[0], b"", CLIENT, b"echo"], &reply);
                            idle.push_back(who);
                        }
                        HEARTBEAT => assert!(body.is_empty()),
                        other => panic!("{other:?}"),
                    }
                }
            }
            while !waiting.is_empty() && !idle.is_empty() {
                let (Some((client, body)), Some(worker)) = (waiting.pop_front(), idle.pop_front())
                else {
                    break;
                };
                let head = [&worker[..], b"", WORKER, REQUEST, &client, b""];
                send(&router, &head, &body);
            }
            if beat.elapsed() > BEAT {
                beat = Instant::now();
                for worker in &idle {
                    send(&router, &[worker, b"", WORKER, HEARTBEAT], &[]);
                }
            }
        }
    });
    is_bound.recv().unwrap();
    beside
}

/// A worker of the service `echo`, which adds a frame that says who it is. It is sent away or hears nothing for too
/// long: it makes a new socket.
pub(crate) fn worker(at: &str) -> Beside {
    let at = at.to_owned();
    Beside::start(move |stop| {
        let context = Context::new();
        while !stop.load(Ordering::Relaxed) {
            let dealer = socket(&context, zmq::DEALER);
            dealer.connect(&at).unwrap();
            send(&dealer, &[b"", WORKER, READY, b"echo"], &[]);
            let (mut heard, mut beat) = (Instant::now(), Instant::now());
            while !stop.load(Ordering::Relaxed) && heard.elapsed() < PATIENCE {
                if let Some(frames) = recv(&dealer, BEAT / 2) {
                    heard = Instant::now();
                    assert_eq!(frames[..2], [b"".to_vec(), WORKER.to_vec()]);
                    match &frames[2][..] {
                        DISCONNECT => break,
                        REQUEST => {
                            assert!(frames[4].is_empty() && frames.len() > 5);
                            let mut reply = frames[5..].to_vec();
                            reply.push(b"libzmq".to_vec());
                            send(&dealer, &[b"", WORKER, REPLY, &frames[3], b""], &reply);
                        }
                        other => assert_eq!(other, HEARTBEAT),
                    }
                }
                if beat.elapsed() > BEAT {
                    beat = Instant::now();
                    send(&dealer, &[b"", WORKER, HEARTBEAT], &[]);
                }
            }
        }
    })
}

/// A client: a REQ, made anew when there is no reply in time.
pub(crate) struct Client {
    context: Context,
    at: String,
    req: Socket,
}

impl Client {
    pub(crate) fn new(at: &str) -> Self {
        let context = Context::new();
        let req = Client::connected(&context, at);
        let at = at.to_owned();
        Client { context, at, req }
    }

    fn connected(context: &Context, at: &str) -> Socket {
        let req = socket(context, zmq::REQ);
        req.connect(at).unwrap();
        req
    }

    /// Asks `echo` until there is a reply; who replied.
    pub(crate) fn ask(&mut self, body: &str) -> String {
        let ask: [&[u8]; 4] = [CLIENT, b"echo", b"body", body.as_bytes()];
        loop {
            send(&self.req, &ask, &[]);
            if let Some(mut reply) = recv(&self.req, Duration::from_millis(500)) {
                let who = reply.pop().unwrap();
                assert_eq!(reply, ask);
                return String::from_utf8(who).unwrap();
            }
            self.req = Client::connected(&self.context, &self.at);
        }
    }
}
