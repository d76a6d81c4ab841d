//! The other processes: each does what it is told, line by line, and says what it has done.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use sinew::{Context, Endpoint, Message, Router};
use sinew_patterns::flow::{
    Admitted, CreditReceiver, CreditSender, GateConfig, GatedRouter, TokenClient, TokenConfig,
    TokenMint, TokenServer, Unreachable,
};

use crate::remote::say;
use crate::requests::{plain_client, LONG};

/// Tokens a second of both buckets of a token server.
pub(crate) const RATE: f64 = 200.0;
/// The burst of the bucket `large`.
pub(crate) const LARGE: u32 = 200;
/// The burst of the bucket `small`.
pub(crate) const SMALL: u32 = 20;
/// How long tokens are good that a client has fetched.
pub(crate) const LEASE: Duration = Duration::from_millis(100);
/// How many it fetches at once.
pub(crate) const FETCHED: u32 = 10;

/// How many a gate lets in, and how many wait there.
pub(crate) const INSIDE: usize = 2;
pub(crate) const WAITING: usize = 4;

/// Messages that are a window of credit, and the octets of each.
pub(crate) const WINDOW: u64 = 10;
const OCTETS: usize = 100;

/// Long enough for a message of a peer that is not frozen, over loopback; whoever waits so long does so in vain.
const MOMENT: Duration = Duration::from_millis(50);

pub(crate) fn play(role: &str, context: &Context, at: &[Endpoint]) {
    match role {
        "token server" => token_server(context, at),
        "closed client of small" => token_client(context, at, "small", Unreachable::Closed),
        "closed client of large" => token_client(context, at, "large", Unreachable::Closed),
        "open client of large" => token_client(context, at, "large", Unreachable::Open),
        "gate" => gate(context, &at[0]),
        "patient client" => asker(at, LONG.deadline),
        "hasty client" => asker(at, Duration::from_millis(200)),
        "credit receiver" => credit_receiver(context, at),
        "credit sender" => credit_sender(context, &at[0]),
        other => panic!("no role {other:?}"),
    }
}

/// What it is told: a word, and numbers.
pub(crate) fn orders() -> impl Iterator<Item = (String, Vec<u64>)> {
    let lines = io::stdin().lock().lines().map_while(Result::ok);
    lines.map(|line| {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default().to_owned();
        (verb, words.map(|word| word.parse().unwrap()).collect())
    })
}

/// The same, for who has something else to do.
fn orders_aside() -> Receiver<(String, Vec<u64>)> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || orders().try_for_each(|order| told.send(order)));
    heard
}

/// Until when something else is done before orders are looked for.
fn tick() -> Instant {
    Instant::now() + Duration::from_millis(1)
}

fn soon() -> Instant {
    Instant::now() + LONG.deadline
}

fn token_server(context: &Context, at: &[Endpoint]) {
    let mut mint = TokenMint::new(LEASE);
    for (name, burst) in [("small", SMALL), ("large", LARGE)] {
        mint.set_bucket(name, RATE, burst, Instant::now());
    }
    let server = TokenServer::bind_with(context, at, mint).unwrap();
    say(&format!("bound {}", server.endpoints()[0]));
    orders().for_each(drop);
}

fn token_client(context: &Context, at: &[Endpoint], bucket: &str, on_unreachable: Unreachable) {
    let config = TokenConfig {
        lease: FETCHED,
        on_unreachable,
        retry: Duration::from_millis(5),
        timeout: Duration::from_millis(200),
    };
    let client = TokenClient::connect(context, at, bucket.to_owned(), config).unwrap();
    for (verb, numbers) in orders() {
        match verb.as_str() {
            "take" => {
                for turn in 1..=numbers[0] {
                    client.take(1, LONG.deadline).unwrap();
                    say(&format!("took {turn}"));
                }
            }
            // What is here already.
            "drain" => {
                let count = (0..).take_while(|_| client.try_take(1).is_ok()).count();
                say(&format!("drained {count}"));
            }
            "wait" => say(&format!("waited {}", client.take(1, MOMENT).is_ok())),
            // Takes until there are tokens that a server has granted.
            "reach" => {
                while client.tokens() == 0 {
                    client.take(1, LONG.deadline).unwrap();
                }
                say("reached");
            }
            other => panic!("no order {other:?}"),
        }
    }
}

