//! Rows of the result: medians, ratios, the table and the JSON.

use std::fmt::Write as _;

use serde_json::{json, Value};

use crate::goals;
use crate::meter::Sample;
use crate::subject::Fallible;
use crate::work::{self, Work};

/// One subject at one work.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) work: Work,
    pub(crate) subject: String,
    /// Another library, and not a bare socket.
    peer: bool,
    /// Messages in each measurement.
    messages: u64,
    rounds: usize,
    /// What was measured; nothing if the note says why not.
    pub(crate) figures: Option<Figures>,
    to_raw: Option<f64>,
    to_libzmq: Option<f64>,
    /// To the best of the peers, and which that is.
    pub(crate) to_best: Option<f64>,
    pub(crate) best: Option<String>,
    /// Why figures, or rounds, are missing.
    pub(crate) note: String,
}

/// Medians over the rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) median: f64,
    /// (largest − smallest) / median.
    pub(crate) spread: f64,
    pub(crate) cpu_ns: f64,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// Of one further measurement, which is not timed.
    pub(crate) syscalls: Option<f64>,
    pub(crate) heap: Option<f64>,
}

impl Figures {
    fn new(samples: &[Sample], syscalls: Option<f64>) -> Option<Figures> {
        let values = sorted(samples.iter().map(|sample| sample.value));
        let mid = median(&values)?;
        Some(Figures {
            median: mid,
            spread: (values.last()? - values.first()?) / mid,
            cpu_ns: median(&sorted(samples.iter().map(|sample| sample.cpu_ns)))?,
            p99: median(&sorted(samples.iter().filter_map(|sample| sample.p99))),
            p999: median(&sorted(samples.iter().filter_map(|sample| sample.p999))),
            syscalls,
            heap: median(&sorted(samples.iter().filter_map(|sample| sample.heap))),
        })
    }
}

impl Row {
    pub(crate) fn new(
        work: &Work,
        subject: &str,
        peer: bool,
        messages: u64,
        samples: &[Sample],
        syscalls: Option<f64>,
        note: String,
    ) -> Row {
        Row {
            work: *work,
            subject: subject.to_owned(),
            peer,
            messages,
            rounds: samples.len(),
            figures: Figures::new(samples, syscalls),
            to_raw: None,
            to_libzmq: None,
            to_best: None,
            best: None,
            note,
        }
    }

    /// A peer in a mode that need not be asked for.
    pub(crate) fn is_default_peer(&self) -> bool {
        self.peer && self.subject != "monocoque-flush"
    }

    fn to_json(&self) -> Value {
        let figures = self.figures.as_ref();
        json!({
            "work": self.work.pattern.to_string(),
            "transport": self.work.transport.to_string(),
            "size": self.work.size,
            "impl": self.subject,
            "peer": self.peer,
            "median": figures.map(|f| f.median),
            "unit": self.work.unit(),
            "spread": figures.map(|f| f.spread),
            "ratio_to_raw": self.to_raw,
            "ratio_to_libzmq": self.to_libzmq,
            "ratio_to_best_peer": self.to_best,
            "best_peer": self.best,
            "cpu_ns_per_msg": figures.map(|f| f.cpu_ns),
            "syscalls_per_1000_msgs": figures.and_then(|f| f.syscalls),
            "p99": figures.and_then(|f| f.p99),
            "p999": figures.and_then(|f| f.p999),
            "heap_per_connection": figures.and_then(|f| f.heap),
            "rounds": self.rounds,
            "messages": self.messages,
            "note": (!self.note.is_empty()).then_some(&self.note),
        })
    }

