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

    /// Whether there may be too many of its kind.
    fn is_extra(&self) -> bool {
        false
    }

    /// # Safety
    /// It was given to a list, and nobody uses it or will.
    unsafe fn free(this: *mut Self);
}

/// In a list: the next one; and, of the first, the last, and the size of all.
pub(super) struct Link<T> {
    next: *mut T,
    last: *mut T,
    all: usize,
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Link {
            next: null_mut(),
            last: null_mut(),
            all: 0,
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

    /// Adds one as the first to be used again or as the last, or frees it if there is enough.
    ///
    /// # Safety
    /// It is one that [`Spare::free`] frees, and nobody uses it or will but who takes it from here.
    pub(super) unsafe fn give(&self, spare: *mut T, first: bool) {
        let list = self.take();
        // SAFETY: `spare` is ours by contract, and `list` because it was taken.
        unsafe {
            let behind = match list.is_null() {
                true => 0,
                false => (*list).link().all,
            };
            if behind >= T::MOST {
                T::free(spare);
                return self.put_back(list);
            }
            *(*spare).link() = Link {
                next: null_mut(),
                last: spare,
                all: (*spare).size(),
            };
            match (list.is_null(), first) {
                (true, _) => self.put_back(spare),
                (false, true) => self.put_back(Self::joined(spare, list)),
                (false, false) => self.put_back(Self::joined(list, spare)),
            }
        }
    }

    /// One list of two.
    ///
    /// # Safety
    /// Both are the caller's.
    unsafe fn joined(list: *mut T, more: *mut T) -> *mut T {
        // SAFETY: by contract.
        unsafe {
            let Link { last, all, .. } = *(*more).link();
            let head = (*list).link();
            let end = replace(&mut head.last, last);
            head.all += all;
            (*end).link().next = more;
            list
        }
    }

    /// Takes one of at least that size, if there is one and all there are make up `keep`. Frees those in front of it, among
    /// which are extra ones behind which there is as much as `most`.
    pub(super) fn pop(&self, size: usize, keep: usize, most: usize) -> Option<*mut T> {
        let mut list = self.take();
        // SAFETY: `list` was taken, and is ours with all that follows.
        unsafe {
            if !list.is_null() && (*list).link().all < keep {
                self.put_back(list);
                return None;
            }
        }
        while !list.is_null() {
            // SAFETY: as above.
            unsafe {
                let spare = list;
                list = Self::without_first(list);
                let left = match list.is_null() {
                    true => 0,
                    false => (*list).link().all,
                };
                if (*spare).size() >= size && (left < most || !(*spare).is_extra()) {
                    self.put_back(list);
                    return Some(spare);
                }
                T::free(spare);
            }
        }
        None
    }

    /// The rest of a list.
    ///
    /// # Safety
    /// The list is the caller's.
    unsafe fn without_first(list: *mut T) -> *mut T {
        // SAFETY: by contract.
        unsafe {
            let size = (*list).size();
            let Link { next, last, all } = std::mem::take((*list).link());
            if !next.is_null() {
                let head = (*next).link();
                (head.last, head.all) = (last, all - size);
            }
            next
        }
    }

    /// Has them in hand, where the other end does not see them.
    #[cfg(all(test, not(loom)))]
    pub(super) fn in_hand(&self, meanwhile: impl FnOnce()) {
        let list = self.take();
        meanwhile();
        // SAFETY: the list was taken, and is ours.
        unsafe { self.put_back(list) }
    }

    /// How large all of them are together.
    #[cfg(all(test, not(loom)))]
    pub(super) fn octets(&self) -> usize {
        let list = self.take();
        if list.is_null() {
            return 0;
        }
        // SAFETY: the list was taken, and is ours.
        unsafe {
            let all = (*list).link().all;
            self.put_back(list);
            all
        }
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
            let rest = Self::without_first(first);
            *(*first).link() = Link {
                next: null_mut(),
                last: first,
                all: (*first).size(),
            };
            self.put_back(first);
            Self::free_all(rest);
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

    /// Puts a list (or null) where there is none, before what another has put there meanwhile.
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
            let more = self.take();
            if more.is_null() {
                continue;
            }
            // SAFETY: both lists are ours: one by contract, one because it was taken.
            list = unsafe { Self::joined(list, more) };
        }
    }
}

