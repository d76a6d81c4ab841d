//! The thinnest slice: each pattern over each transport.

use std::time::Duration;

use sinew::{Pub, Pull, Push, Rep, Req, Sub};

const LONG: Duration = Duration::from_secs(20);

fn endpoints(name: &str) -> [String; 3] {
    [
        "tcp://127.0.0.1:*".into(),
        "ipc://*".into(),
        format!("inproc://{name}"),
    ]
}

#[test]
fn push_pull() {
    for at in endpoints("smoke-push-pull") {
        let mut pull = Pull::new();
        let endpoint = pull.bind(&at).unwrap();
        let mut push = Push::new();
        push.connect(&endpoint).unwrap();
        let t = std::thread::spawn(move || {
            for i in 0..100_000u32 {
                push.send(i.to_le_bytes()).unwrap();
            }
            assert_eq!(push.close().unsent, 0);
        });
        for i in 0..100_000u32 {
            let m = pull
                .recv_timeout(LONG)
                .unwrap_or_else(|e| panic!("{at}: {i}: {e}"));
            assert_eq!(m.as_bytes(), i.to_le_bytes());
        }
        t.join().unwrap();
    }
}

#[test]
fn req_rep() {
    for at in endpoints("smoke-req-rep") {
        let mut rep = Rep::new();
        let endpoint = rep.bind(&at).unwrap();
        let mut req = Req::new();
        req.connect(&endpoint).unwrap();
        let t = std::thread::spawn(move || {
            for _ in 0..1000 {
                let m = rep.recv().unwrap();
                rep.send(m).unwrap();
            }
            rep.close();
        });
        for i in 0..1000u32 {
            let m = req
                .request(i.to_le_bytes(), LONG)
                .unwrap_or_else(|e| panic!("{at}: {i}: {e}"));
            assert_eq!(m.as_bytes(), i.to_le_bytes());
        }
        t.join().unwrap();
    }
}

#[test]
fn pub_sub() {
    for at in endpoints("smoke-pub-sub") {
        let mut publisher = Pub::builder().no_drop(true).bind(&at).unwrap();
        let mut sub = Sub::new();
        sub.subscribe("a");
        sub.connect(&publisher.bound_endpoints()[0]).unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        let t = std::thread::spawn(move || {
            for i in 0..10_000u32 {
                publisher
                    .send(format!("{}{i}", if i % 2 == 0 { "a" } else { "b" }))
                    .unwrap();
            }
            assert_eq!(publisher.close().unsent, 0);
        });
        for i in (0..10_000u32).step_by(2) {
            let m = sub
                .recv_timeout(LONG)
                .unwrap_or_else(|e| panic!("{at}: {i}: {e}"));
            assert_eq!(m.frame(0).unwrap(), format!("a{i}").as_str());
        }
        t.join().unwrap();
    }
}
