//! How many peers a socket has, and who waits for more of them besides the socket's own halves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{lock, wake, Mutex};

/// Peers with a completed handshake (and inproc peers).
#[derive(Debug, Default)]
pub(super) struct HeadCount {
    count: AtomicUsize,
    waiting: Mutex<Slab<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    wanted: usize,
    /// `None`: has been woken, and has not looked yet.
    waker: Option<Waker>,
}

impl HeadCount {
    pub(super) fn get(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn add(&self) {
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        // Who comes to wait after this looked finds the count as it is now.
        let woken: Vec<Waker> = lock(&self.waiting)
            .iter_mut()
            .filter(|(_, waiting)| waiting.wanted <= count)
            .filter_map(|(_, waiting)| waiting.waker.take())
            .collect();
        woken.into_iter().for_each(wake);
    }

    pub(super) fn subtract(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ready when there are as many peers as wanted. Any number can wait, and each can give up at any time.
    pub(super) fn reaches(&self, wanted: usize) -> Gathering<'_> {
        Gathering {
            of: self,
            wanted,
            place: None,
        }
    }
}

/// See [`HeadCount::reaches`].
#[derive(Debug)]
pub(crate) struct Gathering<'a> {
    of: &'a HeadCount,
    wanted: usize,
    place: Option<usize>,
}

impl Gathering<'_> {
    /// What was there before is dropped without the lock: the waker of a task may be the last that keeps the task.
    fn leave(&mut self, waker: &Waker) -> Option<Waker> {
        let waker = Some(waker.clone());
        let mut waiting = lock(&self.of.waiting);
        let here = self.place.and_then(|place| waiting.get_mut(place));
        if let Some(here) = here {
            return std::mem::replace(&mut here.waker, waker);
        }
        let wanted = self.wanted;
        self.place = Some(waiting.insert(Waiting { wanted, waker }));
        None
    }
}

impl Future for Gathering<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.of.get() < self.wanted {
            drop(self.leave(cx.waker()));
        }
        match self.of.get() < self.wanted {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        let waiting = |place| lock(&self.of.waiting).try_remove(place);
        drop(self.place.take().and_then(waiting));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_when_there_are_enough_and_who_gave_up_is_forgotten() {
        let heads = HeadCount::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut two = heads.reaches(2);
        let mut given_up = heads.reaches(1);
        for _ in 0..3 {
            assert!(Pin::new(&mut two).poll(&mut cx).is_pending());
            assert!(Pin::new(&mut given_up).poll(&mut cx).is_pending());
        }
        drop(given_up);
        heads.add();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        heads.add();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut two).poll(&mut cx).is_ready());
        drop(two);
        assert!(lock(&heads.waiting).is_empty());
        heads.subtract();
        assert_eq!(heads.get(), 1);
        // The waker is here, and in `woken`.
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1);
    }
}
