//! The pipes between a socket and one of its peers, as they begin.

use std::sync::Arc;

use super::port::{PipeKey, Port};
use super::thread::PipeEnds;
use crate::message::PeerProperties;
use crate::pipe::Tuning;

/// New pipes for a peer; the socket is told of its ends.
pub(super) fn new_ends(
    port: &Arc<Port>,
    key: PipeKey,
    peer: Option<Arc<PeerProperties>>,
) -> PipeEnds {
    let flow = port.flow();
    let reader = flow.sends.then(|| {
        let (writer, reader) = port.out_pipe(Tuning::WIRE);
        port.offer_writer(key, writer);
        reader
    });
    let writer = flow.receives.then(|| {
        let (writer, reader) = port.in_pipe(Tuning::RECEIVED);
        port.offer_reader(key, reader, peer);
        writer
    });
    PipeEnds {
        key,
        reader,
        writer,
    }
}

/// The pipes of an endpoint that is connected to: made at once, so that messages can be queued before
/// there is a connection, unless the socket wants to queue to connections only. `key`: made before.
pub(crate) fn dial_ends(port: &Arc<Port>, key: Option<PipeKey>) -> Option<PipeEnds> {
    (!port.settings().config.immediate)
        .then(|| new_ends(port, key.unwrap_or_else(|| port.new_key()), None))
}
