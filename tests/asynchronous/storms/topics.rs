//! Publishers and subscribers, groups and their members, and what publishers hear of subscribers.

use std::future::poll_fn;

use sinew::{
    Dish, Endpoint, Message, Pub, Radio, RecvPart, Split, Sub, SubscriptionEvent, XPub, XSub,
};

use super::{narrow, receives, sends, COUNT, END};
use crate::support::{joined, number, number_of, numbered, LONG, TRANSPORTS};

const INPROC: &[&str] = &["inproc"];

// A publisher that filters nothing: half of what comes is filtered on arrival.
receives!(receives_of_sub, COUNT, TRANSPORTS, |endpoint| {
    let every = XPub::builder().manual(true).no_drop(true).build().unwrap();
    let (mut every, mut sub) = joined!(endpoint, every, Sub::new());
    sub.subscribe([0]).unwrap();
    every.recv_event().unwrap();
    every.subscribe("").unwrap();
    (sub, move |n| {
        every.send(numbered(n | 1 << 24)).unwrap();
        every.send(numbered(n)).unwrap();
    })
}, |mut sub| blocking: sub.recv_timeout(LONG), future: sub.recv_async(), |got| number_of(&got));

receives!(receives_of_xsub, COUNT, TRANSPORTS, |endpoint| {
    let publisher = Pub::builder().no_drop(true).build().unwrap();
    let (mut publisher, mut xsub) = joined!(endpoint, publisher, XSub::new());
    xsub.subscribe("").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    (xsub, move |n| publisher.send(numbered(n)).unwrap())
}, |mut xsub| blocking: xsub.recv_timeout(LONG), future: xsub.recv_async(),
    |got| number_of(&got));

receives!(receives_of_dish, COUNT, TRANSPORTS, |endpoint| {
    let radio = Radio::builder().no_drop(true).build().unwrap();
    let (mut radio, mut dish) = joined!(endpoint, radio, Dish::new());
    dish.join("g").unwrap();
    radio.wait_for_members("g", 1, LONG).unwrap();
    (dish, move |n| radio.send("g", numbered(n)).unwrap())
}, |mut dish| blocking: dish.recv_timeout(LONG), future: dish.recv_async(),
    |got| number(&*got.1));

/// A publisher, and what subscribes to the topic of a number.
fn subscribed(endpoint: &str) -> (XPub, impl FnMut(u32) + Send + 'static) {
    let xpub = XPub::builder().recv_hwm(u64::from(COUNT)).build().unwrap();
    let (xpub, mut sub) = joined!(endpoint.to_owned(), xpub, Sub::new());
    (xpub, move |n| sub.subscribe(numbered(n)).unwrap())
}

fn topic_of(event: SubscriptionEvent) -> u32 {
    match event {
        SubscriptionEvent::Subscribed(topic) => number(topic),
        other => panic!("not a subscription: {other:?}"),
    }
}

receives!(receives_of_events, COUNT, TRANSPORTS, |endpoint| { subscribed(&endpoint) },
    |mut xpub| blocking: xpub.recv_event_timeout(LONG), future: xpub.recv_event_async(),
    |got| topic_of(got));

receives!(receives_of_events_by_a_part, COUNT, TRANSPORTS, |endpoint| {
    let (xpub, subscribe) = subscribed(&endpoint);
    let (publisher, events): (_, RecvPart<XPub>) = xpub.split();
    ((events, publisher), subscribe)
}, |(mut events, _publisher)| blocking: events.recv_event(), future: events.recv_event_async(),
    |got| topic_of(got));

receives!(receives_of_xpub, COUNT, TRANSPORTS, |endpoint| { subscribed(&endpoint) },
|mut xpub| blocking: xpub.recv_timeout(LONG), future: xpub.recv_async(), |got| {
    assert_eq!(got.as_bytes()[0], 1, "a subscription");
    number(&got.as_bytes()[1..])
});

/// Two subscribers of a publisher; each gets all, or none.
fn both(endpoint: &Endpoint) -> impl FnMut() -> Message + Send + 'static {
    let mut subs = [(); 2].map(|()| {
        let mut sub = Sub::builder().recv_hwm(2).connect(endpoint).unwrap();
        sub.subscribe("").unwrap();
        sub
    });
    move || {
        let [one, other] = subs.each_mut().map(|sub| sub.recv().unwrap());
        assert_eq!(number(&one.as_bytes()[..4]), number(&other.as_bytes()[..4]));
        one
    }
}

