//! Plain tests of the pipe: order, visibility, rollback, credit, sleep, both reading manners.

use std::io::IoSlice;

use bytes::Bytes;

use super::*;
use crate::message::{Frame, Message};
use crate::sync::Event;

pub(super) struct Wake(pub(super) Event);

impl Signal for Wake {
    fn signal(&self) {
        self.0.notify();
    }
}

fn limits(messages: u64) -> Limits {
    Limits {
        messages,
        bytes: u64::MAX,
    }
}

fn send(writer: &mut Writer, message: impl Into<Message>) {
    writer.append_message(&message.into());
    writer.publish_and_signal();
}

#[test]
fn a_message_by_value_leaves_its_bodies_in_the_pipe() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    let body = Bytes::from(vec![7; 8192]);
    let at = body.as_ptr();
    let mut message = Message::multipart([Frame::from("small"), Frame::from(body)]);
    w.take_message(&mut message);
    w.publish_and_signal();
    assert_eq!(message, Message::multipart(["small", ""]));
    let received = r.read_message().unwrap().into_frames();
    assert_eq!(received[0], "small");
    let body = received[1].clone();
    drop(received);
    let body = body.into_bytes();
    assert_eq!((body.as_ptr(), body.len()), (at, 8192));
    assert!(body.is_unique(), "nobody else has a reference");
}

#[test]
fn chunks_of_nodes_go_back_to_the_writer() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    let body = Bytes::from(vec![7; 8192]);
    let mut pass = |w: &mut Writer| {
        for _ in 0..100 {
            send(w, body.clone());
            assert!(r.read_message().is_some());
        }
    };
    pass(&mut w);
    let chunks = |w: &Writer| {
        let mut count = 0;
        while let Some(chunk) = w.shared.reader.spare.chunks.pop(1, 0, usize::MAX) {
            count += 1;
            // SAFETY: it was popped, and is nobody else's.
            #[allow(unsafe_code, reason = "see SAFETY")]
            unsafe {
                <Chunk as spare::Spare>::free(chunk);
            }
        }
        count
    };
    assert_eq!(
        chunks(&w),
        1,
        "and used again: one is enough for who reads at once"
    );
    pass(&mut w);
    w.free_spare();
    assert_eq!(chunks(&w), 0);
}

/// Of the blocks that so many messages go through, one after the other read at once: how many there are.
fn blocks_of_a_stream(w: &mut Writer, r: &mut Reader, message: &[u8], messages: usize) -> usize {
    let mut blocks = std::collections::HashSet::new();
    for _ in 0..messages {
        send(w, Bytes::copy_from_slice(message));
        blocks.insert(w.tail_block());
        assert_eq!(
            r.read_message().as_ref().map(Message::as_bytes),
            Some(message)
        );
    }
    blocks.len()
}

#[test]
fn a_stream_of_short_messages_goes_through_much_memory_and_lets_go_of_it() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    w.never_sweep();
    let message = [7; 64];
    let short = blocks_of_a_stream(&mut w, &mut r, &message, 10_000);
    assert!(short <= 8, "{short} blocks, four of them of other sizes");
    let many = blocks_of_a_stream(&mut w, &mut r, &message, 100_000);
    let octets = many * Tuning::INPROC.max_block;
    let far = Tuning::INPROC.rotation..2 * Tuning::INPROC.rotation;
    assert!(far.contains(&octets), "{octets} octets");
    // The same ones again.
    let before = w.spare_octets();
    assert!(
        before >= far.start - 2 * Tuning::INPROC.max_block,
        "{before}"
    );
    blocks_of_a_stream(&mut w, &mut r, &message, 100_000);
    assert_eq!(w.spare_octets(), before);
    r.trim_spare();
    assert_eq!(w.spare_octets(), Tuning::INPROC.max_block);
}

