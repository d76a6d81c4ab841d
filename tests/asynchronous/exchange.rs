//! Every type of socket under every executor, over every transport.

use std::future::Future;

use sinew::{
    Channel, Client, Dealer, Dgram, Dish, Endpoint, Gather, Pair, Peer, Pub, Pull, Push, Radio,
    Rep, Req, Router, Scatter, Server, SocketEvent, Stream, Sub, SubscriptionEvent, Transport,
    XPub, XSub,
};

use crate::support::{
    fresh, joined, number, number_of, numbered, EXECUTORS, LONG, STREAMS, TRANSPORTS,
};

/// More than the high-water marks of both sides, so that senders wait.
const MANY: u32 = 2500;

pub(crate) const SOME: u32 = 50;

/// Two tasks that `stage` makes for an endpoint. What they return lives until both are done.
#[track_caller]
pub(crate) fn everywhere<A, B>(transports: &[&str], stage: impl Fn(String) -> (A, B))
where
    A: Future<Output: Send + 'static> + Send + 'static,
    B: Future<Output: Send + 'static> + Send + 'static,
{
    for transport in transports {
        for executor in EXECUTORS {
            let (one, other) = stage(fresh(transport));
            executor.run(one, other);
        }
    }
}

macro_rules! one_way {
    ($name:ident, $from:ident, $to:ident) => {
        #[test]
        fn $name() {
            everywhere(TRANSPORTS, |endpoint| {
                let (mut to, mut from) = joined!(endpoint, $to::new(), $from::new());
                let send = async move {
                    from.wait_for_peers_async(1).await;
                    for n in 0..MANY {
                        from.send_async(numbered(n)).await.unwrap();
                    }
                    assert_eq!(from.close_async().await.unsent, 0);
                };
                let receive = async move {
                    for n in 0..MANY {
                        assert_eq!(number_of(&to.recv_async().await.unwrap()), n);
                    }
                };
                (send, receive)
            });
        }
    };
}

one_way!(push_and_pull, Push, Pull);
one_way!(scatter_and_gather, Scatter, Gather);

/// Both send everything before they receive anything.
macro_rules! both_ways {
    ($name:ident, $kind:ident) => {
        #[test]
        fn $name() {
            everywhere(TRANSPORTS, |endpoint| {
                let (one, other) = joined!(endpoint, $kind::new(), $kind::new());
                let talk = |mut socket: $kind| async move {
                    for n in 0..SOME {
                        socket.send_async(numbered(n)).await.unwrap();
                    }
                    for n in 0..SOME {
                        assert_eq!(number_of(&socket.recv_async().await.unwrap()), n);
                    }
                    socket.close_async().await;
                };
                (talk(one), talk(other))
            });
        }
    };
}

both_ways!(pair_and_pair, Pair);
both_ways!(channel_and_channel, Channel);
both_ways!(dealer_and_dealer, Dealer);

#[test]
fn pub_and_sub() {
    everywhere(TRANSPORTS, |endpoint| {
        let publisher = Pub::builder().no_drop(true).build().unwrap();
        let (mut publisher, mut sub) = joined!(endpoint, publisher, Sub::new());
        sub.subscribe([1]).unwrap();
        let publish = async move {
            publisher.wait_for_subscribers_async(1).await;
            publisher.wait_for_subscribers_of_async([1], 1).await;
            for n in 0..MANY {
                publisher.send_async(numbered(n)).await.unwrap();
                publisher.send_async(numbered(n | 1 << 24)).await.unwrap();
            }
            publisher.close_async().await;
        };
        let receive = async move {
            for n in 0..MANY {
                assert_eq!(number_of(&sub.recv_async().await.unwrap()), n | 1 << 24);
            }
        };
        (publish, receive)
    });
}

#[test]
fn xpub_and_xsub() {
    everywhere(TRANSPORTS, |endpoint| {
        let (mut back, mut front) = joined!(endpoint, XPub::new(), XSub::new());
        let publish = async move {
            let event = back.recv_event_async().await.unwrap();
            assert_eq!(event, SubscriptionEvent::Subscribed("a".into()));
            for n in 0..SOME {
                back.send_async([b"a", &numbered(n)[..]].concat())
                    .await
                    .unwrap();
            }
            assert_eq!(back.recv_async().await.unwrap().as_bytes(), b"\0a");
            assert_eq!(back.recv_async().await.unwrap().as_bytes(), b"upwards");
            back.close_async().await;
        };
        let receive = async move {
            front.wait_for_peers_async(1).await;
            front.send_async("\u{1}a").await.unwrap();
            for n in 0..SOME {
                let message = front.recv_async().await.unwrap();
                assert_eq!(number(&message.as_bytes()[1..]), n);
            }
            front.send_async("\0a").await.unwrap();
            front.send_async("upwards").await.unwrap();
            // It lives until the other side is done: what XSUB has queued does not linger.
            front
        };
        (publish, receive)
    });
}