    fn from_json(value: &Value, works: &[Work]) -> Option<Row> {
        let name = format!(
            "{}/{}/{}",
            value["work"].as_str()?,
            value["transport"].as_str()?,
            value["size"].as_u64()?
        );
        let figures = || {
            Some(Figures {
                median: value["median"].as_f64()?,
                spread: value["spread"].as_f64()?,
                cpu_ns: value["cpu_ns_per_msg"].as_f64()?,
                p99: value["p99"].as_f64(),
                p999: value["p999"].as_f64(),
                syscalls: value["syscalls_per_1000_msgs"].as_f64(),
                heap: value["heap_per_connection"].as_f64(),
            })
        };
        Some(Row {
            work: *works.iter().find(|work| work.to_string() == name)?,
            subject: value["impl"].as_str()?.to_owned(),
            peer: value["peer"].as_bool()?,
            messages: value["messages"].as_u64()?,
            rounds: value["rounds"].as_u64()? as usize,
            figures: figures(),
            to_raw: None,
            to_libzmq: None,
            to_best: None,
            best: None,
            note: value["note"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let mid = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[mid]),
        _ => Some((sorted[mid - 1] + sorted[mid]) / 2.0),
    }
}

/// The command that was given these arguments, with the names of files as the documentation has them: where they
/// lie is a matter of one machine.
fn command(args: impl IntoIterator<Item = String>) -> String {
    let mut words = vec!["cargo bench --bench compare --".to_owned()];
    let mut args = args.into_iter().filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&arg[..], None),
        };
        match FILES.iter().find(|(option, _)| *option == name) {
            Some((option, file)) => {
                if value.is_none() {
                    args.next();
                }
                words.push(format!("{option} {file}"));
            }
            None => words.push(arg),
        }
    }
    words.join(" ")
}

/// Options that take files, and what these are called in `benches/README.md`.
const FILES: [(&str, &str); 4] = [
    ("--json", "rows.json"),
    ("--markdown", "RESULTS.md"),
    ("--plot", "plots"),
    ("--from", "rows.json"),
];

/// All rows of a run, with their ratios.
#[derive(Debug)]
pub(crate) struct Report {
    /// Machine, date and length of the rounds.
    head: String,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Fills in each row's ratios at the same work: to the bare socket, to libzmq and to the best peer.
    pub(crate) fn new(head: String, mut rows: Vec<Row>) -> Report {
        for index in 0..rows.len() {
            let Row { work, figures, .. } = rows[index];
            let Some(Figures { median, .. }) = figures else {
                continue;
            };
            let of = |subject| find(&rows, work, subject).map(|f| median / f.median);
            let (raw, libzmq) = (of("raw"), of("libzmq"));
            let best = best_peer(&rows, work).map(|(name, f)| (name.to_owned(), median / f.median));
            let row = &mut rows[index];
            (row.to_raw, row.to_libzmq) = (raw, libzmq);
            (row.best, row.to_best) = best.unzip();
        }
        Report { head, rows }
    }

    /// A JSON array, one object for each row.
    pub(crate) fn json(&self) -> Fallible<String> {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        Ok(serde_json::to_string_pretty(&rows)? + "\n")
    }

    /// Rows that were written by [`Report::json`]; ratios are computed again.
    pub(crate) fn from_json(text: &str) -> Fallible<Report> {
        let values: Vec<Value> = serde_json::from_str(text)?;
        let works = work::all();
        let rows = values.iter().map(|value| Row::from_json(value, &works));
        let rows = rows.collect::<Option<Vec<_>>>();
        let rows = rows.ok_or("a row of the file is not one of this programme's")?;
        Ok(Report::new("Rows read from a file.\n".to_owned(), rows))
    }

