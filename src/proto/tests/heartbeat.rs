//! Heartbeats in virtual time.

use std::time::Duration;

use bytes::BytesMut;

use super::errors::ready;
use crate::proto::testing::{origin, Pair};
use crate::proto::{Connection, ConnectionConfig, TimedOut};
use crate::socket_type::SocketType;

const PING: &[u8] = b"\x04\x07\x04PING\0\0";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Heartbeats of a PULL: every second, with a time-out of two and a half.
fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig::new(SocketType::Pull);
    config.heartbeat_interval = Some(SECOND);
    config.heartbeat_timeout = Some(2500 * MS);
    config
}

fn off(socket_type: SocketType) -> ConnectionConfig {
    let mut config = ConnectionConfig::new(socket_type);
    config.heartbeat_interval = None;
    config
}

fn connect(config: ConnectionConfig, minor: u8) -> Connection {
    ready(config, SocketType::Push, minor)
}

fn sent(connection: &mut Connection) -> Vec<u8> {
    let mut out = BytesMut::new();
    connection.poll_transmit(&mut out);
    out.to_vec()
}

/// Lets timers fire until `until`; returns when `PING`s were sent, and when the connection was
/// given up.
fn run(connection: &mut Connection, until: Duration) -> (Vec<Duration>, Option<Duration>) {
    let mut pings = Vec::new();
    while let Some(at) = connection.poll_timeout() {
        let after = at - origin();
        if after > until {
            break;
        }
        if let Err(error) = connection.handle_timeout(at) {
            assert_eq!(error, TimedOut::Heartbeat.into());
            assert_eq!(error.monitor_code(), None);
            return (pings, Some(after));
        }
        for _ in 0..sent(connection).chunks(PING.len()).count() {
            pings.push(after);
        }
    }
    (pings, None)
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut connection = connect(config(), 1);
    let (pings, lost) = run(&mut connection, 100 * SECOND);
    assert_eq!(pings, [SECOND, 2 * SECOND, 3 * SECOND]);
    assert_eq!(lost, Some(3500 * MS));
}

#[test]
fn any_traffic_keeps_a_peer() {
    let mut connection = connect(config(), 1);
    for i in 1..100 {
        // Just in time after the PING of each second third.
        let (_, lost) = run(&mut connection, i * 3 * SECOND);
        assert_eq!(lost, None);
        connection.handle_traffic(origin() + i * 3 * SECOND);
    }
}

/// What comes in tells that the peer lives, and nothing of whether it hears.
#[test]
fn pings_go_on_under_steady_input() {
    let mut connection = connect(config(), 1);
    let mut pings = Vec::new();
    for i in 1..=100 {
        let now = i * 100 * MS;
        let (more, lost) = run(&mut connection, now);
        assert_eq!(lost, None);
        pings.extend(more);
        connection.handle_traffic(origin() + now);
    }
    let every_second: Vec<_> = (1..=10).map(|i| i * SECOND).collect();
    assert_eq!(pings, every_second);
}

#[test]
fn a_command_is_traffic() {
    let mut connection = connect(config(), 1);
    assert_eq!(run(&mut connection, 3 * SECOND).1, None);
    let now = origin() + 3400 * MS;
    assert_eq!(connection.handle_command(b"\x04PONG", now), Ok(()));
    assert_eq!(run(&mut connection, 100 * SECOND).1, Some(6500 * MS));
}

#[test]
fn the_timeout_defaults_to_the_interval_and_zero_is_for_ever() {
    let mut c = config();
    c.heartbeat_timeout = None;
    assert_eq!(run(&mut connect(c, 1), 100 * SECOND).1, Some(2 * SECOND));

    let mut c = config();
    c.heartbeat_timeout = Some(Duration::ZERO);
    let (pings, lost) = run(&mut connect(c, 1), 100 * SECOND);
    assert_eq!((pings.len(), lost), (100, None));
}

#[test]
fn without_an_interval_there_are_no_timers() {
    for interval in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        let mut c = config();
        c.heartbeat_interval = interval;
        assert_eq!(connect(c, 1).poll_timeout(), None);
    }
}

#[test]
fn a_peer_of_version_3_0_is_never_pinged_but_answered() {
    let mut connection = connect(config(), 0);
    assert_eq!(connection.poll_timeout(), None);
    connection.set_paused(true, origin());
    assert_eq!(connection.poll_timeout(), None);
    connection.set_paused(false, origin());
    let ping = b"\x04PING\0\x0ahello";
    assert_eq!(connection.handle_command(ping, origin()), Ok(()));
    assert_eq!(sent(&mut connection), b"\x04\x0a\x04PONGhello");
    connection.set_paused(true, origin());
    assert_eq!(connection.poll_timeout(), None);
    connection.set_paused(false, origin());
    // What it says about itself counts.
    assert_eq!(run(&mut connection, 100 * SECOND), (vec![], Some(SECOND)));
}