#[test]
fn radio_and_dish() {
    everywhere(TRANSPORTS, |endpoint| {
        let radio = Radio::builder().no_drop(true).build().unwrap();
        let (mut radio, mut dish) = joined!(endpoint, radio, Dish::new());
        dish.join("group").unwrap();
        let publish = async move {
            radio.wait_for_members_async("group", 1).await;
            for n in 0..MANY {
                radio.send_async("group", numbered(n)).await.unwrap();
            }
            radio.close_async().await;
        };
        let receive = async move {
            for n in 0..MANY {
                let (group, body) = dish.recv_async().await.unwrap();
                assert_eq!((group.as_bytes(), number(&*body)), (&b"group"[..], n));
            }
        };
        (publish, receive)
    });
}

#[test]
fn req_and_rep() {
    everywhere(TRANSPORTS, |endpoint| {
        let (mut rep, mut req) = joined!(endpoint, Rep::new(), Req::new());
        let serve = async move {
            for _ in 0..3 * SOME {
                let request = rep.recv_async().await.unwrap();
                rep.send_async(request).await.unwrap();
            }
            rep.close_async().await;
        };
        let ask = async move {
            for n in 0..SOME {
                let reply = req.request_async(numbered(n)).await.unwrap();
                assert_eq!(number_of(&reply), n);
                let reply = req.request_timeout_async(numbered(n), LONG).await.unwrap();
                assert_eq!(number_of(&reply), n);
                req.send_async(numbered(n)).await.unwrap();
                assert_eq!(number_of(&req.recv_async().await.unwrap()), n);
            }
        };
        (serve, ask)
    });
}

#[test]
fn dealer_and_router() {
    everywhere(TRANSPORTS, |endpoint| {
        let (mut router, mut dealer) = joined!(endpoint, Router::new(), Dealer::new());
        let serve = async move {
            for _ in 0..SOME {
                let (from, request) = router.recv_from_async().await.unwrap();
                router.send_to_async(&from, request).await.unwrap();
                let request = router.recv_async().await.unwrap();
                router.send_async(request).await.unwrap();
            }
            router.close_async().await;
        };
        let ask = async move {
            for n in 0..2 * SOME {
                dealer.send_async(numbered(n)).await.unwrap();
            }
            for n in 0..2 * SOME {
                assert_eq!(number_of(&dealer.recv_async().await.unwrap()), n);
            }
        };
        (serve, ask)
    });
}

macro_rules! by_number {
    ($name:ident, $server:ident, $client:ident, $send:expr) => {
        #[test]
        fn $name() {
            everywhere(TRANSPORTS, |endpoint| {
                let mut server = $server::new();
                let endpoint = server.bind(endpoint.as_str()).unwrap();
                let serve = async move {
                    for _ in 0..SOME {
                        let (from, request) = server.recv_from_async().await.unwrap();
                        server.send_to_async(from, request).await.unwrap();
                        let request = server.recv_async().await.unwrap();
                        server.send_async(request).await.unwrap();
                    }
                    server.close_async().await;
                };
                let ask = async move {
                    let mut client = $client::new();
                    #[allow(clippy::redundant_closure_call, reason = "an argument of the macro")]
                    $send(&mut client, endpoint).await;
                    for n in 0..2 * SOME {
                        assert_eq!(number_of(&client.recv_async().await.unwrap()), n);
                    }
                };
                (serve, ask)
            });
        }
    };
}

async fn client_sends(client: &mut Client, server: Endpoint) {
    client.connect(&server).unwrap();
    for n in 0..2 * SOME {
        client.send_async(numbered(n)).await.unwrap();
    }
}

async fn peer_sends(peer: &mut Peer, other: Endpoint) {
    let id = peer.connect_peer(&other).unwrap();
    for n in 0..2 * SOME {
        peer.send_to_async(id, numbered(n)).await.unwrap();
    }
}

by_number!(client_and_server, Server, Client, client_sends);
by_number!(peer_and_peer, Peer, Peer, peer_sends);