/// Each end now and then finds nothing where the other has all in hand, and takes one block more.
#[test]
fn a_stream_that_goes_on_for_long_takes_no_more_memory() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    w.never_sweep();
    let message = [7; 64];
    blocks_of_a_stream(&mut w, &mut r, &message, 100_000);
    let shared = Arc::clone(&w.shared);
    for _ in 0..100 {
        shared.reader.spare.blocks.in_hand(|| {
            blocks_of_a_stream(&mut w, &mut r, &message, 1_100);
        });
        blocks_of_a_stream(&mut w, &mut r, &message, 2_000);
    }
    let octets = w.spare_octets();
    assert!(octets > Tuning::INPROC.rotation / 2, "{octets} octets");
    let most = Tuning::INPROC.rotation + Tuning::INPROC.rotation / 2;
    assert!(octets < most, "{octets} octets");
}

#[test]
fn a_stream_of_long_messages_uses_the_same_memory_again() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    let blocks = blocks_of_a_stream(&mut w, &mut r, &[7; 3000], 5000);
    assert!(blocks <= 8, "{blocks} blocks");
}

#[test]
fn messages_come_out_whole_and_in_order() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    assert!(r.read_message().is_none());
    let big = Bytes::from(vec![7u8; 100_000]);
    let mut sent = Vec::new();
    for i in 0..2000usize {
        let m = match i % 5 {
            0 => Message::from(i.to_string()),
            1 => Message::default(),
            2 => Message::from(big.clone()),
            3 => Message::multipart([
                Frame::from(vec![i as u8; i % 600]),
                Frame::from(big.clone()),
                Frame::default(),
            ]),
            _ => Message::from(vec![i as u8; i * 3]),
        };
        send(&mut w, m.clone());
        sent.push(m);
        if i % 7 == 0 {
            for expect in sent.drain(..) {
                assert_eq!(r.read_message(), Some(expect));
            }
        }
    }
    for expect in sent {
        assert_eq!(r.read_message(), Some(expect));
    }
    assert!(r.read_message().is_none());
    assert!(!r.is_finished());
    drop(w);
    assert!(r.is_finished());
}

#[test]
fn a_large_body_is_not_copied() {
    let (mut w, mut r) = pipe(limits(10), Tuning::INPROC);
    let body = Bytes::from(vec![1u8; 1 << 20]);
    send(&mut w, body.clone());
    let got = r.read_message().unwrap().into_bytes();
    assert_eq!(got.as_ptr(), body.as_ptr());
}

#[test]
fn an_unfinished_message_is_invisible_and_can_be_rolled_back() {
    let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::INPROC);
    let big = Frame::from(vec![1u8; 5000]);
    for round in 0..200 {
        send(&mut w, format!("before {round}"));
        for n in 0..(round % 7) {
            w.append_frame(&Frame::from(vec![n as u8; 300 * n]), true);
            w.append_frame(&big, true);
        }
        assert_eq!(
            r.read_message().unwrap(),
            Message::from(format!("before {round}"))
        );
        assert!(r.read_message().is_none());
        w.rollback();
        assert!(r.read_message().is_none());
    }
    w.append_frame(&big, true);
    drop(w);
    assert!(r.read_message().is_none());
    assert!(r.is_finished());
}

#[test]
fn credit_is_exact_and_comes_back() {
    for limit in [1u64, 2, 3, 10, 1000] {
        let (mut w, mut r) = pipe(limits(limit), Tuning::INPROC);
        for round in 0..3 {
            let mut n = 0;
            while w.has_credit() {
                send(&mut w, "x");
                n += 1;
            }
            assert_eq!(n, limit, "round {round}");
            assert_eq!(w.queued_messages(), limit);
            while r.read_message().is_some() {}
            r.acknowledge();
        }
    }
}

/// Nothing is appended by an empty run of octets, also where it would be the first of a view.
#[test]
fn an_empty_run_is_nothing() {
    let (mut writer, mut reader) = pipe(limits(200), Tuning::INPROC);
    for _ in 0..40 {
        send(&mut writer, "dense");
    }
    let large = Bytes::from(vec![7; 100_000]);
    for shared in [false, true] {
        // It goes by reference, and ends the view.
        writer.append_message(&Message::from(large.clone()));
        writer.publish();
        if shared {
            writer.append_shared(Bytes::new(), 0, false);
        } else {
            writer.append_wire(&[], 0, false);
        }
        assert!(!writer.is_unfinished());
        if writer.send_short(b"short").is_none() {
            send(&mut writer, "short");
        }
        // Back to what was published last, not to before the short one.
        writer.append_payload(b"not sent");
        writer.rollback();
        send(&mut writer, "last");
    }
    for _ in 0..40 {
        assert_eq!(reader.read_message().unwrap().as_bytes(), b"dense");
    }
    for _ in 0..2 {
        assert_eq!(reader.read_message().unwrap().as_bytes(), &large[..]);
        for expected in ["short", "last"] {
            let message = reader.read_message().unwrap();
            assert_eq!(message.as_bytes(), expected.as_bytes());
        }
    }
    assert!(reader.read_message().is_none());
}

