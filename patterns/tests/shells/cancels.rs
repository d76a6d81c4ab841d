//! Calls that are given up while nothing more can be said to their server.

use super::*;

use sinew_patterns::common::Op;

const CALLS: usize = 100;
const BODY: usize = 1 << 20;

/// The server is told of each request that it has, as soon as it reads again.
#[test]
fn a_server_that_does_not_read_hears_later_what_was_given_up() {
    let context = Context::default();
    let builder = Router::builder().context(&context).recv_hwm(1);
    let (mut server, at) = builder.bound("ipc://*").unwrap();
    let config = ClientConfig {
        bytes: usize::MAX,
        retry: RetryPolicy {
            attempt_timeout: LONG.deadline,
            ..RetryPolicy::default()
        },
        in_flight: CALLS,
        ..ext()
    };
    let client = connect(&[&at], config);
    let ask = |_| client.call_streaming(vec![0; BODY], &LONG);
    let calls: Vec<_> = (0..CALLS).map(ask).collect();
    full::until("its queue is full", || {
        let counters = client.counters();
        counters.calls == CALLS as u64 && (1..counters.calls).contains(&counters.attempts)
    });
    drop(calls);
    let sent = client.counters().attempts;
    let mut asked = std::collections::BTreeSet::new();
    let mut told = 0;
    while told < sent {
        let message = server.recv_timeout(LONG.deadline).unwrap();
        let frames = message.frames();
        let name = frames[1].to_vec();
        match Ext::decode(&frames[3]).unwrap().unwrap().op {
            Op::Cancel => {
                assert!(
                    asked.remove(&name),
                    "it has the request, and hears of it once"
                );
                told += 1;
            }
            _ => assert!(asked.insert(name)),
        }
    }
    assert!(asked.is_empty());
    client.close();
}
