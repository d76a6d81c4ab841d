//! Batches of messages to publish: what each would have met if it had been sent by itself.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew::{
    IntoMessage, Message, Pub, SendFailure, SocketBuilder, Split, Sub, SubscriptionEvent, XPub,
};

use crate::support::{task, Net, KINDS, LONG, SHORT};

/// Messages sent, dropped because somebody was full, and because nobody wanted them.
fn counts(publisher: &Pub) -> [u64; 3] {
    let stats = publisher.stats();
    [
        stats.messages_sent,
        stats.dropped_full,
        stats.dropped_unmatched,
    ]
}

/// A publisher with these options, and a subscriber to "a", between whom five messages have room.
fn narrow(options: impl FnOnce(SocketBuilder<Pub>) -> SocketBuilder<Pub>) -> (Pub, Sub) {
    let builder = options(Pub::builder().send_hwm(3));
    let mut publisher = builder.bind(Net::Inproc.fresh()).unwrap();
    let builder = Sub::builder().recv_hwm(2).recv_timeout(LONG);
    let mut sub = builder.connect(&publisher.bound_endpoints()[0]).unwrap();
    sub.subscribe("a").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    (publisher, sub)
}

/// Among few topics and among so many that there is an index of them; more messages than are matched together.
#[test]
fn a_batch_is_its_messages_one_after_the_other() {
    let wanted = [
        &["a", "a/1", "c/17", "end"][..],
        &["a/2", "b", "end"],
        &["c/1", "end"],
    ];
    for (&net, others) in KINDS.iter().zip([0, 2_000].into_iter().cycle()) {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints()[0].clone();
        let builder = || Sub::builder().recv_timeout(LONG);
        let mut subs = wanted.map(|_| builder().connect(&endpoint).unwrap());
        for (at, (sub, wanted)) in subs.iter_mut().zip(wanted).enumerate() {
            for other in 0..others {
                sub.subscribe(format!("other/{at}/{other:04}/topic"))
                    .unwrap();
            }
            wanted
                .iter()
                .for_each(|topic| sub.subscribe(topic).unwrap());
        }
        // What each tells last.
        publisher.wait_for_subscribers_of("end", 3, LONG).unwrap();
        let texts: Vec<String> = (0..100)
            .map(|n| format!("{}/{n}/message", ["a", "b", "c", "d"][n % 4]))
            .collect();
        let two_frames = |text| Message::multipart([text, "second frame"]);
        let messages: Vec<Message> = texts.iter().map(|text| two_frames(text.as_str())).collect();
        let long = [b"a long one".repeat(10_000), b"end".to_vec()].map(Bytes::from);
        publisher.send_batch(&texts).unwrap();
        publisher.send_batch(&messages).unwrap();
        publisher.send_batch(&long).unwrap();
        publisher.send_batch::<&str>(&[]).unwrap();

        let texts = texts.into_iter().map(Message::from);
        let long = long.into_iter().map(Message::from);
        let (mut sent, mut unmatched) = (0, 0);
        for message in texts.chain(messages).chain(long) {
            let begins = |topic: &&str| message.as_bytes().starts_with(topic.as_bytes());
            let mut receivers = 0;
            for (sub, wanted) in subs.iter_mut().zip(wanted) {
                if wanted.iter().any(begins) {
                    assert_eq!(sub.recv().unwrap(), message, "{net:?}");
                    receivers += 1;
                }
            }
            sent += receivers;
            unmatched += u64::from(receivers == 0);
        }
        assert!(unmatched > 50);
        assert_eq!(counts(&publisher), [sent, 0, unmatched], "{net:?}");
    }
}

