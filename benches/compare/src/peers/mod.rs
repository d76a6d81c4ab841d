//! The subjects, a file for each library.

mod libzmq;
mod monocoque;
mod omq;
mod raw;
mod rzmq;
mod sinew;
mod sinew_other;
mod zeromq;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::subject::Subject;
use crate::work::Transport;

/// Every subject, the bare sockets first: they are the limit the others are held against.
pub(crate) fn all() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(raw::Raw::Blocking),
        Box::new(raw::Raw::Spinning),
        Box::new(sinew::Sinew::Default),
        Box::new(sinew::Sinew::Busy),
        Box::new(sinew_other::Other::Async),
        Box::new(sinew_other::Other::Shared),
        Box::new(libzmq::Libzmq),
        Box::new(omq::Omq::Async),
        Box::new(omq::Omq::Blocking),
        Box::new(monocoque::Monocoque::Default),
        Box::new(monocoque::Monocoque::Coalescing),
        Box::new(rzmq::Rzmq),
        Box::new(zeromq::ZeromqRs),
    ]
}

/// An endpoint nobody is bound to; the operating system fills in the port.
fn fresh(transport: Transport) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    match transport {
        Transport::Tcp => "tcp://127.0.0.1:0".to_owned(),
        Transport::Ipc => format!("ipc://{}", socket_file(name)),
        Transport::Inproc => format!("inproc://compare-{name}"),
    }
}

/// A file in the directory that the parent process removes.
fn socket_file(name: u64) -> String {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("{}-{name}", std::process::id()));
    file.display().to_string()
}
