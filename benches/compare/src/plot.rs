//! Draws rows: one SVG for each family of works.
//!
//! Rates over message sizes are lines on two logarithmic axes; everything else is bars on a logarithmic
//! axis, a group for each work. Rows without a figure are left out.

use std::path::Path;

use plotters::prelude::*;

use crate::report::Row;
use crate::subject::Fallible;
use crate::work::{Pattern, Transport, Work};

/// Draws every family that has rows into a directory, which is made.
pub(crate) fn draw(rows: &[Row], dir: &Path) -> Fallible<()> {
    std::fs::create_dir_all(dir)?;
    for transport in [Transport::Tcp, Transport::Ipc, Transport::Inproc] {
        let of =
            |row: &&Row| row.work.pattern == Pattern::Flow(1, 1) && row.work.transport == transport;
        let family: Vec<_> = rows.iter().filter(of).collect();
        let title = format!("PUSH/PULL {transport}: messages per second by size");
        lines(
            &family,
            &title,
            &dir.join(format!("pushpull-{transport}.svg")),
        )?;
    }
    let families: [(&str, &str, IsIn); 6] = [
        (
            "reqrep",
            "REQ/REP: median round trip, µs (less is better)",
            |p| p == Pattern::ReqRep,
        ),
        (
            "gap",
            "One round trip every millisecond: median, µs (less is better)",
            |p| p == Pattern::Gap,
        ),
        ("pubsub", "PUB/SUB: deliveries per second", |p| {
            matches!(p, Pattern::PubSub(_))
        }),
        (
            "many",
            "PUSH/PULL, several sockets: messages per second",
            |p| matches!(p, Pattern::Flow(senders, receivers) if senders * receivers > 1),
        ),
        (
            "idle",
            "REQ/REP with idle connections: median round trip, µs",
            |p| matches!(p, Pattern::IdleReqRep(_)),
        ),
        (
            "others",
            "Idle connections, topics, bodies by reference: messages per second",
            |p| {
                matches!(
                    p,
                    Pattern::IdleFlow(_) | Pattern::Topics(_) | Pattern::ByReference
                )
            },
        ),
    ];
    for (name, title, of) in families {
        let family: Vec<_> = rows.iter().filter(|row| of(row.work.pattern)).collect();
        bars(&family, title, &dir.join(format!("{name}.svg")))?;
    }
    Ok(())
}

/// Subjects in the order of the rows, each once; and its colour.
fn subjects<'a>(rows: &[&'a Row]) -> Vec<(&'a str, RGBColor)> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if row.figures.is_some() && !names.contains(&row.subject.as_str()) {
            names.push(&row.subject);
        }
    }
    names.into_iter().map(|name| (name, colour(name))).collect()
}

fn lines(rows: &[&Row], title: &str, path: &Path) -> Fallible<()> {
    let Some((low, high)) = range(rows) else {
        return Ok(());
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let sizes = rows.iter().map(|row| row.work.size as f64);
    let (first, last) = (
        sizes.clone().fold(f64::MAX, f64::min) / 1.5,
        sizes.fold(0.0, f64::max) * 1.5,
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 26))
        .margin(16)
        .x_label_area_size(56)
        .y_label_area_size(96)
        .build_cartesian_2d(
            // Sizes are powers of four, and so are the marks.
            (first..last).log_scale().base(4.0),
            (low..high).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .label_style((FONT, 18))
        .x_desc("octets in a message")
        .x_label_formatter(&|size| octets(*size))
        .y_label_formatter(&|rate| rounded(*rate))
        .draw()?;
    for (name, colour) in subjects(rows) {
        let own = rows.iter().filter(|row| row.subject == name);
        let points: Vec<_> = own
            .filter_map(|row| Some((row.work.size as f64, row.figures?.median)))
            .collect();
        let width = if name == "sinew" { 3 } else { 2 };
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(width)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
        chart.draw_series(
            points
                .into_iter()
                .map(|at| Circle::new(at, 4, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 18))
        .draw()?;
    area.present()?;
    Ok(())
}

fn bars(rows: &[&Row], title: &str, path: &Path) -> Fallible<()> {
    let Some((low, high)) = range(rows) else {
        return Ok(());
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut works: Vec<Work> = Vec::new();
    for row in rows {
        if !works.contains(&row.work) {
            works.push(row.work);
        }
    }
    let subjects = subjects(rows);
    // A group is one wide; a fifth of it is the gap to the next.
    let width = 0.8 / subjects.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 26))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(96)
        .build_cartesian_2d(
            // Room for the names of the subjects at the right.
            0.0..works.len() as f64 * 1.25,
            (low..high).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(WHITE)
        .label_style((FONT, 18))
        .y_label_formatter(&|value| rounded(*value))
        .draw()?;
    for (index, (name, colour)) in subjects.into_iter().enumerate() {
        let own = rows.iter().filter(|row| row.subject == name);
        let bars = own.filter_map(|row| {
            let group = works.iter().position(|work| *work == row.work)?;
            let left = group as f64 + 0.1 + index as f64 * width;
            let corners = [(left, low), (left + width * 0.92, row.figures?.median)];
            Some(Rectangle::new(corners, colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
    }
    for (group, work) in works.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(group as f64 + 0.1, low));
        let style = (FONT, 17).into_font().color(&BLACK);
        area.draw(&Text::new(work.to_string(), (x, y + 8), style))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 18))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The least and the greatest median, with some room.
fn range(rows: &[&Row]) -> Option<(f64, f64)> {
    let medians = rows.iter().filter_map(|row| Some(row.figures?.median));
    let (low, high) = medians.fold((f64::MAX, 0.0), |(low, high): (f64, f64), median| {
        (low.min(median), high.max(median))
    });
    (high > 0.0).then_some((low / 2.0, high * 1.6))
}

fn octets(size: f64) -> String {
    match size {
        size if size >= 1_048_576.0 => format!("{:.0} MiB", size / 1_048_576.0),
        size if size >= 1024.0 => format!("{:.0} KiB", size / 1024.0),
        size => format!("{size:.0}"),
    }
}

fn rounded(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => format!("{value}"),
    }
}

/// The same for a subject in every picture; close ones for two modes of one library.
fn colour(subject: &str) -> RGBColor {
    match subject {
        "raw" => RGBColor(90, 90, 90),
        "raw-spin" => RGBColor(170, 170, 170),
        "sinew" => RGBColor(200, 30, 30),
        "sinew-busy" => RGBColor(240, 130, 120),
        "libzmq" => RGBColor(30, 90, 180),
        "omq-tokio" => RGBColor(20, 130, 70),
        "omq-blocking" => RGBColor(130, 200, 140),
        "monocoque" => RGBColor(215, 130, 0),
        "monocoque-flush" => RGBColor(245, 195, 80),
        "rzmq" => RGBColor(120, 60, 160),
        _ => RGBColor(0, 160, 170),
    }
}

/// Whether a pattern is of a family.
type IsIn = fn(Pattern) -> bool;

const SIZE: (u32, u32) = (1000, 600);

const FONT: &str = "sans-serif";
