//! What Sinew means to reach, held against the rows of a run.
//!
//! A goal is a quotient of two rows and the bound it should keep. What a run has no rows for is said to
//! be not measured, and is neither met nor missed.

use std::fmt::Write as _;

use crate::report::{best_peer, find, Figures, Row};
use crate::work::{Pattern, Transport, Work};

/// The goals, as a table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut out =
        String::from("| goal | work | measured | bound | |\n| --- | --- | ---: | ---: | --- |\n");
    for goal in goals(rows) {
        let Goal {
            name,
            what,
            measured,
            bound,
        } = goal;
        let limit = match bound {
            Bound::AtLeast(limit) => format!("≥ {limit}"),
            Bound::AtMost(limit) => format!("≤ {limit}"),
            Bound::None => "-".to_owned(),
        };
        let (value, verdict) = match measured {
            None => ("-".to_owned(), "not measured".to_owned()),
            Some(value) => (format!("{value:.3}"), bound.verdict(value)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {name} | {what} | {value} | {limit} | {verdict} |");
    }
    out.push_str(
        "\nA row of the table is Sinew's median over the other's, unless it says otherwise. Where a goal \
         says \"no effect\" or \"not copied\" the bound is this programme's reading of it. P8 (CURVE) is \
         not in this programme.\n",
    );
    out
}

struct Goal {
    name: &'static str,
    what: String,
    measured: Option<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// No goal: what the machine allows, beside one.
    None,
}

impl Bound {
    fn verdict(self, value: f64) -> String {
        let (met, factor) = match self {
            Bound::AtLeast(limit) => (value >= limit, limit / value),
            Bound::AtMost(limit) => (value <= limit, value / limit),
            Bound::None => return "to compare with".to_owned(),
        };
        if met {
            "met".to_owned()
        } else {
            format!("missed by a factor of {factor:.2}")
        }
    }
}

/// Of what two rows are compared.
type Figure = fn(&Figures) -> Option<f64>;

const MEDIAN: Figure = |figures| Some(figures.median);
const P99: Figure = |figures| figures.p99;

fn goals(rows: &[Row]) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    use Pattern::{ByReference, Flow, Gap, IdleFlow, IdleReqRep, PubSub, ReqRep, Topics};
    use Transport::{Inproc, Ipc, Tcp};

    let flow = |transport, size| Work::new(Flow(1, 1), transport, size);
    let trip = |transport| Work::new(ReqRep, transport, 64);
    let tcp = |pattern| Work::new(pattern, Tcp, 64);
    let of = |work, subject| find(rows, work, subject);
    // Sinew's figure, over another subject's at the same work.
    let over = |work, subject, figure: Figure| {
        Some(figure(&of(work, "sinew")?)? / figure(&of(work, subject)?)?)
    };
    let over_best = |work| Some(of(work, "sinew")?.median / best_peer(rows, work)?.1.median);
    // Sinew's own figure at a work, over that at another.
    let own = |work, other, figure: Figure| {
        Some(figure(&of(work, "sinew")?)? / figure(&of(other, "sinew")?)?)
    };

    let mut all = Vec::new();
    let mut add = |name, what: String, measured, bound| {
        all.push(Goal {
            name,
            what,
            measured,
            bound,
        });
    };

    let small = flow(Tcp, 64);
    add(
        "P1",
        format!("{small} / raw"),
        over(small, "raw", MEDIAN),
        AtLeast(0.6),
    );
    add(
        "P1",
        format!("{small} / best peer in its best mode"),
        over_best(small),
        AtLeast(1.6),
    );
    let default = rows
        .iter()
        .filter(|row| row.work == small && row.is_default_peer())
        .filter_map(|row| Some(row.figures?.median))
        .reduce(f64::max);
    let over_default = of(small, "sinew")
        .zip(default)
        .map(|(own, best)| own.median / best);
    let what = format!("{small} / best peer in its default mode");
    add("P1", what, over_default, AtLeast(4.0));
    for (size, share) in [(1 << 10, 0.9), (16 << 10, 0.95), (1 << 20, 0.95)] {
        let work = flow(Tcp, size);
        add(
            "P2",
            format!("{work} / raw"),
            over(work, "raw", MEDIAN),
            AtLeast(share),
        );
        add(
            "P2",
            format!("{work} / best peer"),
            over_best(work),
            AtLeast(1.0),
        );
    }
    let work = flow(Ipc, 64);
    add(
        "P3",
        format!("{work} / raw"),
        over(work, "raw", MEDIAN),
        AtLeast(0.5),
    );
    add(
        "P3",
        format!("{work} / best peer"),
        over_best(work),
        AtLeast(5.0),
    );
    let work = flow(Inproc, 64);
    add(
        "P4",
        format!("{work} / crossbeam"),
        over(work, "raw", MEDIAN),
        AtLeast(3.0),
    );
    // A body that is copied takes tens of microseconds, and one copy is what a borrowed one costs.
    let by_reference = Work::new(ByReference, Inproc, 1 << 20);
    add(
        "P4",
        "byref/inproc/1048576 / the same, borrowed and so copied once".into(),
        own(by_reference, flow(Inproc, 1 << 20), MEDIAN),
        AtLeast(10.0),
    );
    add(
        "P4",
        "byref/inproc/1048576 / 64 octets".into(),
        own(by_reference, work, MEDIAN),
        Bound::None,
    );
    for work in [trip(Tcp), trip(Ipc)] {
        add(
            "P5",
            format!("{work} / raw"),
            over(work, "raw", MEDIAN),
            AtMost(1.0),
        );
        add(
            "P5",
            format!("{work} / best peer"),
            over_best(work),
            AtMost(1.0),
        );
    }
    for work in [trip(Tcp), trip(Ipc)] {
        let pair = of(work, "sinew-busy").zip(of(work, "raw-spin"));
        let ratio = pair.map(|(busy, spin)| busy.median / spin.median);
        add(
            "P6",
            format!("{work}, sinew-busy / raw-spin"),
            ratio,
            AtMost(1.5),
        );
    }
    for subscribers in [1, 8, 64] {
        let work = tcp(PubSub(subscribers));
        add(
            "P7",
            format!("{work} / libzmq"),
            over(work, "libzmq", MEDIAN),
            AtLeast(4.0),
        );
    }
    let ratio = own(tcp(Topics(1_000_000)), tcp(Topics(1_000)), MEDIAN);
    add(
        "P7",
        "a million other topics / a thousand".into(),
        ratio,
        AtLeast(0.95),
    );
    for work in [tcp(IdleReqRep(10_000)), tcp(IdleFlow(10_000))] {
        let heap = of(work, "sinew").and_then(|figures| figures.heap);
        add(
            "P9",
            format!("{work}: octets of heap per connection"),
            heap,
            AtMost(4096.0),
        );
    }
    let ratio = own(tcp(IdleReqRep(10_000)), trip(Tcp), P99);
    add(
        "P9",
        "p99 with 10 000 idle connections / without".into(),
        ratio,
        AtMost(1.1),
    );
    let ratio = own(tcp(IdleFlow(10_000)), small, MEDIAN);
    add(
        "P9",
        "rate with 10 000 idle connections / without".into(),
        ratio,
        AtLeast(0.9),
    );
    for transport in [Tcp, Ipc, Inproc] {
        for size in [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 1 << 20] {
            let work = flow(transport, size);
            let ratio = of(work, "sinew")
                .zip(best_peer(rows, work))
                .map(|(own, (_, peer))| own.cpu_ns / peer.cpu_ns);
            add(
                "P10",
                format!("{work}: CPU / fastest peer's"),
                ratio,
                AtMost(1.0),
            );
        }
    }
    for (senders, receivers) in [(4, 1), (1, 4), (4, 4)] {
        let work = tcp(Flow(senders, receivers));
        add(
            "P11",
            format!("{work} / {small}"),
            own(work, small, MEDIAN),
            AtLeast(1.0),
        );
        let bare = of(work, "raw").zip(of(small, "raw"));
        add(
            "P11",
            "the same of bare sockets".into(),
            bare.map(|(work, small)| work.median / small.median),
            Bound::None,
        );
    }
    let gap = tcp(Gap);
    add(
        "P12",
        format!("{gap}: p99 / raw"),
        over(gap, "raw", P99),
        AtMost(1.2),
    );
    all
}
