//! Whether a broker speaks the extension header: `mmi.features` (8/MMI) is asked for `ext/1`. One that does answers 200;
//! one that does not, 501 or 404, or nothing at all.

use sinew::{Frame, Message};

use super::wire::{self, Dialect};

pub(super) fn question(dialect: Dialect) -> Message {
    let service = Frame::from_static(FEATURES);
    wire::encode_call(dialect, &service, vec![Frame::from_static(b"ext/1")])
}

/// What an answer says. `None` if this is none.
pub(super) fn answer(message: Message, dialect: Dialect) -> Option<bool> {
    let reply = wire::decode_to_client(message, dialect).ok()?;
    let last = reply.body.last()?;
    (reply.service == FEATURES && reply.last).then(|| *last == *b"200")
}

const FEATURES: &[u8] = b"mmi.features";

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::common::{
        CallError, CallEvent, CallOptions, Engine, Ext, Idem, MsgId, PeerEvent, Port, RetryPolicy,
    };
    use crate::mdp::{
        ClientConfig, ClientEngine, ClientEvent, WorkerConfig, WorkerEngine, WorkerEvent,
    };

    const V1: Dialect = Dialect::V1;
    const UP: PeerEvent = PeerEvent::Up { peer: None };
    const DOWN: PeerEvent = PeerEvent::Down { peer: None };

    fn said(code: &'static str) -> Message {
        wire::encode_call(V1, &Frame::from_static(FEATURES), vec![code.into()])
    }

    fn sent<E: Engine>(engine: &mut E) -> Option<Message> {
        engine.poll_transmit().map(|transmit| transmit.message)
    }

    fn client(now: Instant) -> ClientEngine {
        let config = ClientConfig {
            ask_ext: true,
            lanes: 1,
            retry: RetryPolicy {
                attempt_timeout: Duration::from_secs(1),
                ..ClientConfig::default().retry
            },
            ..ClientConfig::default()
        };
        let mut client = ClientEngine::new(config, 1, 7);
        client.handle_peer(now, Port(0), UP);
        assert_eq!(sent(&mut client), Some(question(V1)));
        client
    }

    fn call(client: &mut ClientEngine, now: Instant, idem: Idem) {
        let options = CallOptions {
            idem,
            ..CallOptions::default()
        };
        client
            .handle_call(now, "echo", "x".into(), options)
            .unwrap();
    }

    fn ended(client: &mut ClientEngine) -> Result<Message, CallError> {
        match client.poll_event() {
            Some(ClientEvent::Call(CallEvent::Done { result, .. })) => result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_speaks_as_its_broker_does() {
        let now = Instant::now();
        for (code, speaks) in [("200", true), ("404", false), ("501", false)] {
            let mut client = client(now);
            call(&mut client, now, Idem::Safe);
            assert_eq!(sent(&mut client), None, "it waits for the answer");
            client.handle_message(now, Port(0), None, said(code));
            let request = sent(&mut client).expect("the call").into_frames();
            assert_eq!(request.len(), 4 + usize::from(speaks));
            assert_eq!(Ext::is_ext(&request[3]), speaks);
            let later = now + Duration::from_millis(30);
            let body = request[3..].to_vec();
            let reply = wire::encode_call(V1, &"echo".into(), body);
            client.handle_message(later, Port(0), None, reply);
            assert_eq!(ended(&mut client), Ok("x".into()));
            let rtt = client.counters().rtt;
            assert_eq!((rtt.count, rtt.longest), (1, later - now));
            // Behind a new connection there may be another broker.
            client.handle_peer(later, Port(0), DOWN);
            client.handle_peer(later, Port(0), UP);
            assert_eq!(sent(&mut client), Some(question(V1)));
        }
    }

    #[test]
    fn a_broker_that_does_not_say_is_spoken_to_without() {
        let now = Instant::now();
        let mut client = client(now);
        call(&mut client, now, Idem::Safe);
        let late = now + Duration::from_secs(1);
        assert_eq!(client.poll_timeout(), Some(late));
        client.handle_timeout(late);
        let request = sent(&mut client).expect("the call");
        assert_eq!(request.frame_count(), 4);
        // The answer is too late, and none to what the caller asks.
        client.handle_message(late, Port(0), None, said("200"));
        assert_eq!(client.poll_event(), None);
        assert_eq!(client.counters().malformed, 0);
        client.handle_message(late, Port(0), None, request);
        assert_eq!(ended(&mut client), Ok("x".into()));
    }

    #[test]
    fn a_key_needs_a_broker_that_can_be_told() {
        let (now, key) = (Instant::now(), Idem::Key(MsgId([1; 16])));
        let mut client = client(now);
        call(&mut client, now, key);
        client.handle_message(now, Port(0), None, said("501"));
        assert_eq!(ended(&mut client), Err(CallError::NeedsExt));
        assert_eq!((sent(&mut client), client.running()), (None, 0));
        assert_eq!(client.counters().attempts, 0);
        client.handle_peer(now, Port(0), DOWN);
        client.handle_peer(now, Port(0), UP);
        client.handle_message(now, Port(0), None, said("200"));
        assert_eq!(sent(&mut client), Some(question(V1)));
        call(&mut client, now, key);
        assert!(sent(&mut client).is_some());
    }

    /// What the worker opens next.
    fn opened(worker: &mut WorkerEngine) -> Port {
        loop {
            match worker.poll_event() {
                Some(WorkerEvent::Open { port, .. }) => return port,
                Some(WorkerEvent::Close { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_worker_speaks_as_its_broker_does() {
        let now = Instant::now();
        let config = WorkerConfig {
            ask_ext: true,
            ..WorkerConfig::default()
        };
        let mut worker = WorkerEngine::new(config, "echo", 1, 7, now);
        let mut port = opened(&mut worker);
        for (code, speaks) in [(Some("200"), true), (Some("501"), false), (None, false)] {
            worker.handle_peer(now, port, UP);
            assert_eq!(sent(&mut worker), Some(question(V1)));
            match code {
                Some(code) => worker.handle_message(now, port, None, said(code)),
                None => {
                    let silent = worker.poll_timeout().expect("it does not wait for ever");
                    worker.handle_timeout(silent);
                }
            }
            let asked = port;
            port = opened(&mut worker);
            assert_ne!(port, asked, "a connection of its own");
            worker.handle_peer(now, port, UP);
            let ready = sent(&mut worker).expect("READY");
            assert_eq!(ready.frame_count(), 4 + usize::from(speaks));
            // What comes next has to be asked again.
            worker.handle_peer(now, port, DOWN);
            port = opened(&mut worker);
        }
        // It ends while it asks.
        worker.handle_peer(now, port, UP);
        assert_eq!(sent(&mut worker), Some(question(V1)));
        worker.handle_drain(now);
        let events: Vec<_> = std::iter::from_fn(|| worker.poll_event()).collect();
        assert_eq!(events, [WorkerEvent::Close { port }, WorkerEvent::Drained]);
        assert_eq!(sent(&mut worker), None, "it was never registered");
    }
}
