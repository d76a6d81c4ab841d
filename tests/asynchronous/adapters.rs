//! Sockets as streams and sinks.

use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use sinew::{
    Channel, Client, Datagram, Dealer, Dgram, Dish, Gather, Message, Messages, Pair, Peer, Pub,
    Pull, Push, Radio, Rep, Req, Router, Scatter, SendFailure, Server, SocketEvent, Stream, Sub,
    XPub, XSub,
};

use crate::exchange::{everywhere, SOME};
use crate::support::{
    fresh, joined, number, number_of, numbered, watched, LONG, STREAMS, TRANSPORTS,
};

/// What is fed to the sink of one socket comes from the stream of another, under every executor.
macro_rules! flows {
    (
        $name:ident, $transports:expr, |$endpoint:ident| $stage:expr,
        |$n:ident, $name_of:pat_param| $message:expr, |$got:ident| $number:expr
    ) => {
        #[test]
        fn $name() {
            everywhere($transports, |$endpoint| {
                let (from, to, $name_of) = $stage;
                let send = async move {
                    let mut sink = Messages::new(from);
                    for $n in 0..SOME {
                        let message: Message = $message;
                        sink.feed(message).await.unwrap();
                    }
                    sink.flush().await.unwrap();
                    // It lives until the other side is done.
                    sink
                };
                let receive = async move {
                    let mut stream = Messages::new(to);
                    for n in 0..SOME {
                        let $got = stream.next().await.unwrap().unwrap();
                        assert_eq!($number, n);
                    }
                };
                (send, receive)
            });
        }
    };
    ($name:ident: $from:ident, $to:ident) => {
        flows!(
            $name,
            TRANSPORTS,
            |endpoint| {
                let (to, from) = joined!(endpoint, $to::new(), $from::new());
                (from, to, ())
            },
            |n, ()| numbered(n).into(),
            |got| number(&**got.frames().last().unwrap())
        );
    };
}

flows!(push_to_pull: Push, Pull);
flows!(scatter_to_gather: Scatter, Gather);
flows!(pair_to_pair: Pair, Pair);
flows!(channel_to_channel: Channel, Channel);
flows!(dealer_to_dealer: Dealer, Dealer);
flows!(dealer_to_router: Dealer, Router);
flows!(client_to_server: Client, Server);

flows!(
    pub_to_sub,
    TRANSPORTS,
    |endpoint| {
        let (mut publisher, mut sub) = joined!(endpoint, Pub::new(), Sub::new());
        sub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        (publisher, sub, ())
    },
    |n, ()| numbered(n).into(),
    |got| number_of(&got)
);

flows!(
    xpub_to_xsub,
    TRANSPORTS,
    |endpoint| {
        let (mut publisher, mut xsub) = joined!(endpoint, XPub::new(), XSub::new());
        xsub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        (publisher, xsub, ())
    },
    |n, ()| numbered(n).into(),
    |got| number_of(&got)
);

// It begins with neither octet of a subscription.
flows!(
    xsub_to_xpub,
    TRANSPORTS,
    |endpoint| {
        let (xpub, mut xsub) = joined!(endpoint, XPub::new(), XSub::new());
        xsub.wait_for_peers(1, LONG).unwrap();
        (xsub, xpub, ())
    },
    |n, ()| numbered(n | 2 << 24).into(),
    |got| number_of(&got) & 0xFF_FF_FF
);

flows!(
    radio_to_dish,
    TRANSPORTS,
    |endpoint| {
        let (mut radio, mut dish) = joined!(endpoint, Radio::new(), Dish::new());
        dish.join("g").unwrap();
        radio.wait_for_members("g", 1, LONG).unwrap();
        (radio, dish, ())
    },
    |n, ()| Message::multipart([&b"g"[..], &numbered(n)]),
    |got| number(&*got.1)
);

// To a peer that each message names.

flows!(
    router_to_dealer,
    TRANSPORTS,
    |endpoint| {
        let (mut router, mut dealer) = joined!(endpoint, Router::new(), Dealer::new());
        dealer.send("hello").unwrap();
        let (id, _) = router.recv_from().unwrap();
        (router, dealer, id)
    },
    |n, id| Message::multipart([id.as_bytes(), &numbered(n)]),
    |got| number_of(&got)
);

flows!(
    server_to_client,
    TRANSPORTS,
    |endpoint| {
        let (mut server, mut client) = joined!(endpoint, Server::new(), Client::new());
        client.send("hello").unwrap();
        let (id, _) = server.recv_from().unwrap();
        (server, client, id)
    },
    |n, id| Message::from(numbered(n)).with_routing_id(id),
    |got| number_of(&got)
);

flows!(
    peer_to_peer,
    TRANSPORTS,
    |endpoint| {
        let (mut to, mut from) = (Peer::new(), Peer::new());
        let endpoint = to.bind(endpoint.as_str()).unwrap();
        let id = from.connect_peer(&endpoint).unwrap();
        (from, to, id)
    },
    |n, id| Message::from(numbered(n)).with_routing_id(id),
    |got| number_of(&got)
);