fn gate(context: &Context, at: &Endpoint) {
    let mut router = Router::builder().context(context).build().unwrap();
    let at = router.bind(at).unwrap();
    let mut config = GateConfig {
        inside: INSIDE,
        ..GateConfig::default()
    };
    config.queue.messages = WAITING;
    let refuse = |request: &Message, _| Some(answer(request, "full"));
    let mut gated = GatedRouter::new(router, config, None, refuse);
    say(&format!("bound {at}"));
    let heard = orders_aside();
    let mut held: Vec<Admitted> = Vec::new();
    loop {
        for (order, _) in heard.try_iter() {
            match order.as_str() {
                "release" => {
                    for request in held.drain(..) {
                        gated.done(request.ticket, Some(answer(&request.message, "done")));
                    }
                }
                "load" => {
                    let (inside, waiting, octets) = gated.load();
                    say(&format!("load {inside} {waiting} {octets}"));
                }
                other => panic!("no order {other:?}"),
            }
        }
        let Some(request) = gated.recv_deadline(tick()) else {
            continue;
        };
        if request.message.frames().last().unwrap() == "hold" {
            say("holds");
            held.push(request);
        } else {
            say("did");
            gated.done(request.ticket, Some(answer(&request.message, "done")));
        }
        assert!(gated.load().0 <= INSIDE && gated.load().1 <= WAITING);
    }
}

/// The answer, with the envelope of the request.
fn answer(request: &Message, what: &'static str) -> Message {
    let mut frames = request.frames().to_vec();
    frames.pop();
    frames.push(what.into());
    Message::multipart(frames)
}

/// Asks a gate for much at once, and says how often it was done, refused, and left without an answer.
fn asker(at: &[Endpoint], attempt_timeout: Duration) {
    let at: Vec<&Endpoint> = at.iter().collect();
    let client = plain_client(&at, attempt_timeout);
    for (what, numbers) in orders() {
        let calls = (0..numbers[0]).map(|_| client.call_async(what.clone(), &LONG));
        let calls: FuturesUnordered<_> = calls.collect();
        let replies: Vec<_> = futures::executor::block_on(calls.collect());
        let count = |text: &str| {
            let equal = |reply: &&Result<Message, _>| **reply == Ok(text.into());
            replies.iter().filter(equal).count()
        };
        let failed = replies.iter().filter(|reply| reply.is_err()).count();
        say(&format!(
            "answered {} {} {failed}",
            count("done"),
            count("full")
        ));
    }
}

fn credit_receiver(context: &Context, at: &[Endpoint]) {
    let window = WINDOW * OCTETS as u64;
    let mut receiver = CreditReceiver::bind(context, at, window).unwrap();
    say(&format!("bound {}", receiver.endpoints()[0]));
    let heard = orders_aside();
    let (mut unread, mut held) = (VecDeque::new(), Vec::new());
    loop {
        unread.extend(receiver.recv_deadline(tick()));
        let Ok((verb, numbers)) = heard.try_recv() else {
            continue;
        };
        match verb.as_str() {
            "hold" | "consume" => {
                for _ in 0..numbers[0] {
                    let next = unread.pop_front();
                    let delivery = next.or_else(|| receiver.recv_deadline(soon())).unwrap();
                    let text = String::from_utf8_lossy(delivery.message.as_bytes());
                    say(&format!("got {}", text.trim_end()));
                    match verb.as_str() {
                        "hold" => held.push(delivery),
                        _ => receiver.consumed(&delivery),
                    }
                }
            }
            "release" => held.drain(..).for_each(|held| receiver.consumed(&held)),
            // Messages it holds.
            "look" => say(&format!("holds {}", receiver.held() / OCTETS as u64)),
            other => panic!("no order {other:?}"),
        }
    }
}

/// Sends its own number and those it is told.
fn credit_sender(context: &Context, at: &Endpoint) {
    let mut sender = CreditSender::connect(context, at).unwrap();
    let own = std::process::id();
    let message = |number: u64| format!("{:OCTETS$}", format!("{own} {number}"));
    for (verb, numbers) in orders() {
        let from = numbers[0];
        match verb.as_str() {
            "send" => {
                for number in from..numbers[1] {
                    sender.send_deadline(message(number), soon()).unwrap();
                    say(&format!("sent {number}"));
                }
            }
            // As many as there is credit for, and more if it comes in a moment; at least one.
            "fill" => {
                sender.send_deadline(message(from), soon()).unwrap();
                let refused = (from + 1..).find(|number| {
                    let until = Instant::now() + MOMENT;
                    sender.send_deadline(message(*number), until).is_err()
                });
                say(&format!("filled {}", refused.unwrap()));
            }
            other => panic!("no order {other:?}"),
        }
    }
}
