//! From one pipe into others, as octets: for whoever receives messages only to send them as they are.
//!
//! Who reads asks for what lies at the head of the pipe in one piece ([`Reader::span`]), has it appended to as many
//! other pipes as are to have it ([`Writer::append_span`]), and passes it ([`Reader::pass`]).

use bytes::Bytes;

use super::block::Data;
use super::{Reader, Writer};
use crate::frame;

/// A run of octets is handed on by reference from this length on, which is what in-pumps do, too: shorter
/// ones would make more nodes than they save octets.
const RUN_BY_REFERENCE: usize = 2048;

/// What of messages is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Run {
    pub(crate) messages: u64,
    pub(crate) frames: u64,
    /// Of their bodies.
    pub(crate) octets: u64,
}

impl std::ops::AddAssign for Run {
    fn add_assign(&mut self, more: Run) {
        self.messages += more.messages;
        self.frames += more.frames;
        self.octets += more.octets;
    }
}

/// How far to go at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// At most so many messages.
    pub(crate) messages: u64,
    /// No message begins so many octets from here.
    pub(crate) octets: u64,
    /// No message is of so many octets on the wire.
    pub(crate) below: usize,
}

/// Whole messages at the head of a pipe, in one piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    len: usize,
    /// Where the body of the first frame begins, and ends.
    first: (usize, usize),
    run: Run,
}

impl Span {
    pub(crate) fn run(&self) -> Run {
        self.run
    }
}

/// The octets of a [`Span`].
#[derive(Debug)]
pub(crate) struct Octets<'a> {
    octets: &'a [u8],
    /// The same by reference, if they were received so and are many enough.
    shared: Option<Bytes>,
    span: Span,
}

impl Octets<'_> {
    /// The body of the first frame.
    pub(crate) fn first_body(&self) -> &[u8] {
        &self.octets[self.span.first.0..self.span.first.1]
    }

    /// Whether the first frame is followed by another of its message.
    pub(crate) fn is_followed(&self) -> bool {
        self.span.run.frames > self.span.run.messages
    }
}

impl Reader {
    /// The whole messages that lie at the head of this pipe in one piece. `None` if the next message does not, or is
    /// beyond the reach.
    pub(crate) fn span(&mut self, reach: Reach) -> Option<Span> {
        if !self.fill() {
            return None;
        }
        let input = self.readable();
        let mut span = Span {
            len: 0,
            first: (0, 0),
            run: Run::default(),
        };
        let (mut at, mut frames, mut bodies) = (0, 0, 0);
        while span.run.messages < reach.messages && (span.len as u64) < reach.octets {
            let Ok(Some(header)) = frame::decode_header(&input[at..]) else {
                break;
            };
            let body = at + header.header_len;
            // The codec sees to it that header and body can be added; the input is shorter than both limits.
            let next = at.saturating_add(header.header_len + header.body_len);
            if next > input.len() || next - span.len >= reach.below {
                break;
            }
            if frames == 0 {
                span.first = (body, next);
            }
            at = next;
            frames += 1;
            bodies += header.body_len as u64;
            if !header.more {
                span.len = at;
                span.run = Run {
                    messages: span.run.messages + 1,
                    frames,
                    octets: bodies,
                };
            }
        }
        (span.run.messages > 0).then_some(span)
    }

