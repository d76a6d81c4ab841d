//! A store in memory, for several servers of one process, one after the other or at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{octets, Begun, DedupLife, DedupStore, Outcome, StoreError, StoreLimits};
use crate::common::MsgId;

/// What the servers of one process know of keys. Clones share what is known.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Begun, DedupStore, MemoryStore, MsgId, StoreLimits};
///
/// let (key, now) = (MsgId([7; 16]), Instant::now());
/// let store = MemoryStore::new(StoreLimits::default());
/// let mut first = store.join()?;
/// assert_eq!(first.begin(key, 1, now)?, Begun::New);
/// let mut second = store.join()?;
/// assert_eq!(second.begin(key, 1, now)?, Begun::Busy);
/// first.end(key, 1, &Ok("reply".into()), now)?;
/// assert_eq!(second.begin(key, 1, now)?, Begun::Done(Ok("reply".into())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Mutex<Book>>);

/// A book has one page per key.
#[derive(Debug)]
struct Book {
    limits: StoreLimits,
    pages: BTreeMap<MsgId, Page>,
    /// Pages by when their age begins.
    order: BTreeSet<(Instant, MsgId)>,
    bytes: usize,
    lives: BTreeSet<u64>,
    next_life: u64,
}

#[derive(Debug)]
struct Page {
    fingerprint: u64,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Begun(u64),
    Done(Outcome),
}

#[derive(Debug)]
struct Life {
    book: Arc<Mutex<Book>>,
    life: u64,
}

impl MemoryStore {
    /// A store that knows nothing.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        MemoryStore(Arc::new(Mutex::new(Book {
            limits,
            pages: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            lives: BTreeSet::new(),
            next_life: 0,
        })))
    }

    /// Keys that are known now, and octets of their replies.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let book = lock(&self.0);
        (book.pages.len(), book.bytes)
    }
}

impl DedupStore for MemoryStore {
    fn join(&self) -> Result<Box<dyn DedupLife>, StoreError> {
        let mut book = lock(&self.0);
        let life = book.next_life;
        book.next_life += 1;
        book.lives.insert(life);
        let book = Arc::clone(&self.0);
        Ok(Box::new(Life { book, life }))
    }
}

impl DedupLife for Life {
    fn begin(&mut self, key: MsgId, fingerprint: u64, now: Instant) -> Result<Begun, StoreError> {
        let mut book = lock(&self.book);
        book.forget(now);
        if let Some(page) = book.pages.get(&key) {
            return Ok(match &page.state {
                _ if page.fingerprint != fingerprint => Begun::Conflict,
                State::Done(outcome) => Begun::Done(outcome.clone()),
                State::Begun(life) if book.lives.contains(life) => Begun::Busy,
                State::Begun(_) => Begun::InDoubt,
            });
        }
        if !book.limits.admit(book.pages.len(), book.bytes) {
            return Ok(Begun::Full);
        }
        book.put(key, fingerprint, State::Begun(self.life), now);
        Ok(Begun::New)
    }

    fn end(
        &mut self,
        key: MsgId,
        fingerprint: u64,
        outcome: &Outcome,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut book = lock(&self.book);
        let kept = book.limits.kept(outcome);
        book.put(key, fingerprint, State::Done(kept), now);
        Ok(())
    }

    fn abandon(&mut self, key: MsgId) -> Result<(), StoreError> {
        lock(&self.book).remove(key);
        Ok(())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        lock(&self.book).lives.remove(&self.life);
    }
}

impl Book {
    fn put(&mut self, key: MsgId, fingerprint: u64, state: State, now: Instant) {
        self.remove(key);
        self.bytes = self.bytes.saturating_add(state.octets());
        self.order.insert((now, key));
        let page = Page {
            fingerprint,
            since: now,
            state,
        };
        self.pages.insert(key, page);
    }

    fn remove(&mut self, key: MsgId) {
        if let Some(page) = self.pages.remove(&key) {
            self.order.remove(&(page.since, key));
            self.bytes = self.bytes.saturating_sub(page.state.octets());
        }
    }

