//! `sinew bench`: throughput of a pipeline and latency of round trips, both sides here or one of them against any
//! ZeroMQ peer.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::json;
use sinew::{Pull, Push, Rep, Req, SendFailure};

use crate::args::{BenchArgs, BenchRole, BenchWork, Places};
use crate::exit::{sent_all, Failure};
use crate::interrupt::{end, handle_first};
use crate::report::Reporter;
use crate::sockets::{build, Placed};

/// Messages between two looks at the clock.
const LOOK_EVERY: u64 = 256;
/// Between two changes of the progress line.
const PROGRESS: Duration = Duration::from_millis(100);
/// An hour in nanoseconds: what takes longer is shown as that.
const LONGEST: u64 = 3_600_000_000_000;
/// A receiver that was given no count takes a sender that pauses so long for one that has ended.
const PAUSE: Duration = Duration::from_secs(1);
/// Round trips before those that count.
const WARM_UP: u64 = 100;

pub(crate) fn run(args: &BenchArgs, reporter: &Reporter) -> Result<(), Failure> {
    // Nothing that is sent here is worth waiting for.
    handle_first(|signal| end(signal)).map_err(Failure::new)?;
    let bench = Bench {
        args,
        reporter,
        progress: match io::stderr().is_terminal() && !reporter.json {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        },
    };
    match (args.work, args.role) {
        (BenchWork::Throughput, BenchRole::Both) => bench.throughput(),
        (BenchWork::Throughput, BenchRole::Send) => bench.send(),
        (BenchWork::Throughput, BenchRole::Receive) => bench.receive(bench.pull()?),
        (BenchWork::Latency, BenchRole::Both) => bench.latency(),
        (BenchWork::Latency, BenchRole::Ask) => bench.ask(bench.req()?),
        (BenchWork::Latency, BenchRole::Answer) => bench.answer(),
        (BenchWork::Throughput, _) => Err(Failure::usage(
            "--role for throughput: expected both, send or receive",
        )),
        (BenchWork::Latency, _) => Err(Failure::usage(
            "--role for latency: expected both, ask or answer",
        )),
    }
}

struct Bench<'a> {
    args: &'a BenchArgs,
    reporter: &'a Reporter,
    progress: ProgressBar,
}

/// Binds and connects a socket of the library.
macro_rules! placed {
    ($self:ident, $kind:ident, $places:expr) => {{
        let mut socket: $kind = build($kind::builder(), &$self.args.tuning)?;
        let places: &Places = $places;
        if places.bind.is_empty() && places.connect.is_empty() {
            return Err(Failure::usage(
                "expected --bind URL or --connect URL, or --role both",
            ));
        }
        for endpoint in &places.bind {
            let real = socket.bind(endpoint).map_err(Failure::new)?;
            if real.to_string() != *endpoint {
                $self.reporter.placed(&Placed::Bound(&real));
            }
        }
        for endpoint in &places.connect {
            socket.connect(endpoint).map_err(Failure::new)?;
        }
        Ok(socket)
    }};
}

