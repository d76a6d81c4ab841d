//! The names of one context: who is bound to them, and who waits for someone to be.
//!
//! The registry introduces connectors to listeners and forgets about them. It does not know what
//! either is: `T` is whatever a listener gives to those who connect, `C` whatever a connector wants
//! the listener to have. Connecting before binding is allowed; such connectors are kept in the order
//! in which they came.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names of one context.
#[derive(Debug)]
pub(crate) struct Registry<T, C> {
    state: Mutex<State<T, C>>,
}

#[derive(Debug)]
struct State<T, C> {
    /// The next id; never used twice.
    next: u64,
    bound: HashMap<Box<str>, (BoundId, T)>,
    /// By name, and then by age. No empty maps are kept.
    pending: HashMap<Box<str>, BTreeMap<PendingId, C>>,
}

/// One binding of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BoundId(u64);

/// One connector that waits for its name to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PendingId(u64);

/// What a binder gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bound<C> {
    pub(crate) id: BoundId,
    /// Those who connected before, oldest first.
    pub(crate) waiting: Vec<(PendingId, C)>,
}

/// What became of a connect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Connect<T, C> {
    /// The name is bound: the listener's value, and the connector's back.
    Connected(T, C),
    /// The name is not bound yet; the binder will get the connector's value.
    Queued(PendingId),
}

/// The name is bound already; the listener's value comes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InUse<T>(pub(crate) T);

impl<T: Clone, C> Registry<T, C> {
    pub(crate) fn new() -> Self {
        Registry {
            state: Mutex::new(State {
                next: 0,
                bound: HashMap::new(),
                pending: HashMap::new(),
            }),
        }
    }

    /// Binds a name, and returns those who waited for it, oldest first.
    ///
    /// # Errors
    /// If the name is bound.
    pub(crate) fn bind(&self, name: &str, listener: T) -> Result<Bound<C>, InUse<T>> {
        let mut state = self.lock();
        if state.bound.contains_key(name) {
            return Err(InUse(listener));
        }
        let id = BoundId(state.next_id());
        state.bound.insert(name.into(), (id, listener));
        let waiting = state.pending.remove(name).unwrap_or_default();
        Ok(Bound {
            id,
            waiting: waiting.into_iter().collect(),
        })
    }

    /// Connects to a name, or waits for it to be bound.
    pub(crate) fn connect(&self, name: &str, connector: C) -> Connect<T, C> {
        let mut state = self.lock();
        if let Some((_, listener)) = state.bound.get(name) {
            return Connect::Connected(listener.clone(), connector);
        }
        let id = PendingId(state.next_id());
        state
            .pending
            .entry(name.into())
            .or_default()
            .insert(id, connector);
        Connect::Queued(id)
    }

    /// Frees a name and returns the listener's value; `None` if that binding is gone already. Whoever
    /// is connected stays so.
    pub(crate) fn unbind(&self, name: &str, id: BoundId) -> Option<T> {
        let mut state = self.lock();
        if state.bound.get(name)?.0 != id {
            return None;
        }
        state.bound.remove(name).map(|(_, listener)| listener)
    }

    /// Stops waiting for a name and returns the connector's value; `None` if a binder has it.
    pub(crate) fn cancel(&self, name: &str, id: PendingId) -> Option<C> {
        let mut state = self.lock();
        let waiting = state.pending.get_mut(name)?;
        let connector = waiting.remove(&id);
        if waiting.is_empty() {
            state.pending.remove(name);
        }
        connector
    }

    /// Takes everyone who waits, so that a context can end while some do.
    #[cfg(test)]
    pub(crate) fn cancel_all(&self) -> Vec<C> {
        let pending = std::mem::take(&mut self.lock().pending);
        pending
            .into_values()
            .flat_map(BTreeMap::into_values)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<T, C>> {
        // Nothing in here panics half-way; a panicking `clone` leaves the state as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, C> State<T, C> {
    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Connect, InUse, Registry};

    fn queued<T: std::fmt::Debug, C: std::fmt::Debug>(connect: Connect<T, C>) -> super::PendingId {
        match connect {
            Connect::Queued(id) => id,
            Connect::Connected(..) => panic!("the name was bound: {connect:?}"),
        }
    }

    #[test]
    fn bind_then_connect() {
        let names = Registry::new();
        let Bound { id, waiting } = names.bind("a", "listener").unwrap();
        assert!(waiting.is_empty());
        assert_eq!(names.connect("a", 1), Connect::Connected("listener", 1));
        assert_eq!(names.bind("a", "other"), Err(InUse("other")));
        assert!(names.bind("b", "other").is_ok());
        assert_eq!(names.unbind("a", id), Some("listener"));
        assert_eq!(names.unbind("a", id), None);
        queued(names.connect("a", 2));
    }

    #[test]
    fn connectors_wait_in_order_and_only_for_their_name() {
        let names = Registry::new();
        let first = queued(names.connect("a", 1));
        queued(names.connect("b", 9));
        let second = queued(names.connect("a", 2));
        let third = queued(names.connect("a", 3));
        assert_eq!(names.cancel("b", second), None);
        assert_eq!(names.cancel("a", second), Some(2));
        assert_eq!(names.cancel("a", second), None);
        let waiting = names.bind("a", ()).unwrap().waiting;
        assert_eq!(waiting, [(first, 1), (third, 3)]);
        assert_eq!(names.cancel("a", first), None);
        assert_eq!(names.cancel_all(), [9]);
        assert_eq!(names.cancel_all(), []);
    }

    #[test]
    fn an_old_id_does_not_free_a_new_binding() {
        let names = Registry::<_, ()>::new();
        let old = names.bind("a", 1).unwrap().id;
        names.unbind("a", old);
        let new = names.bind("a", 2).unwrap().id;
        assert_eq!(names.unbind("a", old), None);
        assert_eq!(names.unbind("a", new), Some(2));
    }
}