/// Which messages go the short way, and that it is the same as the other.
#[test]
fn the_short_way() {
    let (mut writer, mut reader) = pipe(limits(200), Tuning::INPROC);
    let mut read = |payload: &[u8]| {
        let message = reader.read_message().unwrap();
        assert_eq!(message.as_bytes(), payload);
    };
    assert_eq!(writer.send_short(b"x"), None, "it has to be dense");
    for _ in 0..40 {
        send(&mut writer, "dense");
    }
    let taken = barrier::is_free().then_some(false);
    let mut others = 0;
    for len in 0..=64 {
        let payload: Vec<u8> = (0..len).collect();
        let went = writer.send_short(&payload);
        assert!(went == taken || went.is_none());
        assert!(!writer.is_unfinished());
        if went.is_none() {
            others += 1;
            send(&mut writer, payload);
        }
    }
    // But for those that began a block.
    assert!(taken.is_none() || others < 5, "{others}");
    assert_eq!(writer.send_short(&[0; 65]), None);
    assert_eq!(writer.messages_written(), 105);
    for _ in 0..40 {
        read(b"dense");
    }
    for len in 0..=64 {
        let payload: Vec<u8> = (0..len).collect();
        read(&payload);
    }

    // Something else is unpublished, or not whole.
    writer.append_payload(b"first");
    assert_eq!(writer.send_short(b"x"), None);
    writer.rollback();
    assert_eq!(writer.send_short(b"second"), taken);
    if taken.is_none() {
        send(&mut writer, "second");
    }
    writer.append_frame(&Frame::from("begun"), true);
    assert_eq!(writer.send_short(b"x"), None);
    writer.rollback();
    read(b"second");
    assert!(reader.read_message().is_none());

    // There is no credit.
    while writer.has_credit() {
        send(&mut writer, "full");
    }
    assert_eq!(writer.send_short(b"x"), None);
}

#[test]
fn each_end_changes_what_it_allows() {
    let fill = |w: &mut Writer| {
        let mut sent = 0;
        while w.has_credit() {
            send(w, "x");
            sent += 1;
        }
        sent
    };
    let (mut w, mut r) = pipe(limits(2), Tuning::INPROC);
    assert_eq!(fill(&mut w), 2);
    let told = Arc::new(Wake(Event::new()));
    w.set_signal(Arc::clone(&told) as Arc<dyn Signal>);
    assert!(!w.arm());
    r.set_limits(limits(3));
    assert!(told.0.take(), "who waits is told of more");
    assert_eq!(fill(&mut w), 3);
    w.set_limits(limits(4));
    assert_eq!(fill(&mut w), 2);
    // Less than there is.
    w.set_limits(limits(1));
    r.set_limits(Limits::NONE);
    for left in (1..7).rev() {
        assert!(!w.has_credit());
        assert!(r.read_message().is_some());
        assert_eq!(w.queued_messages(), left, "and each is acknowledged");
    }
    assert!(r.read_message().is_some());
    assert_eq!(fill(&mut w), 1);
    // What was counted on before is not granted any more.
    w.set_limits(limits(100));
    send(&mut w, "x");
    r.set_limits(limits(1));
    w.set_limits(limits(1));
    assert!(!w.has_credit());
}

#[test]
fn byte_credit_lets_one_oversized_message_pass() {
    let (mut w, mut r) = pipe(
        Limits {
            messages: 1000,
            bytes: 100,
        },
        Tuning::INPROC,
    );
    assert!(w.has_credit());
    send(&mut w, vec![0; 5000]);
    assert!(!w.has_credit());
    assert!(r.read_message().is_some());
    assert!(w.has_credit());
}

