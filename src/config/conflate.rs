//! What of the messages that were not read yet is kept, in place of a queue.

/// Whether only the newest messages are kept for each peer, or from it, and by what they are told apart: the option
/// `conflate`. `false` is [`Conflate::Off`], the default, and `true` is [`Conflate::Newest`].
///
/// ```
/// use sinew::{Conflate, Sub};
///
/// // The last price of each share, not the last price of any.
/// let prices = Sub::builder().conflate(Conflate::ByTopic { prefix: None }).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Conflate {
    /// All are kept, up to the high-water mark.
    #[default]
    Off,
    /// Only the newest message. High-water marks are ignored.
    Newest,
    /// The newest message of each topic, and the topic is the first frame. Topics are read in the order in which
    /// their oldest message that was not read came: one that takes the place of another is read when that
    /// would have been. No more are kept than the high-water mark allows, in messages and in octets, of which a topic counts
    /// a second time, as it is kept apart; beyond that the
    /// message of the topic that came first is dropped, and counted
    /// ([`SocketStats::dropped_full`](crate::SocketStats::dropped_full)).
    ByTopic {
        /// The topic is no more than so many octets at the beginning of the first frame; `None` for the whole
        /// frame. For messages of a single frame, which begin with their topic: without it, a
        /// message would take only the place of another just like it. `Some(0)` is one topic for all, as
        /// [`Conflate::Newest`] is.
        prefix: Option<usize>,
    },
}

impl Conflate {
    /// How many octets of the first frame are told apart; `None` without conflation.
    pub(crate) fn prefix(self) -> Option<usize> {
        match self {
            Conflate::Off => None,
            Conflate::Newest => Some(0),
            Conflate::ByTopic { prefix } => Some(prefix.unwrap_or(usize::MAX)),
        }
    }

    pub(crate) fn is_on(self) -> bool {
        self != Conflate::Off
    }

    /// Whether fewer messages are kept than with `other`.
    pub(crate) fn keeps_less_than(self, other: Conflate) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(own), Some(others)) => own < others,
            (own, others) => own.is_some() && others.is_none(),
        }
    }
}

impl From<bool> for Conflate {
    fn from(on: bool) -> Self {
        match on {
            true => Conflate::Newest,
            false => Conflate::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Conflate;

    #[test]
    fn the_forms_are_ordered_by_what_they_keep() {
        let by = |prefix| Conflate::ByTopic { prefix };
        let forms = [
            Conflate::Newest,
            by(Some(1)),
            by(Some(9)),
            by(None),
            Conflate::from(false),
        ];
        for (index, form) in forms.into_iter().enumerate() {
            for (other, less) in forms.into_iter().enumerate() {
                assert_eq!(form.keeps_less_than(less), index < other);
            }
        }
        assert_eq!(Conflate::from(true), Conflate::Newest);
        // One topic is the same as none.
        assert!(!Conflate::Newest.keeps_less_than(by(Some(0))));
    }
}
