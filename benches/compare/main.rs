//! End-to-end comparison: Sinew, a bare socket and libzmq, interleaved in one run.
//!
//! `cargo bench --bench compare -- --help`. Only ratios from one run mean anything; how each subject
//! is used, and what each column says, is in `benches/README.md`. Nothing here is a test.

mod drive;
mod libzmq;
mod machine;
mod meter;
mod raw;
mod report;
mod sinew_impl;
mod subject;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use report::Row;
use subject::{Fallible, Subject};
use work::{Plan, Work};

/// Every subject, the bare socket first: it is the limit the others are held against.
fn subjects() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(raw::Raw),
        Box::new(libzmq::Libzmq),
        Box::new(sinew_impl::Sinew),
    ]
}

/// Compares Sinew with a bare socket and libzmq.
#[derive(Debug, Parser)]
struct Args {
    /// Also write the rows to FILE, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Shorter measurements and 3 rounds: the whole run in under two minutes.
    #[arg(long)]
    quick: bool,
    /// Only works whose name starts so: `pushpull`, `pushpull/tcp`, `pushpull/tcp/64`; `pubsub1`,
    /// `pubsub8` and `pubsub64` are measured only if named. Repeatable.
    #[arg(long, value_name = "WORK")]
    only: Vec<String>,
    /// Measurements of each subject at each work; medians are shown.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only these subjects: `raw`, `libzmq`, `sinew`. Repeatable.
    #[arg(long = "impl", value_name = "NAME")]
    subject: Vec<String>,
    /// Passed by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Fallible<()> {
    let args = Args::parse();
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 5 });
    let target = Duration::from_millis(if args.quick { 200 } else { 1000 });

    let subjects: Vec<_> = subjects()
        .into_iter()
        .filter(|subject| {
            args.subject.is_empty() || args.subject.iter().any(|n| n == subject.name())
        })
        .collect();
    let works: Vec<Work> = work::all()
        .into_iter()
        .filter(|work| match args.only.is_empty() {
            true => work.is_standard(),
            false => args.only.iter().any(|only| work.is_named(only)),
        })
        .collect();
    if subjects.is_empty() || works.is_empty() {
        return Err("nothing to measure: no subject or no work has such a name".into());
    }

    print!("{}", machine::description());
    println!("{rounds} rounds of about {target:?} for each subject at each work, interleaved\n");

    let mut rows = Vec::new();
    for work in &works {
        rows.extend(compare(work, &subjects, rounds, target)?);
    }
    report::add_ratios(&mut rows);
    print!("{}", report::table(&rows));
    if let Some(path) = args.json {
        std::fs::write(path, report::json(&rows)?)?;
    }
    Ok(())
}

/// One work, all subjects in turn in every round.
fn compare(
    work: &Work,
    subjects: &[Box<dyn Subject>],
    rounds: u32,
    target: Duration,
) -> Fallible<Vec<Row>> {
    let mut contenders = Vec::new();
    for subject in subjects {
        // A short run first: it warms the code up and says how many messages fill the time.
        let guard = machine::watchdog(format!("{} at {work}", subject.name()));
        if let Some(sample) = subject.run(work, &Plan::calibration(work))? {
            contenders.push((subject, Plan::lasting(target, work, &sample), Vec::new()));
        }
        drop(guard);
    }
    for round in 0..rounds {
        for (subject, plan, samples) in &mut contenders {
            machine::progress(&format!(
                "{work} round {} of {rounds}: {}",
                round + 1,
                subject.name()
            ));
            let guard = machine::watchdog(format!("{} at {work}", subject.name()));
            samples.extend(subject.run(work, plan)?);
            drop(guard);
        }
    }
    machine::progress("");
    Ok(contenders
        .into_iter()
        .map(|(subject, plan, samples)| Row::new(work, subject.name(), plan.count, &samples))
        .collect())
}
