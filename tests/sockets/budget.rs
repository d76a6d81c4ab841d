//! A budget of octets for everything that is queued in a context.

use sinew::{Conflate, Context, Message, Pub, Pull, Push, SendFailure, Sub};

use crate::support::{await_true, pattern, task, Net, KINDS, LONG};

const BUDGET: u64 = 1 << 20;

/// A 64th of it.
const STEP: u64 = BUDGET / 64;

const BODY: usize = 10_000;

/// One message and its header.
const MESSAGE: u64 = BODY as u64 + 9;

/// What one read brings, and the buffer that it was read into.
const READ: u64 = 2 * 64 * 1024 + MESSAGE;

fn context() -> Context {
    Context::builder().memory_budget(BUDGET).build().unwrap()
}

fn numbered(sender: u32, n: u32) -> Message {
    let mut body = pattern(BODY);
    body[..4].copy_from_slice(&sender.to_le_bytes());
    body[4..8].copy_from_slice(&n.to_le_bytes());
    Message::from(body)
}

fn number_of(message: &Message) -> (u32, u32) {
    let octets = message.as_bytes();
    assert_eq!(octets[8..], pattern(BODY)[8..], "damaged");
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

#[test]
fn a_budget_is_checked_and_told() {
    assert_eq!(Context::default().memory_used(), None);
    let error = Context::builder()
        .memory_budget(65_535)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "option `memory_budget` cannot be 65535: expected at least 65536 octets, or `None`"
    );
    let context = Context::builder().memory_budget(65_536).build().unwrap();
    assert_eq!(context.memory_used(), Some(0));
    assert_eq!(context.snapshot().memory_used, Some(0));
}

/// Many senders and a receiver that does not read: they wait with no more than the budget queued. When it reads,
/// everything comes, in order, and in the end nothing is counted.
#[test]
fn senders_wait_when_the_budget_is_used_up() {
    const SENDERS: u32 = 6;
    const EACH: u32 = 60;
    for &net in KINDS {
        let context = context();
        let mut pull = Pull::builder()
            .context(&context)
            .kernel_recv_buffer(16 << 10)
            .bind(net.fresh())
            .unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let tasks: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mut push = Push::builder()
                    .context(&context)
                    .kernel_send_buffer(16 << 10)
                    .connect(&endpoint)
                    .unwrap();
                let mut refused = 0;
                task(move || {
                    for n in 0..EACH {
                        match push.try_send(numbered(sender, n)) {
                            Ok(()) => {}
                            Err(failure) => {
                                assert_eq!(failure.reason(), SendFailure::WouldBlock);
                                refused += 1;
                                push.send_timeout(failure.into_message(), LONG).unwrap();
                            }
                        }
                    }
                    (push, refused)
                })
            })
            .collect();
        let used = || context.memory_used().unwrap();
        await_true("the budget is used up", || used() >= BUDGET);
        // Each way of each connection may exceed it a little.
        let most = BUDGET + u64::from(SENDERS) * 2 * (STEP + READ);
        let mut next = [0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let (sender, n) = number_of(&pull.recv_timeout(LONG).unwrap());
            assert_eq!(n, next[sender as usize], "of {sender} over {net:?}");
            next[sender as usize] += 1;
            assert!(used() <= most, "{} of {most} octets over {net:?}", used());
        }
        let (pushes, refused): (Vec<_>, Vec<u32>) =
            tasks.into_iter().map(|task| task.join()).unzip();
        assert!(
            refused.iter().sum::<u32>() > 0,
            "nobody waited over {net:?}"
        );
        assert!(pull.try_recv().is_err());
        await_true("nothing is counted", || used() == 0);
        drop(pushes);
    }
}

/// A peer that does not read does not keep others from what they do.
#[test]
fn one_that_is_stuck_does_not_stop_the_others() {
    for &net in KINDS {
        let context = context();
        let mut stuck = Push::builder().context(&context).bind(net.fresh()).unwrap();
        let _unread = Pull::builder()
            .context(&context)
            .connect(&stuck.bound_endpoints()[0])
            .unwrap();
        stuck.wait_for_peers(1, LONG).unwrap();
        // Until what the kernel holds, and everything else, is full.
        let mut full = 0;
        while full < 3 {
            full += u32::from(stuck.try_send(numbered(0, 0)).is_err());
        }
        await_true("the budget is used up", || {
            let _ = stuck.try_send(numbered(0, 0));
            context.memory_used().unwrap() >= BUDGET
        });
        let mut pull = Pull::builder().context(&context).bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut push = Push::builder().context(&context).connect(endpoint).unwrap();
        let sender = task(move || {
            for n in 0..200 {
                push.send_timeout(numbered(1, n), LONG).unwrap();
            }
            push
        });
        for n in 0..200 {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (1, n));
        }
        drop(sender.join());
    }
}

