//! RADIO and DISH: every rule over every transport.

use std::time::Duration;

use sinew::{
    Dish, GroupError, GroupSendError, InvalidGroup, Radio, ReconnectPolicy, RecvError, SendFailure,
};

use crate::support::{await_true, Net, KINDS, LONG, SHORT, STREAMS};

fn pair(net: Net) -> (Radio, Dish) {
    let radio = Radio::builder().bind(net.fresh()).unwrap();
    let dish = Dish::builder()
        .recv_timeout(LONG)
        .connect(&radio.bound_endpoints()[0])
        .unwrap();
    (radio, dish)
}

#[track_caller]
fn expect(dish: &mut Dish, group: &str, body: &str) {
    let (of, received) = dish.recv().unwrap();
    assert_eq!(
        (of.as_bytes(), &received[..]),
        (group.as_bytes(), body.as_bytes())
    );
}

#[test]
fn groups_match_exactly() {
    for net in KINDS {
        let (mut radio, mut dish) = pair(net);
        let long = "g".repeat(255);
        for group in ["ab", &long, ""] {
            dish.join(group).unwrap();
            radio.wait_for_members(group, 1, LONG).unwrap();
        }
        assert_eq!((radio.group_count(), dish.groups().count()), (3, 3));
        for group in ["a", "ab", "abc", &long[1..], &long, ""] {
            radio.send(group, group.len().to_string()).unwrap();
        }
        for group in ["ab", &long, ""] {
            expect(&mut dish, group, &group.len().to_string());
        }
        assert_eq!(dish.try_recv(), Err(RecvError::WouldBlock), "{net:?}");
        assert_eq!(radio.stats().dropped_unmatched, 3);
        assert_eq!(radio.member_count("a"), 0);
    }
}

#[test]
fn everyone_in_a_group_gets_its_messages() {
    for net in KINDS {
        let mut radio = Radio::new();
        let mut dishes: Vec<Dish> = (0..3)
            .map(|_| Dish::builder().recv_timeout(LONG).build().unwrap())
            .collect();
        for dish in &mut dishes {
            // These bind, and may have joined before.
            dish.join("all").unwrap();
            let endpoint = dish.bind(net.fresh()).unwrap();
            radio.connect(&endpoint).unwrap();
        }
        dishes[1].join("some").unwrap();
        radio.wait_for_members("all", 3, LONG).unwrap();
        radio.wait_for_members("some", 1, LONG).unwrap();
        radio.send("some", "1").unwrap();
        radio.send("all", "2").unwrap();
        expect(&mut dishes[1], "some", "1");
        for dish in &mut dishes {
            expect(dish, "all", "2");
        }
    }
}

#[test]
fn who_has_left_receives_no_more() {
    for net in KINDS {
        let (mut radio, mut dish) = pair(net);
        dish.join("a").unwrap();
        dish.join("b").unwrap();
        radio.wait_for_members("b", 1, LONG).unwrap();
        // It is here before the group is left, and filtered then.
        radio.send("a", "1").unwrap();
        radio.send("b", "2").unwrap();
        expect(&mut dish, "a", "1");
        dish.leave("b").unwrap();
        await_true("it has left", || radio.member_count("b") == 0);
        radio.send("b", "3").unwrap();
        radio.send("a", "4").unwrap();
        expect(&mut dish, "a", "4");
        assert_eq!(radio.stats().dropped_unmatched, 1, "{net:?}");
        drop(dish);
        await_true("it is gone", || radio.member_count("a") == 0);
        assert_eq!(radio.group_count(), 0);
    }
}

#[test]
fn names_and_turns_are_checked() {
    let (mut radio, mut dish) = pair(Net::Inproc);
    let long = [b'x'; 256];
    let too_long = InvalidGroup::TooLong(256);
    assert_eq!(dish.join(long), Err(GroupError::Invalid(too_long)));
    assert_eq!(radio.send(long, "x"), Err(GroupSendError::Group(too_long)));
    assert!(matches!(dish.leave("a\0"), Err(GroupError::Invalid(_))));
    assert!(matches!(dish.leave("a"), Err(GroupError::NotJoined { .. })));
    dish.join("a").unwrap();
    let twice = dish.join("a").unwrap_err();
    assert!(twice.to_string().contains("joined already"), "{twice}");
    assert_eq!(dish.recv_timeout(SHORT), Err(RecvError::Timeout));
}

#[test]
fn membership_outlives_a_connection() {
    for net in STREAMS {
        let endpoint = net.unbound();
        let mut dish = Dish::builder()
            .recv_timeout(LONG)
            .reconnect(ReconnectPolicy::backoff(
                Duration::from_millis(1),
                Duration::from_millis(20),
            ))
            .connect(&endpoint)
            .unwrap();
        dish.join("a").unwrap();
        dish.join("left").unwrap();
        dish.leave("left").unwrap();
        for round in 0..3 {
            let mut radio = Radio::builder().bind(&endpoint).unwrap();
            radio.wait_for_members("a", 1, LONG).unwrap();
            assert_eq!(radio.group_count(), 1);
            radio.send("a", round.to_string()).unwrap();
            expect(&mut dish, "a", &round.to_string());
            radio.close();
            await_true("it is gone", || dish.stats().peers == 0);
        }
    }
}

#[test]
fn a_full_peer_is_left_out_or_waited_for() {
    for net in KINDS {
        for no_drop in [false, true] {
            let mut radio = Radio::builder()
                .no_drop(no_drop)
                .send_hwm(1)
                .bind(net.fresh())
                .unwrap();
            let mut dish = Dish::builder()
                .recv_hwm(1)
                .connect(&radio.bound_endpoints()[0])
                .unwrap();
            dish.join("a").unwrap();
            radio.wait_for_members("a", 1, LONG).unwrap();
            let body = vec![7; 1 << 20];
            let mut sent = 0;
            loop {
                match radio.try_send("a", body.clone()) {
                    Ok(()) if radio.stats().dropped_full > 0 => break,
                    Ok(()) => sent += 1,
                    Err(GroupSendError::Send(error)) => {
                        assert!(no_drop);
                        assert_eq!(error.reason(), SendFailure::WouldBlock);
                        assert_eq!(error.into_message().frame_count(), 2);
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(radio.stats().dropped_full > 0, !no_drop, "{net:?}");
            for _ in 0..sent {
                assert_eq!(dish.recv_timeout(LONG).unwrap().1.len(), body.len());
            }
            radio.send_timeout("a", "small", LONG).unwrap();
        }
    }
}
