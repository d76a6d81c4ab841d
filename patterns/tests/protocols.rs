//! The dumps of `docs/protocols` against what the library says and understands.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use sinew::{Frame, Message};
use sinew_patterns::common::{
    CallEvent, CallOptions, Engine, Ext, ExtIdem, Fault, Idem, MsgId, Op, PeerEvent, PeerId, Port,
};
use sinew_patterns::flow::{
    CreditInlet, CreditOutlet, InletEvent, TokenConfig, TokenMint, TokenPurse,
};
use sinew_patterns::mdp::{BrokerConfig, BrokerEngine, WorkerConfig, WorkerEngine, WorkerEvent};
use sinew_patterns::rpc::{
    ClientConfig, ClientEngine, Dialect, ServerConfig, ServerEngine, ServerEvent,
};

const PORT: Port = Port(0);

/// The dumps of a page, by name.
struct Page(BTreeMap<String, Message>);

impl Page {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocols");
        let text = std::fs::read_to_string(path.join(name)).unwrap();
        let blocks = text.split("```frames ").skip(1).map(|block| {
            let (block, _) = block.split_once("```").expect("it has an end");
            let (name, dump) = block.split_once('\n').expect("it has a name");
            (name.to_owned(), message(dump))
        });
        Page(blocks.collect())
    }

    /// Each dump is looked at by some test: what is not taken fails it.
    fn take(&mut self, name: &str) -> Message {
        self.0
            .remove(name)
            .unwrap_or_else(|| panic!("no dump {name}"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let left: Vec<&String> = self.0.keys().collect();
        assert!(std::thread::panicking() || left.is_empty(), "{left:?}");
    }
}

/// A line that is not indented begins a frame.
fn message(dump: &str) -> Message {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for line in dump.lines() {
        let octets = line.split(';').next().unwrap_or_default();
        if !line.starts_with(' ') {
            frames.push(Vec::new());
        }
        let octets = octets.split_whitespace().filter(|word| *word != "-");
        let octets = octets.map(|word| u8::from_str_radix(word, 16).expect(line));
        frames.last_mut().expect("a frame has begun").extend(octets);
    }
    Message::multipart(frames)
}

fn sent(engine: &mut impl Engine) -> Message {
    engine.poll_transmit().expect("something to send").message
}

#[test]
fn ext() {
    let mut page = Page::read("ext.md");
    let mut ext = Ext::default();
    ext.id = Some(MsgId(std::array::from_fn(|octet| octet as u8)));
    ext.deadline = Some(Duration::from_millis(1500));
    ext.idem = Some(ExtIdem::Key);
    ext.attempt = Some(2);
    let frame = page.take("ext").into_frames().remove(0);
    assert_eq!(Ext::decode(&frame), Ok(Some(ext.clone())));
    assert_eq!(ext.encode(), Ok(frame));
}

#[test]
fn requests() {
    let mut page = Page::read("rpc.md");
    let (now, peer) = (Instant::now(), PeerId::from("client"));
    // The client says what is there but for the name, which is its own.
    let config = ClientConfig {
        dialect: Dialect::Ext,
        ..ClientConfig::default()
    };
    let mut client = ClientEngine::new(config, 1, 7);
    client.handle_peer(now, PORT, PeerEvent::Up { peer: None });
    let options = CallOptions {
        deadline: Duration::from_millis(1000),
        ..CallOptions::default()
    };
    let begin = |client: &mut ClientEngine| {
        let call = client.handle_call(now, "hello".into(), options.clone());
        let request = sent(client);
        (call.unwrap(), request)
    };
    let renamed = |message: &Message, name: &Frame| {
        let mut frames = message.clone().into_frames();
        assert_eq!((frames[0].len(), name.len()), (8, 8));
        frames[0] = name.clone();
        Message::from_frames(frames)
    };
    let (call, said) = begin(&mut client);
    let own = said.frames()[0].clone();
    let request = page.take("request");
    assert_eq!(said, renamed(&request, &own));

    // The server takes it, and replies in parts.
    let config = ServerConfig {
        concurrency: 1,
        ..ServerConfig::default()
    };
    let mut server = ServerEngine::new(config);
    let given = |server: &mut ServerEngine| {
        server.handle_message(now, PORT, Some(&peer), request.clone());
        match server.poll_event() {
            Some(ServerEvent::Request(request)) => request,
            other => panic!("{other:?} instead of a request"),
        }
    };
    let first = given(&mut server);
    assert_eq!(first.body, "hello".into());
    assert_eq!(first.deadline, Some(now + Duration::from_millis(1000)));
    assert!(server.handle_partial(first.id, &"wor".into()));
    let (part, last) = (page.take("part"), page.take("last"));
    assert_eq!(sent(&mut server), part);
    server.handle_reply(now, first.id, "ld".into());
    assert_eq!(sent(&mut server), last);
    let declined = page.take("declined");
    let second = given(&mut server);
    let fault = Fault::rejected(Duration::from_millis(100), "");
    server.handle_fault(now, second.id, fault);
    let said = sent(&mut server);
    // With the reason, which is empty here.
    let Ok(Some(mut ext)) = Ext::decode(&said.frames()[2]) else {
        panic!("a header");
    };
    assert_eq!(ext.reason.take().as_deref(), Some(""));
    assert_eq!(declined.frames()[2], ext.encode().unwrap());

    // The client understands all of it.
    client.handle_message(now, PORT, None, renamed(&part, &own));
    client.handle_message(now, PORT, None, renamed(&last, &own));
    let part = CallEvent::Partial {
        call,
        message: "wor".into(),
    };
    assert_eq!(client.poll_event(), Some(part));
    let done = CallEvent::Done {
        call,
        result: Ok("ld".into()),
    };
    assert_eq!(client.poll_event(), Some(done));
    let (_, said) = begin(&mut client);
    let name = said.frames()[0].clone();
    client.handle_message(now, PORT, None, renamed(&declined, &name));
    assert_eq!(client.counters().rejected, 1);
    assert_eq!(
        client.poll_timeout(),
        Some(now + Duration::from_millis(100))
    );

    // It gives a call up.
    let cancel = page.take("cancel");
    let (call, said) = begin(&mut client);
    client.handle_cancel(now, call);
    assert_eq!(sent(&mut client), renamed(&cancel, &said.frames()[0]));
    let third = given(&mut server);
    server.handle_message(now, PORT, Some(&peer), cancel);
    let cancelled = ServerEvent::Cancelled(third.id);
    assert_eq!(server.poll_event(), Some(cancelled));
}

#[test]
fn majordomo() {
    let mut page = Page::read("mdp.md");
    let now = Instant::now();
    let config = WorkerConfig {
        ext: true,
        ..WorkerConfig::default()
    };
    let mut worker = WorkerEngine::with_slots(config, "echo", 1, 7, now, 2);
    let Some(WorkerEvent::Open { port, .. }) = worker.poll_event() else {
        panic!("a socket");
    };
    worker.handle_peer(now, port, PeerEvent::Up { peer: None });
    let ready = page.take("ready");
    assert_eq!(sent(&mut worker), ready);

    let mut broker = BrokerEngine::new(BrokerConfig::default());
    let (them, us) = (PeerId::from("worker"), PeerId::from("client"));
    broker.handle_message(now, PORT, Some(&them), ready);
    let call = page.take("call");
    broker.handle_message(now, PORT, Some(&us), call.clone());
    let given = page.take("given");
    assert_eq!(sent(&mut broker), given);

    worker.handle_message(now, port, None, given);
    let Some(WorkerEvent::Request(request)) = worker.poll_event() else {
        panic!("a request");
    };
    assert_eq!((request.body, request.delivery), ("hello".into(), Some(1)));
    assert!(worker.handle_extend(now, request.id, Duration::from_secs(60)));
    let longer = page.take("longer");
    assert_eq!(sent(&mut worker), longer);
    broker.handle_message(now, PORT, Some(&them), longer);
    assert_eq!(broker.counters().malformed, 0);
    worker.handle_reply(now, request.id, "world".into());
    let reply = page.take("reply");
    assert_eq!(sent(&mut worker), reply);
    broker.handle_message(now, PORT, Some(&them), reply);
    let answer = page.take("answer");
    assert_eq!(sent(&mut broker), answer);

    broker.handle_message(now, PORT, Some(&us), call);
    worker.handle_message(now, port, None, sent(&mut broker));
    let mut cancel = Ext::default();
    (cancel.id, cancel.op) = (Some(MsgId([7; 16])), Op::Cancel);
    let head = ["", "MDPC01", "-"].map(Frame::from).into_iter();
    let cancel = Message::multipart(head.chain([cancel.encode().unwrap()]));
    broker.handle_message(now, PORT, Some(&us), cancel);
    let unwanted = page.take("unwanted");
    assert_eq!(sent(&mut broker), unwanted);
    worker.handle_message(now, port, None, unwanted);
    let events = [worker.poll_event(), worker.poll_event()];
    let [Some(WorkerEvent::Request(request)), Some(WorkerEvent::Cancelled(id))] = events else {
        panic!("it is given, and taken back: {events:?}");
    };
    assert_eq!(id, request.id);

    // A client of ours takes the answer, and calls like that.
    let config = sinew_patterns::mdp::ClientConfig {
        ext: true,
        ..sinew_patterns::mdp::ClientConfig::default()
    };
    let mut client = sinew_patterns::mdp::ClientEngine::new(config, 1, 7);
    client.handle_peer(now, PORT, PeerEvent::Up { peer: None });
    let options = CallOptions {
        idem: Idem::Key(MsgId([7; 16])),
        deadline: Duration::from_millis(1000),
        ..CallOptions::default()
    };
    client
        .handle_call(now, "echo", "hello".into(), options)
        .unwrap();
    let said = sent(&mut client);
    assert_eq!(said.frame_count(), 5);
    client.handle_message(now, PORT, None, answer);
    assert_eq!(client.counters().replies, 1);
}

#[test]
fn tokens() {
    let mut page = Page::read("tokens.md");
    let start = Instant::now();
    let mut mint = TokenMint::new(Duration::from_secs(1));
    mint.set_bucket("api", 10.0, 4, start);
    let now = start + Duration::from_secs(1);
    let mut purse = TokenPurse::new("api", TokenConfig::default());
    let take = purse.poll_request(now).unwrap();
    assert_eq!(take, page.take("take"));
    let ok = mint.handle_request(now, &take);
    assert_eq!(ok, page.take("ok"));
    purse.handle_reply(now, &ok).unwrap();
    purse.try_take(now, 3).unwrap();
    let give = purse.give_back(now).unwrap();
    assert_eq!(give, page.take("give"));
    assert_eq!(mint.handle_request(now, &give), page.take("given"));
    let take = |n: u32| Message::multipart([&b"TAKE"[..], b"api", &n.to_be_bytes()]);
    let granted = mint.handle_request(now, &take(2));
    assert_eq!(granted.frames()[1], 1u32.to_be_bytes());
    assert_eq!(mint.handle_request(now, &take(2)), page.take("no"));
    let rubbish = mint.handle_request(now, &"rubbish".into());
    assert_eq!(
        rubbish,
        Message::multipart([&b"NO"[..], b"\xff\xff\xff\xff"])
    );
}

#[test]
fn credit() {
    let mut page = Page::read("credit.md");
    let (now, peer) = (Instant::now(), PeerId::from("sender"));
    let (mut outlet, mut inlet) = (CreditOutlet::new(), CreditInlet::new(100));
    let up = PeerEvent::Up {
        peer: Some(peer.clone()),
    };
    inlet.handle_peer(now, PORT, up);
    let window = page.take("window");
    assert_eq!(sent(&mut inlet), window);
    outlet.handle_message(now, PORT, None, window);
    for octets in [60, 30] {
        outlet.try_send(vec![0; octets].into()).unwrap();
        inlet.handle_message(now, PORT, Some(&peer), sent(&mut outlet));
    }
    assert_eq!(outlet.credit(), 10);
    let Some(InletEvent::Delivery(first)) = inlet.poll_event() else {
        panic!("a message");
    };
    inlet.handle_consumed(&first);
    let grant = page.take("grant");
    assert_eq!(sent(&mut inlet), grant);
    outlet.handle_message(now, PORT, None, grant);
    assert_eq!(outlet.credit(), 70);
}
