//! `sinew monitor`: the events of a socket that does nothing else.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::args::MonitorArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::report::Reporter;
use crate::sockets::{make, place, Interests};

/// How long events are waited for before signals are looked at.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &MonitorArgs, reporter: &Reporter) -> Result<(), Failure> {
    let interrupt = Interrupt::install().map_err(Failure::new)?;
    let mut socket = make(args.kind, &args.tuning, &Interests::default())?;
    let Some(mut monitor) = socket.monitor() else {
        return Err(Failure::usage("this kind of socket has no events"));
    };
    // The event says where it is bound.
    place(&mut *socket, &args.places, |_| {})?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = io::stdout().lock();
    let result = loop {
        if left == 0 {
            break Ok(());
        }
        let deadline = args
            .timeout
            .and_then(|time| Instant::now().checked_add(time));
        let event = loop {
            if let Err(failure) = interrupt.check() {
                break Err(failure);
            }
            let wait = deadline.map_or(SLICE, |deadline| {
                deadline
                    .saturating_duration_since(Instant::now())
                    .min(SLICE)
            });
            if let Some(event) = monitor.recv_timeout(wait) {
                break Ok(event);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Err(Failure::timeout("no event came in time"));
            }
        };
        let written = event.and_then(|event| {
            let line = reporter.event(&event);
            let written = writeln!(out, "{line}").and_then(|()| out.flush());
            written.map_err(|error| Failure::output(&error))
        });
        if written.is_err() {
            break written;
        }
        left -= 1;
    };
    socket.close();
    result
}