    /// Forgets what is old, but for what somebody still works at: the age of that begins anew.
    fn forget(&mut self, now: Instant) {
        while let Some(&(since, key)) = self.order.first() {
            if now.saturating_duration_since(since) < self.limits.age || since >= now {
                break;
            }
            match self.pages.get_mut(&key) {
                Some(page) if page.state.lives(&self.lives) => {
                    self.order.remove(&(since, key));
                    page.since = now;
                    self.order.insert((now, key));
                }
                _ => self.remove(key),
            }
        }
    }
}

impl State {
    fn octets(&self) -> usize {
        match self {
            State::Begun(_) => 0,
            State::Done(outcome) => octets(outcome),
        }
    }

    fn lives(&self, lives: &BTreeSet<u64>) -> bool {
        matches!(self, State::Begun(life) if lives.contains(life))
    }
}

/// A panic elsewhere leaves the book as it was: nothing here panics half-way.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use sinew::Message;

    use super::*;
    use crate::common::{Fault, Status};

    fn key(n: u8) -> MsgId {
        MsgId([n; 16])
    }

    fn limits() -> StoreLimits {
        StoreLimits {
            keys: 3,
            bytes: 30,
            reply: 20,
            age: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_life_and_the_next() {
        let now = Instant::now();
        let store = MemoryStore::new(limits());
        let (mut first, mut second) = (store.join().unwrap(), store.join().unwrap());
        for n in 1..=3 {
            assert_eq!(first.begin(key(n), 7, now).unwrap(), Begun::New);
        }
        assert_eq!(first.begin(key(1), 7, now).unwrap(), Begun::Busy);
        assert_eq!(second.begin(key(1), 7, now).unwrap(), Begun::Busy);
        assert_eq!(second.begin(key(1), 8, now).unwrap(), Begun::Conflict);
        assert_eq!(second.begin(key(4), 7, now).unwrap(), Begun::Full);
        first.abandon(key(3)).unwrap();
        assert_eq!(second.begin(key(4), 7, now).unwrap(), Begun::New);
        let fault = Err(Fault::failed("no luck"));
        first.end(key(1), 7, &fault, now).unwrap();
        drop(first);
        assert_eq!(second.begin(key(1), 7, now).unwrap(), Begun::Done(fault));
        assert_eq!(second.begin(key(2), 7, now).unwrap(), Begun::InDoubt);
        // Its age begins with its end; what somebody is at has none.
        let late = now + limits().age;
        assert_eq!(second.begin(key(4), 7, late).unwrap(), Begun::Busy);
        assert_eq!(second.begin(key(2), 7, late).unwrap(), Begun::New);
        assert_eq!(store.size(), (2, 0));
    }

    #[test]
    fn replies_are_bounded() {
        let now = Instant::now();
        let store = MemoryStore::new(limits());
        let mut life = store.join().unwrap();
        for (n, octets) in [(1, 16), (2, 17)] {
            assert_eq!(life.begin(key(n), 7, now).unwrap(), Begun::New);
            let reply = Ok(Message::from(vec![0; octets]));
            life.end(key(n), 7, &reply, now).unwrap();
        }
        assert!(matches!(
            life.begin(key(1), 7, now).unwrap(),
            Begun::Done(Ok(_))
        ));
        match life.begin(key(2), 7, now).unwrap() {
            Begun::Done(Err(fault)) => assert_eq!(fault.status, Status::Conflict),
            other => panic!("{other:?}"),
        }
        assert!(store.size().1 >= limits().bytes);
        assert_eq!(life.begin(key(3), 7, now).unwrap(), Begun::Full);
        let late = now + limits().age;
        assert_eq!(life.begin(key(3), 7, late).unwrap(), Begun::New);
        assert_eq!(store.size(), (1, 0));
    }

    #[test]
    fn a_race_for_each_key_has_one_winner() {
        let store = MemoryStore::new(StoreLimits::default());
        let start = Barrier::new(4);
        let wins: usize = thread::scope(|scope| {
            let racer = || {
                let mut life = store.join().unwrap();
                let won = (0..100).filter(|n| {
                    start.wait();
                    life.begin(key(*n), 7, Instant::now()).unwrap() == Begun::New
                });
                won.count()
            };
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(racer)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(wins, 100);
    }
}
