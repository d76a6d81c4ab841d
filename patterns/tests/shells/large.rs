//! Requests that are larger than a socket sends.

use sinew_patterns::rpc::{Requester, RequesterConfig};

use super::*;

/// By one octet.
fn too_large() -> Vec<u8> {
    vec![0; (64 << 20) + 1]
}

/// Not that the deadline was over, which it is if this waits for it.
fn expect(result: Result<Message, CallError>) {
    let error = result.unwrap_err();
    let CallError::TooLarge { size, limit } = error else {
        panic!("{error:?}")
    };
    assert_eq!((size, limit), ((64 << 20) + 1, 64 << 20));
    assert!(!error.maybe_executed());
}

#[test]
fn a_call_that_cannot_be_sent_ends_at_once() {
    let context = Context::default();
    let bytes = 256 << 20;
    let server = Server::bind(&context, &["ipc://*"], ServerConfig::default()).unwrap();
    for dialect in [Dialect::Plain, Dialect::Ext] {
        let config = ClientConfig {
            dialect,
            bytes,
            ..ClientConfig::default()
        };
        let client = Client::connect(&context, server.endpoints(), config).unwrap();
        expect(client.call(too_large(), &LONG));
    }
    let config = RequesterConfig::default();
    let mut requester = Requester::connect(&context, server.endpoints(), config).unwrap();
    expect(requester.call(too_large(), &LONG));
    expect(futures::executor::block_on(
        requester.call_async(too_large(), &LONG),
    ));
    let broker = Broker::bind(
        &context,
        &["ipc://*"],
        BrokerEngine::new(BrokerConfig::default()),
    );
    let broker = broker.unwrap();
    for ext in [false, true] {
        let config = mdp::ClientConfig {
            ext,
            bytes,
            ..mdp::ClientConfig::default()
        };
        let client = mdp::Client::connect(&context, broker.endpoints(), config).unwrap();
        expect(client.call("echo", too_large(), &LONG));
        // The same connection is of use for others.
        assert!(!client.available("echo", &LONG).unwrap());
    }
}

/// A server that goes on, and a caller that wants it all.
#[test]
fn a_reply_in_parts_is_put_together_up_to_a_bound() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let serving = serve("ipc://*", ServerConfig::default(), move |request| {
        let parts = match request.body().as_bytes()[0] {
            // Far more than is on its way at once.
            255 => 5000,
            parts => parts.into(),
        };
        for _ in 0..parts {
            if !request.partial(vec![0; 100_000]) {
                let _ = tell.lock().unwrap().send(());
                return Err(Fault::failed("nobody reads it"));
            }
        }
        Ok(request.take_body())
    });
    let config = ClientConfig {
        whole: 1 << 20,
        ..ext()
    };
    let at = [serving.at.clone()];
    let client = Client::connect(&Context::default(), &at, config).unwrap();
    let whole = client.call(vec![10], &LONG).unwrap();
    assert_eq!((whole.frame_count(), whole.byte_len()), (11, 1_000_001));
    let limit = 1 << 20;
    let error = CallError::ReplyTooLarge { limit };
    let frames = |whole: Result<Message, _>| whole.map(|whole| whole.frame_count());
    assert_eq!(frames(client.call(vec![255], &LONG)), Err(error.clone()));
    told.recv().unwrap();
    let whole = futures::executor::block_on(client.call_async(vec![255], &LONG));
    assert_eq!(frames(whole), Err(error));
    // Who takes them as they come takes all.
    assert_eq!(client.call_streaming(vec![20], &LONG).count(), 21);
    serving.handle.stop();
    serving.thread.join().unwrap().unwrap();
}

/// A reply that cannot be sent is a fault, at once, and costs neither connection nor worker.
#[test]
fn a_reply_that_cannot_be_sent_is_a_fault() {
    let options = CallOptions {
        deadline: Duration::from_secs(86_400),
        ..LONG
    };
    let handler = |request: &mut Request| match request.body().as_bytes() {
        b"much" => Ok(too_large().into()),
        _ => Ok(request.take_body()),
    };
    let expect = |result: Result<Message, CallError>| {
        let told = "the reply has 67108865 octets, and its socket sends 67108864";
        match result.unwrap_err() {
            CallError::Remote(Fault { status, reason, .. }) => {
                assert_eq!((status, reason.as_str()), (Status::Failed, told));
            }
            error => panic!("{error:?}"),
        }
    };
    let serving = serve("ipc://*", ServerConfig::default(), handler);
    let at = [serving.at.clone()];
    let client = Client::connect(&Context::default(), &at, ext()).unwrap();
    expect(client.call("much", &options));
    assert_eq!(client.call("x", &LONG).unwrap().as_bytes(), b"x");
    serving.drain();

    let context = Context::default();
    let broker = broker();
    for knows in [true, false] {
        let service = format!("echo {knows}");
        let config = worker_config(knows);
        let at = broker.endpoints();
        let worker = Worker::connect(&context, at, service.as_str(), config).unwrap();
        let handle = worker.handle();
        let thread = thread::spawn(move || worker.serve(handler));
        let config = mdp::ClientConfig {
            ext: knows,
            ..mdp::ClientConfig::default()
        };
        let client = mdp::Client::connect(&context, at, config).unwrap();
        match knows {
            true => expect(client.call(&service, "much", &options)),
            // There is no word for it.
            false => assert!(client
                .call(&service, "much", &options)
                .unwrap()
                .as_bytes()
                .is_empty()),
        }
        let echo = client.call(&service, "x", &LONG).unwrap();
        assert_eq!(echo.as_bytes(), b"x");
        let counters = handle.counters();
        assert_eq!((counters.requests, counters.reconnects), (2, 0));
        handle.stop();
        thread.join().unwrap().unwrap();
    }
}