impl<T: Spare> Drop for SpareList<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// As large as its number, and extra if that ends in 7.
    struct Thing(Link<Thing>, usize);

    #[allow(unsafe_code, reason = "see SAFETY")]
    impl Spare for Thing {
        const MOST: usize = 100;

        fn link(&mut self) -> &mut Link<Thing> {
            &mut self.0
        }

        fn size(&self) -> usize {
            self.1
        }

        fn is_extra(&self) -> bool {
            self.1 % 10 == 7
        }

        unsafe fn free(this: *mut Thing) {
            // SAFETY: all of them are boxes.
            unsafe { drop(Box::from_raw(this)) }
        }
    }

    fn give(list: &SpareList<Thing>, sizes: impl IntoIterator<Item = usize>, first: bool) {
        for size in sizes {
            let thing = Box::into_raw(Box::new(Thing(Link::default(), size)));
            // SAFETY: it was made for this.
            #[allow(unsafe_code, reason = "see SAFETY")]
            unsafe {
                list.give(thing, first);
            }
        }
    }

    fn pop(list: &SpareList<Thing>, size: usize, keep: usize) -> Option<usize> {
        pop_of(list, size, keep, usize::MAX)
    }

    fn pop_of(list: &SpareList<Thing>, size: usize, keep: usize, most: usize) -> Option<usize> {
        let thing = list.pop(size, keep, most)?;
        // SAFETY: it was a box, and is nobody else's.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let thing = unsafe { Box::from_raw(thing) };
        assert!(thing.0.next.is_null());
        Some(thing.1)
    }

    fn all(list: &SpareList<Thing>) -> Vec<usize> {
        std::iter::from_fn(|| pop(list, 0, 0)).collect()
    }

    #[test]
    fn things_are_used_again_first_or_last() {
        let list = SpareList::new();
        give(&list, [1, 2, 3], true);
        assert_eq!(all(&list), [3, 2, 1]);
        give(&list, [1, 2, 3], false);
        give(&list, [4], true);
        give(&list, [5], false);
        assert_eq!(all(&list), [4, 1, 2, 3, 5]);
        assert_eq!(all(&list), []);
    }

    #[test]
    fn nothing_is_taken_of_less_than_is_to_be_kept() {
        let list = SpareList::new();
        give(&list, [10, 20], false);
        assert_eq!(pop(&list, 1, 31), None);
        assert_eq!(pop(&list, 1, 30), Some(10));
        assert_eq!(pop(&list, 1, 21), None);
        give(&list, [5], false);
        assert_eq!(pop(&list, 1, 25), Some(20));
        assert_eq!(all(&list), [5]);
    }

    #[test]
    fn what_is_too_small_goes_and_what_is_too_much_does() {
        let list = SpareList::new();
        give(&list, [1, 2, 30, 4], false);
        assert_eq!(pop(&list, 10, 37), Some(30));
        assert_eq!(all(&list), [4], "freed on the way to it");
        give(&list, [1, 2, 30, 4], false);
        assert_eq!(pop(&list, 10, 38), None);
        assert_eq!(all(&list), [1, 2, 30, 4], "nothing is freed in vain");
        give(&list, [60, 40, 1], false);
        assert_eq!(all(&list), [60, 40]);
        give(&list, [60, 40, 1], true);
        assert_eq!(all(&list), [40, 60]);
    }

    #[test]
    fn extra_ones_go_where_there_is_enough_without_them() {
        let list = SpareList::new();
        give(&list, [7, 27, 3, 17, 5], false);
        assert_eq!(pop_of(&list, 0, 0, 25), Some(3));
        assert_eq!(pop_of(&list, 0, 0, 6), Some(17), "less is behind it");
        give(&list, [7], true);
        assert_eq!(pop(&list, 0, 0), Some(7), "nothing is too much");
        give(&list, [7], false);
        assert_eq!(pop_of(&list, 0, 0, 7), Some(5), "it is none");
        assert_eq!(pop_of(&list, 8, 7, 0), None);
        assert_eq!(all(&list), []);
    }

    #[test]
    fn trimmed_there_is_one_and_cleared_none() {
        let list = SpareList::new();
        list.trim();
        give(&list, [1, 2, 3], false);
        list.trim();
        give(&list, [4], false);
        assert_eq!(pop(&list, 1, 6), None, "the first and the new one are 5");
        assert_eq!(pop(&list, 1, 5), Some(1));
        list.clear();
        assert_eq!(all(&list), []);
    }

    #[test]
    fn what_another_puts_there_meanwhile_comes_after() {
        let list = SpareList::new();
        give(&list, [1, 2], false);
        let taken = list.take();
        give(&list, [3, 4], false);
        // SAFETY: it was taken.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            list.put_back(taken);
        }
        give(&list, [5], false);
        assert_eq!(pop(&list, 0, 15), Some(1));
        assert_eq!(all(&list), [2, 3, 4, 5]);
    }
}