#[test]
fn stream_and_stream() {
    everywhere(STREAMS, |endpoint| {
        let (mut server, mut client) = joined!(endpoint, Stream::new(), Stream::new());
        let serve = async move {
            let (from, note) = server.recv_from_async().await.unwrap();
            assert!(note.as_bytes().is_empty(), "a note comes first: {note:?}");
            let mut octets = Vec::new();
            while octets.len() < 4 * SOME as usize {
                let (sender, part) = server.recv_from_async().await.unwrap();
                assert_eq!(sender, from);
                octets.extend_from_slice(part.as_bytes());
            }
            for (part, n) in octets.chunks(4).zip(0..) {
                assert_eq!(number(part), n);
            }
            server.send_to_async(&from, "done").await.unwrap();
            server.close_async().await;
        };
        let ask = async move {
            client.wait_for_peers_async(1).await;
            let note = client.recv_async().await.unwrap();
            let id = note.frames()[0].clone();
            for n in 0..SOME {
                match n % 2 {
                    0 => client.send_to_async(&*id, numbered(n)).await,
                    _ => {
                        let message = sinew::Message::multipart([id.clone(), numbered(n).into()]);
                        client.send_async(message).await
                    }
                }
                .unwrap();
            }
            let mut octets = Vec::new();
            while octets.len() < 4 {
                octets.extend_from_slice(&client.recv_async().await.unwrap().frames()[1]);
            }
            assert_eq!(octets, b"done");
        };
        (serve, ask)
    });
}

#[test]
fn dgram_and_dgram() {
    everywhere(&["udp"], |endpoint| {
        let bound = |socket: &mut Dgram| {
            let endpoint = socket.bind(endpoint.as_str()).unwrap();
            assert_eq!(endpoint.transport(), Transport::Udp);
            let text = endpoint.to_string();
            text.trim_start_matches("udp://").parse().unwrap()
        };
        let (mut one, mut other) = (Dgram::new(), Dgram::new());
        let (_, address): (std::net::SocketAddr, _) = (bound(&mut one), bound(&mut other));
        // One at a time: the kernel's buffer is no queue to rely on.
        let ask = async move {
            for n in 0..SOME {
                one.send_to_async(address, numbered(n)).await.unwrap();
                assert_eq!(number(one.recv_async().await.unwrap().body), n);
            }
        };
        let answer = async move {
            for _ in 0..SOME {
                let asked = other.recv_async().await.unwrap();
                other.send_to_async(asked.peer, asked.body).await.unwrap();
            }
            other.close_async().await;
        };
        (ask, answer)
    });
}

#[test]
fn a_monitor() {
    everywhere(STREAMS, |endpoint| {
        let mut pull = Pull::new();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind(endpoint.as_str()).unwrap();
        let watch = async move {
            let mut seen = Vec::new();
            while let Some(event) = monitor.recv_async().await {
                seen.push(event);
            }
            assert_eq!(monitor.recv_async().await, None, "and again");
            let place = |wanted: fn(&SocketEvent) -> bool| seen.iter().position(wanted);
            let places = [
                place(|event| matches!(event, SocketEvent::Listening { .. })),
                place(|event| matches!(event, SocketEvent::Accepted { .. })),
                place(|event| matches!(event, SocketEvent::HandshakeSucceeded { .. })),
                place(|event| matches!(event, SocketEvent::Disconnected { .. })),
            ];
            assert!(places.iter().all(Option::is_some), "{seen:?}");
            assert!(places.is_sorted(), "{seen:?}");
        };
        let talk = async move {
            let mut push = Push::builder().connect(&endpoint).unwrap();
            push.send_async("last").await.unwrap();
            pull.recv_async().await.unwrap();
            pull.close_async().await;
        };
        (watch, talk)
    });
}

/// Payloads that are only borrowed, some of which the kernel takes in one piece and some in several, between tasks that have
/// a thread each or share one. They are the caller's again when they are sent.
#[test]
fn large_payloads_that_are_borrowed_arrive_whole_and_in_order() {
    let payload = |n: u8| vec![n; [8, 70_000, 3_000_000][usize::from(n % 3)] + usize::from(n)];
    for executor in EXECUTORS {
        for transport in TRANSPORTS {
            let mut pull = Pull::builder().bind(fresh(transport).as_str()).unwrap();
            let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
            let (_push, ()) = executor.run(
                async move {
                    for n in 0..30 {
                        let mut borrowed = payload(n);
                        push.send_async(&borrowed[..]).await.unwrap();
                        borrowed.fill(0xee);
                    }
                    push
                },
                async move {
                    for n in 0..30 {
                        let message = pull.recv_async().await.unwrap();
                        assert!(
                            message.as_bytes() == payload(n),
                            "{executor:?}, {transport}: {n}"
                        );
                    }
                },
            );
        }
    }
}
