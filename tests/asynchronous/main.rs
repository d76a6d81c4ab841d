//! The asynchronous side of the sockets, under several executors and under none.

use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use sinew::{Messages, Pull, Push};

#[test]
fn messages_flow_through_streams_and_sinks() {
    block_on(async {
        let mut pull = Pull::builder().bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = pull.bound_endpoints().remove(0);
        let mut push = Messages::new(Push::builder().connect(&endpoint).unwrap());
        let count = 50_000u32;
        let sender = std::thread::spawn(move || {
            block_on(async {
                for n in 0..count {
                    push.send(n.to_be_bytes().to_vec().into()).await.unwrap();
                }
                push.into_inner().0.close_async().await
            })
        });
        let mut messages = Messages::new(&mut pull).take(count as usize);
        let mut next = 0u32;
        while let Some(message) = messages.next().await {
            assert_eq!(message.unwrap().as_bytes(), next.to_be_bytes());
            next += 1;
        }
        assert_eq!(next, count);
        assert_eq!(sender.join().unwrap().unsent, 0);
    });
}
