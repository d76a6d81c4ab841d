//! Replies in more parts than anybody has room for.

use sinew_patterns::common::Op;

use super::*;

/// More than the queues of the sockets hold, which is 1000 messages each.
const PARTS: u32 = 5000;

/// Sends all parts, tells of each, and how many found somebody who reads them.
fn stream(told: mpsc::Sender<()>) -> impl Fn(&mut Request) -> Result<Message, Fault> {
    let told = Mutex::new(told);
    move |request| {
        for number in 0..PARTS {
            if !request.partial(number.to_be_bytes()) {
                return Err(Fault::failed(format!("{number} is not read")));
            }
            let _ = told.lock().unwrap().send(());
        }
        Ok("end".into())
    }
}

/// Waits until the handler has to wait, or is done. Then reads: parts in order, and the last one. `header` is where it is.
fn read(dealer: &mut Dealer, told: &mpsc::Receiver<()>, header: usize) {
    // That it takes a while proves nothing: who reads too soon finds the same.
    while told.recv_timeout(Duration::from_millis(200)).is_ok() {}
    for expected in 0..=PARTS {
        let message = dealer.recv_timeout(Duration::from_secs(20)).unwrap();
        let ext = Ext::decode(message.frame(header).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(ext.part, Some(expected));
        assert_eq!(ext.status, Some(Status::Ok), "{:?}", ext.reason);
        let body = message.frame(header + 1).unwrap().to_vec();
        match expected == PARTS {
            true => assert_eq!((ext.op, &body[..]), (Op::Final, &b"end"[..])),
            false => assert_eq!(body, expected.to_be_bytes()),
        }
    }
}

fn dealer(context: &Context, at: &Endpoint) -> Dealer {
    let mut dealer = Dealer::builder()
        .context(context)
        .recv_hwm(1)
        .build()
        .unwrap();
    dealer.connect(at).unwrap();
    dealer
}

#[test]
fn a_server_loses_no_part_for_a_client_that_reads_late() {
    let context = Context::default();
    let at = ["inproc://a-server-of-streams"];
    let server = Server::bind(&context, &at, ServerConfig::default()).unwrap();
    let (endpoint, handle) = (server.endpoints()[0].clone(), server.handle());
    let (tell, told) = mpsc::channel();
    let serving = thread::spawn(move || server.serve(stream(tell)));
    let mut dealer = dealer(&context, &endpoint);
    let ext = Ext::default().encode().unwrap();
    let request = [Frame::from("1"), Frame::default(), ext, "x".into()];
    dealer.send(Message::multipart(request)).unwrap();
    read(&mut dealer, &told, 2);
    assert_eq!(handle.counters().undeliverable, 0);
    handle.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_broker_and_its_worker_lose_no_part_for_a_client_that_reads_late() {
    let context = Context::default();
    let engine = mdp::BrokerEngine::new(mdp::BrokerConfig::default());
    let broker = Broker::bind(&context, &["inproc://a-broker-of-streams"], engine).unwrap();
    let at = broker.endpoints().to_vec();
    let worker = Worker::connect(&context, &at, "job", worker_config(true)).unwrap();
    let (tell, told) = mpsc::channel();
    let handle = worker.handle();
    let serving = thread::spawn(move || worker.serve(stream(tell)));
    let mut dealer = dealer(&context, &at[0]);
    let mut ext = Ext::default();
    ext.id = Some(MsgId([1; 16]));
    let ext = ext.encode().unwrap();
    let request = ["", "MDPC01", "job"].map(Frame::from);
    let request = request.into_iter().chain([ext, "x".into()]);
    dealer.send(Message::multipart(request)).unwrap();
    read(&mut dealer, &told, 3);
    assert_eq!(broker.handle().counters().undeliverable, 0);
    assert_eq!(handle.counters().reconnects, 0);
    handle.stop();
    serving.join().unwrap().unwrap();
}
