//! End-to-end comparison: Sinew, bare sockets, libzmq and other crates, interleaved in one run.
//!
//! `cargo bench --bench compare -- --help`. Only ratios from one run mean anything; how each subject
//! is used, and what each column says, is in `benches/README.md`. Nothing here is a test.

mod child;
mod drive;
mod goals;
mod idle;
mod machine;
mod meter;
mod peers;
mod plot;
mod report;
mod subject;
mod tally;
mod tasks;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;

use child::Kind;
use meter::Sample;
use report::Row;
use subject::{Fallible, Offer, Subject};
use work::{Plan, Work};

/// The most short runs that choose the length of the others.
const TRIALS: u32 = 3;

/// Compares Sinew with bare sockets, libzmq and other crates.
#[derive(Debug, Parser)]
struct Args {
    /// Also write the rows to FILE, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write machine, table and goals to FILE.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also draw the rows, one SVG for each family of works, into DIR.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Measure nothing: take the rows from FILE, which `--json` has written.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The most telling works and subjects, and 3 short rounds: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Only works whose name starts so: `pushpull`, `pushpull/tcp`, `pushpull/tcp/64`. Repeatable.
    #[arg(long, value_name = "WORK")]
    only: Vec<String>,
    /// Measurements of each subject at each work; medians are shown.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only these subjects: `raw`, `sinew`, `libzmq` and so on. Repeatable.
    #[arg(long = "impl", value_name = "NAME")]
    subject: Vec<String>,
    /// Name works and subjects, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Passed by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,

    /// What `child` passes to a process that is to make one measurement.
    #[arg(long, hide = true, requires_all = ["work", "warmup", "count"])]
    measure: Option<String>,
    #[arg(long, hide = true)]
    work: Option<String>,
    #[arg(long, hide = true)]
    warmup: Option<u64>,
    #[arg(long, hide = true)]
    count: Option<u64>,
    #[arg(long, hide = true)]
    count_syscalls: bool,
    /// What `idle` passes to a process that is to hold connections.
    #[arg(long, hide = true, num_args = 3, value_names = ["ENDPOINT", "TYPE", "COUNT"])]
    idle_clients: Vec<String>,
}

fn main() -> Fallible<()> {
    let args = Args::parse();
    if let [endpoint, kind, count] = args.idle_clients.as_slice() {
        return idle::hold(endpoint, kind, count.parse()?);
    }
    if let Some(name) = &args.measure {
        child::finish(&measure_here(&args, name));
    }
    let report = match &args.from {
        Some(path) => report::Report::from_json(&std::fs::read_to_string(path)?)?,
        None => match run(&args)? {
            Some(report) => report,
            None => return Ok(()),
        },
    };
    if let Some(path) = args.json {
        std::fs::write(path, report.json()?)?;
    }
    if let Some(path) = args.markdown {
        std::fs::write(path, report.markdown())?;
    }
    if let Some(dir) = args.plot {
        plot::draw(&report.rows, &dir)?;
    }
    Ok(())
}

/// The measurement that a child process is for.
fn measure_here(args: &Args, name: &str) -> Fallible<Sample> {
    if args.count_syscalls {
        meter::count_syscalls();
    }
    let subjects = peers::all();
    let subject = subjects.iter().find(|subject| subject.name() == name);
    let works = work::all();
    let named = args.work.as_deref().unwrap_or_default();
    let work = works.iter().find(|work| work.to_string() == named);
    let (Some(subject), Some(work)) = (subject, work) else {
        return Err("no such subject or work".into());
    };
    let (warmup, count) = (args.warmup.unwrap_or(1), args.count.unwrap_or(1));
    let plan = Plan {
        size: work.size,
        warmup,
        count,
    };
    subject.run(work, &plan)
}

/// Measures what the arguments name and prints the table; `None` if only names were asked for.
fn run(args: &Args) -> Fallible<Option<report::Report>> {
    let everything = args.subject.is_empty();
    let subjects: Vec<_> = peers::all()
        .into_iter()
        .filter(|subject| match everything {
            true => !args.quick || subject.is_quick(),
            false => args.subject.iter().any(|n| n == subject.name()),
        })
        .collect();
    let works: Vec<Work> = work::all()
        .into_iter()
        .filter(|work| match args.only.is_empty() {
            true => !args.quick || work.is_quick(),
            false => args.only.iter().any(|only| work.is_named(only)),
        })
        .collect();
    if subjects.is_empty() || works.is_empty() {
        return Err("nothing to measure: no subject or no work has such a name; see --list".into());
    }
    if args.list {
        let names: Vec<_> = subjects.iter().map(|subject| subject.name()).collect();
        println!("subjects: {}\nworks:", names.join(" "));
        works.iter().for_each(|work| println!("  {work}"));
        return Ok(None);
    }

    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 5 });
    let target = Duration::from_millis(if args.quick { 150 } else { 250 });
    let head = format!(
        "{}{rounds} rounds of about {target:?} for each subject at each work, interleaved\n",
        machine::description()
    );
    println!("{head}");
    let started = Instant::now();
    let scratch = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for company in in_company(&works) {
        rows.extend(compare(
            &company,
            &subjects,
            rounds,
            target,
            scratch.path(),
        )?);
    }
    // In the order of the works, of which companies took some forward.
    let place = |row: &Row| works.iter().position(|work| *work == row.work);
    rows.sort_by_key(place);
    let report = report::Report::new(head, rows);
    print!("{}", report.table());
    println!(
        "\n{:.1} minutes",
        (Instant::now() - started).as_secs_f64() / 60.0
    );
    Ok(Some(report))
}

