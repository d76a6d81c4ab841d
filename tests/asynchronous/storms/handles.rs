//! Shared handles, parts of split sockets, streams and sinks, and a requester.

use futures::{SinkExt, StreamExt};
use sinew::{Dealer, Messages, Pull, Push, Rep, RequestOptions, Requester, Shared, Split};

use super::{narrow, receives, sends, storm, until_end, COUNT, END};
use crate::support::{joined, number_of, numbered, Storm, LONG, TRANSPORTS};

receives!(receives_of_a_shared_handle, COUNT, TRANSPORTS, |endpoint| {
    let (pull, mut push) = joined!(endpoint, Pull::new(), Push::new());
    (Shared::new(pull), move |n| push.send(numbered(n)).unwrap())
}, |pull| blocking: pull.recv_timeout(LONG), future: pull.recv_async(), |got| number_of(&got));

sends!(sends_of_a_shared_handle, TRANSPORTS, |endpoint| {
    let (mut pull, push) = joined!(endpoint, narrow!(Pull), narrow!(Push));
    (Shared::new(push), move || pull.recv().unwrap())
}, |push, message| blocking: push.send_timeout(message, LONG), future: push.send_async(message));

receives!(receives_of_a_part, COUNT, TRANSPORTS, |endpoint| {
    let (one, mut other) = joined!(endpoint, Dealer::new(), Dealer::new());
    (one.split(), move |n| other.send(numbered(n)).unwrap())
}, |(_sending, mut one)| blocking: one.recv_timeout(LONG), future: one.recv_async(),
    |got| number_of(&got));

sends!(sends_of_a_part, TRANSPORTS, |endpoint| {
    let (mut other, one) = joined!(endpoint, narrow!(Dealer), narrow!(Dealer));
    (one.split(), move || other.recv().unwrap())
}, |(mut one, _receiving), message| blocking: one.send_timeout(message, LONG),
    future: one.send_async(message));

receives!(turns_of_a_stream, COUNT, TRANSPORTS, |endpoint| {
    let (pull, mut push) = joined!(endpoint, Pull::new(), Push::new());
    (Messages::new(pull), move |n| push.send(numbered(n)).unwrap())
}, |mut stream| blocking: Some(stream.get_mut().recv_timeout(LONG)), future: stream.next(),
    |got| number_of(&got.unwrap()));

/// What the sink has taken stays in it when the future is dropped, and is sent with the next: whatever is told
/// as sent has come, everything comes at most once, and in order.
#[test]
fn turns_of_a_sink() {
    storm(&["inproc"], |endpoint| async move {
        let (mut pull, push) = joined!(endpoint, narrow!(Pull), narrow!(Push));
        let mut sink = Messages::new(push);
        let mut storm = Storm::new();
        let waiting = storm.waiting();
        let other = std::thread::spawn(move || {
            waiting.wait(1);
            until_end(|| pull.recv().unwrap())
        });
        let mut sent = Vec::new();
        for n in 0..COUNT {
            if let Some(done) = storm.cut(sink.send(numbered(n).into())).await {
                done.unwrap();
                sent.push(n);
            }
        }
        sink.send(numbered(END).into()).await.unwrap();
        assert!(storm.given_up() > 0, "no future that waited was given up");
        let (_push, held) = sink.into_inner();
        assert_eq!(held, None);
        let received = other.join().unwrap();
        let in_order = received.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(in_order, "in order, once");
        let some_dropped = received.len() < COUNT as usize;
        assert!(some_dropped, "futures were dropped with their messages");
        let came = |n: &u32| received.binary_search(n).is_ok();
        assert!(sent.iter().all(came), "what was told as sent has come");
    });
}

/// What was given up may be carried out; what was not gets its own reply.
#[test]
fn requests_of_many_at_once() {
    storm(TRANSPORTS, |endpoint| async move {
        let requester = Requester::builder().request_timeout(LONG).build().unwrap();
        let endpoint = requester.bind(endpoint.as_str()).unwrap();
        let mut storm = Storm::new();
        let waiting = storm.waiting();
        let server = std::thread::spawn(move || {
            // With no server there, requests wait.
            waiting.wait(1);
            let mut rep = Rep::builder().connect(&endpoint).unwrap();
            until_end(|| {
                let request = rep.recv().unwrap();
                rep.send(request.clone()).unwrap();
                request
            });
            rep.close();
        });
        let patient = RequestOptions::default().timeout(LONG);
        let mut answered = 0;
        for n in 0..COUNT / 4 {
            let request = async {
                match n % 2 {
                    0 => requester.request_async(numbered(n)).await,
                    _ => requester.request_with_async(numbered(n), patient).await,
                }
            };
            if let Some(reply) = storm.cut(request).await {
                assert_eq!(number_of(&reply.unwrap()), n);
                answered += 1;
            }
        }
        assert!(answered > 0 && storm.given_up() > 0);
        requester.request(numbered(END)).unwrap();
        assert_eq!(requester.outstanding(), 0);
        server.join().unwrap();
    });
}
