//! A TCP proxy that does what networks do, and worse: holds octets back, in one direction or both, slows and delays
//! them, cuts and resets connections, splits what was written, brings what a client says a second time over a
//! connection of its own, repeats messages, and puts rubbish between them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use sinew::Endpoint;
use socket2::SockRef;

use crate::zmtp::{Piece, Pieces};

/// What the proxy does to connections.
#[derive(Debug, Clone, Default)]
struct Mood {
    /// Octets towards the server wait.
    hold_requests: bool,
    /// Octets towards the client wait.
    hold_replies: bool,
    /// One octet per write.
    split: bool,
    /// New connections are doubled.
    double: bool,
    /// New connections are ended as soon as they are made.
    refuse: bool,
    /// How long each octet takes.
    per_octet: Duration,
    /// How much later what was read is written.
    delay: Duration,
    /// What is to be done to the next message in either direction.
    spoil: [Option<Spoil>; 2],
    /// How often that was done.
    spoilt: u64,
}

/// What is done to a message.
#[derive(Debug, Clone)]
pub(crate) enum Spoil {
    /// These octets come before it.
    Before(Vec<u8>),
    /// Half of it comes, and then the connection ends.
    Half,
    /// It comes twice.
    Twice,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    at: Endpoint,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    target: SocketAddr,
    connections: Mutex<Vec<Arc<Connection>>>,
    connected: AtomicU64,
}

/// The streams of a connection, on both sides of the proxy.
struct Connection {
    streams: Vec<TcpStream>,
    /// It is given up.
    broken: AtomicBool,
    /// Its ends are told by a reset, and not that it ends.
    reset: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    Server,
    Client,
}