#[test]
fn octets_held_back_behind_a_boundary() {
    let (mut w, mut r) = pipe(
        Limits {
            messages: 10,
            bytes: 50,
        },
        Tuning::WIRE,
    );
    // A message, and the first frame of another, larger than the limit.
    w.append_wire(&[0, 1, b'a'], 1, false);
    let mut first = vec![1, 100];
    first.extend([b'b'; 100]);
    w.append_wire(&first, 0, true);
    assert!(!w.publish_to(3));
    assert!(w.is_unfinished());
    assert_eq!(r.read_message(), Some(Message::from("a")));
    r.acknowledge();
    assert!(
        w.has_credit(),
        "octets that nobody can acknowledge use no credit"
    );
    // A rollback keeps what was held back, and that it is in mid-message.
    w.append_frame(&Frame::from("lost"), true);
    w.rollback();
    w.append_shared(Bytes::from_static(&[1, 1, b'c']), 0, true);
    w.append_wire(&[0, 1, b'd'], 1, false);
    assert!(!w.publish());
    assert!(!w.is_unfinished());
    assert!(!w.has_credit());
    let mut slices = [IoSlice::new(&[]); 4];
    assert_eq!(r.lend(1, &mut slices), 3);
    let lent: usize = slices.iter().map(|s| s.len()).sum();
    assert_eq!(lent, 102 + 3 + 3, "no boundary inside the message");
    r.consume(lent as u64);
    assert_eq!(w.queued_messages(), 0);
}

#[test]
fn messages_appended_and_not_yet_published_use_credit() {
    let (mut w, _r) = pipe(
        Limits {
            messages: 10,
            bytes: 50,
        },
        Tuning::WIRE,
    );
    w.append_message(&Message::from(vec![0; 60]));
    assert!(!w.has_credit());
    w.rollback();
    assert!(w.has_credit());
}

#[test]
fn a_reader_may_change_its_manner_between_messages() {
    let (mut w, mut r) = pipe(limits(10), Tuning::WIRE);
    for text in ["one", "two", "three"] {
        send(&mut w, text);
    }
    assert!(r.read_message().is_some());
    assert!(r.at_boundary());
    assert_eq!(
        pump_all(&mut r, u64::MAX, usize::MAX),
        b"\0\x03two\0\x05three"
    );
    assert_eq!(w.queued_messages(), 0);
    send(&mut w, "four");
    assert_eq!(r.read_message(), Some(Message::from("four")));
    r.consume(0);
    assert_eq!(w.queued_messages(), 0);
}

#[test]
fn a_waiting_writer_is_signalled_once_there_is_room() {
    let (mut w, mut r) = pipe(limits(4), Tuning::INPROC);
    let wake = Arc::new(Wake(Event::new()));
    w.set_signal(wake.clone());
    for _ in 0..4 {
        send(&mut w, "x");
    }
    assert!(!w.arm());
    r.read_message();
    assert!(!wake.0.take(), "three of four are still queued");
    r.read_message();
    assert!(wake.0.take());
    assert!(w.has_credit());
}

#[test]
fn a_sleeping_reader_is_signalled_once() {
    let (mut w, mut r) = pipe(limits(100), Tuning::INPROC);
    let wake = Arc::new(Wake(Event::new()));
    r.set_signal(wake.clone());
    assert!(!r.arm(), "a fresh pipe is sparse");
    assert!(!r.stay_awake());
    send(&mut w, "a");
    assert!(wake.0.take());
    send(&mut w, "b");
    assert!(!wake.0.take(), "the reader is awake");
    let _dense = r.arm();
    assert!(r.stay_awake(), "there is something to read");
    while r.read_message().is_some() {}
    let _dense = r.arm();
    assert!(!r.stay_awake());
    drop(w);
    assert!(wake.0.take(), "closing wakes too");
    let _dense = r.arm();
    assert!(r.stay_awake());
    assert!(r.is_finished());
}

