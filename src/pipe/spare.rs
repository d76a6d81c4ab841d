//! What the reader of a pipe gives back to its writer, to be used again: memory that one thread allocated and another would
//! free costs both of them a lock of the allocator's.

use std::ptr::{null_mut, replace};

use crate::sync::atomic::{AtomicPtr, Ordering};

/// What can be in a [`SpareList`].
#[allow(unsafe_code, reason = "see the method")]
pub(super) trait Spare: Sized {
    /// No more is kept, in the unit of [`Spare::size`], but for the last that is given.
    const MOST: usize;

    fn link(&mut self) -> &mut Link<Self>;

    fn size(&self) -> usize;

    /// # Safety
    /// It was given to a list, and nobody uses it or will.
    unsafe fn free(this: *mut Self);
}

/// In a list: the next one, and the size of all that follow.
pub(super) struct Link<T> {
    next: *mut T,
    behind: usize,
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Link {
            next: null_mut(),
            behind: 0,
        }
    }
}

/// A list, of which either end takes all there is and puts back what it does not need, so that nobody looks into
/// something that another may have.
pub(super) struct SpareList<T: Spare>(AtomicPtr<T>);

#[allow(unsafe_code, reason = "lists of raw pointers; see each SAFETY")]
impl<T: Spare> SpareList<T> {
    pub(super) fn new() -> Self {
        SpareList(AtomicPtr::new(null_mut()))
    }

    /// Adds one, or frees it if there is enough.
    ///
    /// # Safety
    /// It is one that [`Spare::free`] frees, and nobody uses it or will but who takes it from here.
    pub(super) unsafe fn give(&self, spare: *mut T) {
        let list = self.take();
        // SAFETY: `spare` is ours by contract, and `list` because it was taken.
        unsafe {
            let behind = match list.is_null() {
                true => 0,
                false => (*list).link().behind + (*list).size(),
            };
            if behind < T::MOST {
                *(*spare).link() = Link { next: list, behind };
                self.put_back(spare);
            } else {
                T::free(spare);
                self.put_back(list);
            }
        }
    }

    /// Takes one of at least that size, if there is one. Frees those in front of it.
    pub(super) fn pop(&self, size: usize) -> Option<*mut T> {
        let mut list = self.take();
        while !list.is_null() {
            // SAFETY: `list` was taken, and is ours with all that follows.
            unsafe {
                let spare = list;
                list = replace(&mut (*spare).link().next, null_mut());
                if (*spare).size() >= size {
                    (*spare).link().behind = 0;
                    self.put_back(list);
                    return Some(spare);
                }
                T::free(spare);
            }
        }
        None
    }

    /// Frees all there are.
    pub(super) fn clear(&self) {
        // SAFETY: the list was taken, and is ours.
        unsafe { Self::free_all(self.take()) }
    }

    /// Frees all but one.
    pub(super) fn trim(&self) {
        let first = self.take();
        if first.is_null() {
            return;
        }
        // SAFETY: the list was taken, and is ours.
        unsafe {
            let Link { next, .. } = std::mem::take((*first).link());
            self.put_back(first);
            Self::free_all(next);
        }
    }

    /// # Safety
    /// The list is the caller's, and is nobody's after.
    unsafe fn free_all(mut list: *mut T) {
        while !list.is_null() {
            let spare = list;
            // SAFETY: by contract.
            unsafe {
                list = (*spare).link().next;
                T::free(spare);
            }
        }
    }

    fn take(&self) -> *mut T {
        match self.0.load(Ordering::Relaxed).is_null() {
            true => null_mut(),
            false => self.0.swap(null_mut(), Ordering::AcqRel),
        }
    }

    /// Puts a list (or null) where there is none, behind what another has put there meanwhile.
    ///
    /// # Safety
    /// The list is the caller's, and is nobody's after.
    unsafe fn put_back(&self, mut list: *mut T) {
        while !list.is_null() {
            let (release, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
            let put = self.0.compare_exchange(null_mut(), list, release, relaxed);
            if put.is_ok() {
                return;
            }
            let front = self.take();
            if front.is_null() {
                continue;
            }
            // SAFETY: both lists are ours: one by contract, one because it was taken.
            unsafe {
                let more = (*list).link().behind + (*list).size();
                let mut last = front;
                (*last).link().behind += more;
                while !(*last).link().next.is_null() {
                    last = (*last).link().next;
                    (*last).link().behind += more;
                }
                (*last).link().next = list;
            }
            list = front;
        }
    }
}

impl<T: Spare> Drop for SpareList<T> {
    fn drop(&mut self) {
        self.clear();
    }
}
