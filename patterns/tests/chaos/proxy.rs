//! A TCP proxy that does what networks do: holds octets back, in one direction or both, cuts connections, splits
//! what was written, and brings what a client says a second time over a connection of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use sinew::Endpoint;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, Default)]
struct Mood {
    /// Octets towards the server wait.
    hold_requests: bool,
    /// Octets towards the client wait.
    hold_replies: bool,
    /// One octet per write.
    split: bool,
    /// New connections are doubled.
    double: bool,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    at: Endpoint,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    target: SocketAddr,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn to(server: &Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Endpoint::tcp(listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            mood: Mutex::default(),
            changed: Condvar::new(),
            target: server.socket_addr().unwrap(),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        // Ends with the process: nobody connects to it any more when the test is over.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.connect(&client);
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

    pub(crate) fn double(&self) {
        self.change(|mood| mood.double = true);
    }

    /// Breaks every connection there is.
    pub(crate) fn cut(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            // It may be broken already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Those that are held notice it.
        self.shared.changed.notify_all();
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.shared.mood.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.hold(false, false);
        self.cut();
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else {
            // A server that is not there is not there for whoever connects.
            return;
        };
        let mut to = vec![server];
        if self.mood.lock().unwrap().double {
            let second = TcpStream::connect(self.target).unwrap();
            let unread = second.try_clone().unwrap();
            self.copy(unread, Vec::new(), |mood| mood.hold_replies);
            to.push(second);
        }
        for stream in to.iter().chain([client]) {
            stream.set_nodelay(true).unwrap();
            (self.streams.lock().unwrap()).push(stream.try_clone().unwrap());
        }
        let from_server = to[0].try_clone().unwrap();
        self.copy(client.try_clone().unwrap(), to, |mood| mood.hold_requests);
        let back = vec![client.try_clone().unwrap()];
        self.copy(from_server, back, |mood| mood.hold_replies);
    }

    /// Copies what one says to others, until either end breaks; both are broken then.
    fn copy(
        self: &Arc<Self>,
        mut from: TcpStream,
        mut to: Vec<TcpStream>,
        held: fn(&Mood) -> bool,
    ) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut octets) {
                let mood = shared
                    .changed
                    .wait_while(shared.mood.lock().unwrap(), |m| held(m));
                let step = if mood.unwrap().split { 1 } else { count };
                let mut pieces = octets[..count].chunks(step);
                if pieces.any(|piece| to.iter_mut().any(|to| to.write_all(piece).is_err())) {
                    break;
                }
            }
            for stream in to.iter().chain([&from]) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}
