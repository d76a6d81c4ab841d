//! A client that gives calls up, and asks again with the same key.

use super::*;

impl Caller {
    /// Whether a call is not over with this result: it was given up, and will be asked again.
    pub(super) fn wants_again(
        &mut self,
        now: Instant,
        number: u64,
        result: &Result<Message, CallError>,
    ) -> bool {
        let keyed = matches!(self.world.borrow().asked[&number], Idem::Key(_));
        let given_up = matches!(result, Err(CallError::Cancelled));
        if !keyed || !given_up || self.random.below(3) == 0 {
            return false;
        }
        let mut world = self.world.borrow_mut();
        world.again.insert(number);
        // They are for each call counted on their own.
        world.partials.remove(&number);
        let after = Duration::from_millis(self.random.below(2) * self.random.below(200));
        self.again.set(number, now + after);
        true
    }

    /// Gives up what was asked a moment ago, and asks again.
    pub(super) fn change_mind(&mut self, now: Instant) {
        if self.fickle && self.random.below(8) == 0 {
            if let Some(call) = self.calls.keys().next().copied() {
                self.engine.handle_cancel(now, call);
            }
        }
        while let Some(number) = self.again.expire(now) {
            let options = CallOptions {
                deadline: self.patience + self.random.up_to(Duration::from_secs(8)),
                idem: Idem::Key(key_of(number)),
                ..CallOptions::default()
            };
            match self
                .engine
                .handle_call(now, request(number), options.clone())
            {
                Ok(call) => {
                    let until = now + options.deadline;
                    self.calls.insert(call, (number, until, options));
                }
                Err(error) => {
                    self.world.borrow_mut().results.insert(number, Err(error));
                }
            }
        }
    }
}
