//! What one half of a socket is told, in order, until it looks: a mailbox whose mail about peers that came and went
//! meanwhile can be taken out again by whoever brings more.
//!
//! A socket may be left alone for hours (a publisher of one message an hour, a server that waits for its first
//! request), and its peers come and go all the same. What is said of one that the half never saw, and that left
//! nothing for it, cancels out. The end of one that it did see is kept, and is no more than the half has of it
//! anyway. What is left to count is of those whose messages wait.

use std::collections::{HashMap, HashSet, VecDeque};

use super::drops::DropCause;
use super::port::{Half, Inbound, Outbound, PipeKey, Port};
use crate::sync::atomic::Ordering;
use crate::sync::{lock, Event, Mailbox, Mutex};

/// See the module.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    posted: Mailbox<T>,
    /// What was posted before anything that is in the mailbox. Nothing is taken from either without this lock, so
    /// that their order holds.
    looked_through: Mutex<VecDeque<T>>,
}

impl<T> Mail<T> {
    pub(super) fn new() -> Self {
        Mail {
            posted: Mailbox::new(),
            looked_through: Mutex::default(),
        }
    }

    /// As [`Mailbox::post`].
    pub(crate) fn post(&self, mail: T) {
        self.posted.post(mail);
    }

    /// As [`Mailbox::is_pending`].
    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        self.posted.is_pending()
    }

    /// As [`Mailbox::take_pending`].
    pub(crate) fn take_pending(&self) -> bool {
        self.posted.take_pending()
    }

    /// As [`Mailbox::pop`].
    pub(crate) fn pop(&self) -> Option<T> {
        let mut first = lock(&self.looked_through);
        let mail = first.pop_front();
        if mail.is_none() && first.capacity() > 0 {
            // There may have been very much, once.
            *first = VecDeque::new();
        }
        mail.or_else(|| self.posted.pop())
    }

    /// As [`Mailbox::event`].
    pub(crate) fn event(&self) -> &Event {
        self.posted.event()
    }
}

/// What a piece of mail says of its pipe.
enum Note {
    /// It is there, and nothing is to be read from it.
    Up,
    /// It is gone, and there is nothing to receive after it.
    Down,
    /// It has, or is followed by, something that must be received.
    Holds,
    /// What means nothing to a half that has not heard of the pipe.
    Passing,
}

trait About {
    /// `None` for what is about no pipe.
    fn about(&mut self) -> Option<(PipeKey, Note)>;

    /// Where the end of a pipe says whether it is excused from being counted as unseen.
    fn excused(&mut self) -> Option<&mut bool>;
}

impl About for Inbound {
    fn about(&mut self) -> Option<(PipeKey, Note)> {
        match self {
            Inbound::Up { key, reader, .. } => match reader.has_data() {
                true => Some((*key, Note::Holds)),
                false => Some((*key, Note::Up)),
            },
            Inbound::Down {
                key, last: None, ..
            } => Some((*key, Note::Down)),
            Inbound::Down { key, .. } => Some((*key, Note::Holds)),
            Inbound::Relinked(key) | Inbound::Readable(key) => Some((*key, Note::Passing)),
            Inbound::Marks => None,
        }
    }

    fn excused(&mut self) -> Option<&mut bool> {
        match self {
            Inbound::Down { excused, .. } => Some(excused),
            _ => None,
        }
    }
}

impl About for Outbound {
    fn about(&mut self) -> Option<(PipeKey, Note)> {
        match self {
            Outbound::Up { key, .. } => Some((*key, Note::Up)),
            Outbound::Down { key, .. } => Some((*key, Note::Down)),
            Outbound::Relinked(key) | Outbound::Writable(key) => Some((*key, Note::Passing)),
            Outbound::Marks => None,
        }
    }

    fn excused(&mut self) -> Option<&mut bool> {
        match self {
            Outbound::Down { excused, .. } => Some(excused),
            _ => None,
        }
    }
}

