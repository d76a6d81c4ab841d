//! Hostile datagrams: a DGRAM socket under everything that a host can send it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sinew::Dgram;

use crate::WATCHDOG;

fn bound(hwm: u64) -> (Dgram, SocketAddr) {
    let dgram = Dgram::builder()
        .recv_hwm(hwm)
        .bind("udp://127.0.0.1:*")
        .unwrap();
    let address = dgram.bound_endpoint().unwrap().socket_addr().unwrap();
    (dgram, address)
}

/// A good peer that asks and is answered, whatever else comes.
struct Good(UdpSocket);

impl Good {
    fn new() -> Good {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        Good(socket)
    }

    fn exchange(&self, dgram: &mut Dgram, at: SocketAddr) {
        let own = self.0.local_addr().unwrap();
        let end = Instant::now() + WATCHDOG;
        // What is left of a flood may leave no room for it.
        let question = loop {
            assert!(Instant::now() < end, "nobody was asked");
            self.0.send_to(b"question", at).unwrap();
            let wait = Duration::from_millis(100);
            let mut all = std::iter::from_fn(|| dgram.recv_timeout(wait).ok());
            if let Some(datagram) = all.find(|datagram| datagram.peer == own) {
                break datagram.body;
            }
        };
        assert_eq!(&question[..], b"question");
        dgram.send_to(own, "answer").unwrap();
        let mut buffer = [0; 16];
        let length = self.0.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }
}

/// Datagrams of every length, the longest there are among them, from one who reads no answer.
#[test]
fn lengths_that_no_sound_peer_sends_are_counted_and_cost_nothing() {
    let (mut dgram, at) = bound(1000);
    let hostile = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = Good::new();
    good.exchange(&mut dgram, at);
    let mut sent = 0;
    for length in [0, 8193, 9000, 20_000, 65_507] {
        for _ in 0..5 {
            // One at a time: the kernel keeps few of the longest, and does not count what it drops.
            hostile.send_to(&vec![0xff; length], at).unwrap();
            sent += 1;
            let end = Instant::now() + WATCHDOG;
            while dgram.stats().dropped_malformed < sent {
                assert!(Instant::now() < end, "not counted");
                std::thread::yield_now();
            }
        }
        good.exchange(&mut dgram, at);
    }
    assert_eq!(dgram.stats().dropped_malformed, sent);
}

/// A flood while the application looks away: what is kept is bounded by the high-water mark, the rest is
/// dropped, by the kernel or with a count here.
#[test]
fn a_flood_is_bounded_by_the_high_water_mark() {
    let (mut dgram, at) = bound(100);
    let hostile = UdpSocket::bind("127.0.0.1:0").unwrap();
    let flood = vec![0x5a; 8192];
    while dgram.stats().dropped_full < 1000 {
        hostile.send_to(&flood, at).unwrap();
    }
    // What was in the kernel's buffer follows while this reads, so ask until it is over.
    let end = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = end.local_addr().unwrap();
    let mut kept = 0;
    loop {
        match dgram.try_recv() {
            Ok(datagram) if datagram.peer == own => break,
            Ok(datagram) => {
                assert_eq!(datagram.body.len(), flood.len());
                kept += 1;
            }
            // It may be dropped, too, while the flood is still there.
            Err(_) => {
                end.send_to(b"end", at).unwrap();
            }
        }
    }
    assert!(kept >= 100, "{kept}");
    Good::new().exchange(&mut dgram, at);
}

/// Hosts that answer "nobody is here" to all we send them.
#[test]
fn answers_that_nobody_is_there_end_nothing() {
    let (mut dgram, at) = bound(1000);
    let nobody = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    for _ in 0..1000 {
        dgram.send_to(nobody, "anyone?").unwrap();
    }
    Good::new().exchange(&mut dgram, at);
}