/// The works, with those together that are measured beside one another.
fn in_company(works: &[Work]) -> Vec<Vec<&Work>> {
    let mut all: Vec<Vec<&Work>> = Vec::new();
    for work in works {
        let keeps = |company: &&mut Vec<&Work>| company[0].beside() == work.beside();
        match all.iter_mut().find(keeps) {
            Some(company) => company.push(work),
            None => all.push(vec![work]),
        }
    }
    all
}

/// A subject at a work.
struct Contender<'a> {
    work: &'a Work,
    subject: &'a dyn Subject,
    plan: Option<Plan>,
    samples: Vec<Sample>,
    syscalls: Option<f64>,
    /// Why there are fewer samples than rounds.
    notes: Vec<String>,
}

/// Works that are compared with one another, all subjects in turn in every round, each at all of these works; then a
/// round that counts system calls, which is not timed, since counting slows each call.
fn compare(
    works: &[&Work],
    subjects: &[Box<dyn Subject>],
    rounds: u32,
    target: Duration,
    scratch: &Path,
) -> Fallible<Vec<Row>> {
    let mut contenders = Vec::new();
    let each = subjects
        .iter()
        .flat_map(|subject| works.iter().map(move |work| (subject, *work)));
    for (subject, work) in each {
        let subject = subject.as_ref();
        let mut contender = Contender {
            work,
            subject,
            plan: None,
            samples: Vec::new(),
            syscalls: None,
            notes: Vec::new(),
        };
        match subject.offers(work) {
            Offer::NoRow => continue,
            Offer::No(reason) => contender.notes.push(reason.to_owned()),
            Offer::Yes => {
                // Short runs first: they say how many messages fill the time. Of the fastest the first is over before it
                // is in full swing.
                machine::progress(&format!("{work}: trying {}", subject.name()));
                let mut trial = Plan::calibration(work);
                let mut failure = None;
                for _ in 0..TRIALS {
                    match child::measure(subject.name(), work, &trial, Kind::Trial, scratch)? {
                        Ok(sample) => {
                            let plan = Plan::lasting(target, work, &sample);
                            let last = !plan.dwarfs(&trial);
                            (trial, contender.plan) = (plan, Some(plan));
                            failure = None;
                            if last {
                                break;
                            }
                        }
                        // It may have been over before it was looked at.
                        Err(reason) => {
                            failure = Some(reason);
                            trial = trial.times(8);
                        }
                    }
                }
                contender.notes.extend(failure);
            }
        }
        contenders.push(contender);
    }
    for round in 0..=rounds {
        for Contender {
            work,
            subject,
            plan,
            samples,
            syscalls,
            notes,
        } in &mut contenders
        {
            let Some(plan) = plan else { continue };
            // Who failed twice will fail again; it has cost enough time.
            if notes.len() == 2 {
                continue;
            }
            let name = subject.name();
            if round == rounds {
                machine::progress(&format!("{work} counting: {name}"));
                if machine::syscall_tracepoint().is_some() {
                    let plan = plan.divided(2);
                    let counted = child::measure(name, work, &plan, Kind::Counting, scratch)?;
                    *syscalls = counted.ok().and_then(|sample| sample.syscalls);
                }
                continue;
            }
            machine::progress(&format!("{work} round {} of {rounds}: {name}", round + 1));
            match child::measure(name, work, plan, Kind::Timing, scratch)? {
                Ok(sample) => samples.push(sample),
                Err(reason) => notes.push(format!("round {}: {reason}", round + 1)),
            }
        }
    }
    machine::progress("");
    Ok(contenders
        .into_iter()
        .map(|contender| {
            let messages = contender.plan.map_or(0, |plan| plan.count);
            Row::new(
                contender.work,
                contender.subject.name(),
                contender.subject.is_peer(),
                messages,
                &contender.samples,
                contender.syscalls,
                contender.notes.join("; "),
            )
        })
        .collect())
}