/// As much as the subscriber has room for is sent, what is left can be sent later, and nothing is there twice.
#[test]
fn what_a_full_subscriber_keeps_from_being_sent_is_told() {
    let (mut publisher, mut sub) = narrow(|builder| builder.no_drop(true).send_timeout(SHORT));
    let batch = ["a0", "b", "a1", "a2", "a3", "a4", "a5", "b", "a6"];
    let refused = publisher.try_send_batch(&batch).unwrap_err();
    assert_eq!(refused.reason(), SendFailure::WouldBlock);
    assert_eq!((refused.sent(), refused.is_timeout()), (6, true));
    assert_eq!(refused.unsent(&batch), ["a5", "b", "a6"]);
    assert!(refused.unsent(&batch[..2]).is_empty());
    let still = publisher.send_batch(refused.unsent(&batch)).unwrap_err();
    assert_eq!((still.reason(), still.sent()), (SendFailure::Timeout, 0));
    let left = task(move || {
        let mut left = refused.unsent(&batch);
        while let Err(error) = publisher.send_batch(left) {
            assert_eq!(error.reason(), SendFailure::Timeout);
            left = error.unsent(left);
        }
        publisher
    });
    for n in 0..7 {
        assert_eq!(sub.recv().unwrap().as_bytes(), format!("a{n}").as_bytes());
    }
    assert_eq!(counts(&left.join()), [7, 0, 2]);
    assert!(sub.try_recv().is_err());
}

/// What is given with the call counts, and not the option: neither one that is shorter nor one that is longer.
#[test]
fn a_batch_may_have_a_time_of_its_own() {
    let (mut publisher, mut sub) = narrow(|builder| builder.no_drop(true).send_timeout(LONG));
    let batch: Vec<String> = (0..40).map(|n| format!("a{n}")).collect();
    let failed = [
        publisher.send_batch_timeout(&batch, SHORT).unwrap_err(),
        publisher.send_batch_timeout(&batch, SHORT).unwrap_err(),
        publisher
            .send_batch_deadline(&batch, Instant::now())
            .unwrap_err(),
    ];
    assert_eq!(failed.map(|error| error.sent()), [5, 0, 0]);
    assert!(failed.iter().all(|e| e.reason() == SendFailure::Timeout));
    // What there is room for is sent, however late it is.
    assert_eq!(sub.recv().unwrap(), Message::from("a0"));
    for n in 1..5 {
        assert_eq!(sub.recv().unwrap(), Message::from(format!("a{n}")));
    }
    let late = publisher.send_batch_deadline(&batch[5..], Instant::now());
    let sent = 5 + late.unwrap_err().sent();
    assert_eq!(sent, 10);

    publisher
        .reconfigure(|options| options.send_timeout(Duration::ZERO))
        .unwrap();
    let sender = task(move || {
        let (now, later) = batch[sent..].split_at(10);
        publisher.send_batch_timeout(now, LONG).unwrap();
        let until = Instant::now() + LONG;
        publisher.send_batch_deadline(later, until).unwrap();
        publisher
    });
    for n in 5..40 {
        assert_eq!(sub.recv().unwrap(), Message::from(format!("a{n}")));
    }
    assert_eq!(counts(&sender.join()), [40, 0, 0]);
}

/// Those that were matched before it have been sent, it and those behind it have not, and the socket goes on.
#[test]
fn a_conversion_that_panics_ends_the_batch() {
    #[derive(Clone)]
    struct Number(u8);
    impl From<Number> for Message {
        fn from(number: Number) -> Message {
            assert_ne!(number.0, 70, "this one cannot be sent");
            Message::from(vec![number.0])
        }
    }
    impl IntoMessage for Number {}
    let mut publisher = Pub::builder().bind(Net::Inproc.fresh()).unwrap();
    let builder = Sub::builder().recv_timeout(LONG);
    let mut sub = builder.connect(&publisher.bound_endpoints()[0]).unwrap();
    sub.subscribe("").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let batch: Vec<Number> = (0..100).map(Number).collect();
    let panicked = catch_unwind(AssertUnwindSafe(|| publisher.send_batch(&batch)));
    assert!(panicked.is_err());
    publisher.send_batch(&batch[90..]).unwrap();
    for n in 0..70 - 31 {
        assert_eq!(sub.recv().unwrap().as_bytes(), [n], "31 at most are lost");
    }
    let rest = std::iter::from_fn(|| sub.try_recv().ok());
    let rest: Vec<u8> = rest.map(|message| message.as_bytes()[0]).collect();
    let (converted, next) = rest.split_at(rest.len() - 10);
    assert!((39..70).zip(converted).all(|(n, got)| n == *got));
    assert!(converted.len() <= 31 && (90..100).eq(next.iter().copied()));
}

