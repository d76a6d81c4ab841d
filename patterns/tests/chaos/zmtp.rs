//! Whole messages of a ZMTP stream: enough of 23/ZMTP ("Framing") to bring one twice, or half of one.

/// A part of a stream that stands for itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// All frames of a message.
    Message(Vec<u8>),
    /// The greeting, or a command.
    Other(Vec<u8>),
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    buffer: Vec<u8>,
    greeted: bool,
    /// Octets of the frames before the one at which it is.
    frames: usize,
}

const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

impl Pieces {
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next piece, if it is here.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if !self.greeted {
            let greeting = self.cut(GREETING)?;
            self.greeted = true;
            return Some(Piece::Other(greeting));
        }
        loop {
            let frame = self.buffer.get(self.frames..)?;
            let flags = *frame.first()?;
            let (head, body) = match flags & LONG {
                0 => (2, usize::from(*frame.get(1)?)),
                _ => {
                    let octets = frame.get(1..9)?.try_into().ok()?;
                    (9, usize::try_from(u64::from_be_bytes(octets)).ok()?)
                }
            };
            let end = self.frames.checked_add(head)?.checked_add(body)?;
            if self.buffer.len() < end {
                return None;
            }
            if flags & COMMAND != 0 {
                return self.cut(end).map(Piece::Other);
            }
            if flags & MORE == 0 {
                self.frames = 0;
                return self.cut(end).map(Piece::Message);
            }
            self.frames = end;
        }
    }

    fn cut(&mut self, at: usize) -> Option<Vec<u8>> {
        if self.buffer.len() < at {
            return None;
        }
        let rest = self.buffer.split_off(at);
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

#[test]
fn pieces_of_a_stream() {
    let greeting = vec![7; GREETING];
    let command = vec![4, 2, 1, 2];
    let message = [&[1, 1, 9, 3, 0, 0, 0, 0, 0, 0, 0, 2, 5, 6][..], &[0, 0]].concat();
    let stream = [&greeting[..], &command, &message, &message].concat();
    let mut pieces = Pieces::default();
    let mut found = Vec::new();
    for octet in stream {
        pieces.feed(&[octet]);
        found.extend(pieces.next());
    }
    let expected = [
        Piece::Other(greeting),
        Piece::Other(command),
        Piece::Message(message.clone()),
        Piece::Message(message),
    ];
    assert_eq!(found, expected);
}
