//! What a key's file holds. Whoever may write into the directory may write anything, and a machine that loses its
//! power leaves what it likes: the octets are checked like those of a peer.
//!
//! ```text
//! record  = "SNWK" version fingerprint body checksum     ; numbers big-endian
//! version = %x01                       fingerprint, checksum = 8OCTET
//! body    = %x00 life                  ; begun          life = 16OCTET
//!         / %x01 count *frame          ; a reply        count = 4OCTET
//!         / %x02 status text           ; a fault        status = 2OCTET
//! frame   = length *OCTET              ; text the same, of UTF-8
//! ```
//! The checksum is FNV-1a over everything in front of it.

use sinew::{Frame, Message};
use thiserror::Error;

use super::{Fnv, Outcome};
use crate::common::{Fault, MsgId, Status};

/// A key as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) fingerprint: u64,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// By this life.
    Begun(MsgId),
    Done(Outcome),
}

/// Octets that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RecordError {
    #[error("it does not begin like a record of version 1")]
    Magic,
    #[error("it is cut short, or has octets behind its end")]
    Length,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is of no kind that is known, or a text is not UTF-8")]
    Kind,
}

const MAGIC: &[u8; 5] = b"SNWK\x01";
const CHECKSUM: usize = 8;

/// Octets of a record beside those of its outcome.
pub(crate) const OVERHEAD: usize = MAGIC.len() + 8 + 1 + 16 + CHECKSUM;

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&self.fingerprint.to_be_bytes());
        match &self.state {
            State::Begun(life) => {
                octets.push(0);
                octets.extend_from_slice(&life.0);
            }
            State::Done(Ok(reply)) => {
                octets.push(1);
                octets.extend_from_slice(&(reply.frames().len() as u32).to_be_bytes());
                for frame in reply.frames() {
                    put(&mut octets, frame);
                }
            }
            State::Done(Err(fault)) => {
                octets.push(2);
                octets.extend_from_slice(&fault.status.code().to_be_bytes());
                put(&mut octets, fault.reason.as_bytes());
            }
        }
        let sum = sum_of(&octets);
        octets.extend_from_slice(&sum.to_be_bytes());
        octets
    }

    pub(crate) fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let Some((content, sum)) = octets.split_last_chunk::<CHECKSUM>() else {
            return Err(RecordError::Length);
        };
        let mut rest = content.strip_prefix(MAGIC).ok_or(RecordError::Magic)?;
        if u64::from_be_bytes(*sum) != sum_of(content) {
            return Err(RecordError::Checksum);
        }
        let fingerprint = u64::from_be_bytes(take(&mut rest)?);
        let state = match take(&mut rest)? {
            [0u8] => State::Begun(MsgId(take(&mut rest)?)),
            [1] => {
                let count = u32::from_be_bytes(take(&mut rest)?) as usize;
                // A message has a frame. Each has a length at least, so that a count cannot ask for more memory
                // than the file is long.
                if count == 0 || count > rest.len() / 4 {
                    return Err(RecordError::Length);
                }
                let frames = (0..count).map(|_| text(&mut rest).map(Frame::from));
                let frames = frames.collect::<Result<Vec<_>, _>>()?;
                State::Done(Ok(Message::multipart(frames)))
            }
            [2] => {
                let status = Status::from_code(u16::from_be_bytes(take(&mut rest)?));
                let reason = std::str::from_utf8(text(&mut rest)?);
                let reason = reason.map_err(|_| RecordError::Kind)?.to_owned();
                let retry_after = None;
                State::Done(Err(Fault {
                    status,
                    reason,
                    retry_after,
                }))
            }
            _ => return Err(RecordError::Kind),
        };
        match rest.is_empty() {
            true => Ok(Record { fingerprint, state }),
            false => Err(RecordError::Length),
        }
    }
}

fn sum_of(octets: &[u8]) -> u64 {
    let mut sum = Fnv::new();
    sum.feed(octets);
    sum.sum()
}

fn put(octets: &mut Vec<u8>, text: &[u8]) {
    octets.extend_from_slice(&(text.len() as u32).to_be_bytes());
    octets.extend_from_slice(text);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (head, tail) = rest.split_first_chunk().ok_or(RecordError::Length)?;
    *rest = tail;
    Ok(*head)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    if length > rest.len() {
        return Err(RecordError::Length);
    }
    let (head, tail) = rest.split_at(length);
    *rest = tail;
    Ok(head)
}

/// Fuzz body: what decodes encodes to the same octets. Tried with a right checksum, too, which chance does not find.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_record(data: &[u8]) {
    let mut signed = data.to_vec();
    signed.extend_from_slice(&sum_of(data).to_be_bytes());
    for octets in [data, &signed] {
        if let Ok(record) = Record::decode(octets) {
            assert_eq!(record.encode(), octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    fn samples() -> Vec<Record> {
        let states = [
            State::Begun(MsgId([3; 16])),
            State::Done(Ok(Message::multipart(["", "two", "three"]))),
            State::Done(Err(Fault::failed("no luck"))),
        ];
        let record = |state| Record {
            fingerprint: 0x0102_0304_0506_0708,
            state,
        };
        states.map(record).to_vec()
    }

    #[test]
    fn what_is_written_is_read() {
        for record in samples() {
            let octets = record.encode();
            assert_eq!(Record::decode(&octets), Ok(record));
            for cut in 0..octets.len() {
                assert!(Record::decode(&octets[..cut]).is_err(), "cut at {cut}");
                let mut other = octets.clone();
                other[cut] ^= 1;
                assert!(Record::decode(&other).is_err(), "changed at {cut}");
            }
        }
        let begun = &samples()[0].encode();
        assert_eq!(begun.len(), OVERHEAD);
    }

    #[test]
    fn huge_counts_take_no_memory() {
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&[0; 8]);
        octets.extend_from_slice(&[1, 0xff, 0xff, 0xff, 0xff]);
        let sum = sum_of(&octets);
        octets.extend_from_slice(&sum.to_be_bytes());
        assert_eq!(Record::decode(&octets), Err(RecordError::Length));
    }

    #[test]
    fn random_records() {
        let mut random = Random::new(7);
        for _ in 0..cases() {
            for sample in samples() {
                let octets = sample.encode();
                let content = &octets[..octets.len() - CHECKSUM];
                fuzz_record(&mutated(content, &mut random));
            }
        }
    }
}
