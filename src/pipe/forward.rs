//! From one pipe into another, as octets: for whoever receives messages only to send them as they are.

use bytes::Bytes;

use super::block::Data;
use super::{Reader, Writer};
use crate::frame;

/// A run of octets is handed on by reference from this length on, which is what in-pumps do, too: shorter
/// ones would make more nodes than they save octets.
const RUN_BY_REFERENCE: usize = 2048;

/// What [`Reader::forward`] handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Run {
    pub(crate) messages: u64,
    pub(crate) frames: u64,
    /// Of their bodies.
    pub(crate) octets: u64,
}

impl Reader {
    /// Hands on whole messages that lie in one piece to another pipe, unpublished there: at most so many, and as
    /// many as there is credit for. Long runs of received octets are handed on by reference, others copied
    /// at once. None if the next message is not in one piece.
    pub(crate) fn forward(&mut self, writer: &mut Writer, most: u64) -> Run {
        let mut run = Run::default();
        if !self.fill() {
            return run;
        }
        let most = most.min(writer.message_credit());
        let octets = writer.octet_credit();
        let input = self.readable();
        let mut end = 0;
        let (mut at, mut frames, mut bodies) = (0, 0, 0);
        while run.messages < most && (end as u64) < octets {
            let Ok(Some(header)) = frame::decode_header(&input[at..]) else {
                break;
            };
            // The codec sees to it that header and body can be added; the input is shorter than both limits.
            let next = at.saturating_add(header.header_len + header.body_len);
            if next > input.len() {
                break;
            }
            at = next;
            frames += 1;
            bodies += header.body_len as u64;
            if !header.more {
                end = at;
                run = Run {
                    messages: run.messages + 1,
                    frames,
                    octets: bodies,
                };
            }
        }
        if run.messages == 0 {
            return run;
        }
        match self.shared_run(end) {
            Some(wire) => writer.append_shared(wire, run.messages, false),
            None => writer.append_wire(&input[..end], run.messages, false),
        }
        self.skip(end);
        self.count_messages(run.messages);
        run
    }

    /// The next octets by reference, if they were received so and are many enough.
    fn shared_run(&self, len: usize) -> Option<Bytes> {
        if len < RUN_BY_REFERENCE {
            return None;
        }
        // SAFETY: `self.node` is live until the reader itself passes it.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let data = unsafe { &(*self.node).data };
        match data {
            Data::Shared(bytes) => Some(bytes.slice(self.offset..self.offset + len)),
            Data::View(_) => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{pipe, Limits, Reader, Tuning};
    use super::{Run, RUN_BY_REFERENCE};
    use crate::frame;
    use crate::message::Message;
    use bytes::{Bytes, BytesMut};

    const UNLIMITED: Limits = Limits {
        messages: u64::MAX,
        bytes: u64::MAX,
    };

    fn numbered(number: u32) -> Message {
        Message::multipart([&number.to_le_bytes()[..], &[7; 40]])
    }

    /// What is not in one piece is for the caller to read and send.
    fn forward_all(reader: &mut Reader, into: &mut super::Writer, most: u64) -> (u64, u64) {
        let (mut runs, mut singles) = (0, 0);
        loop {
            let run = reader.forward(into, most);
            if run.messages > 0 {
                runs += run.messages;
            } else if let Some(message) = reader.read_message() {
                into.append_message(&message);
                singles += 1;
            } else {
                into.publish();
                return (runs, singles);
            }
        }
    }

    #[test]
    fn messages_of_every_kind_come_out_as_they_went_in() {
        for most in [1, 3, u64::MAX] {
            let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
            let (mut into, mut out) = pipe(UNLIMITED, Tuning::WIRE);
            let expected: Vec<Message> = (0..400)
                .map(|n: u32| match n % 40 {
                    0 => Message::from(vec![n as u8; 100_000]),
                    1 => Message::from(vec![n as u8; 300]),
                    2 => Message::from(""),
                    3 => Message::multipart([vec![1; 20_000], vec![], vec![2; 70]]),
                    _ => numbered(n),
                })
                .collect();
            for message in &expected {
                writer.append_message(message);
            }
            writer.publish();
            let (runs, singles) = forward_all(&mut reader, &mut into, most);
            assert_eq!(runs + singles, 400);
            assert!(singles <= 40, "{singles} of 400 messages were taken apart");
            assert_eq!(reader.queued_messages(), 0);
            for message in expected {
                assert_eq!(out.read_message(), Some(message));
            }
            assert_eq!(out.read_message(), None);
        }
    }

    #[test]
    fn a_run_ends_where_the_credit_does() {
        let few = Limits {
            messages: 5,
            bytes: u64::MAX,
        };
        let short = Limits {
            messages: u64::MAX,
            bytes: 100,
        };
        for (limits, expected) in [(few, 5), (short, 3)] {
            let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
            for number in 0..10 {
                writer.append_message(&numbered(number));
            }
            writer.publish();
            let (mut into, mut out) = pipe(limits, Tuning::WIRE);
            let run = reader.forward(&mut into, u64::MAX);
            assert_eq!(run.messages, expected);
            assert_eq!(run.frames, 2 * expected);
            assert_eq!(run.octets, 44 * expected);
            into.publish();
            assert!(!into.has_credit());
            assert_eq!(reader.forward(&mut into, u64::MAX), Run::default());
            for number in 0..expected as u32 {
                assert_eq!(out.read_message(), Some(numbered(number)));
            }
            out.acknowledge();
            assert!(into.has_credit());
            assert_eq!(reader.forward(&mut into, 1).messages, 1);
        }
    }

    /// Received octets are not copied, if they are many.
    #[test]
    fn long_runs_are_handed_on_by_reference() {
        for (messages, by_reference) in [(100, true), (10, false)] {
            let mut wire = BytesMut::new();
            for n in 0..messages {
                let (header, len) = frame::header(false, false, 64);
                wire.extend_from_slice(&header[..len]);
                wire.extend_from_slice(&[n; 64]);
            }
            let wire: Bytes = wire.freeze();
            assert_eq!(wire.len() >= RUN_BY_REFERENCE, by_reference);
            let held = wire.clone();
            let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
            writer.append_shared(wire, u64::from(messages), false);
            writer.publish();
            let (mut into, mut out) = pipe(UNLIMITED, Tuning::WIRE);
            let run = reader.forward(&mut into, u64::MAX);
            assert_eq!(run.messages, u64::from(messages));
            into.publish();
            drop((reader, writer));
            assert_eq!(!held.is_unique(), by_reference);
            for n in 0..messages {
                assert_eq!(out.read_message(), Some(Message::from(vec![n; 64])));
            }
        }
    }
}