impl Proxy {
    pub(crate) fn to(server: &Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Endpoint::tcp(listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            mood: Mutex::default(),
            changed: Condvar::new(),
            target: server.socket_addr().unwrap(),
            connections: Mutex::default(),
            connected: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        // Ends with the process: nobody connects to it any more when the test is over.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.connected.fetch_add(1, Ordering::Relaxed);
                if !accepting.mood.lock().unwrap().refuse {
                    accepting.connect(client);
                }
            }
        });
        Proxy { shared, at }
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.at
    }

    pub(crate) fn hold(&self, requests: bool, replies: bool) {
        self.change(|mood| (mood.hold_requests, mood.hold_replies) = (requests, replies));
    }

    pub(crate) fn split(&self) {
        self.change(|mood| mood.split = true);
    }

    /// Whether connections are ended as soon as they are made.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.change(|mood| mood.refuse = refuse);
    }

    pub(crate) fn double(&self) {
        self.change(|mood| mood.double = true);
    }

    /// At most so many octets a second, in each direction of each connection.
    pub(crate) fn slow(&self, octets: u32) {
        self.change(|mood| mood.per_octet = Duration::from_secs(1) / octets);
    }

    /// Everything comes so much later, at least.
    pub(crate) fn delay(&self, by: Duration) {
        self.change(|mood| mood.delay = by);
    }

    /// Does this to the next message in each direction.
    pub(crate) fn spoil(&self, how: &Spoil) {
        self.change(|mood| mood.spoil = [Some(how.clone()), Some(how.clone())]);
    }

    /// How many messages it was done to.
    pub(crate) fn spoilt(&self) -> u64 {
        self.shared.mood.lock().unwrap().spoilt
    }

    /// How many connections there were.
    pub(crate) fn connected(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Ends every connection there is.
    pub(crate) fn cut(&self) {
        self.shared.end_all(false);
    }

    /// Resets every connection there is.
    pub(crate) fn reset(&self) {
        self.shared.end_all(true);
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.shared.mood.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Connection {
    fn end(&self, reset: bool) {
        self.broken.store(true, Ordering::Release);
        for stream in &self.streams {
            // Any of it may be over already.
            let _ = match reset {
                // The last to let go of it tells its peer. Until then nobody reads from it.
                true => SockRef::from(stream)
                    .set_linger(Some(Duration::ZERO))
                    .and_then(|()| stream.shutdown(Shutdown::Read)),
                false => stream.shutdown(Shutdown::Both),
            };
        }
    }
}

impl Shared {
    fn end_all(&self, reset: bool) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.reset.store(reset, Ordering::Release);
            connection.end(reset);
        }
        // Those that are held notice it.
        drop(self.mood.lock().unwrap());
        self.changed.notify_all();
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else {
            // A server that is not there is not there for whoever connects.
            return;
        };
        let mut streams = vec![client, server];
        if self.mood.lock().unwrap().double {
            streams.push(TcpStream::connect(self.target).unwrap());
        }
        for stream in &streams {
            stream.set_nodelay(true).unwrap();
        }
        let connection = Arc::new(Connection {
            streams,
            broken: AtomicBool::new(false),
            reset: AtomicBool::new(false),
        });
        let another = Arc::clone(&connection);
        self.connections.lock().unwrap().push(another);
        let servers = 1..connection.streams.len();
        self.copy(&connection, 0, servers.clone(), Towards::Server);
        self.copy(&connection, 1, 0..1, Towards::Client);
        // What a second server replies is read, and nobody's.
        for second in servers.skip(1) {
            self.copy(&connection, second, 0..0, Towards::Client);
        }
    }

    /// Copies what one says to others, until either end breaks; both are broken then.
    fn copy(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        from: usize,
        to: std::ops::Range<usize>,
        towards: Towards,
    ) {
        let (shared, connection) = (Arc::clone(self), Arc::clone(connection));
        thread::spawn(move || {
            let mut octets = [0; 4096];
            let mut pieces = Pieces::default();
            let to = &connection.streams[to];
            'ends: while let Ok(count @ 1..) = (&connection.streams[from]).read(&mut octets) {
                let delay = shared.mood.lock().unwrap().delay;
                shared.pause(&connection, delay);
                pieces.feed(&octets[..count]);
                while let Some(piece) = pieces.next() {
                    let Some(mood) = shared.mood_of(&connection, towards, &piece) else {
                        break 'ends;
                    };
                    let pause = |span| shared.pause(&connection, span);
                    if pass_on(&mood, towards, &piece, to, pause).is_none() {
                        break 'ends;
                    }
                }
            }
            if !connection.reset.load(Ordering::Acquire) {
                connection.end(false);
            }
        });
    }

    /// Lets so much time pass, or what the connection has left.
    fn pause(&self, connection: &Connection, span: Duration) {
        if !span.is_zero() {
            let lasts = |_: &mut Mood| !connection.broken.load(Ordering::Acquire);
            let mood = self.mood.lock().unwrap();
            drop(self.changed.wait_timeout_while(mood, span, lasts).unwrap());
        }
    }

    /// How this piece is treated, when it may go on; `None` if the connection has ended meanwhile.
    fn mood_of(&self, connection: &Connection, towards: Towards, piece: &Piece) -> Option<Mood> {
        let broken = || connection.broken.load(Ordering::Acquire);
        let held = |mood: &mut Mood| match towards {
            Towards::Server => mood.hold_requests && !broken(),
            Towards::Client => mood.hold_replies && !broken(),
        };
        let mood = self.mood.lock().unwrap();
        let mut mood = self.changed.wait_while(mood, held).unwrap();
        let now = mood.clone();
        if matches!(piece, Piece::Message(_)) {
            mood.spoilt += u64::from(mood.spoil[towards as usize].take().is_some());
        }
        (!broken()).then_some(now)
    }
}

/// `None` if that is the end of the connection.
fn pass_on(
    mood: &Mood,
    towards: Towards,
    piece: &Piece,
    to: &[TcpStream],
    pause: impl Fn(Duration),
) -> Option<()> {
    let (octets, message) = match piece {
        Piece::Message(octets) => (octets, true),
        Piece::Other(octets) => (octets, false),
    };
    let write = |octets: &[u8]| {
        let size = match (mood.split, mood.per_octet.is_zero()) {
            (true, _) => 1,
            (false, true) => octets.len(),
            (false, false) => 64,
        };
        for part in octets.chunks(size.max(1)) {
            pause(mood.per_octet * part.len() as u32);
            for mut to in to {
                to.write_all(part).ok()?;
            }
        }
        Some(())
    };
    match &mood.spoil[towards as usize] {
        Some(Spoil::Before(rubbish)) if message => write(rubbish)?,
        Some(Spoil::Twice) if message => write(octets)?,
        Some(Spoil::Half) if message => {
            write(&octets[..octets.len() / 2])?;
            return None;
        }
        _ => {}
    }
    write(octets)
}
