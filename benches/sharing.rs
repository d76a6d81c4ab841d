//! What `scripts/sharing` runs: how many cache lines move between threads for a message, with more and
//! more pairs of sockets, on a simulated machine with a core for each thread.
//!
//! It needs a build in which the library counts its accesses (`--cfg sinew_sharing`), and says so in any
//! other. The counting is the library's (`src/sync/sharing.rs`); here are the loads and the tables. Each
//! load is a process of its own, so that it begins with no thread and no line known.

#[cfg(not(sinew_sharing))]
fn main() {
    println!(
        "This counts only in a build made for it: run scripts/sharing, or\n\
         RUSTFLAGS='--cfg sinew_sharing' cargo bench --bench sharing --target-dir target/sharing"
    );
}

#[cfg(sinew_sharing)]
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    counted::main()
}

#[cfg(sinew_sharing)]
mod counted {
    use std::collections::HashMap;
    use std::error::Error;
    use std::fmt::Write as _;
    use std::process::Command;
    use std::sync::mpsc::{channel, Receiver, Sender};
    use std::sync::{Arc, Barrier};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use sinew::{sharing, Context, Pub, Pull, Push, Rep, Req, Sub};

    type Failure = Box<dyn Error + Send + Sync>;

    const PAYLOAD: [u8; 64] = [0x5a; 64];

    /// How many pairs of sockets, or subscribers of one publisher.
    const PAIRS: [usize; 4] = [1, 2, 4, 8];

    /// Enough for pipes to become dense and blocks to have grown.
    const WARM_UP: usize = 2000;

    /// Accesses after which a thread lets others on: a few messages.
    const GRAIN: usize = 16;

    /// Until a subscriber has arrived: never, unless something is wrong.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Places that the report names for a load.
    const PLACES: usize = 8;

