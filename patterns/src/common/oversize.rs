//! Last replies that are larger than their socket sends. Such a reply is never sent, however often it is tried; who waits for
//! it is told so in its place, at once.

use super::{Ext, Op, Status};

/// The header of what is sent, without a body, in place of a last reply of this header. `None` if that is no last reply, or
/// has no body that could be left out.
pub(crate) fn instead(
    ext: &Ext<'_>,
    body_octets: usize,
    size: u64,
    limit: u64,
) -> Option<Ext<'static>> {
    let last = ext.op == Op::Final && ext.status.is_some();
    (last && body_octets > 0).then(|| Ext {
        id: ext.id,
        op: Op::Final,
        part: ext.part,
        status: Some(Status::Failed),
        reason: Some(format!("the reply has {size} octets, and its socket sends {limit}").into()),
        ..Ext::default()
    })
}
