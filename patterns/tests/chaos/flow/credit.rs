//! A sender and a receiver with credit between them.

use std::time::Instant;

use sinew::Endpoint;

use super::roles::WINDOW;
use crate::remote::{Harm, Remote, Victim};
use crate::requests::LONG;

fn sender(at: &Endpoint) -> Remote {
    Remote::start("credit sender", std::slice::from_ref(at))
}

/// Tells the sender to send as much as it may; the number of the first message that did not go.
fn fill(sender: &mut Remote, from: u64) -> u64 {
    sender.tell(&format!("fill {from}"));
    sender.says("filled").parse().unwrap()
}

/// Takes so many messages; of which sender, and which.
fn take(receiver: &mut Remote, how: &str, count: u64) -> Vec<(u32, u64)> {
    receiver.tell(&format!("{how} {count}"));
    let got = (0..count).map(|_| {
        let text = receiver.says("got");
        let (own, number) = text.split_once(' ').unwrap();
        (own.parse().unwrap(), number.parse().unwrap())
    });
    got.collect()
}

/// Waits until it holds so many messages.
fn until_held(receiver: &mut Remote, messages: u64) {
    let end = Instant::now() + LONG.deadline;
    loop {
        receiver.tell("look");
        let held = receiver.says("holds");
        if held == messages.to_string() {
            return;
        }
        assert!(Instant::now() < end, "it holds {held}, and not {messages}");
    }
}

/// FLW-06: the receiver is killed. No more is lost than a window, nothing comes twice or out of order, and credit is
/// there again with the next one. Frozen, nothing is lost.
#[test]
fn a_credit_receiver_is_killed_and_frozen() {
    for harm in [Harm::Kill, Harm::Freeze] {
        let (mut victim, at) = Victim::bound("credit receiver");
        let mut sender = sender(&at);
        sender.tell("send 0 5");
        let numbers = |got: Vec<(u32, u64)>| got.into_iter().map(|(_, number)| number);
        let mut got: Vec<u64> = numbers(take(victim.remote(), "consume", 5)).collect();
        sender.says("sent 4");
        victim.suffer(harm);
        let next = match harm {
            Harm::Freeze => fill(&mut sender, 5),
            // Without a connection there is no credit.
            Harm::Kill => 5,
        };
        assert!(
            next <= 5 + WINDOW,
            "{harm:?}: no more than a window: {next}"
        );
        let all = next + 3 * WINDOW;
        sender.tell(&format!("send {next} {all}"));
        victim.recover();
        while got.last() != Some(&(all - 1)) {
            got.extend(numbers(take(victim.remote(), "consume", 1)));
        }
        sender.says(&format!("sent {}", all - 1));
        assert!(got.windows(2).all(|w| w[0] < w[1]), "{harm:?}: {got:?}");
        let lost = all - got.len() as u64;
        match harm {
            Harm::Kill => assert!(lost <= WINDOW, "{lost}"),
            Harm::Freeze => assert_eq!(lost, 0),
        }
    }
}

/// The receiver is killed with a full window on its way.
#[test]
fn a_window_is_lost_with_its_receiver_and_no_more() {
    let (mut victim, at) = Victim::bound("credit receiver");
    let mut sender = sender(&at);
    assert_eq!(fill(&mut sender, 0), WINDOW);
    victim.suffer(Harm::Kill);
    victim.recover();
    sender.tell(&format!("send {WINDOW} {}", 3 * WINDOW));
    let got = take(victim.remote(), "consume", 2 * WINDOW);
    let expected: Vec<_> = (WINDOW..3 * WINDOW)
        .map(|number| (sender.id(), number))
        .collect();
    assert_eq!(got, expected);
}

/// A sender is killed with its window used up, another one frozen. What is held of the first counts no more, the
/// others go on, and whoever comes in its place has a window of its own.
#[test]
fn credit_senders_are_killed_and_frozen() {
    let (mut victim, at) = Victim::bound("credit receiver");
    let receiver = victim.remote();
    let [mut killed, mut frozen, mut other] = [(); 3].map(|()| sender(&at));
    for sender in [&mut killed, &mut frozen, &mut other] {
        assert_eq!(fill(sender, 0), WINDOW);
    }
    take(receiver, "hold", 3 * WINDOW);
    until_held(receiver, 3 * WINDOW);
    killed.kill();
    until_held(receiver, 2 * WINDOW);
    frozen.freeze();
    receiver.tell("release");
    other.tell(&format!("send {WINDOW} {}", 4 * WINDOW));
    let of_other = |numbers: std::ops::Range<u64>| -> Vec<_> {
        numbers.map(|number| (other.id(), number)).collect()
    };
    let got = take(receiver, "consume", 3 * WINDOW);
    assert_eq!(got, of_other(WINDOW..4 * WINDOW));
    frozen.thaw();
    frozen.tell(&format!("send {WINDOW} {}", 3 * WINDOW));
    let got = take(receiver, "consume", 2 * WINDOW);
    let expected: Vec<_> = (WINDOW..3 * WINDOW)
        .map(|number| (frozen.id(), number))
        .collect();
    assert_eq!(got, expected);
    let mut next = sender(&at);
    assert_eq!(fill(&mut next, 0), WINDOW);
    take(receiver, "consume", WINDOW);
    until_held(receiver, 0);
}
