//! What messages cost in memory, for bounds in octets.

use sinew::Frame;

/// What a frame costs besides its octets, in all bounds in octets of servers, brokers, clients and gates: 128. It is what
/// a frame takes where it is kept, and what its octets take besides themselves if they are elsewhere. Without it a message of
/// many empty frames would cost nothing.
///
/// ```
/// use sinew_patterns::common::{Limits, FRAME_COST};
///
/// // Room for the octets of a hundred messages of one frame, of 1000 octets each.
/// let limits = Limits { bytes: 100 * (1000 + FRAME_COST), ..Limits::default() };
/// assert_eq!(limits.bytes, 112_800);
/// ```
pub const FRAME_COST: usize = 128;

/// What the frames of a message cost.
pub(crate) fn footprint(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.len() + FRAME_COST).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_costs_at_least_what_it_takes() {
        assert!(FRAME_COST >= std::mem::size_of::<Frame>());
        let frames = [Frame::from(""), Frame::from(vec![0; 100])];
        assert_eq!(footprint(&frames), 100 + 2 * FRAME_COST);
        assert_eq!(footprint(&[]), 0);
    }
}