flows!(
    dgram_to_dgram,
    &["udp"],
    |endpoint| {
        let (mut from, mut to) = (Dgram::new(), Dgram::new());
        from.bind(endpoint.as_str()).unwrap();
        let address = to.bind(endpoint.as_str()).unwrap().socket_addr().unwrap();
        (from, to, address)
    },
    |n, address| Datagram::new(address, numbered(n)).into(),
    |got| number(got.body)
);

/// Octets have no boundaries.
#[test]
fn stream_to_stream() {
    everywhere(STREAMS, |endpoint| {
        let silent = || Stream::builder().notify(false).build().unwrap();
        let (mut from, to) = joined!(endpoint, Stream::new(), silent());
        let (id, _) = from.recv_from().unwrap();
        let send = async move {
            let mut sink = Messages::new(from);
            for n in 0..SOME {
                let message = Message::multipart([id.as_bytes(), &numbered(n)]);
                sink.send(message).await.unwrap();
            }
            sink
        };
        let receive = async move {
            let mut stream = Messages::new(to);
            let mut octets = Vec::new();
            while octets.len() < 4 * SOME as usize {
                let part = stream.next().await.unwrap().unwrap();
                octets.extend_from_slice(&part.frames()[1]);
            }
            assert!(octets.chunks(4).map(number).eq(0..SOME));
        };
        (send, receive)
    });
}

/// In turns.
#[test]
fn req_and_rep() {
    everywhere(TRANSPORTS, |endpoint| {
        let (rep, req) = joined!(endpoint, Rep::new(), Req::new());
        let serve = async move {
            let mut rep = Messages::new(rep);
            for _ in 0..SOME {
                let request = rep.next().await.unwrap().unwrap();
                rep.send(request).await.unwrap();
            }
            rep
        };
        let ask = async move {
            let mut req = Messages::new(req);
            for n in 0..SOME {
                req.send(numbered(n).into()).await.unwrap();
                assert_eq!(number_of(&req.next().await.unwrap().unwrap()), n);
            }
        };
        (serve, ask)
    });
}

#[test]
fn messages_flow_through_streams_and_sinks() {
    for transport in TRANSPORTS {
        let mut pull = Pull::new();
        let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
        let mut push = Messages::new(Push::builder().connect(&endpoint).unwrap());
        let count = 10_000;
        let sender = std::thread::spawn(move || {
            block_on(async {
                for n in 0..count {
                    push.feed(numbered(n).into()).await.unwrap();
                }
                push.flush().await.unwrap();
                push.into_inner().0.close_async().await
            })
        });
        let messages = Messages::new(&mut pull).take(count as usize);
        let numbers = messages.map(|message| number_of(&message.unwrap()));
        assert!(block_on(numbers.collect::<Vec<_>>())
            .into_iter()
            .eq(0..count));
        assert_eq!(sender.join().unwrap().unsent, 0);
    }
}

/// A server in one line.
#[test]
fn a_stream_is_forwarded_to_the_sink_of_the_same_socket() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(fresh("tcp").as_str()).unwrap();
    let server = std::thread::spawn(move || {
        block_on(async {
            let mut rep = Messages::new(rep);
            for _ in 0..100 {
                let request = rep.next().await.unwrap().unwrap();
                rep.send(request).await.unwrap();
            }
            rep.close().await.unwrap();
            rep.into_inner().0.close_async().await
        })
    });
    let mut req = Req::builder().connect(&endpoint).unwrap();
    for n in 0..100 {
        let reply = req.request_timeout(numbered(n), LONG).unwrap();
        assert_eq!(number_of(&reply), n);
    }
    server.join().unwrap();
}

#[test]
fn a_sink_that_failed_gives_the_message_back_and_goes_on() {
    block_on(async {
        let mut dish = Dish::new();
        dish.join("group").unwrap();
        let endpoint = dish.bind(fresh("inproc").as_str()).unwrap();
        let mut radio = Messages::new(Radio::builder().connect(&endpoint).unwrap());
        radio.get_mut().wait_for_members_async("group", 1).await;
        let refused = radio.send("no group".into()).await.unwrap_err();
        assert_eq!(refused.reason(), SendFailure::NoGroup);
        assert_eq!(refused.into_message().as_bytes(), b"no group");
        radio
            .send(sinew::Message::multipart(["group", "body"]))
            .await
            .unwrap();
        let (group, body) = Messages::new(&mut dish).next().await.unwrap().unwrap();
        assert_eq!((group.as_bytes(), &*body), (&b"group"[..], &b"body"[..]));
    });
}

#[test]
fn the_stream_of_a_monitor_ends_with_its_socket() {
    watched(|| {
        let mut pull = Pull::new();
        let mut monitor = pull.monitor();
        pull.bind(fresh("ipc").as_str()).unwrap();
        let first = block_on(monitor.next());
        assert!(
            matches!(first, Some(SocketEvent::Listening { .. })),
            "{first:?}"
        );
        drop(pull);
        block_on(monitor.for_each(|_| std::future::ready(())));
    });
}
