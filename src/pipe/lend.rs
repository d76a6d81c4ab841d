//! Writing a large payload through: from the caller's memory to the kernel, with no copy of what the
//! kernel takes at once.
//!
//! For that one thread has both ends of the pipe in hand. The payload is linked by reference like any
//! shared one; then the reader is run; and what it has left is copied before the caller gets its memory
//! back.

use bytes::Bytes;

use super::block::{Data, Node};
use super::{Arc, Ordering, Reader, Writer};
use crate::frame;

impl Writer {
    /// Whether `reader` is the other end.
    pub(crate) fn is_of(&self, reader: &Reader) -> bool {
        Arc::ptr_eq(&self.shared, &reader.shared)
    }

    /// Publishes a message of one frame with this payload, and lets `run` consume some of it, or all.
    /// What is left is copied.
    ///
    /// `run` is told what [`Writer::publish`] returned, and is not to read messages: a payload by reference
    /// would outlive its loan.
    ///
    /// # Panics
    /// If `reader` is not the other end.
    pub(crate) fn lend_payload<R>(
        &mut self,
        reader: &mut Reader,
        payload: &[u8],
        run: impl FnOnce(&mut Reader, bool) -> R,
    ) -> R {
        assert!(self.is_of(reader), "both ends of one pipe");
        self.begin_frame(payload.len());
        let begin = self.stream_position();
        // SAFETY: the slice is used through the node only, and the node is settled, at the latest when
        // `loan` is dropped, while `payload` is still borrowed. Until then nobody else has a reader.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let lent = unsafe { std::slice::from_raw_parts(payload.as_ptr(), payload.len()) };
        self.append_shared(Bytes::from_static(lent), 1, false);
        let loan = Loan {
            node: self.tail(),
            begin,
            end: self.stream_position(),
            reader,
        };
        let asleep = self.publish();
        let result = run(&mut *loan.reader, asleep);
        drop(loan);
        result
    }

    /// Appends the header of a frame that ends a message, and whose body follows as a node of its own.
    fn begin_frame(&mut self, len: usize) {
        let (header, header_len) = frame::header(false, false, len);
        self.append_wire(&header[..header_len], 0, true);
    }
}

/// A node that refers to memory of the caller.
struct Loan<'a> {
    node: *mut Node,
    /// Stream positions.
    begin: u64,
    end: u64,
    reader: &'a mut Reader,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.reader.settle(self.node, self.begin, self.end);
    }
}

impl Reader {
    /// Replaces the data of a node, whose octets are `begin..end` of the stream, by a copy of those that
    /// have not been consumed.
    fn settle(&mut self, node: *mut Node, begin: u64, end: u64) {
        let here = std::ptr::eq(self.node, node);
        if self.stream >= end && !here {
            // It has been passed, and freed. No node was made since, so none has its address.
            return;
        }
        let used = self.stream.saturating_sub(begin).min(end - begin) as usize;
        // SAFETY: the node has not been passed, so it is live; it was published by this thread, whose
        // writer does not touch it again, and the reader is ours.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            let Data::Shared(lent) = &mut (*node).data else {
                debug_assert!(false, "what was lent is shared data");
                return;
            };
            let rest = Bytes::copy_from_slice(&lent[used..]);
            let len = rest.len();
            *lent = rest;
            (*node).end.store(len, Ordering::Release);
            if here {
                self.base = lent.as_ptr();
                self.offset -= used;
                self.limit -= used;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::IoSlice;

    use super::super::{pipe, Limits, Tuning};
    use super::Reader;
    use crate::message::Message;

    const UNLIMITED: Limits = Limits {
        messages: u64::MAX,
        bytes: u64::MAX,
    };

    /// Consumes up to `most` octets, in pieces.
    fn consume(reader: &mut Reader, most: usize, into: &mut Vec<u8>) {
        let end = into.len().saturating_add(most);
        while into.len() < end {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = reader.lend(u64::MAX, &mut slices);
            if count == 0 {
                return;
            }
            let before = into.len();
            for slice in &slices[..count] {
                let step = slice.len().min(1000).min(end - into.len());
                into.extend_from_slice(&slice[..step]);
                if step < slice.len() {
                    break;
                }
            }
            let taken = into.len() - before;
            reader.consume(taken as u64);
        }
    }

    /// The octets come out the same wherever the loan ends, and the caller's memory is no longer used.
    #[test]
    fn what_is_left_of_a_loan_is_copied() {
        const LEN: usize = 5000;
        for first in [0, 3, 5, 9, 10, 1009, LEN + 8, LEN + 9, LEN + 20] {
            let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
            let mut out = Vec::new();
            let mut payload: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
            let expected = payload.clone();
            writer.lend_payload(&mut reader, &payload, |reader, _| {
                consume(reader, first, &mut out);
            });
            payload.fill(0xee);
            drop(payload);
            writer.append_message(&Message::from("after"));
            writer.publish_and_signal();
            consume(&mut reader, usize::MAX, &mut out);
            assert_eq!(out.len(), 9 + LEN + 2 + 5, "{first}");
            assert_eq!(&out[9..9 + LEN], &expected[..], "{first}");
            assert_eq!(&out[9 + LEN..], b"\0\x05after", "{first}");
            assert!(!reader.has_data());
            assert_eq!(reader.queued_messages(), 0);
        }
    }

    #[test]
    fn a_connection_lost_in_the_middle_of_a_loan_loses_that_message_alone() {
        let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
        let payload = vec![7; 100_000];
        let mut out = Vec::new();
        writer.lend_payload(&mut reader, &payload, |reader, _| {
            consume(reader, 50_000, &mut out);
        });
        drop(payload);
        writer.append_message(&Message::from("next"));
        writer.publish_and_signal();
        assert!(reader.discard_partial());
        assert_eq!(reader.read_message(), Some(Message::from("next")));
        assert_eq!(reader.read_message(), None);
    }

    /// What was lent and not begun is read as any other message.
    #[test]
    fn a_loan_of_which_nothing_was_used_is_a_message() {
        let (mut writer, mut reader) = pipe(UNLIMITED, Tuning::WIRE);
        let payload = vec![7; 100_000];
        writer.lend_payload(&mut reader, &payload, |_, _| {});
        let expected = Message::from(payload);
        assert_eq!(reader.read_message(), Some(expected));
    }

    #[test]
    #[should_panic(expected = "both ends of one pipe")]
    fn the_ends_are_of_one_pipe() {
        let (mut writer, _reader) = pipe(UNLIMITED, Tuning::WIRE);
        let (_writer, mut other) = pipe(UNLIMITED, Tuning::WIRE);
        writer.lend_payload(&mut other, b"payload", |_, _| {});
    }
}
