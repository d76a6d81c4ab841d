//! A thousand requests at once, while workers are killed: each ends, with 200 or with a reason.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../../tests/support/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use process::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Reached only if something hangs: every request has a deadline of 10 s.
const WATCHDOG: Duration = Duration::from_secs(60);

const CLIENTS: u64 = 1000;

fn start(args: &[&str]) -> Running {
    Running::start(Command::new(env!("CARGO_BIN_EXE_sinew-axum-service")).args(args))
}

/// The service, without workers of its own; where clients ask, and where workers connect.
fn service() -> (Running, String, String) {
    let service = start(&["--listen", "127.0.0.1:0", "--workers", "0"]);
    let http = service.line().replace("http://", "");
    let workers = service.line();
    (service, http, workers)
}

/// One request over a connection of its own: the status, and the body.
async fn ask(address: &str, path: &str) -> (u16, String) {
    let answer = async {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    };
    let answer = tokio::time::timeout(WATCHDOG, answer).await;
    answer.unwrap_or_else(|_| panic!("{path} hangs"))
}

fn run(test: impl std::future::Future) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn a_thousand_requests_end_while_workers_are_killed() {
    let (_service, http, workers) = service();
    let mut pool = [(); 3].map(|()| Some(start(&["worker", &workers])));
    run(async {
        // All have come: three that were asked one after the other were three.
        for n in 0..30 {
            assert_eq!(ask(&http, &format!("/square/{n}")).await.0, 200);
        }
        let (done, mut answers) = mpsc::unbounded_channel();
        for n in 0..CLIENTS {
            let (http, done) = (http.clone(), done.clone());
            tokio::spawn(async move {
                let kind = if n % 2 == 0 { "square" } else { "once" };
                let (status, body) = ask(&http, &format!("/{kind}/{n}")).await;
                done.send((n, kind, status, body)).unwrap();
            });
        }
        drop(done);
        let mut counts = BTreeMap::<_, u64>::new();
        let mut ended = 0;
        while let Some((n, kind, status, body)) = answers.recv().await {
            if status == 200 {
                assert_eq!(body, (n * n).to_string());
            }
            *counts.entry((kind, status)).or_default() += 1;
            ended += 1;
            // While hundreds wait for them.
            match ended {
                100 => drop(pool[0].take()),
                300 => drop(pool[1].take()),
                _ => {}
            }
        }
        println!("{counts:?}");
        assert_eq!(ended, CLIENTS);
        let count = |kind, status| counts.get(&(kind, status)).copied().unwrap_or(0);
        assert_eq!(count("square", 200), CLIENTS / 2, "these are asked again");
        assert_eq!(count("once", 200) + count("once", 503), CLIENTS / 2);
        assert!(
            count("once", 503) > 0,
            "workers were killed that had requests"
        );
    });
}

#[test]
fn without_workers_or_replies_a_request_ends_at_its_deadline() {
    let (_service, http, workers) = service();
    run(async {
        let (status, body) = ask(&http, "/soon/1").await;
        assert_eq!(status, 503, "nobody could be asked: {body}");
        let _stuck = start(&["worker", &workers, "--stuck"]);
        // It may take it a while to come.
        loop {
            match ask(&http, "/soon/1").await {
                (504, body) => return println!("{body}"),
                (status, body) => assert_eq!(status, 503, "{body}"),
            }
        }
    });
}