/// Subscribers that must not miss any hold their publisher up.
macro_rules! publishes {
    ($name:ident, $kind:ident) => {
        sends!($name, INPROC, |endpoint| {
            let publisher = $kind::builder().no_drop(true).send_hwm(2);
            let mut publisher = publisher.build().unwrap();
            let receive = both(&publisher.bind(endpoint.as_str()).unwrap());
            publisher.wait_for_subscribers(2, LONG).unwrap();
            (publisher, receive)
        }, |mut publisher, message| blocking: publisher.send_timeout(message, LONG),
            future: publisher.send_async(message));
    };
}

publishes!(sends_of_pub, Pub);
publishes!(sends_of_xpub, XPub);

/// What was sent of a batch that is given up is known from what is left of it or, of one that leaves nothing, from what
/// is counted.
#[test]
fn sends_of_batches() {
    super::storm(INPROC, |endpoint| async move {
        let publisher = Pub::builder().no_drop(true).send_hwm(2);
        let mut publisher = publisher.build().unwrap();
        let mut receive = both(&publisher.bind(endpoint.as_str()).unwrap());
        publisher.wait_for_subscribers(2, LONG).unwrap();
        let mut storm = crate::support::Storm::new();
        let waiting = storm.waiting();
        let other = std::thread::spawn(move || {
            waiting.wait(1);
            (super::until_end(&mut receive), receive)
        });
        let numbers: Vec<Message> = (0..COUNT).map(|n| numbered(n).into()).collect();
        for (at, batch) in numbers.chunks(COUNT as usize / 20).enumerate() {
            let mut left = batch;
            while !left.is_empty() {
                if storm.blocks() {
                    publisher.send_batch_timeout(left, LONG).unwrap();
                    left = &[];
                } else if at % 2 == 0 {
                    let sending = poll_fn(|cx| publisher.poll_send_batch(cx, &mut left));
                    let sent = storm.cut(sending).await;
                    assert_eq!(sent.is_some(), left.is_empty());
                    sent.transpose().unwrap();
                } else {
                    // Each goes to both.
                    let before = publisher.stats().messages_sent;
                    let sent = storm.cut(publisher.send_batch_async(left)).await;
                    let count = (publisher.stats().messages_sent - before) / 2;
                    left = &left[usize::try_from(count).unwrap()..];
                    assert!(sent.is_none() || left.is_empty());
                    sent.transpose().unwrap();
                }
            }
        }
        assert!(storm.given_up() > 0, "no future that waited was given up");
        publisher.send(numbered(END)).unwrap();
        let received = other.join().unwrap().0;
        assert_eq!(received, (0..COUNT).collect::<Vec<_>>());
    });
}

sends!(sends_of_radio, INPROC, |endpoint| {
    let radio = Radio::builder().no_drop(true).send_hwm(2).build().unwrap();
    let (mut radio, mut dish) = joined!(endpoint, radio, narrow!(Dish));
    dish.join("g").unwrap();
    radio.wait_for_members("g", 1, LONG).unwrap();
    (radio, move || Message::from(&dish.recv().unwrap().1[..]))
}, |mut radio, message| blocking: radio.send_timeout("g", message, LONG),
    future: radio.send_async("g", message));

/// It leaves out whoever is full, so it never waits: a future that is polled has sent, one that is not has not.
#[test]
fn sends_of_xsub() {
    super::storm(TRANSPORTS, |endpoint| async move {
        let xpub = XPub::builder().recv_hwm(u64::from(COUNT));
        let xsub = XSub::builder().send_hwm(u64::from(COUNT));
        let (mut xpub, mut xsub) = joined!(endpoint, xpub.build().unwrap(), xsub.build().unwrap());
        xsub.wait_for_peers_async(1).await;
        let mut storm = crate::support::Storm::new();
        let mut sent = Vec::new();
        for n in 0..COUNT {
            // It begins with neither octet of a subscription.
            if let Some(done) = storm.cut(xsub.send_async(numbered(n | 2 << 24))).await {
                done.unwrap();
                sent.push(n | 2 << 24);
            }
        }
        assert_eq!(storm.given_up(), 0, "it waited");
        assert!(sent.len() < COUNT as usize, "none was given up");
        for n in sent {
            assert_eq!(number_of(&xpub.recv_timeout(LONG).unwrap()), n);
        }
        assert!(xpub.try_recv().is_err());
    });
}