#[test]
fn without_the_option_a_full_subscriber_is_left_out() {
    let (mut publisher, mut sub) = narrow(|builder| builder);
    publisher.try_send_batch(&["a"; 40]).unwrap();
    assert_eq!(counts(&publisher), [5, 35, 0]);
    for _ in 0..5 {
        sub.recv().unwrap();
    }
    assert!(sub.try_recv().is_err());
}

#[test]
fn a_message_that_is_too_large_ends_the_batch() {
    const LIMIT: u64 = 256 * 1024;
    for &net in KINDS {
        let mut publisher = Pub::builder()
            .max_send_size(LIMIT)
            .bind(net.fresh())
            .unwrap();
        let builder = Sub::builder().recv_timeout(LONG);
        let mut sub = builder.connect(&publisher.bound_endpoints()[0]).unwrap();
        sub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        let mut batch = vec![vec![b'm'; 5_000]; 50];
        batch[40] = vec![b'l'; LIMIT as usize + 1];
        let error = publisher.send_batch(&batch).unwrap_err();
        let too_large = SendFailure::MessageTooLarge {
            size: LIMIT + 1,
            limit: LIMIT,
        };
        assert_eq!((error.sent(), error.reason()), (40, too_large), "{net:?}");
        assert!(!error.is_timeout());
        assert_eq!(error.unsent(&batch), &batch[40..]);
        publisher.send("end").unwrap();
        for message in &batch[..40] {
            assert_eq!(sub.recv().unwrap().as_bytes(), message);
        }
        assert_eq!(sub.recv().unwrap().as_bytes(), b"end", "{net:?}");
    }
}

/// A publisher waits in the middle of a batch, and knows already who gets the rest, when somebody else subscribes.
#[test]
fn subscriptions_that_come_meanwhile_count() {
    let mut publisher = Pub::builder()
        .no_drop(true)
        .send_hwm(3)
        .bind(Net::Inproc.fresh())
        .unwrap();
    let endpoint = publisher.bound_endpoints()[0].clone();
    let builder = || Sub::builder().recv_hwm(2).recv_timeout(LONG);
    let mut slow = builder().connect(&endpoint).unwrap();
    slow.subscribe("a").unwrap();
    let mut late = builder().connect(&endpoint).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    publisher.wait_for_peers(2, LONG).unwrap();
    let sender = task(move || {
        let batch = [&["a", "b"][..], &["a"; 8], &["b", "a", "b"]].concat();
        publisher.send_batch(&batch).unwrap();
        publisher
    });
    // What comes second is behind the first "b". So seven of ten are sent, at most.
    for _ in 0..2 {
        slow.recv().unwrap();
    }
    late.subscribe("b").unwrap();
    for _ in 2..10 {
        slow.recv().unwrap();
    }
    let publisher = sender.join();
    for _ in 0..2 {
        assert_eq!(late.recv().unwrap().as_bytes(), b"b");
    }
    assert!(late.try_recv().is_err());
    assert_eq!(counts(&publisher), [12, 0, 1]);
}