#[test]
fn publishers_drop_and_count_what_the_budget_has_no_room_for() {
    for &net in KINDS {
        let context = context();
        let mut publisher = Pub::builder()
            .context(&context)
            .kernel_send_buffer(16 << 10)
            .bind(net.fresh())
            .unwrap();
        let mut sub = Sub::builder()
            .context(&context)
            .kernel_recv_buffer(16 << 10)
            .build()
            .unwrap();
        sub.subscribe("").unwrap();
        sub.connect(&publisher.bound_endpoints()[0]).unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        let mut sent = 0;
        // Far below the high-water mark of either side.
        while publisher.stats().dropped_full == 0 {
            publisher.send(numbered(0, sent)).unwrap();
            sent += 1;
            assert!(sent < 900, "no drop over {net:?}");
        }
        let used = context.memory_used().unwrap();
        assert!(
            used <= BUDGET + 2 * (STEP + READ),
            "{used} octets over {net:?}"
        );
        let received = u64::from(sent) - publisher.stats().dropped_full;
        for n in 0..received {
            assert_eq!(number_of(&sub.recv_timeout(LONG).unwrap()).1, n as u32);
        }
        assert!(sub.try_recv().is_err());
        await_true("nothing is counted", || context.memory_used() == Some(0));
    }
}

/// What is queued for one that never comes is given back with its socket.
#[test]
fn a_socket_that_is_dropped_gives_its_part_back() {
    for &net in KINDS {
        let context = context();
        let mut push = Push::builder()
            .context(&context)
            .linger(std::time::Duration::ZERO)
            .connect(net.unbound())
            .unwrap();
        while push.try_send(numbered(0, 0)).is_ok() {}
        let used = context.memory_used().unwrap();
        assert!(
            (BUDGET..BUDGET + 2 * MESSAGE).contains(&used),
            "{used} over {net:?}"
        );
        push.close();
        await_true("nothing is counted", || context.memory_used() == Some(0));
    }
}

/// What conflation keeps counts too, and there are no more topics than the budget has room for.
#[test]
fn what_conflation_keeps_is_counted() {
    let context = context();
    let mut pull = Pull::builder()
        .context(&context)
        .conflate(Conflate::ByTopic { prefix: Some(8) })
        .bind(Net::Inproc.fresh())
        .unwrap();
    let endpoint = pull.bound_endpoints()[0].clone();
    let mut push = Push::builder().context(&context).connect(endpoint).unwrap();
    for n in 0..300 {
        push.send_timeout(numbered(0, n), LONG).unwrap();
    }
    let used = context.memory_used().unwrap();
    // The message that is on its way counts, and a step ahead of it.
    let least = BUDGET - 2 * (MESSAGE + STEP);
    assert!((least..BUDGET + MESSAGE).contains(&used), "{used}");
    let dropped = pull.stats().dropped_full;
    assert!(dropped > 100, "{dropped}");
    for n in dropped..300 {
        assert_eq!(number_of(&pull.try_recv().unwrap()), (0, n as u32));
    }
    assert!(pull.try_recv().is_err());
    assert_eq!(context.memory_used(), Some(0));
}

/// A receiver that knows how many there are takes them, and does not look for more.
#[test]
fn what_was_taken_is_not_counted_though_nobody_looks_again() {
    for &net in KINDS {
        let context = context();
        let mut pull = Pull::builder().context(&context).bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut push = Push::builder().context(&context).connect(endpoint).unwrap();
        for count in [3, 10, 5] {
            for n in 0..count {
                push.send(numbered(0, n)).unwrap();
            }
            await_true("it is counted", || context.memory_used() != Some(0));
            for _ in 0..count {
                pull.recv_timeout(LONG).unwrap();
            }
            await_true("nothing is counted", || context.memory_used() == Some(0));
        }
    }
}
