//! Has this been done already? A window of names, and a cache of replies.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::MsgId;

/// The bounds of a [`Dedup`] window or of a [`ReplyCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Names remembered at most; 0 counts as 1. Default: 10 000.
    pub entries: usize,
    /// Octets of replies kept at most; each frame counts [`FRAME_COST`](super::FRAME_COST) more than it has. Default: 16 MiB.
    pub bytes: usize,
    /// How long a name is remembered. Default: 10 min, which should exceed the longest time over which a
    /// caller repeats a request.
    pub age: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            entries: 10_000,
            bytes: 16 << 20,
            age: Duration::from_secs(600),
        }
    }
}

/// The names seen of late, bounded in number and age.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{CacheConfig, Dedup, MsgId};
///
/// let (id, now) = (MsgId([7; 16]), Instant::now());
/// let mut dedup = Dedup::new(CacheConfig::default());
/// assert!(!dedup.seen(id, now));
/// assert!(dedup.seen(id, now));
/// ```
#[derive(Debug)]
pub struct Dedup {
    config: CacheConfig,
    seen: BTreeMap<MsgId, Instant>,
    order: VecDeque<(Instant, MsgId)>,
}

impl Dedup {
    /// An empty window. `bytes` of the config has no meaning here.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        Dedup {
            config,
            seen: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether this name was asked about within the age, and remembers it.
    pub fn seen(&mut self, id: MsgId, now: Instant) -> bool {
        while let Some(&(at, old)) = self.order.front() {
            let full =
                self.order.len() > self.config.entries.max(1) - 1 && !self.seen.contains_key(&id);
            if !full && now.saturating_duration_since(at) < self.config.age {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&old);
        }
        if self.seen.contains_key(&id) {
            return true;
        }
        self.seen.insert(id, now);
        self.order.push_back((now, id));
        false
    }

    /// Names remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// What a [`ReplyCache`] knows about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Known<R> {
    /// It is new: carry it out.
    New,
    /// It is being carried out; the asker is told when it is done.
    Running,
    /// It was carried out, with this reply.
    Done(R),
    /// Another request has this name.
    Conflict,
}

/// Replies by the name of the request, so that a request that is asked again is not carried out again.
///
/// `S` is who asked (an authenticated user, or nothing), so that nobody is answered with another's reply.
/// `W` is somebody who waits for the reply. Requests that are running are never forgotten; how many there
/// are is for the owner to bound. Replies are forgotten from the oldest on.
#[derive(Debug)]
pub struct ReplyCache<S, W, R> {
    config: CacheConfig,
    entries: BTreeMap<(S, MsgId), Entry<W, R>>,
    /// Finished ones in order of their end.
    order: VecDeque<(Instant, (S, MsgId))>,
    bytes: usize,
    forgotten_early: u64,
}

#[derive(Debug)]
struct Entry<W, R> {
    digest: u64,
    state: State<W, R>,
}

#[derive(Debug)]
enum State<W, R> {
    Running(Vec<W>),
    Done { reply: R, bytes: usize },
}

impl<S: Ord + Clone, W, R: Clone> ReplyCache<S, W, R> {
    /// An empty cache.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        ReplyCache {
            config,
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            forgotten_early: 0,
        }
    }

    /// What is known about a request with this name and body. A new one counts as running from here on.
    /// `waiter` is kept only if it is running already, and at most [`WAITERS`] of them: who asks more often
    /// than that hears from its later attempts.
    pub fn ask(&mut self, who: S, id: MsgId, body: &Message, waiter: W, now: Instant) -> Known<R> {
        self.forget(now);
        let digest = digest_of(body);
        let key = (who, id);
        let Some(entry) = self.entries.get_mut(&key) else {
            let state = State::Running(Vec::new());
            self.entries.insert(key, Entry { digest, state });
            return Known::New;
        };
        match &mut entry.state {
            _ if entry.digest != digest => Known::Conflict,
            State::Running(waiters) => {
                if waiters.len() >= WAITERS {
                    waiters.remove(0);
                }
                waiters.push(waiter);
                Known::Running
            }
            State::Done { reply, .. } => Known::Done(reply.clone()),
        }
    }

    /// Whether a request with this name and body is running.
    #[must_use]
    pub fn is_running(&self, who: S, id: MsgId, body: &Message) -> bool {
        let entry = self.entries.get(&(who, id));
        entry.is_some_and(|entry| {
            matches!(entry.state, State::Running(_)) && entry.digest == digest_of(body)
        })
    }

    /// A running request has its reply, of so many octets. Returns who else waits for it.
    pub fn done(&mut self, who: S, id: MsgId, reply: R, bytes: usize, now: Instant) -> Vec<W> {
        let key = (who, id);
        let Some(entry) = self.entries.get_mut(&key) else {
            return Vec::new();
        };
        let State::Running(waiters) = &mut entry.state else {
            return Vec::new();
        };
        let waiters = std::mem::take(waiters);
        entry.state = State::Done { reply, bytes };
        self.order.push_back((now, key));
        self.bytes = self.bytes.saturating_add(bytes);
        self.forget(now);
        waiters
    }

    /// A running request will have no reply: it may be carried out if asked again. Returns who waits.
    pub fn abandon(&mut self, who: S, id: MsgId) -> Vec<W> {
        let key = (who, id);
        let running = |entry: &Entry<W, R>| matches!(entry.state, State::Running(_));
        if !self.entries.get(&key).is_some_and(running) {
            return Vec::new();
        }
        match self.entries.remove(&key).map(|entry| entry.state) {
            Some(State::Running(waiters)) => waiters,
            _ => Vec::new(),
        }
    }

    /// Names remembered now, and octets of replies.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Replies forgotten before their age, for want of room.
    #[must_use]
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            let old = now.saturating_duration_since(*at) >= self.config.age;
            let full =
                self.order.len() > self.config.entries.max(1) || self.bytes > self.config.bytes;
            if !old && !full {
                break;
            }
            self.forgotten_early += u64::from(!old);
            if let Some(State::Done { bytes, .. }) = self.entries.remove(key).map(|e| e.state) {
                self.bytes -= bytes;
            }
            self.order.pop_front();
        }
    }
}