    /// One load: the columns of the tables are the numbers of pairs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct Load {
        pattern: &'static str,
        transport: &'static str,
        pairs: usize,
        /// As many I/O threads as pairs; otherwise those of the default context.
        own_threads: bool,
    }

    const LOADS: [(&str, &str); 7] = [
        ("PUSH→PULL", "tcp"),
        ("PUSH→PULL", "ipc"),
        ("PUSH→PULL", "inproc"),
        ("REQ↔REP", "tcp"),
        ("REQ↔REP", "inproc"),
        ("PUB→SUB", "tcp"),
        ("PUB→SUB", "ipc"),
    ];

    /// What one run of a load has shown: transfers and crossings of all places and of each.
    #[derive(Debug, Default, Clone)]
    struct Shown {
        messages: u64,
        transfers: u64,
        crossings: u64,
        places: HashMap<(String, String), (u64, u64)>,
    }

    pub(super) fn main() -> Result<(), Failure> {
        let mut rounds = 1;
        let mut messages = 10_000;
        let mut grain = GRAIN;
        let mut only = None;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                // What cargo passes.
                "--bench" => {}
                "--rounds" => rounds = value()?.parse::<usize>()?.max(1),
                "--messages" => messages = value()?.parse::<usize>()?.max(1),
                "--only" => only = Some(value()?),
                "--grain" => grain = value()?.parse::<usize>()?,
                "--load" => return run_load(&value()?, messages, grain),
                other => {
                    return Err(
                        format!("{other} is not --rounds, --messages, --grain or --only").into(),
                    )
                }
            }
        }
        let mut all = HashMap::<Load, Vec<Shown>>::new();
        for load in loads() {
            if only
                .as_ref()
                .is_some_and(|only| !load.name().contains(only))
            {
                continue;
            }
            for _ in 0..rounds {
                let shown = in_a_process(load, messages, grain)?;
                all.entry(load).or_default().push(shown);
            }
        }
        print!("{}", report(&all));
        Ok(())
    }

    fn loads() -> impl Iterator<Item = Load> {
        [true, false].into_iter().flat_map(|own_threads| {
            LOADS.into_iter().flat_map(move |(pattern, transport)| {
                PAIRS.into_iter().map(move |pairs| Load {
                    pattern,
                    transport,
                    pairs,
                    own_threads,
                })
            })
        })
    }

    impl Load {
        fn name(&self) -> String {
            let threads = if self.own_threads { "own" } else { "default" };
            let Load {
                pattern,
                transport,
                pairs,
                ..
            } = self;
            format!("{pattern}/{transport}/{pairs}/{threads}")
        }
    }

    // ---- a load, in its process ---------------------------------------------------------------

    fn run_load(name: &str, messages: usize, grain: usize) -> Result<(), Failure> {
        let load = loads()
            .find(|load| load.name() == name)
            .ok_or(format!("{name} is no load"))?;
        let context = if load.own_threads {
            Context::builder().io_threads(load.pairs).build()?
        } else {
            Context::default()
        };
        // A round trip is far slower than a message among many, and far more regular.
        let each = if load.pattern == "REQ↔REP" {
            messages / 10
        } else {
            messages
        };
        let endpoint = |pair: usize| match load.transport {
            "tcp" => "tcp://127.0.0.1:*".to_owned(),
            "ipc" => "ipc://*".to_owned(),
            _ => format!("inproc://{pair}"),
        };
        let sockets = match load.pattern {
            "PUB→SUB" => load.pairs + 1,
            _ => 2 * load.pairs,
        };
        let phases = Arc::new(Barrier::new(sockets + 1));
        let plan = Plan {
            each,
            phases: phases.clone(),
            context,
        };
        let mut threads = Vec::new();
        if load.pattern == "PUB→SUB" {
            let at = endpoint(0);
            let (announce, endpoints): (Vec<_>, Vec<_>) =
                (0..load.pairs).map(|_| channel()).unzip();
            let count = load.pairs;
            threads.push(plan.start(0, move |plan| publish(plan, &at, &announce, count)));
            for endpoint in endpoints {
                threads.push(plan.start(0, move |plan| subscribe(plan, &endpoint)));
            }
        } else {
            for pair in 0..load.pairs {
                let (bound, endpoints) = channel();
                let at = endpoint(pair);
                let (one, other): (Side, Side) = match load.pattern {
                    "REQ↔REP" => (
                        Box::new(move |plan| reply(plan, &at, &bound)),
                        Box::new(move |plan| request(plan, &endpoints)),
                    ),
                    _ => (
                        Box::new(move |plan| pull(plan, &at, &bound)),
                        Box::new(move |plan| push(plan, &endpoints)),
                    ),
                };
                threads.push(plan.start(pair, one));
                threads.push(plan.start(pair, other));
            }
        }
        // All are warm.
        phases.wait();
        sharing::interleave(grain);
        sharing::begin();
        phases.wait();
        // All are done.
        phases.wait();
        let count = sharing::end();
        phases.wait();
        for thread in threads {
            thread.join().map_err(|_| "a thread has panicked")??;
        }
        if count.overlooked > 0 {
            return Err(format!("{} accesses were overlooked", count.overlooked).into());
        }
        let per_unit = if load.pattern == "REQ↔REP" { 2 } else { 1 };
        println!("messages\t{}", each * load.pairs * per_unit);
        println!(
            "total\t{}\t{}",
            count.total.transfers, count.total.crossings
        );
        for (site, written_at, place) in &count.places {
            let (transfers, crossings) = (place.transfers, place.crossings);
            println!("place\t{transfers}\t{crossings}\t{site}\t{written_at}");
        }
        Ok(())
    }

    type Outcome = Result<(), Failure>;
    type Side = Box<dyn FnOnce(&Plan) -> Outcome + Send>;

    /// What every thread of a load is told.
    #[derive(Clone)]
    struct Plan {
        each: usize,
        phases: Arc<Barrier>,
        context: Context,
    }

    impl Plan {
        fn start(
            &self,
            pair: usize,
            side: impl FnOnce(&Plan) -> Outcome + Send + 'static,
        ) -> JoinHandle<Outcome> {
            let plan = self.clone();
            thread::spawn(move || {
                sharing::of_pair(pair);
                let outcome = side(&plan);
                if let Err(error) = &outcome {
                    // The others would wait for it for ever.
                    eprintln!("sharing: {error}");
                    std::process::exit(1);
                }
                outcome
            })
        }

        /// Does it some times to warm up, and then as often as is counted.
        fn run(&self, mut once: impl FnMut(usize) -> Outcome) -> Outcome {
            once(WARM_UP)?;
            self.phases.wait();
            self.phases.wait();
            once(self.each)?;
            self.phases.wait();
            self.phases.wait();
            Ok(())
        }
    }

    fn pull(plan: &Plan, at: &str, bound: &Sender<String>) -> Outcome {
        let mut pull = Pull::builder().context(&plan.context).build()?;
        bound.send(pull.bind(at)?.to_string())?;
        plan.run(|count| {
            for _ in 0..count {
                assert_eq!(pull.recv()?.as_bytes().len(), PAYLOAD.len());
            }
            Ok(())
        })
    }

    fn push(plan: &Plan, endpoints: &Receiver<String>) -> Outcome {
        let mut push = Push::builder().context(&plan.context).build()?;
        push.connect(endpoints.recv()?.as_str())?;
        plan.run(|count| {
            for _ in 0..count {
                push.send(&PAYLOAD[..])?;
            }
            Ok(())
        })
    }

    fn reply(plan: &Plan, at: &str, bound: &Sender<String>) -> Outcome {
        let mut rep = Rep::builder().context(&plan.context).build()?;
        bound.send(rep.bind(at)?.to_string())?;
        plan.run(|count| {
            for _ in 0..count {
                let request = rep.recv()?;
                rep.send(request)?;
            }
            Ok(())
        })
    }

    fn request(plan: &Plan, endpoints: &Receiver<String>) -> Outcome {
        let mut req = Req::builder().context(&plan.context).build()?;
        req.connect(endpoints.recv()?.as_str())?;
        plan.run(|count| {
            for _ in 0..count {
                req.send(&PAYLOAD[..])?;
                assert_eq!(req.recv()?.as_bytes().len(), PAYLOAD.len());
            }
            Ok(())
        })
    }

    /// Waits for subscribers that are slow, so that all get every message.
    fn publish(plan: &Plan, at: &str, announce: &[Sender<String>], count: usize) -> Outcome {
        let mut publisher = Pub::builder()
            .context(&plan.context)
            .no_drop(true)
            .build()?;
        let endpoint = publisher.bind(at)?;
        for subscriber in announce {
            subscriber.send(endpoint.to_string())?;
        }
        publisher.wait_for_subscribers(count, PATIENCE)?;
        plan.run(|count| {
            for _ in 0..count {
                publisher.send(&PAYLOAD[..])?;
            }
            Ok(())
        })
    }

    fn subscribe(plan: &Plan, endpoints: &Receiver<String>) -> Outcome {
        let mut subscriber = Sub::builder().context(&plan.context).build()?;
        subscriber.subscribe("")?;
        subscriber.connect(endpoints.recv()?.as_str())?;
        plan.run(|count| {
            for _ in 0..count {
                assert_eq!(subscriber.recv()?.as_bytes().len(), PAYLOAD.len());
            }
            Ok(())
        })
    }

    // ---- all of them, and what they show --------------------------------------------------------

    fn in_a_process(load: Load, messages: usize, grain: usize) -> Result<Shown, Failure> {
        let output = Command::new(std::env::current_exe()?)
            .args(["--messages", &messages.to_string()])
            .args(["--grain", &grain.to_string()])
            .args(["--load", &load.name()])
            .output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{}: {error}", load.name()).into());
        }
        let mut shown = Shown::default();
        for line in String::from_utf8(output.stdout)?.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["messages", messages] => shown.messages = messages.parse()?,
                ["total", transfers, crossings] => {
                    shown.transfers = transfers.parse()?;
                    shown.crossings = crossings.parse()?;
                }
                ["place", transfers, crossings, site, written_at] => {
                    let counts = (transfers.parse()?, crossings.parse()?);
                    let key = (site.to_owned(), written_at.to_owned());
                    shown.places.insert(key, counts);
                }
                _ => return Err(format!("{}: {line} is no result", load.name()).into()),
            }
        }
        Ok(shown)
    }

    fn report(all: &HashMap<Load, Vec<Shown>>) -> String {
        let mut out = String::new();
        for own_threads in [true, false] {
            out += match own_threads {
                true => "## As many I/O threads as pairs\n\n",
                false => "## The default context\n\n",
            };
            table(&mut out, all, own_threads, "Transfers", |shown| {
                shown.transfers
            });
            table(&mut out, all, own_threads, "Crossings", |shown| {
                shown.crossings
            });
        }
        out += "## Where they come from\n\n";
        out += "With 8 pairs or subscribers, and an I/O thread for each: the access, and where the line had \
                last been written.\n\n";
        for (pattern, transport) in LOADS {
            let most = Load {
                pattern,
                transport,
                pairs: PAIRS[PAIRS.len() - 1],
                own_threads: true,
            };
            if let Some(shown) = all.get(&most) {
                let _ = writeln!(out, "{pattern} over {transport}:\n");
                places(&mut out, shown);
            }
        }
        out
    }

    fn table(
        out: &mut String,
        all: &HashMap<Load, Vec<Shown>>,
        own_threads: bool,
        what: &str,
        figure: impl Fn(&Shown) -> u64,
    ) {
        let _ = writeln!(out, "| {what} per 1000 messages | 1 | 2 | 4 | 8 |");
        out.push_str("| --- | ---: | ---: | ---: | ---: |\n");
        for (pattern, transport) in LOADS {
            let mut row = format!("| {pattern} {transport} |");
            let mut any = false;
            for pairs in PAIRS {
                let load = Load {
                    pattern,
                    transport,
                    pairs,
                    own_threads,
                };
                let mut rates: Vec<f64> = all
                    .get(&load)
                    .into_iter()
                    .flatten()
                    .map(|shown| per_thousand(figure(shown), shown.messages))
                    .collect();
                rates.sort_by(f64::total_cmp);
                any |= !rates.is_empty();
                let _ = match rates.get(rates.len() / 2) {
                    Some(median) => write!(row, " {median:.1} |"),
                    None => write!(row, " |"),
                };
            }
            if any {
                out.push_str(&row);
                out.push('\n');
            }
        }
        out.push('\n');
    }

    /// The places with the most transfers, and all with many crossings, over all rounds.
    fn places(out: &mut String, shown: &[Shown]) {
        let messages: u64 = shown.iter().map(|shown| shown.messages).sum();
        let mut sums = HashMap::<(&str, &str), (u64, u64)>::new();
        for ((site, written_at), (transfers, crossings)) in
            shown.iter().flat_map(|shown| &shown.places)
        {
            let sum = sums.entry((site, written_at)).or_default();
            sum.0 += transfers;
            sum.1 += crossings;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(name, (transfers, _))| (std::cmp::Reverse(*transfers), *name));
        out.push_str(
            "| access | last written | transfers | crossings |\n| --- | --- | ---: | ---: |\n",
        );
        for (index, ((site, written_at), (transfers, crossings))) in sums.into_iter().enumerate() {
            let crossings = per_thousand(crossings, messages);
            // A tenth of one in a thousand messages is more than chance.
            if index < PLACES || crossings >= 0.1 {
                let transfers = per_thousand(transfers, messages);
                let _ = writeln!(
                    out,
                    "| {site} | {written_at} | {transfers:.1} | {crossings:.1} |"
                );
            }
        }
        out.push('\n');
    }

    fn per_thousand(count: u64, messages: u64) -> f64 {
        count as f64 * 1000.0 / messages.max(1) as f64
    }
}