/// What this mail says of pipes in the end.
#[derive(Default)]
struct Summary {
    /// They have come and gone, and hold nothing.
    transient: HashSet<PipeKey>,
    /// How many ends need not be counted any more, being those of pipes that the half has.
    excused: usize,
}

fn summarize<T: About>(mail: &mut VecDeque<T>) -> Summary {
    let mut summary = Summary::default();
    // Whether there is something to receive.
    let mut came: HashMap<PipeKey, bool> = HashMap::new();
    for piece in mail {
        let Some((key, note)) = piece.about() else {
            continue;
        };
        match note {
            Note::Up => {
                came.entry(key).or_insert(false);
            }
            Note::Holds => {
                came.insert(key, true);
            }
            Note::Down => {
                if came.get(&key) == Some(&false) {
                    summary.transient.insert(key);
                }
            }
            Note::Passing => {}
        }
        if let Some(excused) = piece.excused().filter(|_| !came.contains_key(&key)) {
            summary.excused += usize::from(!std::mem::replace(excused, true));
        }
    }
    summary
}

/// Takes out all that is said of these pipes.
fn take_out<T: About>(mail: &mut VecDeque<T>, keys: &HashSet<PipeKey>) -> Vec<T> {
    if keys.is_empty() {
        return Vec::new();
    }
    let mut taken = Vec::new();
    for mut piece in std::mem::take(mail) {
        match piece.about().is_some_and(|(key, _)| keys.contains(&key)) {
            true => taken.push(piece),
            false => mail.push_back(piece),
        }
    }
    taken
}

impl Port {
    /// Takes out of the mail of both halves what says nothing in the end: a peer came, and went, and left nothing.
    /// It is as if the half had looked.
    #[cold]
    pub(super) fn forget_transients(&self) {
        // Two threads that come at once do it after one another, and the second finds it done. Always in this order.
        let mut out = lock(&self.outbound.looked_through);
        let mut inbound = lock(&self.inbound.looked_through);
        out.extend(std::iter::from_fn(|| self.outbound.posted.pop()));
        inbound.extend(std::iter::from_fn(|| self.inbound.posted.pop()));
        let Summary {
            transient: sent_to,
            excused: excused_out,
        } = summarize(&mut out);
        let Summary {
            transient: mut received_from,
            excused: excused_in,
        } = summarize(&mut inbound);
        if self.expects_replies.load(Ordering::Relaxed) {
            // A request may have gone to a peer that the receiving half has not heard of. It must hear of its end.
            received_from.retain(|key| sent_to.contains(key));
        }
        let left_out = take_out(&mut out, &sent_to);
        let left_in = take_out(&mut inbound, &received_from);
        // Before the locks are free: who comes next looks at the count.
        self.ends_seen(Half::Sending, sent_to.len() + excused_out);
        self.ends_seen(Half::Receiving, received_from.len() + excused_in);
        drop((out, inbound));
        self.let_go_of_writers(left_out);
        drop(left_in);
        for key in sent_to {
            self.take_change(Half::Sending, key);
            self.free_key(key);
        }
        for key in received_from {
            self.take_change(Half::Receiving, key);
            self.take_introductions(key);
            self.free_key(key);
        }
    }

    /// What such pipes hold (a greeting, which every peer is sent) is not sent any more.
    fn let_go_of_writers(&self, mail: Vec<Outbound>) {
        let mut writers = HashMap::new();
        for piece in mail {
            match piece {
                Outbound::Up { key, writer } => {
                    writers.insert(key, writer);
                }
                Outbound::Down { key, rest, .. } => {
                    let unread = match (rest, writers.remove(&key)) {
                        (Some(rest), _) => rest.queued_messages(),
                        (None, Some(writer)) if writer.is_reader_closed() => {
                            writer.queued_messages()
                        }
                        (None, _) => 0,
                    };
                    self.dropped(DropCause::PeerLost, unread);
                }
                Outbound::Relinked(_) | Outbound::Writable(_) | Outbound::Marks => {}
            }
        }
    }
}
