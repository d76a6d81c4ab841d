//! Batches of tasks: how they wait, let others have their turn, and end.

use std::future::{poll_fn, Future};
use std::task::{Context, Poll};
use std::time::Duration;

use sinew::{Message, Pub, SendBatchError, SendFailure, SocketBuilder, Split, Sub, XPub};

use crate::support::{
    block_on, fresh, number_of, numbered, watched, Tally, EXECUTORS, LONG, SHORT, TRANSPORTS,
};

/// A publisher that waits for who is full, and a subscriber to everything; three messages have room between them.
fn narrow(options: impl FnOnce(SocketBuilder<Pub>) -> SocketBuilder<Pub>) -> (Pub, Sub) {
    let builder = options(Pub::builder().no_drop(true).send_hwm(2));
    let mut publisher = builder.bind(fresh("inproc").as_str()).unwrap();
    let builder = Sub::builder().recv_hwm(1).recv_timeout(LONG);
    let mut sub = builder.connect(&publisher.bound_endpoints()[0]).unwrap();
    sub.subscribe("").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    (publisher, sub)
}

fn numbers(count: u32) -> Vec<Message> {
    (0..count).map(|n| Message::from(numbered(n))).collect()
}

/// More than one turn, and more than there is room for, from a PUB and from the sending part of an XPUB.
#[test]
fn all_of_a_batch_arrives_in_order() {
    const COUNT: u32 = 1_000;
    for executor in EXECUTORS {
        for transport in TRANSPORTS {
            let mut publisher = Pub::builder().no_drop(true).send_hwm(2).build().unwrap();
            let xpub = XPub::builder().no_drop(true).send_hwm(2).build().unwrap();
            let (mut xpub, _receiving) = xpub.split();
            let endpoints = [
                publisher.bind(fresh(transport).as_str()).unwrap(),
                xpub.bind(fresh(transport).as_str()).unwrap(),
            ];
            let mut subs = endpoints.map(|endpoint| {
                let mut sub = Sub::builder().recv_hwm(1).connect(&endpoint).unwrap();
                sub.subscribe("").unwrap();
                sub
            });
            publisher.wait_for_subscribers(1, LONG).unwrap();
            xpub.wait_for_subscribers(1, LONG).unwrap();
            let send = async move {
                let batch = numbers(COUNT);
                publisher.send_batch_async(&batch).await.unwrap();
                publisher.send_batch_async::<&str>(&[]).await.unwrap();
                xpub.send_batch_async(&batch).await.unwrap();
                // They must live until everything is received.
                (publisher, xpub)
            };
            let receive = async move {
                for sub in &mut subs {
                    for n in 0..COUNT {
                        let got = sub.recv_async().await.unwrap();
                        assert_eq!(number_of(&got), n, "{executor:?}, {transport}");
                    }
                }
            };
            executor.run(send, receive);
        }
    }
}

/// A batch that has to wait for nobody is sent by turns, which take no time that would be over.
#[test]
fn other_tasks_have_their_turn_in_the_middle_of_a_batch() {
    let builder = Pub::builder().no_drop(true).send_timeout(Duration::ZERO);
    let mut publisher = builder.bind(fresh("inproc").as_str()).unwrap();
    let batch = numbers(600);
    let tally = Tally::new();
    let waker = tally.waker();
    let mut cx = Context::from_waker(&waker);
    let mut sending = Box::pin(publisher.send_batch_async(&batch));
    for turns in 1..=2 {
        assert!(sending.as_mut().poll(&mut cx).is_pending());
        assert_eq!(tally.count(), turns, "it is woken, as there is more");
    }
    assert_eq!(sending.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(tally.count(), 2);
    drop(sending);
    assert_eq!(publisher.stats().dropped_unmatched, 600);

    let mut left = &batch[..];
    let mut lefts = Vec::new();
    while publisher.poll_send_batch(&mut cx, &mut left).is_pending() {
        lefts.push(left.len());
    }
    assert_eq!((lefts, left.len()), (vec![344, 88], 0));
    assert_eq!(publisher.stats().dropped_unmatched, 1200);
}

/// What is sent is taken off what is left, and the task that waits is woken for the rest.
#[test]
fn what_is_left_of_a_batch_is_what_was_not_sent() {
    let (mut publisher, mut sub) = narrow(|builder| builder.send_timeout(Duration::ZERO));
    let batch = numbers(10);
    let tally = Tally::new();
    let waker = tally.waker();
    let mut cx = Context::from_waker(&waker);
    let mut left = &batch[..];
    assert!(publisher.poll_send_batch(&mut cx, &mut left).is_pending());
    assert_eq!((left, tally.count()), (&batch[3..], 0));
    for n in 0..3 {
        assert_eq!(number_of(&sub.recv().unwrap()), n);
    }
    tally.wait(1);
    assert!(publisher.poll_send_batch(&mut cx, &mut left).is_pending());
    assert_eq!(left, &batch[6..], "and no time is over");
    let receiver = std::thread::spawn(move || {
        for n in 3..10 {
            assert_eq!(number_of(&sub.recv().unwrap()), n);
        }
        sub
    });
    let sent = watched(move || {
        let batch = numbers(10);
        let mut left = &batch[6..];
        block_on(poll_fn(|cx| publisher.poll_send_batch(cx, &mut left)))
    });
    assert_eq!(sent, Ok(()));
    receiver.join().unwrap();
}

#[test]
fn the_time_of_a_message_of_a_batch_is_over() {
    for executor in EXECUTORS {
        let (mut publisher, mut sub) = narrow(|builder| builder.send_timeout(SHORT));
        let (failed, ()) = executor.run(
            async move {
                let batch = numbers(10);
                let first = publisher.send_batch_async(&batch).await.unwrap_err();
                let second = publisher.send_batch_async(first.unsent(&batch)).await;
                (first, second.unwrap_err(), publisher)
            },
            async {},
        );
        let of = |error: SendBatchError| (error.sent(), error.reason());
        assert_eq!(of(failed.0), (3, SendFailure::Timeout), "{executor:?}");
        assert_eq!(of(failed.1), (0, SendFailure::Timeout), "{executor:?}");
        for n in 0..3 {
            assert_eq!(number_of(&sub.recv().unwrap()), n);
        }
        assert!(sub.try_recv().is_err(), "{executor:?}: it came twice");
    }
}

/// The place of the one that fails counts from the beginning, also if it is not of the first turn.
#[test]
fn a_message_that_cannot_be_sent_ends_a_batch_of_a_task() {
    let builder = Pub::builder().max_send_size(300 * 1024);
    let mut publisher = builder.bind(fresh("inproc").as_str()).unwrap();
    let mut sub = Sub::builder()
        .connect(&publisher.bound_endpoints()[0])
        .unwrap();
    sub.subscribe("large").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let large = b"large".repeat(100_000);
    let mut batch = vec![&b"short"[..]; 400];
    batch[299] = &large;
    let error = watched({
        let batch = batch.iter().map(|octets| Message::from(*octets));
        let batch: Vec<Message> = batch.collect();
        move || {
            let error = block_on(publisher.send_batch_async(&batch)).unwrap_err();
            let mut left = &batch[..];
            let failed = block_on(poll_fn(|cx| publisher.poll_send_batch(cx, &mut left)));
            assert_eq!(failed, Err(error.reason()));
            assert_eq!(left, &batch[299..]);
            error
        }
    });
    assert_eq!((error.sent(), error.is_timeout()), (299, false));
}
