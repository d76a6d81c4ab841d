//! The features `tracing` and `metrics`: what other crates that observe programmes are told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use sinew::{Context, Pub, Pull, Push, SocketEvent, Sub};
use tracing::field::{Field, Visit};
use tracing::span;

/// Reached only if something hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

/// What was told, one line each: spans as they begin and end, and events with the span they are in.
#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>, AtomicU64);

struct Subscriber(Arc<Lines>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        of.target() == "sinew"
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let id = self.0 .1.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::default();
        span.record(&mut fields);
        let line = format!(
            "span {id}: {} of {} {}",
            span.metadata().name(),
            fields.0["socket_type"],
            fields.0["socket"]
        );
        self.0 .0.lock().unwrap().push(line);
        span::Id::from_u64(id)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let parent = event.parent().map_or(0, span::Id::into_u64);
        let level = event.metadata().level();
        let line = format!(
            "{level} in {parent}: {} {}",
            fields.0["socket_type"], fields.0["kind"]
        );
        self.0 .0.lock().unwrap().push(line);
    }

    fn try_close(&self, id: span::Id) -> bool {
        let line = format!("end of {}", id.into_u64());
        self.0 .0.lock().unwrap().push(line);
        true
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_connection_is_a_span_with_events() {
    let lines = Arc::<Lines>::default();
    tracing::subscriber::set_global_default(Subscriber(Arc::clone(&lines))).unwrap();
    let builder = Context::builder().io_threads(1).memory_budget(u64::MAX);
    let context = builder.build().unwrap();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let mut push = Push::builder().context(&context).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(&endpoint).unwrap();
    push.send("x").unwrap();
    pull.recv_timeout(WATCHDOG).unwrap();
    // Who has waited reads the connection itself, and does not keep it when it is gone.
    pull.recv_timeout(Duration::from_millis(1)).unwrap_err();
    push.disconnect(&endpoint).unwrap();
    let closed = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::Closed { .. })
    });
    assert!(closed.is_some());
    // Sockets of other tests are told of too.
    let (push_id, pull_id) = (push.id().to_string(), pull.id().to_string());
    let span_of = |lines: &[String], socket: &str, id: &str| {
        let wanted = format!("connection of {socket} {id}");
        let span = lines.iter().find_map(|line| {
            let (id, of) = line.strip_prefix("span ")?.split_once(": ")?;
            (of == wanted).then(|| id.to_owned())
        });
        span.expect("its connection is a span")
    };
    let has_ended = |socket: &str, id: &str| {
        let lines = lines.0.lock().unwrap();
        lines.contains(&format!("end of {}", span_of(&lines, socket, id)))
    };
    // The peer's side ends by itself.
    let end = std::time::Instant::now() + WATCHDOG;
    while !(has_ended("PUSH", &push_id) && has_ended("PULL", &pull_id)) {
        assert!(std::time::Instant::now() < end, "{lines:?}");
        std::thread::yield_now();
    }
    failures_and_subscriptions_are_told(&lines);
    let lines = lines.0.lock().unwrap();
    let of = |socket: &str, id: &str| {
        let inside = format!(" in {}: {socket} ", span_of(&lines, socket, id));
        let own = lines.iter().filter_map(|line| line.split_once(&inside));
        own.map(|(level, kind)| format!("{level} {kind}"))
            .collect::<Vec<_>>()
    };
    let both = ["INFO handshake_succeeded", "INFO disconnected"];
    assert_eq!(
        of("PUSH", &push_id),
        [&["DEBUG connected"], &both[..]].concat()
    );
    assert_eq!(
        of("PULL", &pull_id),
        [&["DEBUG accepted"], &both[..]].concat()
    );
    let listening = "INFO in 0: PULL listening".to_owned();
    assert!(lines.contains(&listening), "{lines:?}");
}

/// No monitor asks for either.
fn failures_and_subscriptions_are_told(lines: &Lines) {
    let mut publisher = Pub::new();
    let endpoint = publisher.bind("tcp://127.0.0.1:*").unwrap();
    let name = publisher.bind("inproc://observed").unwrap();
    let mut sub = Sub::new();
    sub.subscribe("news").unwrap();
    sub.connect(&endpoint).unwrap();
    publisher.wait_for_subscribers(1, WATCHDOG).unwrap();
    let mut near = Sub::new();
    near.subscribe("weather").unwrap();
    near.connect(&name).unwrap();
    let mut stranger = std::net::TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let has = |count: usize, level: &str, kind: &str| {
        let lines = lines.0.lock().unwrap();
        let told = lines.iter().filter(|line| {
            line.starts_with(&format!("{level} in ")) && line.ends_with(&format!(": PUB {kind}"))
                // Each is in the span of its connection.
                && !line.contains(" in 0:")
        });
        told.count() == count
    };
    let end = std::time::Instant::now() + WATCHDOG;
    while !(has(1, "WARN", "handshake_failed") && has(2, "DEBUG", "subscription_added")) {
        assert!(std::time::Instant::now() < end, "{lines:?}");
        std::thread::yield_now();
    }
    sub.unsubscribe("news");
    while !has(1, "DEBUG", "subscription_removed") {
        assert!(std::time::Instant::now() < end, "{lines:?}");
        std::thread::yield_now();
    }
}

/// The last value of each metric, with its labels.
#[derive(Debug, Default)]
struct Values(Mutex<BTreeMap<String, f64>>, Mutex<Vec<String>>);

struct Value(Arc<Values>, String);

impl Value {
    fn put(&self, value: f64) {
        self.0 .0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for Value {
    fn increment(&self, _: u64) {
        panic!("what is counted elsewhere is set");
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for Value {
    fn increment(&self, _: f64) {
        panic!("what is counted elsewhere is set");
    }

    fn decrement(&self, _: f64) {
        panic!("what is counted elsewhere is set");
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

struct Recording(Arc<Values>);

impl Recording {
    fn value(&self, key: &Key) -> Arc<Value> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Value(Arc::clone(&self.0), name))
    }

    fn describe(&self, name: &KeyName) {
        self.0 .1.lock().unwrap().push(name.as_str().to_owned());
    }
}

impl Recorder for Recording {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("there is no histogram {name:?}");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("there is no histogram {key}");
    }
}

#[test]
fn a_snapshot_is_published_as_metrics() {
    let context = Context::builder().io_threads(1).memory_budget(64 << 20);
    let context = context.build().unwrap();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let mut push = Push::builder().context(&context).build().unwrap();
    push.connect(&endpoint).unwrap();
    for _ in 0..3 {
        push.send("x").unwrap();
        pull.recv_timeout(WATCHDOG).unwrap();
    }
    let values = Arc::<Values>::default();
    let recording = Recording(Arc::clone(&values));
    metrics::with_local_recorder(&recording, || context.snapshot().publish_metrics());
    let known = values.0.lock().unwrap();
    let of = |name: &str| known.get(name).copied();
    let push = format!("sinew_messages_sent{{socket={},type=PUSH}}", push.id());
    assert_eq!(of(&push), Some(3.0), "{known:#?}");
    assert!(of("sinew_context_memory_used{}").is_some(), "{known:#?}");
    let pull = format!("sinew_peers{{socket={},type=PULL}}", pull.id());
    assert_eq!(of(&pull), Some(1.0), "{known:#?}");
    let thread = of("sinew_thread_load{thread=sinew/io/0}");
    assert!(thread.is_some_and(|load| load > 0.0), "{known:#?}");
    let described = values.1.lock().unwrap();
    for name in known.keys() {
        let name = name.split('{').next().unwrap_or_default();
        assert!(described.iter().any(|known| known == name), "{name}");
    }
}
