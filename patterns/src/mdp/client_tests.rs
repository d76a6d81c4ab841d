//! What becomes of words to a broker about calls that were given up, if it has no room for them.

use std::time::Duration;

use super::*;

const BROKER: Port = Port(0);

fn client(now: Instant) -> ClientEngine {
    let config = ClientConfig {
        ext: true,
        ..ClientConfig::default()
    };
    let mut client = ClientEngine::new(config, 1, 7);
    client.handle_peer(now, BROKER, PeerEvent::Up { peer: None });
    client
}

fn asks(client: &mut ClientEngine, now: Instant) -> CallId {
    let options = CallOptions {
        idem: Idem::Key(KEY),
        ..CallOptions::default()
    };
    let call = client
        .handle_call(now, "echo", "x".into(), options)
        .unwrap();
    assert_eq!(said(client).as_deref(), Some(&[(Op::Call, KEY)][..]));
    call
}

const KEY: MsgId = MsgId([7; 16]);

/// What all that is sent is about; `None` if that is nothing.
fn said(client: &mut ClientEngine) -> Option<Vec<(Op, MsgId)>> {
    let mut all = Vec::new();
    while let Some(transmit) = client.poll_transmit() {
        all.push(read(&transmit));
    }
    (!all.is_empty()).then_some(all)
}

fn read(transmit: &Transmit) -> (Op, MsgId) {
    let ext = Ext::decode(transmit.message.frame(3).unwrap());
    let ext = ext.unwrap().unwrap();
    (ext.op, ext.id.unwrap())
}

/// A call that was given up, of which the broker cannot be told now.
fn untold(client: &mut ClientEngine, now: Instant) {
    let call = asks(client, now);
    client.handle_cancel(now, call);
    let cancel = client.poll_transmit().unwrap();
    assert_eq!(read(&cancel), (Op::Cancel, KEY));
    client.handle_full(now, cancel);
    assert_eq!(said(client), None);
}

#[test]
fn a_cancel_that_finds_no_room_is_sent_when_there_is() {
    let now = Instant::now();
    let mut client = client(now);
    untold(&mut client, now);
    client.handle_room(now, BROKER, None);
    assert_eq!(said(&mut client), Some(vec![(Op::Cancel, KEY)]));
    client.handle_room(now, BROKER, None);
    assert_eq!(said(&mut client), None, "once");

    untold(&mut client, now);
    let late = now + CallOptions::default().deadline;
    client.handle_room(late, BROKER, None);
    assert_eq!(said(&mut client), None, "its deadline is over");

    untold(&mut client, now);
    client.handle_peer(now, BROKER, PeerEvent::Down { peer: None });
    client.handle_peer(now, BROKER, PeerEvent::Up { peer: None });
    client.handle_room(now, BROKER, None);
    assert_eq!(said(&mut client), None, "its connection is lost");
}

/// What was given up and is asked again under the same key is not given up.
#[test]
fn a_key_that_is_asked_again_is_not_cancelled() {
    let now = Instant::now();
    let mut client = client(now);
    untold(&mut client, now);
    asks(&mut client, now + Duration::from_millis(1));
    client.handle_room(now, BROKER, None);
    assert_eq!(said(&mut client), None);
}