#[test]
fn what_was_read_is_not_left_when_the_reader_goes() {
    for read in [0, 1, 5, 10] {
        let (mut w, mut r) = pipe(limits(1000), Tuning::INPROC);
        for _ in 0..10 {
            send(&mut w, "x");
        }
        for _ in 0..read {
            assert!(r.read_message().is_some());
        }
        drop(r);
        assert!(w.is_reader_closed());
        assert_eq!(w.queued_messages(), 10 - read);
    }
}

#[test]
fn dropping_the_reader_frees_the_writer() {
    let (mut w, r) = pipe(limits(1), Tuning::WIRE);
    let wake = Arc::new(Wake(Event::new()));
    w.set_signal(wake.clone());
    send(&mut w, "x");
    assert!(!w.arm());
    drop(r);
    assert!(wake.0.take());
    assert!(w.is_reader_closed());
}

/// Everything the pump manner yields, taken in pieces of at most `piece` octets.
fn pump_all(r: &mut Reader, budget: u64, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 3];
        let n = r.lend(budget, &mut slices);
        if n == 0 {
            return out;
        }
        let mut taken = 0;
        for s in &slices[..n] {
            let part = &s[..s.len().min(piece - taken)];
            out.extend_from_slice(part);
            taken += part.len();
            if taken == piece {
                break;
            }
        }
        r.consume(taken as u64);
    }
}

#[test]
fn the_pump_sees_the_same_octets_and_stops_at_boundaries() {
    for piece in [1, 7, 1000, usize::MAX] {
        let (mut w, mut r) = pipe(limits(u64::MAX), Tuning::WIRE);
        let mut wire = Vec::new();
        for i in 0..40usize {
            let m = Message::multipart([
                Frame::from(vec![i as u8; i]),
                Frame::from(vec![i as u8; (i % 4) * 5000]),
            ]);
            for (k, f) in m.frames().iter().enumerate() {
                let (h, n) = crate::frame::header(k == 0, false, f.len());
                wire.extend_from_slice(&h[..n]);
                wire.extend_from_slice(f);
            }
            send(&mut w, m);
        }
        assert_eq!(pump_all(&mut r, 3000, piece), wire);
        assert!(r.at_boundary());
        assert_eq!(w.queued_messages(), 0);
    }
}

#[test]
fn the_pump_returns_credit_message_by_message_for_large_bodies() {
    let (mut w, mut r) = pipe(limits(4), Tuning::WIRE);
    let body = Bytes::from(vec![3u8; 20_000]);
    for _ in 0..4 {
        send(&mut w, body.clone());
    }
    assert!(!w.has_credit());
    let mut slices = [IoSlice::new(&[]); 64];
    assert!(r.lend(1000, &mut slices) >= 2);
    r.consume(20_009);
    assert!(r.at_boundary());
    assert_eq!(w.queued_messages(), 3);
}

#[test]
fn a_million_messages_between_threads() {
    const COUNT: u64 = 1_000_000;
    let (mut w, mut r) = pipe(limits(1000), Tuning::INPROC);
    let (readable, writable) = (Arc::new(Wake(Event::new())), Arc::new(Wake(Event::new())));
    r.set_signal(readable.clone());
    w.set_signal(writable.clone());
    let t = std::thread::spawn(move || {
        let mut payload = [0u8; 64];
        for i in 0..COUNT {
            payload[..8].copy_from_slice(&i.to_le_bytes());
            while !w.has_credit() {
                if !w.arm() {
                    writable.0.wait(None);
                }
            }
            send(&mut w, payload);
        }
    });
    let mut spins = 0;
    for i in 0..COUNT {
        let m = loop {
            if let Some(m) = r.read_message() {
                break m;
            }
            if spins < 200 {
                spins += 1;
                std::hint::spin_loop();
                continue;
            }
            spins = 0;
            if r.arm() {
                barrier::heavy();
            }
            if !r.stay_awake() {
                readable.0.wait(None);
                r.disarm();
            }
        };
        assert_eq!(m.as_bytes()[..8], i.to_le_bytes());
    }
    assert!(r.read_message().is_none());
    t.join().unwrap();
    assert!(r.is_finished());
}
