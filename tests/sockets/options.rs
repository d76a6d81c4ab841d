//! Options that are seen only by what they do.

use std::time::{Duration, Instant};

use sinew::{
    DisconnectReason, Dish, Message, Pull, Push, Radio, RecvError, Req, Router, SendError,
    SendFailure, SocketEvent,
};

use crate::support::{await_event, KINDS, LONG, SHORT, STREAMS};

#[test]
fn calls_wait_as_long_as_the_options_say() {
    for &net in KINDS {
        let mut pull = Pull::builder()
            .recv_timeout(SHORT)
            .recv_hwm(1)
            .bind(net.fresh())
            .unwrap();
        let begun = Instant::now();
        assert_eq!(pull.recv(), Err(RecvError::Timeout), "{net:?}");
        assert!(begun.elapsed() >= SHORT, "{net:?}");

        let mut push = Push::builder()
            .send_timeout(SHORT)
            .send_hwm(1)
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        let body = vec![7; 1 << 20];
        let mut until_refused = |send: fn(&mut Push, &[u8]) -> Result<(), SendError>, at_least| {
            let (waited, error) = loop {
                let begun = Instant::now();
                if let Err(error) = send(&mut push, &body) {
                    break (begun.elapsed(), error);
                }
            };
            assert_eq!(error.reason(), SendFailure::Timeout, "{net:?}");
            assert!(waited >= at_least, "{net:?}: {waited:?}");
            assert!(error.into_message().as_bytes() == body, "{net:?}");
        };
        until_refused(|push, body| push.send(body), SHORT);
        // A time that is given with the call counts, and not the option.
        until_refused(|push, body| push.send_timeout(body, 2 * SHORT), 2 * SHORT);
    }
}

/// The state of a thread of this process, as `proc(5)` has it, and its time on a processor in clock ticks.
#[cfg(target_os = "linux")]
fn thread_state(thread: &std::path::Path) -> (char, u64) {
    let path = std::path::Path::new("/proc").join(thread).join("stat");
    let stat = std::fs::read_to_string(path).unwrap();
    // The name before may have spaces in it.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let time = |field: usize| -> u64 { fields[field].parse().unwrap() };
    (rest.chars().next().unwrap(), time(11) + time(12))
}

#[cfg(target_os = "linux")]
#[test]
fn a_receive_that_polls_does_not_sleep() {
    use crate::support::{await_true, task};

    for &net in KINDS {
        for busy_poll in [false, true] {
            let pull = Pull::builder().busy_poll(busy_poll).bind(net.fresh());
            let mut pull = pull.unwrap();
            let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
            push.wait_for_peers(1, LONG).unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            let receiver = task(move || {
                let own = std::fs::read_link("/proc/thread-self").unwrap();
                tell.send(own).unwrap();
                pull.recv_timeout(LONG).unwrap()
            });
            let thread = told.recv_timeout(LONG).unwrap();
            if busy_poll {
                // Nothing else in it takes so long.
                let (_, begun) = thread_state(&thread);
                await_true("it is at work while nothing comes", || {
                    thread_state(&thread).1 >= begun + 3
                });
            } else {
                await_true("it sleeps", || thread_state(&thread).0 == 'S');
            }
            push.send("x").unwrap();
            assert_eq!(receiver.join().as_bytes(), b"x", "{net:?}, {busy_poll}");
        }
    }
}

/// Without an id before the delimiter also who returns nothing of the envelope but the delimiter has answered.
#[test]
fn requests_have_an_id_if_they_are_correlated() {
    for &net in KINDS {
        for correlated in [true, false] {
            let mut router = Router::builder().bind(net.fresh()).unwrap();
            let req = Req::builder().correlated(correlated);
            let mut req = req.connect(&router.bound_endpoints()[0]).unwrap();
            req.send("x").unwrap();
            let (from, request) = router.recv_from_timeout(LONG).unwrap();
            let envelope = 1 + usize::from(correlated);
            assert_eq!(request.frame_count(), envelope + 1, "{net:?}");
            assert!(request.frames()[envelope - 1].is_empty(), "{net:?}");
            let reply = match correlated {
                true => Message::multipart([&request.frames()[0][..], b"", b"y"]),
                false => Message::multipart(["", "y"]),
            };
            router.send_to(&from, reply).unwrap();
            assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"y", "{net:?}");
        }
    }
}

#[test]
fn a_peer_that_joins_too_many_groups_is_sent_away() {
    for &net in STREAMS {
        let mut radio = Radio::builder().max_groups(2).bind(net.fresh()).unwrap();
        let mut monitor = radio.monitor();
        let dish = Dish::builder().linger(Duration::ZERO);
        let mut dish = dish.connect(&radio.bound_endpoints()[0]).unwrap();
        dish.join("a").unwrap();
        dish.join("b").unwrap();
        radio.wait_for_members("b", 1, LONG).unwrap();
        assert_eq!(radio.stats().disconnects, 0, "{net:?}");
        dish.join("c").unwrap();
        await_event(&mut monitor, "it is sent away", |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::SubscriptionLimit,
                    ..
                }
            )
        });
    }
}
