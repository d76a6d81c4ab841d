//! `sinew inspect`: what the octets of a captured connection mean.

mod decode;
mod item;

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use crate::args::InspectArgs;
use crate::exit::Failure;
use crate::format::unhex;
use crate::report::Reporter;
use decode::decode;
use item::Item;

/// The two directions, as the input names them.
const SIDES: [char; 2] = ['>', '<'];

pub(crate) fn run(args: &InspectArgs, reporter: &Reporter) -> Result<(), Failure> {
    let streams = read(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut faults = 0;
    for (side, octets) in SIDES.into_iter().zip(&streams) {
        for item in decode(octets) {
            faults += u32::from(matches!(item, Item::Fault { .. }));
            let line = match reporter.json {
                true => item.json(side).to_string(),
                false => item.text(side, args.preview),
            };
            writeln!(out, "{line}").map_err(|error| Failure::output(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::output(&error))?;
    match faults {
        0 => Ok(()),
        _ => Err(Failure::new("the octets are not what ZMTP allows")),
    }
}

fn read(args: &InspectArgs) -> Result<[Vec<u8>; 2], Failure> {
    let stdin = Path::new("-");
    let first = args.file.as_deref().unwrap_or(stdin);
    let load = |path: &Path| -> Result<Vec<u8>, Failure> {
        let mut octets = Vec::new();
        let read = match path == stdin {
            true => io::stdin().read_to_end(&mut octets).map(|_| octets),
            false => fs::read(path),
        };
        read.map_err(|error| Failure::new(format!("`{}`: {error}", path.display())))
    };
    let digits = |path: &Path, text: &[u8]| {
        unhex(text).map_err(|error| Failure::new(format!("`{}`: {error}", path.display())))
    };
    let one = load(first)?;
    if let Some(second) = &args.other {
        let other = load(second)?;
        return match args.hex {
            true => Ok([digits(first, &one)?, digits(second, &other)?]),
            false => Ok([one, other]),
        };
    }
    if !args.hex {
        return Ok([one, Vec::new()]);
    }
    let mut streams = [Vec::new(), Vec::new()];
    for line in one.split(|octet| *octet == b'\n') {
        let line = line.trim_ascii();
        let (side, text) = match line {
            [b'<', text @ ..] => (1, text),
            [b'>', text @ ..] => (0, text),
            text => (0, text),
        };
        // An octet may not be split between lines.
        streams[side].extend(digits(first, text)?);
    }
    Ok(streams)
}
