//! A client that gives calls with a key up and asks again under the same name.

use super::*;

/// What it knows of its calls for that.
#[derive(Default)]
pub(super) struct Again {
    keyed: BTreeMap<u64, (&'static str, CallOptions)>,
    due: Timers<u64>,
}

impl Again {
    pub(super) fn note(&mut self, number: u64, service: &'static str, options: CallOptions) {
        if matches!(options.idem, Idem::Key(_)) {
            self.keyed.insert(number, (service, options));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

impl ClientNode {
    /// Whether a call is not over with this result: it was given up, and will be asked again.
    pub(super) fn wants_again(
        &mut self,
        now: Instant,
        number: u64,
        result: &Result<Message, CallError>,
    ) -> bool {
        let keyed = self.again.keyed.contains_key(&number);
        let given_up = matches!(result, Err(CallError::Cancelled));
        if !keyed || !given_up || self.random.below(3) == 0 {
            return false;
        }
        self.world.borrow_mut().again.insert(number);
        let after = Duration::from_millis(self.random.below(2) * self.random.below(300));
        self.again.due.set(number, now + after);
        true
    }

    pub(super) fn ask_again(&mut self, now: Instant) {
        while let Some(number) = self.again.due.expire(now) {
            if let Some((service, options)) = self.again.keyed.get(&number).cloned() {
                self.ask(now, number, service, options);
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.engine.running() == 0 && self.again.next().is_none()
    }
}

/// A key that was given up, or whose client has lost its connection, is answered to who asks again under the same name,
/// also if no attempt is made after its worker is done; it is carried out once.
#[test]
fn a_key_is_answered_when_it_is_asked_again() {
    let (given_up, good) = (Cell::new(0), Cell::new(0));
    schedules(200, |seed| {
        let mut town = build(
            // Without leases: one that ends gives the request to another worker.
            seed * 3 + 2,
            &Plan {
                brokers: 1,
                calls: 8,
                ext: true,
                patience: Duration::from_secs(60),
                slow: Duration::from_secs(4),
                asks: false,
                fickle: seed % 4 > 0,
                pause: Duration::from_millis(80),
                attempts: 2,
                ..plan(seed)
            },
        );
        town.sim.keep_name(town.client);
        if seed % 4 < 2 {
            // All calls are made, and no attempt is over.
            let at = Duration::from_millis(700);
            town.sim.fault_at(at, Fault::Reset(town.client));
        }
        let trace = town.settle(Duration::from_secs(100));
        let world = town.world.borrow();
        assert_eq!(world.results.len(), 8);
        for (number, result) in &world.results {
            if !matches!(world.asked[number], Idem::Key(_)) {
                continue;
            }
            let expected = matches!(result, Ok(_) | Err(CallError::Cancelled));
            assert!(expected, "{number}: {result:?}");
            let executed = world.executed.get(number).copied().unwrap_or(0);
            assert!(executed <= 1, "{number} was carried out {executed} times");
            good.set(good.get() + u64::from(result.is_ok()));
            given_up.set(given_up.get() + u64::from(world.again.contains(number)));
        }
        trace
    });
    assert!(good.get() > 0 && given_up.get() > 0, "both happen");
}