#[test]
fn our_ping_carries_our_ttl() {
    let mut c = config();
    c.heartbeat_ttl = Duration::from_millis(6_553_599);
    let mut connection = connect(c, 1);
    assert_eq!(connection.handle_timeout(origin() + SECOND), Ok(()));
    assert_eq!(sent(&mut connection), b"\x04\x07\x04PING\xff\xff");
}

#[test]
fn the_ttl_of_the_peer_is_honoured_up_to_its_maximum() {
    for (octets, ttl) in [
        (b"\0\x01", 100 * MS),
        (b"\x01\0", 25_600 * MS),
        (b"\xff\xff", 6_553_500 * MS),
    ] {
        let mut connection = connect(off(SocketType::Pull), 1);
        let ping = [&b"\x04PING"[..], octets].concat();
        assert_eq!(connection.handle_command(&ping, origin()), Ok(()));
        assert_eq!(sent(&mut connection), b"\x04\x05\x04PONG");
        assert_eq!(connection.poll_timeout(), Some(origin() + ttl));
        assert_eq!(connection.handle_timeout(origin() + ttl - MS), Ok(()));
        let error = connection.handle_timeout(origin() + ttl);
        assert_eq!(error, Err(TimedOut::Heartbeat.into()));

        // Traffic after the PING disarms it, and so does a PING that says nothing.
        let mut connection = connect(off(SocketType::Pull), 1);
        assert_eq!(connection.handle_command(&ping, origin()), Ok(()));
        connection.handle_traffic(origin());
        assert_eq!(connection.poll_timeout(), None);
        assert_eq!(connection.handle_command(&ping, origin()), Ok(()));
        let nothing = connection.handle_command(b"\x04PING\0\0", origin());
        assert_eq!(nothing, Ok(()));
        assert_eq!(connection.poll_timeout(), None);
    }
}

#[test]
fn a_flood_of_pings_is_one_pong_the_latest() {
    let mut connection = connect(config(), 1);
    for i in 0..100_000u32 {
        let ping = [&b"\x04PING\0\x0a"[..], &i.to_be_bytes()].concat();
        assert_eq!(connection.handle_command(&ping, origin()), Ok(()));
        assert_eq!(connection.poll_event(), None);
    }
    let latest = [&b"\x04\x09\x04PONG"[..], &99_999u32.to_be_bytes()].concat();
    assert_eq!(sent(&mut connection), latest);
    assert_eq!(sent(&mut connection), b"");
}

#[test]
fn pings_that_cannot_be_sent_do_not_pile_up() {
    let mut c = config();
    c.heartbeat_timeout = Some(Duration::ZERO);
    let mut connection = connect(c, 1);
    for i in 1..1000 {
        assert_eq!(connection.handle_timeout(origin() + i * SECOND), Ok(()));
    }
    assert_eq!(sent(&mut connection), PING);
}

#[test]
fn a_late_timer_sends_one_ping() {
    let mut c = config();
    c.heartbeat_timeout = Some(Duration::ZERO);
    let mut connection = connect(c, 1);
    let late = origin() + 100 * SECOND;
    assert_eq!(connection.handle_timeout(late), Ok(()));
    assert_eq!(sent(&mut connection), PING);
    assert_eq!(connection.poll_timeout(), Some(late + SECOND));
}

#[test]
fn a_write_that_gets_on_is_life_and_one_that_does_not_is_none() {
    let mut connection = connect(config(), 1);
    // A PING waits behind a large frame; nothing is handed out.
    for i in 1..=30 {
        assert_eq!(connection.handle_timeout(origin() + i * SECOND), Ok(()));
        connection.handle_write_progress();
    }
    // Then the link dies: armed at 31 s, given up at 33.5 s.
    for i in 31..=33 {
        assert_eq!(connection.handle_timeout(origin() + i * SECOND), Ok(()));
    }
    let at = origin() + 33_500 * MS;
    assert_eq!(connection.poll_timeout(), Some(at));
    assert!(connection.handle_timeout(at).is_err());
}

#[test]
fn a_write_that_gets_on_does_not_extend_what_the_peer_promised() {
    let mut connection = connect(off(SocketType::Pull), 1);
    let ping = b"\x04PING\0\x0a";
    assert_eq!(connection.handle_command(ping, origin()), Ok(()));
    connection.handle_write_progress();
    assert_eq!(connection.poll_timeout(), Some(origin() + SECOND));
}