    /// The octets of what was found by [`Reader::span`].
    pub(crate) fn lend_span(&self, span: Span) -> Octets<'_> {
        Octets {
            octets: &self.readable()[..span.len],
            shared: self.shared_run(span.len),
            span,
        }
    }

    /// Passes what was found by [`Reader::span`].
    pub(crate) fn pass(&mut self, span: Span) {
        self.skip(span.len);
        self.count_messages(span.run.messages);
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

impl Writer {
    /// Appends messages as they are, unpublished, behind the encoded frames `head` of the first of them: long runs
    /// of received octets by reference, others copied at once.
    #[inline]
    pub(crate) fn append_span(&mut self, head: &[u8], octets: &Octets<'_>) {
        self.append_from(0, head, octets);
    }

    /// As [`Writer::append_span`], but for the first frame, which is followed by others.
    #[inline]
    pub(crate) fn append_rest(&mut self, octets: &Octets<'_>) {
        self.append_from(octets.span.first.1, &[], octets);
    }

    #[inline]
    fn append_from(&mut self, from: usize, head: &[u8], octets: &Octets<'_>) {
        let messages = octets.span.run.messages;
        match &octets.shared {
            None => self.append_parts(head, &octets.octets[from..], messages),
            Some(shared) => {
                if !head.is_empty() {
                    self.append_wire(head, 0, true);
                }
                self.append_shared(shared.slice(from..), messages, false);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{pipe, Limits, Reader, Tuning, Writer};
    use super::{Reach, Run, RUN_BY_REFERENCE};
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

    /// What one pipe has credit for goes into it.
    fn forward(reader: &mut Reader, writer: &mut Writer, most: u64) -> Run {
        let reach = Reach {
            messages: most.min(writer.message_credit()),
            octets: writer.octet_credit(),
            below: usize::MAX,
        };
        let Some(span) = reader.span(reach) else {
            return Run::default();
        };
        writer.append_span(&[], &reader.lend_span(span));
        reader.pass(span);
        span.run()
    }

    /// What is not in one piece is for the caller to read and send.
    fn forward_all(reader: &mut Reader, into: &mut Writer, most: u64) -> (u64, u64) {
        let (mut runs, mut singles) = (0, 0);
        loop {
            let run = forward(reader, into, most);
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
            let run = forward(&mut reader, &mut into, u64::MAX);
            assert_eq!(run.messages, expected);
            assert_eq!(run.frames, 2 * expected);
            assert_eq!(run.octets, 44 * expected);
            into.publish();
            assert!(!into.has_credit());
            assert_eq!(forward(&mut reader, &mut into, u64::MAX), Run::default());
            for number in 0..expected as u32 {
                assert_eq!(out.read_message(), Some(numbered(number)));
            }
            out.acknowledge();
            assert!(into.has_credit());
            assert_eq!(forward(&mut reader, &mut into, 1).messages, 1);
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
            let run = forward(&mut reader, &mut into, u64::MAX);
            assert_eq!(run.messages, u64::from(messages));
            into.publish();
            drop((reader, writer));
            assert_eq!(!held.is_unique(), by_reference);
            for n in 0..messages {
                assert_eq!(out.read_message(), Some(Message::from(vec![n; 64])));
            }
        }
    }

    #[test]
    fn frames_are_put_before_and_taken_away() {
        for body in [0, 10, 300, RUN_BY_REFERENCE, 40_000] {
            let message = Message::multipart([&b"name"[..], b"", &vec![5; body]]);
            let mut wire = Vec::new();
            for frame in message.frames() {
                let more = wire.len() < 8;
                let (header, len) = frame::header(more, false, frame.len());
                wire.extend_from_slice(&header[..len]);
                wire.extend_from_slice(frame);
            }
            let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
            writer.append_shared(Bytes::from(wire), 1, false);
            writer.publish();
            let (mut with, mut longer) = pipe(UNLIMITED, Tuning::WIRE);
            let (mut without, mut shorter) = pipe(UNLIMITED, Tuning::WIRE);
            let span = reader.span(ONE).unwrap();
            let octets = reader.lend_span(span);
            assert_eq!(octets.first_body(), b"name");
            with.append_span(&[1, 2, b'a', b'b'], &octets);
            assert!(octets.is_followed());
            without.append_rest(&octets);
            with.publish();
            without.publish();
            reader.pass(span);
            assert_eq!(reader.queued_messages(), 0);
            let mut expected = message;
            expected.pop_front();
            assert_eq!(shorter.read_message(), Some(expected.clone()));
            expected.push_front("name");
            expected.push_front("ab");
            assert_eq!(longer.read_message(), Some(expected));
        }
    }

    const ONE: Reach = Reach {
        messages: 1,
        octets: u64::MAX,
        below: usize::MAX,
    };

    #[test]
    fn a_name_alone_is_followed_by_nothing_and_what_is_long_is_left() {
        let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
        writer.append_message(&Message::from("name"));
        writer.append_message(&Message::from(vec![1; 98]));
        writer.append_message(&Message::from(vec![1; 99]));
        writer.publish();
        let span = reader.span(ONE).unwrap();
        assert!(!reader.lend_span(span).is_followed());
        reader.pass(span);
        let reach = Reach {
            messages: 10,
            below: 101,
            ..ONE
        };
        let span = reader.span(reach).unwrap();
        assert_eq!(span.run().messages, 1, "the other has 101 octets");
        reader.pass(span);
        assert!(reader.span(reach).is_none());
    }
}