    /// Ratios first; then what they are ratios of.
    pub(crate) fn table(&self) -> String {
        let lines = self.cells();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        // A note is the last column and as long as it likes.
        let widths: Vec<usize> = (0..COLUMNS.len() - 1).filter_map(width).collect();
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
            for (column, cell) in line.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                // Names to the left, figures to the right; writing to a string cannot fail.
                let _ = if is_text(column) {
                    write!(row, "{cell:<width$}  ")
                } else {
                    write!(row, "{cell:>width$}  ")
                };
            }
            out.push_str(row.trim_end());
            out.push('\n');
        }
        out.push_str("\nmsg/s: more is better; us (median round trip): less is better.\n");
        out
    }

    /// Machine, goals and the whole table, for a file.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!(
            "# Results\n\nWritten by `{}`; how to read it is in \
             [README.md](README.md). Only ratios within one run mean anything.\n\n```text\n{}```\n\n",
            command(std::env::args().skip(1)),
            self.head
        );
        out.push_str("## Goals\n\n");
        out.push_str(&goals::markdown(&self.rows));
        out.push_str("\n## Rows\n\n");
        for (index, line) in self.cells().iter().enumerate() {
            let _ = writeln!(out, "| {} |", line.join(" | "));
            if index == 0 {
                let rules: Vec<_> = (0..COLUMNS.len())
                    .map(|column| if is_text(column) { "---" } else { "---:" })
                    .collect();
                let _ = writeln!(out, "| {} |", rules.join(" | "));
            }
        }
        out.push_str("\nmsg/s: more is better; us (median round trip): less is better.\n");
        out
    }

    /// The table, heads first.
    fn cells(&self) -> Vec<[String; COLUMNS.len()]> {
        let mut lines = vec![COLUMNS.map(str::to_owned)];
        let dash = || "-".to_owned();
        let ratio = |ratio: Option<f64>| ratio.map_or_else(dash, |ratio| format!("{ratio:.3}"));
        let micros = |time: Option<f64>| time.map_or_else(dash, |time| format!("{time:.1}"));
        for row in &self.rows {
            let (median, unit) = match (row.figures.map(|f| f.median), row.work.unit()) {
                (None, _) => (dash(), ""),
                (Some(rate), "msg/s") if rate >= 1e6 => (format!("{:.2}", rate / 1e6), "M msg/s"),
                (Some(rate), "msg/s") => (format!("{:.2}", rate / 1e3), "k msg/s"),
                (Some(time), unit) => (format!("{time:.1}"), unit),
            };
            let f = row.figures.as_ref();
            let per_1000 = |calls: f64| match calls {
                calls if calls < 10.0 => format!("{calls:.2}"),
                calls => format!("{calls:.0}"),
            };
            let mut note = row.note.clone();
            if let Some(heap) = f.and_then(|f| f.heap) {
                let _ = write!(note, "{heap:.0} octets of heap per idle connection");
            }
            lines.push([
                row.work.to_string(),
                row.subject.clone(),
                ratio(row.to_raw),
                ratio(row.to_libzmq),
                ratio(row.to_best),
                median,
                unit.to_owned(),
                f.map_or_else(dash, |f| format!("{:.0}%", f.spread * 100.0)),
                f.map_or_else(dash, |f| format!("{:.0}", f.cpu_ns)),
                f.and_then(|f| f.syscalls).map_or_else(dash, per_1000),
                micros(f.and_then(|f| f.p99)),
                micros(f.and_then(|f| f.p999)),
                note,
            ]);
        }
        lines
    }
}

/// The figures of a subject at a work.
pub(crate) fn find(rows: &[Row], work: Work, subject: &str) -> Option<Figures> {
    let mut rows = rows.iter();
    rows.find(|row| row.work == work && row.subject == subject)?
        .figures
}

/// The peer with the best median at a work.
pub(crate) fn best_peer(rows: &[Row], work: Work) -> Option<(&str, Figures)> {
    let peers = rows.iter().filter(|row| row.peer && row.work == work);
    let figures = peers.filter_map(|row| Some((row.subject.as_str(), row.figures?)));
    figures.reduce(|best, next| {
        let is_less = next.1.median < best.1.median;
        if is_less == work.is_latency() {
            next
        } else {
            best
        }
    })
}

const COLUMNS: [&str; 13] = [
    "work",
    "impl",
    "x raw",
    "x libzmq",
    "x best",
    "median",
    "unit",
    "spread",
    "cpu ns",
    "calls/1000",
    "p99 us",
    "p99.9 us",
    "note",
];

fn is_text(column: usize) -> bool {
    matches!(COLUMNS[column], "work" | "impl" | "unit" | "note")
}

#[cfg(test)]
mod tests {
    use super::command;

    fn of(args: &str) -> String {
        command(args.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_command_names_no_place_of_this_machine() {
        assert_eq!(
            of("--json /some/where/a.json --only pushpull --markdown=/else/b.md --quick --plot x/y --bench"),
            "cargo bench --bench compare -- --json rows.json --only pushpull --markdown RESULTS.md --quick --plot plots"
        );
        assert_eq!(
            of("--from /tmp/c"),
            "cargo bench --bench compare -- --from rows.json"
        );
    }
}