#[test]
fn nothing_expires_while_reading_is_paused() {
    let mut connection = connect(config(), 1);
    let (_, lost) = run(&mut connection, 3400 * MS);
    assert_eq!(lost, None);
    // 100 ms before the end.
    connection.set_paused(true, origin() + 3400 * MS);
    let (pings, lost) = run(&mut connection, 3600 * SECOND);
    assert_eq!(lost, None);
    assert_eq!(pings.len(), 3597);
    // Afresh: the whole time-out again, from now.
    connection.set_paused(false, origin() + 3600 * SECOND);
    let (_, lost) = run(&mut connection, 7200 * SECOND);
    assert_eq!(lost, Some(3602 * SECOND + 500 * MS));
}

#[test]
fn pausing_twice_is_pausing_once() {
    let mut connection = connect(config(), 1);
    connection.set_paused(false, origin() + 500 * MS);
    assert_eq!(connection.poll_timeout(), Some(origin() + SECOND));
    connection.set_paused(true, origin() + 500 * MS);
    connection.set_paused(true, origin() + 900 * MS);
    assert_eq!(connection.poll_timeout(), Some(origin() + SECOND));
}

#[test]
fn a_paused_end_shows_life_as_often_as_the_peer_needs() {
    for (c, ttl, period) in [
        // Whether or not heartbeats of our own are configured.
        (off(SocketType::Pull), b"\0\x0a", 500 * MS),
        (config(), b"\0\x0a", 500 * MS),
        (config(), b"\xff\xff", SECOND),
        (config(), b"\0\0", SECOND),
    ] {
        let mut connection = connect(c, 1);
        let ping = [&b"\x04PING"[..], ttl].concat();
        assert_eq!(connection.handle_command(&ping, origin()), Ok(()));
        sent(&mut connection);
        connection.set_paused(true, origin());
        let (pings, lost) = run(&mut connection, 10 * SECOND);
        let expect: Vec<_> = (1..)
            .map(|i| period * i)
            .take_while(|at| *at <= 10 * SECOND)
            .collect();
        assert_eq!((pings, lost), (expect, None));
    }
}

#[test]
fn a_ping_found_while_paused_is_answered_and_sets_the_pace() {
    let mut connection = connect(off(SocketType::Pull), 1);
    connection.set_paused(true, origin());
    assert_eq!(connection.poll_timeout(), None);
    let ping = b"\x04PING\0\x02";
    assert_eq!(connection.handle_command(ping, origin()), Ok(()));
    assert_eq!(sent(&mut connection), b"\x04\x05\x04PONG");
    assert_eq!(connection.poll_timeout(), Some(origin() + 100 * MS));
    // The peer's promise counts from the end of the pause.
    connection.set_paused(false, origin() + SECOND);
    assert_eq!(connection.poll_timeout(), Some(origin() + 1200 * MS));
}

#[test]
fn two_idle_ends_keep_each_other() {
    let mut a = config();
    a.heartbeat_timeout = None;
    let mut b = a.clone();
    b.socket_type = SocketType::Push;
    b.heartbeat_ttl = SECOND;
    let mut pair = Pair::ready(a, b, 1);
    pair.advance(1000 * SECOND);
    assert_eq!((&pair.ends[0].error, &pair.ends[1].error), (&None, &None));
    // A PING and a PONG a second.
    for end in &pair.ends {
        assert!((15_000..17_000).contains(&end.sent.len()));
    }
}

#[test]
fn a_dead_link_is_noticed_by_both() {
    let mut b = config();
    b.socket_type = SocketType::Push;
    let mut pair = Pair::ready(config(), b, 2);
    for end in &mut pair.ends {
        end.cut_after = Some(0);
    }
    pair.advance(4 * SECOND);
    for end in &pair.ends {
        assert_eq!(end.error, Some(TimedOut::Heartbeat.into()));
    }
}

#[test]
fn a_paused_reader_is_not_mistaken_for_a_dead_one() {
    // The PUSH pings every second and gives up after a second; its PINGs say a second, too. The
    // PULL stops reading for a minute.
    let mut push = config();
    push.socket_type = SocketType::Push;
    push.heartbeat_timeout = Some(SECOND);
    push.heartbeat_ttl = SECOND;
    for pull in [config(), off(SocketType::Pull)] {
        let mut pair = Pair::ready(pull, push.clone(), 3);
        pair.advance(3 * SECOND);
        pair.set_paused(0, true);
        pair.advance(60 * SECOND);
        pair.set_paused(0, false);
        pair.advance(60 * SECOND);
        assert_eq!((&pair.ends[0].error, &pair.ends[1].error), (&None, &None));
    }
}
