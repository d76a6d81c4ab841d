//! Medians, ratios, the table and the JSON.

use std::fmt::Write as _;

use serde_json::{json, Value};

use crate::meter::Sample;
use crate::subject::Fallible;
use crate::work::Work;

/// One subject at one work.
pub(crate) struct Row {
    work: Work,
    subject: &'static str,
    /// Messages in each measurement.
    messages: u64,
    rounds: usize,
    median: f64,
    /// (largest − smallest) / median, over the rounds.
    spread: f64,
    cpu_ns: f64,
    p99: Option<f64>,
    to_raw: Option<f64>,
    to_libzmq: Option<f64>,
}

impl Row {
    /// Medians of the samples, of which there must be one at least.
    pub(crate) fn new(
        work: &Work,
        subject: &'static str,
        messages: u64,
        samples: &[Sample],
    ) -> Row {
        let values = sorted(samples.iter().map(|sample| sample.value));
        let p99 = sorted(samples.iter().filter_map(|sample| sample.p99));
        let mid = median(&values);
        Row {
            work: *work,
            subject,
            messages,
            rounds: samples.len(),
            median: mid,
            spread: (values[values.len() - 1] - values[0]) / mid,
            cpu_ns: median(&sorted(samples.iter().map(|sample| sample.cpu_ns))),
            p99: (!p99.is_empty()).then(|| median(&p99)),
            to_raw: None,
            to_libzmq: None,
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let mid = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[mid]
    } else {
        (sorted[mid - 1] + sorted[mid]) / 2.0
    }
}

/// Fills in each row's ratios to the bare socket and to libzmq at the same work.
pub(crate) fn add_ratios(rows: &mut [Row]) {
    let of = |rows: &[Row], work: Work, subject: &str| {
        let found = rows
            .iter()
            .find(|row| row.work == work && row.subject == subject);
        found.map(|row| row.median)
    };
    for index in 0..rows.len() {
        let Row { work, median, .. } = rows[index];
        rows[index].to_raw = of(rows, work, "raw").map(|raw| median / raw);
        rows[index].to_libzmq = of(rows, work, "libzmq").map(|libzmq| median / libzmq);
    }
}

/// Ratios first; then what they are ratios of.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![[
        "work", "impl", "x raw", "x libzmq", "median", "unit", "spread", "cpu ns", "p99 us",
    ]
    .map(str::to_owned)];
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    for row in rows {
        let (median, unit) = match row.work.unit() {
            "msg/s" if row.median >= 1e6 => (format!("{:.2}", row.median / 1e6), "M msg/s"),
            "msg/s" => (format!("{:.2}", row.median / 1e3), "k msg/s"),
            unit => (format!("{:.2}", row.median), unit),
        };
        lines.push([
            row.work.to_string(),
            row.subject.to_owned(),
            ratio(row.to_raw),
            ratio(row.to_libzmq),
            median,
            unit.to_owned(),
            format!("{:.0}%", row.spread * 100.0),
            format!("{:.0}", row.cpu_ns),
            row.p99.map_or("-".to_owned(), |p99| format!("{p99:.2}")),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let mut out = String::new();
    let mut work = None;
    for line in &lines {
        if work
            .replace(&line[0])
            .is_some_and(|before| *before != line[0])
        {
            out.push('\n');
        }
        let mut row = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Names to the left, figures to the right; writing to a string cannot fail.
            let _ = match column {
                0 | 1 | 5 => write!(row, "{cell:<width$}  "),
                _ => write!(row, "{cell:>width$}  "),
            };
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out.push_str("\nmsg/s: more is better; us (median round trip): less is better.\n");
    out
}

/// A JSON array, one object for each row.
pub(crate) fn json(rows: &[Row]) -> Fallible<String> {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "work": row.work.pattern.to_string(),
                "transport": row.work.transport.to_string(),
                "size": row.work.size,
                "impl": row.subject,
                "median": row.median,
                "unit": row.work.unit(),
                "spread": row.spread,
                "ratio_to_raw": row.to_raw,
                "ratio_to_libzmq": row.to_libzmq,
                "cpu_ns_per_msg": row.cpu_ns,
                "p99": row.p99,
                "rounds": row.rounds,
                "messages": row.messages,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}
