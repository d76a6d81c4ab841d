//! What servers are still to be told of calls that were given up. What finds no room is kept until there is, in its order;
//! it is forgotten with the deadline of its call, when the server gives up by itself, and with the connection, which tells
//! the server more. No more is kept than calls may run at once: a cancel is a courtesy, and memory is not spent on it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::Port;

/// See the module. Calls have names on the wire.
#[derive(Debug)]
pub(crate) struct Cancels<N> {
    lines: BTreeMap<Port, Line<N>>,
    /// What was polled last, and is sent unless it comes back before the next poll.
    last: Option<(Port, Kept<N>)>,
    kept: usize,
    most: usize,
}

/// A name, and the deadline of its call.
type Kept<N> = (N, Instant);

#[derive(Debug)]
struct Line<N> {
    /// There was no room, and nobody has told of any since.
    full: bool,
    kept: VecDeque<Kept<N>>,
}

impl<N: Copy + PartialEq> Cancels<N> {
    /// Of which so many are kept.
    pub(crate) fn new(most: usize) -> Self {
        Cancels {
            lines: BTreeMap::new(),
            last: None,
            kept: 0,
            most,
        }
    }

    /// The call of this name, which ends by itself then, was given up.
    pub(crate) fn push(&mut self, port: Port, name: N, deadline: Instant) {
        let line = self.lines.entry(port).or_insert_with(|| Line {
            full: false,
            kept: VecDeque::new(),
        });
        line.kept.push_back((name, deadline));
        self.kept += 1;
        // Where nothing is full, all goes out at once.
        if line.full && self.kept > self.most {
            line.kept.pop_front();
            self.kept -= 1;
        }
    }

    /// What is to be sent now. What it gave before is sent, unless it came back.
    pub(crate) fn poll(&mut self) -> Option<(Port, N)> {
        self.last = None;
        let (port, line) = self.lines.iter_mut().find(|(_, line)| !line.full)?;
        let port = *port;
        let Some(next) = line.kept.pop_front() else {
            self.lines.remove(&port);
            return self.poll();
        };
        self.kept -= 1;
        self.last = Some((port, next));
        Some((port, next.0))
    }

    /// What was sent last was something else.
    pub(crate) fn settle(&mut self) {
        self.last = None;
    }

    /// What was polled last found no room. False if that was no cancel.
    pub(crate) fn full(&mut self) -> bool {
        let Some((port, kept)) = self.last.take() else {
            return false;
        };
        let line = self.lines.entry(port).or_insert_with(|| Line {
            full: false,
            kept: VecDeque::new(),
        });
        line.full = true;
        line.kept.push_front(kept);
        self.kept += 1;
        while self.kept > self.most && line.kept.pop_front().is_some() {
            self.kept -= 1;
        }
        true
    }

    /// There may be room. What is over by now is forgotten.
    pub(crate) fn room(&mut self, now: Instant, port: Port) {
        let Some(line) = self.lines.get_mut(&port).filter(|line| line.full) else {
            return;
        };
        let before = line.kept.len();
        line.kept.retain(|(_, deadline)| now < *deadline);
        self.kept -= before - line.kept.len();
        line.full = false;
    }

    /// The call of this name is asked again there: who has it still may go on.
    pub(crate) fn withdraw(&mut self, port: Port, name: N) {
        if let Some(line) = self.lines.get_mut(&port) {
            let before = line.kept.len();
            line.kept.retain(|(other, _)| *other != name);
            self.kept -= before - line.kept.len();
        }
    }

    /// The connection is lost.
    pub(crate) fn forget(&mut self, port: Port) {
        if let Some(line) = self.lines.remove(&port) {
            self.kept -= line.kept.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: Port = Port(0);
    const B: Port = Port(1);

    fn all(cancels: &mut Cancels<u8>) -> Vec<(Port, u8)> {
        std::iter::from_fn(|| cancels.poll()).collect()
    }

    #[test]
    fn what_finds_no_room_is_kept_and_holds_nobody_else_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut cancels = Cancels::new(10);
        cancels.push(A, 1, later);
        cancels.push(A, 2, later);
        cancels.push(B, 3, later);
        assert_eq!(cancels.poll(), Some((A, 1)));
        assert!(cancels.full() && !cancels.full());
        assert_eq!(all(&mut cancels), [(B, 3)]);
        cancels.room(now, B);
        assert!(all(&mut cancels).is_empty());
        cancels.withdraw(A, 2);
        cancels.push(A, 4, later);
        cancels.room(now, A);
        assert_eq!(all(&mut cancels), [(A, 1), (A, 4)]);
        assert_eq!((cancels.kept, cancels.lines.len()), (0, 0));
    }

    #[test]
    fn what_is_over_and_what_is_too_much_is_forgotten() {
        let now = Instant::now();
        let mut cancels = Cancels::new(3);
        for name in 1..=8 {
            cancels.push(A, name, now + Duration::from_secs(u64::from(name)));
        }
        // All of them could be sent at once.
        assert_eq!(cancels.poll(), Some((A, 1)));
        assert!(cancels.full());
        assert_eq!(cancels.kept, 3);
        cancels.push(A, 9, now + Duration::from_secs(9));
        assert_eq!(cancels.kept, 3);
        cancels.room(now + Duration::from_secs(7), A);
        assert_eq!(all(&mut cancels), [(A, 8), (A, 9)]);
        cancels.push(A, 10, now);
        cancels.forget(A);
        assert!(all(&mut cancels).is_empty());
        assert_eq!((cancels.kept, cancels.lines.len()), (0, 0));
    }
}