impl Bench<'_> {
    fn pull(&self) -> Result<Pull, Failure> {
        placed!(self, Pull, &self.args.places)
    }

    fn push(&self) -> Result<Push, Failure> {
        placed!(self, Push, &self.args.places)
    }

    fn req(&self) -> Result<Req, Failure> {
        placed!(self, Req, &self.args.places)
    }

    fn rep(&self) -> Result<Rep, Failure> {
        placed!(self, Rep, &self.args.places)
    }

    /// Where both sides meet: where it was asked for, or on loopback.
    fn meeting(&self) -> Result<String, Failure> {
        let Places { bind, connect } = &self.args.places;
        match (&bind[..], &connect[..]) {
            ([], []) => Ok("tcp://127.0.0.1:*".into()),
            ([endpoint], []) => Ok(endpoint.clone()),
            _ => Err(Failure::usage(
                "--role both takes one --bind URL and no --connect, or neither",
            )),
        }
    }

    fn throughput(&self) -> Result<(), Failure> {
        let mut pull: Pull = build(Pull::builder(), &self.args.tuning)?;
        let endpoint = pull.bind(self.meeting()?).map_err(Failure::new)?;
        let mut push: Push = build(Push::builder(), &self.args.tuning)?;
        push.connect(&endpoint).map_err(Failure::new)?;
        let payload = vec![0x5a; self.args.size];
        // For as long as the process lives.
        thread::spawn(move || while push.send(&payload[..]).is_ok() {});
        self.receive(pull)
    }

    fn send(&self) -> Result<(), Failure> {
        let mut push = self.push()?;
        let patience = self.args.timeout;
        push.wait_for_peers(1, patience).map_err(Failure::timeout)?;
        let payload = vec![0x5a; self.args.size];
        let count = self.args.count.unwrap_or(u64::MAX);
        let start = Instant::now();
        let mut sent = 0;
        let mut watch = Watch::new(start);
        while sent < count {
            if sent % LOOK_EVERY == 0 {
                let now = Instant::now();
                if self.args.count.is_none() && now - start >= self.args.duration {
                    break;
                }
                watch.show(&self.progress, now, sent);
            }
            match push.send_timeout(&payload[..], patience) {
                Ok(()) => sent += 1,
                Err(error) if error.reason() == SendFailure::Timeout => {
                    return Err(Failure::timeout(error));
                }
                Err(error) => return Err(Failure::new(error)),
            }
        }
        let closed = push.close();
        let octets = sent * self.args.size as u64;
        self.report_rate("sent", sent, octets, start.elapsed())?;
        sent_all(closed)
    }

    /// Measures from the first message to the last.
    fn receive(&self, mut pull: Pull) -> Result<(), Failure> {
        let first = pull.recv_timeout(self.args.timeout);
        let size = first.map_err(Failure::timeout)?.byte_len();
        let start = Instant::now();
        let count = self.args.count.unwrap_or(u64::MAX).saturating_sub(1);
        let (mut received, mut octets, mut last) = (0, 0, start);
        let mut watch = Watch::new(start);
        while received < count {
            if received % LOOK_EVERY == 0 {
                last = Instant::now();
                if self.args.count.is_none() && last - start >= self.args.duration {
                    break;
                }
                watch.show(&self.progress, last, received);
            }
            if let Ok(message) = pull.try_recv() {
                received += 1;
                octets += message.byte_len() as u64;
                continue;
            }
            // The sender may have ended before this side.
            match pull.recv_timeout(self.args.timeout.min(PAUSE)) {
                Ok(message) => {
                    received += 1;
                    octets += message.byte_len() as u64;
                }
                Err(_) if self.args.count.is_none() => break,
                Err(error) => return Err(Failure::timeout(format!("{error}, after {received}"))),
            }
            last = Instant::now();
        }
        if self.args.count.is_some() {
            last = Instant::now();
        }
        pull.close();
        if size != self.args.size {
            let sizes = json!({ "note": "size", "received": size, "expected": self.args.size });
            self.reporter.note(&sizes, || {
                format!("messages have {size} octets, not {}", self.args.size)
            });
        }
        self.report_rate("received", received, octets, last - start)
    }

    fn report_rate(
        &self,
        what: &str,
        messages: u64,
        octets: u64,
        time: Duration,
    ) -> Result<(), Failure> {
        self.progress.finish_and_clear();
        let seconds = time.as_secs_f64().max(1e-9);
        let (rate, octet_rate) = (messages as f64 / seconds, octets as f64 / seconds);
        // Those of a foreign sender may differ from each other.
        let size = octets as f64 / messages.max(1) as f64;
        let value = json!({
            "work": "throughput", "side": what, "messages": messages, "size": size.round() as u64, "octets": octets,
            "seconds": seconds, "messages_per_second": rate, "octets_per_second": octet_rate,
        });
        self.print(&value, || {
            let size = (size * 10.0).round() / 10.0;
            format!(
                "{messages} messages of {size} octets {what} in {seconds:.3} s: {rate:.0} messages/s, {:.1} MB/s",
                octet_rate / 1e6
            )
        })
    }

    fn latency(&self) -> Result<(), Failure> {
        let mut rep: Rep = build(Rep::builder(), &self.args.tuning)?;
        let endpoint = rep.bind(self.meeting()?).map_err(Failure::new)?;
        let mut req: Req = build(Req::builder(), &self.args.tuning)?;
        req.connect(&endpoint).map_err(Failure::new)?;
        // For as long as the process lives.
        thread::spawn(move || {
            while let Ok(request) = rep.recv() {
                // A requester that is gone needs no reply.
                let _ = rep.send(request);
            }
        });
        self.ask(req)
    }

    fn ask(&self, mut req: Req) -> Result<(), Failure> {
        // A request is taken at once, and waits for a connection: without this it would pass for sent.
        let there = req.wait_for_peers(1, self.args.timeout);
        there.map_err(|error| Failure::timeout(format!("no request was sent: {error}")))?;
        let payload = vec![0x5a; self.args.size];
        let failed = |error: sinew::RequestError| match &error {
            sinew::RequestError::Recv(cause) if cause.is_timeout() => Failure::timeout(error),
            sinew::RequestError::Send(cause) if cause.is_timeout() => Failure::timeout(error),
            _ => Failure::new(error),
        };
        let mut trip = || {
            req.request_timeout(&payload[..], self.args.timeout)
                .map_err(failed)
        };
        let count = self.args.count.unwrap_or(u64::MAX);
        for _ in 0..WARM_UP.min(count) {
            trip()?;
        }
        let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).map_err(Failure::new)?;
        let start = Instant::now();
        let (mut before, mut done) = (start, 0);
        let mut watch = Watch::new(start);
        while done < count {
            trip()?;
            done += 1;
            let now = Instant::now();
            let time = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
            times.saturating_record(time);
            before = now;
            watch.show(&self.progress, now, done);
            if self.args.count.is_none() && now - start >= self.args.duration {
                break;
            }
        }
        self.progress.finish_and_clear();
        req.close();
        self.report_times(&times)
    }

    fn report_times(&self, times: &Histogram<u64>) -> Result<(), Failure> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| micros(times.value_at_quantile(quantile));
        let steps = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
        let mut value = json!({
            "work": "latency", "unit": "us", "round_trips": times.len(), "size": self.args.size,
            "mean": times.mean() / 1e3, "min": micros(times.min()), "max": micros(times.max()),
        });
        for (name, quantile) in steps {
            value[name] = json!(at(quantile));
        }
        // Twice as long from bar to bar, from a microsecond on.
        let bars = times
            .iter_log(1000, 2.0)
            .map(|bar| {
                (
                    micros(bar.value_iterated_to() + 1),
                    bar.count_since_last_iteration(),
                )
            })
            .filter(|(_, count)| *count > 0);
        let bars: Vec<(f64, u64)> = bars.collect();
        if self.args.histogram {
            value["histogram"] = json!(bars);
        }
        self.print(&value, || {
            let mut text = format!(
                "{} round trips of {} octets, in us: mean {:.1}, min {:.1}",
                times.len(),
                self.args.size,
                times.mean() / 1e3,
                micros(times.min())
            );
            for (name, quantile) in steps {
                text += &format!(", {name} {:.1}", at(quantile));
            }
            text += &format!(", max {:.1}", micros(times.max()));
            if self.args.histogram {
                let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(1);
                for (up_to, count) in &bars {
                    let stars = "#".repeat((count * 50).div_ceil(most) as usize);
                    text += &format!("\n{up_to:>12.0} us {count:>10} {stars}");
                }
            }
            text
        })
    }

    /// Sends requests back until there have been as many as asked for.
    fn answer(&self) -> Result<(), Failure> {
        let mut rep = self.rep()?;
        let mut left = self
            .args
            .count
            .map_or(u64::MAX, |count| count + WARM_UP.min(count));
        while left > 0 {
            let request = rep.recv().map_err(Failure::new)?;
            match rep.send_timeout(request, self.args.timeout) {
                Ok(()) => left -= 1,
                Err(error) if error.is_timeout() => return Err(Failure::timeout(error)),
                // The next one may be there.
                Err(_) => {}
            }
        }
        rep.close();
        Ok(())
    }

    fn print(
        &self,
        value: &serde_json::Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let line = match self.reporter.json {
            true => value.to_string(),
            false => text(),
        };
        writeln!(io::stdout(), "{line}").map_err(|error| Failure::output(&error))
    }
}

/// The progress line.
struct Watch {
    shown: Instant,
    count: u64,
}

impl Watch {
    fn new(start: Instant) -> Self {
        Watch {
            shown: start,
            count: 0,
        }
    }

    fn show(&mut self, progress: &ProgressBar, now: Instant, count: u64) {
        let since = now - self.shown;
        if since < PROGRESS || progress.is_hidden() {
            return;
        }
        let rate = (count - self.count) as f64 / since.as_secs_f64();
        progress.set_message(format!("{count} ({rate:.0}/s)"));
        progress.tick();
        (self.shown, self.count) = (now, count);
    }
}
