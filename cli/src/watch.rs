//! `sinew monitor`: the events of a socket that does nothing else.

use std::io::{self, Write};
use std::time::Instant;

use sinew::MonitorOptions;

use crate::args::MonitorArgs;
use crate::exit::Failure;
use crate::interrupt::{writing, Interrupt};
use crate::report::Reporter;
use crate::sockets::{make, place, Interests};

pub(crate) fn run(args: &MonitorArgs, reporter: &Reporter) -> Result<(), Failure> {
    let interrupt = Interrupt::install().map_err(Failure::new)?;
    let mut socket = make(args.kind, &args.tuning, &Interests::default())?;
    let mut monitor = socket.monitor(MonitorOptions::default().subscriptions(true));
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
        let event = interrupt.wait(deadline, |cx| monitor.poll_recv(cx).map(Ok));
        let event = event.and_then(|event| match event.flatten() {
            Some(event) => Ok(event),
            None => Err(Failure::timeout("no event came in time")),
        });
        let written = event.and_then(|event| {
            let line = reporter.event(&event);
            let written = writing(|| writeln!(out, "{line}").and_then(|()| out.flush()));
            written.map_err(|error| Failure::output(&error))
        });
        if written.is_err() {
            break written;
        }
        left -= 1;
    };
    socket.close(None);
    result
}
