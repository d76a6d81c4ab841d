//! Request and reply, whose sockets take turns: a future that is given up must not leave half a turn behind.

use sinew::{Dealer, Message, Rep, Req, Router};

use super::{narrow, receives, sends, storm, until_end, END};
use crate::support::{joined, number_of, numbered, Storm, LONG, TRANSPORTS};

/// Round trips.
const TURNS: u32 = 300;

receives!(receives_of_rep, TURNS, TRANSPORTS, |endpoint| {
    let (rep, mut req) = joined!(endpoint, Rep::new(), Req::new());
    (rep, move |n| {
        let reply = req.request_timeout(numbered(n), LONG).unwrap();
        assert_eq!(number_of(&reply), n);
    })
}, |mut rep| blocking: rep.recv_timeout(LONG), future: rep.recv_async(), |got| {
    let n = number_of(&got);
    rep.send_timeout(got, LONG).unwrap();
    n
});

receives!(receives_of_req, TURNS, TRANSPORTS, |endpoint| {
    let req = Req::builder().relaxed(false).build().unwrap();
    let (mut rep, mut req) = joined!(endpoint, Rep::new(), req);
    req.send_timeout(numbered(0), LONG).unwrap();
    (req, move |n| {
        let request = rep.recv_timeout(LONG).unwrap();
        assert_eq!(number_of(&request), n);
        rep.send_timeout(request, LONG).unwrap();
    })
}, |mut req| blocking: req.recv_timeout(LONG), future: req.recv_async(), |got| {
    let n = number_of(&got);
    req.send_timeout(numbered(n + 1), LONG).unwrap();
    n
});

// A relaxed one may send while it waits for a reply, and is held up by a server that does not receive.
sends!(sends_of_req, TRANSPORTS, |endpoint| {
    let req = Req::builder().relaxed(true).send_hwm(2).build().unwrap();
    let (mut server, req) = joined!(endpoint, narrow!(Router), req);
    // A request is whose it is, an id, a delimiter and what is asked.
    (req, move || Message::from(server.recv().unwrap().frames()[3].clone()))
}, |mut req, message| blocking: req.send_timeout(message, LONG), future: req.send_async(message));

// A requester that asks and asks, and does not look at replies, holds the server up. Its turn is over with the reply.
sends!(sends_of_rep, TRANSPORTS, |endpoint| {
    let dealer = Dealer::builder().recv_hwm(2).send_hwm(u64::from(super::COUNT) + 1);
    let (rep, mut dealer) = joined!(endpoint, narrow!(Rep), dealer.build().unwrap());
    for _ in 0..super::sizes(&endpoint).0 + 1 {
        dealer.send(Message::multipart(["", "request"])).unwrap();
    }
    ((rep, false), move || Message::from(dealer.recv().unwrap().frames()[1].clone()))
}, |(mut rep, mut owes), message| blocking: {
    if !std::mem::take(&mut owes) {
        rep.recv_timeout(LONG).unwrap();
    }
    rep.send_timeout(message, LONG)
}, future: {
    if !std::mem::replace(&mut owes, true) {
        rep.recv_timeout(LONG).unwrap();
    }
    let (rep, owes) = (&mut rep, &mut owes);
    async move {
        let done = rep.send_async(message).await;
        *owes = false;
        done
    }
});

/// A strict requester, whose every future is given up now and then: it is in the turn that it was in before.
#[test]
fn turns_of_a_strict_requester() {
    storm(TRANSPORTS, |endpoint| async move {
        let mut req = Req::builder().relaxed(false).build().unwrap();
        let endpoint = req.bind(endpoint.as_str()).unwrap();
        let mut storm = Storm::new();
        let waiting = storm.waiting();
        let server = std::thread::spawn(move || {
            // With no server there, requests wait.
            waiting.wait(1);
            let mut rep = Rep::builder().connect(&endpoint).unwrap();
            for n in 0..TURNS {
                let request = rep.recv_timeout(LONG).unwrap();
                assert_eq!(
                    number_of(&request),
                    n,
                    "none twice, and none that was given up"
                );
                waiting.wait(u64::from(n) + 2);
                rep.send(request).unwrap();
            }
            rep.close();
        });
        for n in 0..TURNS {
            while storm.cut(req.send_async(numbered(n))).await.is_none() {}
            storm.owe(u64::from(n) + 2);
            let reply = loop {
                match storm.blocks() {
                    true => break req.recv_timeout(LONG),
                    false => {
                        if let Some(reply) = storm.cut(req.recv_async()).await {
                            break reply;
                        }
                    }
                }
            };
            assert_eq!(number_of(&reply.unwrap()), n);
        }
        server.join().unwrap();
    });
}

#[test]
fn requests_of_a_requester() {
    storm(TRANSPORTS, |endpoint| async move {
        let mut rep = Rep::new();
        let tcp = endpoint.starts_with("tcp");
        let endpoint = rep.bind(endpoint.as_str()).unwrap();
        let mut storm = Storm::new();
        let waiting = storm.waiting();
        let server = std::thread::spawn(move || {
            until_end(|| {
                let request = rep.recv().unwrap();
                waiting.wait(1);
                rep.send(request.clone()).unwrap();
                request
            })
        });
        // A strict one must not be left in the middle of a turn.
        let mut req = Req::builder().relaxed(tcp).connect(&endpoint).unwrap();
        let mut answered = Vec::new();
        for n in 0..2 * TURNS {
            let reply = match (storm.blocks(), n % 2) {
                (true, _) => Some(req.request_timeout(numbered(n), LONG)),
                (false, 0) => storm.cut(req.request_async(numbered(n))).await,
                (false, _) => {
                    storm
                        .cut(req.request_timeout_async(numbered(n), LONG))
                        .await
                }
            };
            if let Some(reply) = reply {
                assert_eq!(number_of(&reply.unwrap()), n, "of another request");
                answered.push(n);
            }
        }
        assert!(storm.given_up() > 0 && !answered.is_empty());
        req.request_timeout(numbered(END), LONG).unwrap();
        let served = server.join().unwrap();
        assert!(
            served.windows(2).all(|pair| pair[0] < pair[1]),
            "none twice"
        );
        assert!(answered.iter().all(|n| served.binary_search(n).is_ok()));
    });
}
