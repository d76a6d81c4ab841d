//! Options that limit a wait, and the end of a socket, for tasks.

use std::future::Future;
use std::pin::{pin, Pin};
use std::time::{Duration, Instant};

use sinew::{Pull, Push, RecvError, Rep, Req, RequestError, SendFailure};

use crate::support::{fresh, numbered, EXECUTORS, LONG, SHORT, TRANSPORTS};

#[test]
fn the_time_of_a_receive_is_over() {
    for executor in EXECUTORS {
        let (received, ()) = executor.run(
            async {
                let pull = Pull::builder().recv_timeout(SHORT);
                let mut pull = pull.bind(fresh("tcp").as_str()).unwrap();
                (pull.recv_async().await, pull.recv_async().await)
            },
            async {},
        );
        let over = Err(RecvError::Timeout);
        assert_eq!(received, (over.clone(), over), "{executor:?}");
    }
}

#[test]
fn the_time_of_a_send_is_over_and_the_message_comes_back() {
    for executor in EXECUTORS {
        let (failure, ()) = executor.run(
            async {
                let push = Push::builder().send_timeout(SHORT);
                let mut push = push.bind(fresh("tcp").as_str()).unwrap();
                push.send_async("kept").await.unwrap_err()
            },
            async {},
        );
        assert_eq!(failure.reason(), SendFailure::Timeout, "{executor:?}");
        assert_eq!(failure.into_message().as_bytes(), b"kept");
    }
}

#[test]
fn no_time_at_all_is_one_attempt() {
    let pull = Pull::builder().recv_timeout(Duration::ZERO);
    let mut pull = pull.bind(fresh("inproc").as_str()).unwrap();
    let endpoint = pull.bound_endpoints().remove(0);
    for executor in EXECUTORS {
        let attempt = async move {
            assert_eq!(pull.recv_async().await, Err(RecvError::Timeout));
            pull
        };
        (pull, ()) = executor.run(attempt, async {});
    }
    let mut push = Push::builder().connect(&endpoint).unwrap();
    push.send("there").unwrap();
    let (message, ()) = EXECUTORS[3].run(async move { pull.recv_async().await }, async {});
    assert_eq!(message.unwrap().as_bytes(), b"there");
}

#[test]
fn a_sleep_is_over_at_its_time_and_can_be_given_up() {
    for executor in EXECUTORS {
        let (woken, ()) = executor.run(
            async {
                let end = Instant::now() + SHORT;
                // Given up after a poll, which leaves nothing behind that would keep or wake anybody.
                let mut long = pin!(sinew::sleep_until(Instant::now() + LONG));
                let mut short = sinew::sleep_until(end);
                assert_eq!(short.deadline(), end);
                std::future::poll_fn(|cx| {
                    assert!(long.as_mut().poll(cx).is_pending());
                    Pin::new(&mut short).poll(cx)
                })
                .await;
                let woken = Instant::now();
                sinew::sleep_until(end).await;
                woken.checked_duration_since(end)
            },
            async {},
        );
        assert!(woken.is_some(), "{executor:?}: it was woken too early");
    }
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    for executor in EXECUTORS {
        for transport in TRANSPORTS {
            let mut rep = Rep::new();
            let endpoint = rep.bind(fresh(transport).as_str()).unwrap();
            let mut req = Req::builder().connect(&endpoint).unwrap();
            let (given_up, begin) = futures::channel::oneshot::channel();
            let ask = async move {
                let late = req.request_timeout_async("first", SHORT).await;
                let over = RequestError::Recv(RecvError::Timeout);
                assert_eq!(late.unwrap_err().to_string(), over.to_string());
                given_up.send(()).unwrap();
                let reply = req.request_timeout_async("second", LONG).await;
                assert_eq!(reply.unwrap().as_bytes(), b"second");
            };
            let serve = async move {
                begin.await.unwrap();
                for expected in ["first", "second"] {
                    let request = rep.recv_async().await.unwrap();
                    assert_eq!(request.as_bytes(), expected.as_bytes());
                    rep.send_async(request).await.unwrap();
                }
                rep
            };
            executor.run(ask, serve);
        }
    }
}

#[test]
fn what_nobody_took_is_counted_when_the_linger_time_is_over() {
    for executor in EXECUTORS {
        let (report, ()) = executor.run(
            async {
                let push = Push::builder().linger(SHORT);
                let mut push = push.connect("inproc://asy-nobody").unwrap();
                for n in 0..7 {
                    push.send_async(numbered(n)).await.unwrap();
                }
                push.close_async().await
            },
            async {},
        );
        assert_eq!(report.unsent, 7, "{executor:?}");
    }
}
