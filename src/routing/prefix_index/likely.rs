//! Which lengths are to be looked for, and where.

/// Lengths within a block that a key of a frame may have: a bit for each, the shortest in the lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Likely {
    pub(super) in_grid: u64,
    pub(super) in_table: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) octets: usize,
    pub(super) in_grid: bool,
    pub(super) in_table: bool,
}

impl Likely {
    #[inline(always)]
    pub(super) fn all(self) -> u64 {
        self.in_grid | self.in_table
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.all() == 0
    }

    #[inline(always)]
    pub(super) fn is_more_than(self, lengths: usize) -> bool {
        let without_shortest = |all: u64, _| all & all.wrapping_sub(1);
        (0..lengths).fold(self.all(), without_shortest) != 0
    }

    /// Without the shortest.
    #[inline(always)]
    pub(super) fn rest(self) -> Self {
        let all = self.all();
        self.among(all & all.wrapping_sub(1))
    }

    /// Those of them that are among these.
    #[inline(always)]
    pub(super) fn among(self, lengths: u64) -> Self {
        Likely {
            in_grid: self.in_grid & lengths,
            in_table: self.in_table & lengths,
        }
    }

    /// Those that are among these as well.
    #[inline(always)]
    pub(super) fn and(self, others: Likely) -> Self {
        Likely {
            in_grid: self.in_grid & others.in_grid,
            in_table: self.in_table & others.in_table,
        }
    }

    /// Takes the shortest.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<Length> {
        if self.is_empty() {
            return None;
        }
        let rest = self.rest();
        let length = Length {
            octets: self.all().trailing_zeros() as usize + 1,
            in_grid: self.in_grid != rest.in_grid,
            in_table: self.in_table != rest.in_table,
        };
        *self = rest;
        Some(length)
    }
}