/// Where what is subscribed to is not wanted, everything goes to who has only come: also what a batch that waits has left.
#[test]
fn who_comes_meanwhile_gets_what_it_has_not_refused() {
    let mut publisher = XPub::builder()
        .invert_matching(true)
        .no_drop(true)
        .send_hwm(3)
        .bind(Net::Inproc.fresh())
        .unwrap();
    let endpoint = publisher.bound_endpoints()[0].clone();
    let builder = || Sub::builder().invert_matching(true).recv_timeout(LONG);
    let mut slow = builder().recv_hwm(2).connect(&endpoint).unwrap();
    publisher.wait_for_peers(1, LONG).unwrap();
    let sender = task(move || {
        let batch: Vec<String> = (10..30).map(|n| n.to_string()).collect();
        publisher.send_batch(&batch).unwrap();
        publisher.send("end").unwrap();
        publisher
    });
    // Seven are sent and one waits, at most.
    for _ in 0..2 {
        slow.recv().unwrap();
    }
    let mut late = builder().connect(&endpoint).unwrap();
    for _ in 2..21 {
        slow.recv().unwrap();
    }
    let first = late.recv().unwrap();
    let first: u32 = std::str::from_utf8(first.as_bytes())
        .unwrap()
        .parse()
        .unwrap();
    assert!(first <= 18, "{first}");
    for n in first + 1..30 {
        assert_eq!(late.recv().unwrap(), Message::from(n.to_string()));
    }
    assert_eq!(late.recv().unwrap(), Message::from("end"));
    sender.join();
}

#[test]
fn the_last_value_is_the_first_of_a_batch() {
    for &net in KINDS {
        let builder = XPub::builder().manual_last_value(true).recv_timeout(LONG);
        let xpub = builder.bind(net.fresh()).unwrap();
        let endpoint = xpub.bound_endpoints()[0].clone();
        // The sending part of a socket has this, too.
        let (mut sending, mut receiving) = xpub.split();
        let mut subs = [(); 2].map(|()| {
            let builder = Sub::builder().recv_timeout(LONG);
            builder.connect(&endpoint).unwrap()
        });
        for sub in &mut subs {
            sub.subscribe("A").unwrap();
            assert_eq!(receiving.recv().unwrap(), Message::from("\u{1}A"));
            let mut xpub = sending.reunite(receiving).unwrap();
            assert!(xpub.subscribe("A").unwrap());
            (sending, receiving) = xpub.split();
            sending.send_batch(&["A last", "A next"]).unwrap();
        }
        let [one, two] = &mut subs;
        for text in ["A last", "A next", "A next"] {
            assert_eq!(one.recv().unwrap(), Message::from(text), "{net:?}");
        }
        for text in ["A last", "A next"] {
            assert_eq!(two.recv().unwrap(), Message::from(text), "{net:?}");
        }
    }
}

#[test]
fn subscribers_of_many_topics_are_counted_at_once() {
    for inverted in [false, true] {
        let builder = XPub::builder().invert_matching(inverted);
        let mut xpub = builder
            .recv_timeout(LONG)
            .bind(Net::Inproc.fresh())
            .unwrap();
        let mut subs = [(); 3].map(|()| Sub::new());
        for (at, sub) in subs.iter_mut().enumerate() {
            sub.connect(&xpub.bound_endpoints()[0]).unwrap();
            for n in (0..6_000).filter(|n| n % (at + 1) == 0) {
                sub.subscribe(format!("topic/{n}/")).unwrap();
            }
        }
        let first = SubscriptionEvent::Subscribed("topic/0/".into());
        assert_eq!(xpub.recv_event().unwrap(), first);
        assert_eq!(xpub.topic_count(), 6_000);
        let topics: Vec<String> = (0..100).map(|n| format!("topic/{n}/message")).collect();
        let counts = xpub.subscriber_counts(&topics);
        let expected = |n: usize| (1..4).filter(|at| (n % at == 0) != inverted).count();
        assert_eq!(counts, (0..100).map(expected).collect::<Vec<_>>());
        let one_by_one = topics.iter().map(|topic| xpub.subscriber_count(topic));
        assert!(one_by_one.eq(counts));
        assert!(xpub.subscriber_counts(&[""; 0]).is_empty());
    }
}
