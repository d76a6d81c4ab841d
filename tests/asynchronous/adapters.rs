//! Sockets as streams and sinks.

use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use sinew::{Dish, Messages, Pull, Push, Radio, Rep, Req, SendFailure, SocketEvent};

use crate::support::{fresh, number_of, numbered, watched, LONG, TRANSPORTS};

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