/// Tells the bodies of two requests apart that have one name, by a mistake or by guessing. No secret.
fn digest_of(body: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    for frame in body.frames() {
        Frame::as_slice(frame).hash(&mut hasher);
    }
    hasher.finish()
}

/// Waiters per running request: a caller repeats a request over as many connections as it lost, and that
/// is a handful.
pub const WAITERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MsgId {
        MsgId([n; 16])
    }

    #[test]
    fn a_window_is_bounded_in_number_and_age() {
        let now = Instant::now();
        let config = CacheConfig {
            entries: 3,
            age: Duration::from_secs(1),
            ..CacheConfig::default()
        };
        let mut dedup = Dedup::new(config);
        for n in 0..10 {
            assert!(!dedup.seen(id(n), now));
            assert!(dedup.len() <= 3);
        }
        assert!(dedup.seen(id(9), now));
        assert!(dedup.seen(id(7), now));
        assert!(!dedup.seen(id(6), now), "no room for it");
        let later = now + Duration::from_secs(1);
        assert!(!dedup.seen(id(9), later), "too old");
        assert_eq!(dedup.len(), 1);
    }

    #[test]
    fn a_reply_is_given_to_all_who_asked() {
        let now = Instant::now();
        let body = Message::from("body");
        let mut cache = ReplyCache::new(CacheConfig::default());
        assert_eq!(cache.ask((), id(1), &body, "first", now), Known::New);
        assert_eq!(cache.ask((), id(1), &body, "second", now), Known::Running);
        assert!(cache.is_running((), id(1), &body));
        assert!(!cache.is_running((), id(1), &Message::from("another")));
        assert!(!cache.is_running((), id(2), &body));
        assert_eq!(cache.done((), id(1), "reply", 5, now), ["second"]);
        assert!(!cache.is_running((), id(1), &body));
        assert_eq!(
            cache.ask((), id(1), &body, "third", now),
            Known::Done("reply")
        );
        let other = Message::from("another");
        assert_eq!(cache.ask((), id(1), &other, "fourth", now), Known::Conflict);
        assert_eq!(cache.ask((), id(2), &body, "fourth", now), Known::New);
        assert_eq!(cache.ask((), id(2), &body, "fifth", now), Known::Running);
        assert_eq!(cache.abandon((), id(2)), ["fifth"]);
        assert_eq!(cache.ask((), id(2), &body, "sixth", now), Known::New);
    }

    #[test]
    fn replies_are_bounded_and_running_ones_kept() {
        let now = Instant::now();
        let config = CacheConfig {
            entries: 100,
            bytes: 30,
            age: Duration::from_secs(1),
        };
        let body = Message::from("body");
        let mut cache = ReplyCache::new(config);
        for n in 0..10 {
            assert_eq!(cache.ask(1, id(n), &body, (), now), Known::New);
        }
        for n in 0..9 {
            cache.done(1, id(n), n, 10, now);
            assert!(cache.size().1 <= 30);
        }
        assert_eq!(cache.forgotten_early(), 6);
        assert_eq!(
            cache.ask(2, id(8), &body, (), now),
            Known::New,
            "another user"
        );
        let late = now + Duration::from_secs(60);
        assert_eq!(cache.ask(1, id(9), &body, (), late), Known::Running);
        assert_eq!(cache.ask(1, id(8), &body, (), late), Known::New);
    }
}
