//! The descriptor for event loops that are not this library's.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Token};
use sinew::{EventFd, Interest, Pull, Push};

use crate::support::{fresh, number_of, numbered, watched, LONG, TRANSPORTS};

const COUNT: u32 = 30_000;

fn sending(pull: &mut Pull, transport: &str) -> thread::JoinHandle<()> {
    let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
    thread::spawn(move || {
        let mut push = Push::builder().connect(&endpoint).unwrap();
        for n in 0..COUNT {
            push.send(numbered(n)).unwrap();
        }
        assert_eq!(push.close().unsent, 0);
    })
}

/// Receives what is there, in order, and ends with a check that found nothing.
fn drain(fd: &EventFd, pull: &mut Pull, next: &mut u32) {
    while fd.check(pull, Interest::READABLE).is_readable() {
        while let Ok(message) = pull.try_recv() {
            assert_eq!(number_of(&message), *next);
            *next += 1;
        }
    }
}

/// A loop that is told of changes only.
#[test]
fn in_a_loop_of_mio() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut pull = Pull::new();
            let sender = sending(&mut pull, transport);
            let fd = EventFd::new().unwrap();
            let mut poll = mio::Poll::new().unwrap();
            let raw = fd.as_raw_fd();
            let registry = poll.registry();
            let readable = mio::Interest::READABLE;
            registry
                .register(&mut SourceFd(&raw), Token(1), readable)
                .unwrap();
            let (mut next, mut events) = (0, Events::with_capacity(4));
            drain(&fd, &mut pull, &mut next);
            while next < COUNT {
                poll.poll(&mut events, None).unwrap();
                drain(&fd, &mut pull, &mut next);
            }
            sender.join().unwrap();
        });
    }
}

/// A loop that asks for what is so.
#[test]
fn in_the_loop_of_smol() {
    for transport in TRANSPORTS {
        watched(move || {
            smol::block_on(async {
                let mut pull = Pull::new();
                let sender = sending(&mut pull, transport);
                let fd = smol::Async::new(EventFd::new().unwrap()).unwrap();
                let mut next = 0;
                drain(fd.get_ref(), &mut pull, &mut next);
                while next < COUNT {
                    fd.readable().await.unwrap();
                    drain(fd.get_ref(), &mut pull, &mut next);
                }
                sender.join().unwrap();
            });
        });
    }
}

fn is_readable(fd: &EventFd, timeout: Duration) -> bool {
    let mut poller = sinew::Poller::new().unwrap();
    let mut items = [sinew::PollItem::fd(fd, Interest::READABLE)];
    poller
        .wait(&mut items, Some(timeout))
        .unwrap()
        .is_readable(0)
}

#[test]
fn it_is_readable_from_a_message_to_the_next_check() {
    let mut pull = Pull::new();
    let mut push = Push::builder()
        .connect(pull.bind(fresh("inproc").as_str()).unwrap())
        .unwrap();
    let fd = EventFd::new().unwrap();
    while fd.check(&mut pull, Interest::READABLE).is_readable() {}
    push.send("one").unwrap();
    assert!(is_readable(&fd, LONG));
    assert!(is_readable(&fd, LONG), "until it is checked");
    assert!(fd.check(&mut pull, Interest::READABLE).is_readable());
    assert!(
        !is_readable(&fd, Duration::ZERO),
        "and not for what the check has told"
    );
    push.send("two").unwrap();
    assert!(
        !is_readable(&fd, Duration::ZERO),
        "the last check found something: no news are due"
    );
    // Receiving without it takes no wake-up away.
    pull.recv_timeout(LONG).unwrap();
    pull.recv_timeout(LONG).unwrap();
    while fd.check(&mut pull, Interest::READABLE).is_readable() {}
    assert!(pull.try_recv().is_err());
    push.send("three").unwrap();
    assert!(is_readable(&fd, LONG));
}

/// A sender's event loop is told when there is room.
#[test]
fn it_is_readable_when_there_is_room() {
    let mut pull = Pull::builder().recv_hwm(1).build().unwrap();
    let endpoint = pull.bind(fresh("inproc").as_str()).unwrap();
    let mut push = Push::builder().send_hwm(1).connect(&endpoint).unwrap();
    let fd = EventFd::new().unwrap();
    let (mut sent, mut received) = (0, 0);
    for _ in 0..100 {
        while fd.check(&mut push, Interest::WRITABLE).is_writable() {
            push.try_send(numbered(sent)).unwrap();
            sent += 1;
        }
        assert!(
            push.try_send("full").is_err(),
            "which takes no wake-up away"
        );
        while received < sent {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), received);
            received += 1;
        }
        assert!(is_readable(&fd, LONG));
    }
}
